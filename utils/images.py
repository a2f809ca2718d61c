"""Read image files: crops and photographs."""

import contextlib
import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Literal, cast

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile

from utils.files import whole_file
from utils.tables import row_bytes

FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "TIFF")
# What Pillow raises for damaged and oversized files: SyntaxError for a broken PNG chunk, ValueError for absurd sizes.
DAMAGE = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)
_SCAN = b"\xff\xda\x00"  # begins each scan of a JPEG; within its data \xff is followed by \x00 or \xd0 to \xd7
_MOST_SCANS = 100  # usual progressive files have 10
_DNG_VERSION = 50706  # tag of TIFF files that hold raw data and a preview


class DamagedImageError(Exception):
    """An image file that cannot be decoded. The message is the reason, without the path."""


@contextlib.contextmanager
def open_image(
    path: str | Path, formats: tuple[str, ...] = FORMATS, on_warning: Literal["ignore", "error"] = "ignore"
) -> Iterator[Image.Image]:
    """Open an image file with Pillow, by its content alone: its name says nothing.

    Args:
        path: The file, or a row of a table.
        formats: Pillow's names of the formats that are tried. Others stay shut: Pillow's EPS starts Ghostscript.
        on_warning: About large images, odd metadata and palettes with alpha. error: raise it.

    Raises the exceptions in DAMAGE, and PIL.UnidentifiedImageError for another format.
    """
    with warnings.catch_warnings():
        warnings.simplefilter(on_warning)
        with Image.open(_image_file(path), formats=formats) as image:
            if isinstance(image, JpegImageFile):
                _refuse_many_scans(image)
            yield image


def _refuse_many_scans(image: JpegImageFile) -> None:
    """Raise OSError for a JPEG of more than _MOST_SCANS scans. Each costs the time of a whole picture."""
    file = cast(IO[bytes], image.fp)
    place = file.tell()  # behind the head of the first scan, or 0 (MPO)
    length = 6 + 2 * image.layers
    file.seek(max(0, place - length - 2))
    if file.read(5) == b"\xff\xda" + bytes((0, length, image.layers)) and "progressive" not in image.info:
        file.seek(place)
        return  # the first scan has all colours; libjpeg refuses others behind it
    file.seek(0)
    scans = sum(block.count(_SCAN) for block in iter(lambda: file.read(1 << 20), b""))
    file.seek(place)
    if scans > _MOST_SCANS:
        raise OSError(f"a JPEG of {scans} scans, more than {_MOST_SCANS}")


def _image_file(path: str | Path) -> Path | io.BytesIO:
    """What Pillow opens: the file, or the bytes of a row of a table (see ``utils.tables``)."""
    content = row_bytes(path)
    return whole_file(path) if content is None else io.BytesIO(content)


def size_from_header(path: str | Path) -> tuple[int, int]:
    """(height, width) from an image file's header; (0, 0) if it is damaged."""
    try:
        with open_image(path) as image:
            return image.height, image.width
    except DAMAGE:
        return 0, 0


def read_rgb(path: str | Path, upright: bool = False, formats: tuple[str, ...] = FORMATS) -> np.ndarray:
    """Read the first image of a file as uint8 RGB [H, W, 3], without alpha.

    upright: rotate it as its EXIF orientation says. formats: names of Pillow's formats that are read.

    Raises:
        FileNotFoundError: There is no file.
        PIL.UnidentifiedImageError: The file has none of the formats.
        DamagedImageError: It is damaged, too large, or has more than 8 bits per channel.
    """
    try:
        with open_image(path, formats) as image:
            if _DNG_VERSION in getattr(image, "tag_v2", ()):
                raise DamagedImageError("a camera's raw file (DNG); export it as JPEG or PNG")
            if image.mode[0] in "IF":  # 16 or 32 bits per channel; PIL would clip them to white
                raise DamagedImageError(f"{image.mode} pixels; save it with 8 bits per channel")
            return np.asarray((ImageOps.exif_transpose(image) if upright else image).convert("RGB"))
    except (FileNotFoundError, UnidentifiedImageError):
        raise
    except DAMAGE as error:
        reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}".replace("\n", " ")
        raise DamagedImageError(reason) from error
