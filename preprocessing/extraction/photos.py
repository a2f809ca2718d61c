"""Anyone's photographs, upright; and which files of folders and lists are photographs or videos."""

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import UnidentifiedImageError

from preprocessing.extraction.video import VIDEO_SUFFIXES, files_below, listed_files
from utils.cli import UserError
from utils.images import DamagedImageError, read_rgb

# Of the files that are taken from folders; a GIF is read as a video.
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".gif", *VIDEO_SUFFIXES)


class PhotoError(Exception):
    """A photograph that cannot be read. The message is the reason, without the path."""


def read_photo(path: Path) -> np.ndarray | None:
    """A photograph as [H, W, 3] uint8 RGB, turned as its EXIF says; None for a file of none of PIL's formats we take,
    which may be a video. Raises PhotoError for one that is damaged, too large or not of 8 bits a channel."""
    try:
        return read_rgb(path, upright=True)
    except UnidentifiedImageError:
        return None
    except FileNotFoundError as error:
        raise PhotoError(f"a damaged or unsuitable photograph ({error.strerror})") from error
    except DamagedImageError as error:
        raise PhotoError(f"a damaged or unsuitable photograph ({error})") from error


def find_inputs(paths: Iterable[Path]) -> list[Path]:
    """The files that paths stand for, each once: files themselves, the photographs and videos in folders (subfolders
    too, in sorted order), and the lines of .txt files, relative to the current folder. Whether the files exist and can
    be read is not asked here. UserError for a list that is no text and where nothing is found."""
    found: list[Path] = []
    for path in paths:
        if os.path.isdir(path):  # noqa: PTH112 - False for names that no file system takes
            found += sorted(files_below(path, SUFFIXES))
        elif path.suffix.lower() == ".txt":
            found += listed_files(path)
        else:
            found.append(path)
    if not found:
        raise UserError("the folders or lists of --input name no photograph and no video")
    return list(dict.fromkeys(found))
