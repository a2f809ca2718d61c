"""Small pictures of crops.

A table may come from somebody else, and a report be shown to others. So a table, and the metrics.json beside it, cannot
choose what is shown: only images in the folder of --images are. By default that is ``data``, where all scripts keep
their crops. Links in that folder are followed, because data sets often lie elsewhere: who puts one there means it.
The folder of the table is not enough: in a folder of downloads, any file may be beside it.
"""

import os
import struct
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from utils.images import DAMAGE, open_image


@dataclass
class Thumbnails:
    """Makes small pictures of the images of a table, and counts those that may not be shown.

    Args:
        folder: Images in it and below are shown.
        beside: Where a relative path is looked up after the working directory.
    """

    folder: Path
    beside: Path
    outside: int = 0  # images that are not in the folder

    def make(self, path: str, side: int = 96) -> Image.Image | None:
        """An RGB image with sides of at most ``side`` pixels; None if it cannot be read or may not be shown.

        path: "" if it is not known.
        """
        if not path:
            return None
        try:
            places = _absolute(path), _absolute(self.beside / path)
            found = next((place for place in places if place.is_file()), None)
            if not any(map(self._holds, [found] if found else places)):
                self.outside += 1
                return None
            return _small(found, side) if found else None
        except (*DAMAGE, struct.error, Warning):
            return None

    def _holds(self, path: Path) -> bool:
        """Whether a file is in the folder, by its name or where it really is."""
        really = Path(os.path.realpath(path)).is_relative_to(os.path.realpath(self.folder))
        return really or path.is_relative_to(_absolute(self.folder))

    @property
    def note(self) -> str:
        """A line about the images that are not shown; "" if all may be."""
        if not self.outside:
            return ""
        pictures, lie = ("picture is", "it lies") if self.outside == 1 else ("pictures are", "they lie")
        return f"{self.outside} {pictures} not shown: {lie} outside of {self.folder}; --images DIR shows those in DIR"


def _absolute(path: str | Path) -> Path:
    """Without `..`, which leads out of the folder behind a link."""
    return Path(os.path.abspath(path))  # noqa: PTH100 - resolve() follows links


def _small(path: Path, side: int) -> Image.Image:
    with open_image(path, on_warning="error") as image:  # Pillow warns of images of extreme size and of damaged ones
        image.draft("RGB", (side, side))
        small = image.convert("RGB")
    small.thumbnail((side, side))
    return small
