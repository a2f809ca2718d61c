"""Image files -> pixels, for the readers of crops and of photographs alike."""

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from utils.files import whole_file

FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "TIFF")


class DamagedImageError(Exception):
    """A file of a known format that gives no image. The message is the reason, without the path."""


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """PIL warns of odd metadata and of palettes with alpha, which change no pixel here, and of images of half its
    limit."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def size_from_header(path: str | Path) -> tuple[int, int]:
    """(height, width) that an image file's header tells, (0, 0) where it tells none; the pixels are not decoded."""
    try:
        with _quiet(), Image.open(whole_file(path), formats=FORMATS) as image:
            return image.height, image.width
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):  # UnidentifiedImageError is an OSError
        return 0, 0


def read_rgb(path: str | Path, upright: bool = False) -> np.ndarray:
    """Image file -> [H, W, 3] uint8 RGB, the first picture of several, without its alpha channel; upright: turned as
    its EXIF says.

    Raises FileNotFoundError, PIL's UnidentifiedImageError for a file of none of FORMATS, and DamagedImageError for one
    that is damaged, too large or not of 8 bits a channel.
    """
    try:
        with _quiet(), Image.open(whole_file(path), formats=FORMATS) as image:
            if image.mode[0] in "IF":  # 16 or 32 bits a channel: PIL would clip them to white
                raise DamagedImageError(f"{image.mode} pixels; save it with 8 bits a channel")
            return np.asarray((ImageOps.exif_transpose(image) if upright else image).convert("RGB"))
    except (FileNotFoundError, UnidentifiedImageError):
        raise
    # PIL raises SyntaxError for a broken PNG chunk and ValueError for absurd sizes.
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        told = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}".replace("\n", " ")
        raise DamagedImageError(told) from error
