"""Read photographs, and find the photographs and videos of folders and lists."""

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import UnidentifiedImageError

from preprocessing.extraction.video import VIDEO_SUFFIXES, files_below, listed_files
from utils.cli import UserError
from utils.images import DamagedImageError, read_rgb

# Files that are taken from folders; a GIF is read as a video.
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".gif", *VIDEO_SUFFIXES)


class PhotoError(Exception):
    """A photograph that cannot be read. The message is the reason, without the path."""


def read_photo(path: Path) -> np.ndarray | None:
    """Read a photograph [H, W, 3] uint8 RGB, turned upright as its EXIF orientation says.

    Returns None for another kind of file, which may be a video. Raises PhotoError if the photograph is damaged, too
    large, or has more than 8 bits per channel.
    """
    try:
        return read_rgb(path, upright=True)
    except UnidentifiedImageError:
        return None
    except (FileNotFoundError, DamagedImageError) as error:
        reason = getattr(error, "strerror", error)
        raise PhotoError(f"a damaged or unsuitable photograph ({reason})") from error


def find_inputs(paths: Iterable[Path]) -> list[Path]:
    """Find the photographs and videos that the paths name; they need not exist.

    paths: Files, folders (searched with their subfolders), and .txt files with one path per line, relative to the
    current folder. Returns each file once, those of a folder in sorted order. Raises UserError if a list cannot be read
    or nothing is found.
    """
    found: list[Path] = []
    for path in paths:
        if os.path.isdir(path):  # noqa: PTH112 - False for names that no file system takes
            found += sorted(files_below(path, SUFFIXES))
        elif path.suffix.lower() == ".txt":
            found += listed_files(path)
        else:
            found.append(path)
    if not found:
        raise UserError("no photograph and no video in the folders and lists of --input; check the paths")
    return list(dict.fromkeys(found))
