"""Find videos in folders and lists."""

import os
from collections.abc import Iterable
from pathlib import Path

from utils.cli import UserError
from utils.files import text_file

_LONGEST_NAME = 200  # bytes; file systems take 255, and the row file of a video is named after it
VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv", ".ts", ".3gp")


def find_videos(paths: Iterable[Path]) -> dict[str, Path]:
    """Find the videos that the paths name.

    Args:
        paths: Folders (searched with their subfolders; hidden files and folders are skipped), video files, and .txt
            files with one path per line, relative to the current folder. Listed videos may be missing.

    Returns:
        Name -> file, sorted by name. A name is the path without its suffix, below the searched folder or, for single
        and listed files, below the deepest folder that they share.

    Raises:
        UserError: A path is missing, a list cannot be read, or two videos get the same name.
    """
    found: list[tuple[Path, Path]] = []  # name with suffix, file
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += [(file.relative_to(path), file) for file in files_below(path, VIDEO_SUFFIXES)]
        elif path.suffix.lower() == ".txt":
            listed = listed_files(path)
            if odd := next((line for line in listed if not _may_be_a_video(line)), None):
                raise UserError(f"{path} names {str(odd)[:200]!r}, which is no file; fix or remove the line")
            files += listed
        elif os.path.isfile(path):  # noqa: PTH113 - False for names that no file system takes
            files.append(path)
        else:
            raise UserError(f"there is no file or folder {str(path)[:200]}; check the path")
    if files:
        absolute = [Path(os.path.abspath(path)) for path in files]  # noqa: PTH100 - takes .. out of names, keeps links
        shared = os.path.commonpath([path.parent for path in absolute])
        found += [(path.relative_to(shared), path) for path in absolute]
    videos: dict[str, Path] = {}
    for name, path in sorted((place.with_suffix("").as_posix(), path) for place, path in found):
        name = name.encode("utf-8", "backslashreplace").decode()  # the manifest is UTF-8
        if videos.setdefault(name, path) != path:
            raise UserError(f"{videos[name]} and {path} would share the crop folder {name}; rename one of them")
    return videos


def files_below(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """Find files in a folder and its subfolders, without hidden ones. Links are followed; no folder is searched twice.

    suffixes: Allowed suffixes, in lower case.
    """
    files, entered = [], set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        place = os.path.realpath(parent)
        if place in entered:
            folders.clear()
            continue
        entered.add(place)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        paths = (Path(parent) / name for name in names if not name.startswith("."))
        # A broken link counts: its file is missing.
        files += [path for path in paths if path.suffix.lower() in suffixes and not path.is_dir()]
    return files


def _may_be_a_video(path: Path) -> bool:
    """Whether the path is a file, or missing and could be the name of a file."""
    if os.path.exists(path):  # noqa: PTH110 - False for names that no file system takes
        return path.is_file()
    return "\0" not in str(path) and max(len(part.encode()) for part in path.parts) <= _LONGEST_NAME


def listed_files(path: Path) -> list[Path]:
    """The paths in a text file, one per line. Raises UserError if it cannot be read as text."""
    try:
        return [Path(line) for line in text_file(path).read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the list {path} ({error})") from error
