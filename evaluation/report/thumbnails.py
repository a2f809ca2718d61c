"""Small pictures of crops."""

import struct
import warnings
from pathlib import Path

from PIL import Image


def thumbnail(path: str, beside: Path, side: int = 96) -> Image.Image | None:
    """An image, RGB, its longer side at most ``side`` pixels.

    Args:
        path: Of the image; a relative one is looked for from the working directory, then from ``beside``.
        beside: Folder of the file that names the image.
        side: In pixels.

    Returns:
        None if the image is not there or cannot be read.
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
    except (OSError, ValueError, SyntaxError, EOFError, struct.error, Warning, Image.DecompressionBombError):
        return None
