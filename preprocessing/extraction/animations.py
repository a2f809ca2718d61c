"""Animated GIF, WebP and PNG pictures, as videos. Pillow reads all three; FFmpeg reads no animated WebP."""

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from utils.images import DAMAGE

_FORMATS = {".gif": "GIF", ".webp": "WEBP", ".png": "PNG", ".apng": "PNG"}
_DURATION = 100  # milliseconds of a picture that does not say, as in browsers


def is_animation(path: Path) -> bool:
    """Whether a file has the ending of such a picture and holds more than one."""
    return number_of_pictures(path) > 1


def number_of_pictures(path: Path) -> int:
    """The pictures that the file's header promises; 0 if it is no such file."""
    path = Path(path)
    if path.suffix.lower() not in _FORMATS or not path.is_file():
        return 0
    try:
        with _open(path) as image:
            return getattr(image, "n_frames", 1)
    except DAMAGE:
        return 0


def picture_size(path: Path) -> tuple[int, int]:
    """(width, height) in pixels, from the header."""
    with _open(path) as image:
        return image.size


def pictures(path: Path) -> Iterator[tuple[np.ndarray, float]]:
    """Yield (picture [H, W, 3] uint8 RGB, seconds after the first) up to the end or the first damaged one."""
    with _open(path) as image:
        shown = 0.0
        for number in range(getattr(image, "n_frames", 1)):
            try:
                image.seek(number)
                picture = np.asarray(image.convert("RGB"))
            except DAMAGE:
                return
            yield picture, shown / 1000
            shown += image.info.get("duration") or _DURATION


@contextlib.contextmanager
def _open(path: Path) -> Iterator[Image.Image]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of odd metadata and large pictures
        with Image.open(path, formats=[_FORMATS[path.suffix.lower()]]) as image:
            yield image
