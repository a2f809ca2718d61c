"""Read photographs."""

from pathlib import Path

import numpy as np
import pillow_heif
from PIL import UnidentifiedImageError

from preprocessing.extraction.animations import is_animation
from utils.images import FORMATS, DamagedImageError, read_rgb

_RAW = (".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2", ".pef", ".srw")  # files of cameras


class PhotoError(Exception):
    """A photograph that cannot be read. The message is the reason, without the path."""


def read_photo(path: Path) -> np.ndarray | None:
    """Read a photograph [H, W, 3] uint8 RGB, turned upright as its EXIF orientation says.

    Returns None for another kind of file, which may be a video, and for an animated picture. Raises PhotoError if the
    photograph is damaged, too large, a camera's raw file, or has more than 8 bits per channel.
    """
    if path.suffix.lower() in _RAW:
        raise PhotoError(f"a camera's raw file ({path.suffix.lower()}); export it as JPEG or PNG")
    if is_animation(path):
        return None
    pillow_heif.register_heif_opener()
    try:
        return read_rgb(path, upright=True, formats=(*FORMATS, "GIF", "HEIF", "AVIF"))
    except UnidentifiedImageError:
        return None
    except (FileNotFoundError, DamagedImageError) as error:
        reason = getattr(error, "strerror", error)
        raise PhotoError(f"a damaged or unsuitable photograph ({reason})") from error
