"""Small pictures of crops."""

import struct
import warnings
from pathlib import Path

from PIL import Image

from utils.images import DAMAGE


def thumbnail(path: str, beside: Path, side: int = 96) -> Image.Image | None:
    """An RGB image with sides of at most ``side`` pixels; None if it cannot be read.

    A relative path is looked up in the working directory, then in ``beside``.
    """
    try:
        found = next((place for place in (Path(path), beside / path) if place.is_file()), None)
        if found is None:
            return None
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # Pillow warns of images of extreme size and of damaged ones
            with Image.open(found) as image:
                image.draft("RGB", (side, side))
                small = image.convert("RGB")
        small.thumbnail((side, side))
        return small
    except (*DAMAGE, struct.error, Warning):
        return None
