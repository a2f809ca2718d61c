"""Find the videos and photographs of folders and lists. What a folder holds besides is counted.

The output folder and the results of earlier predictions are no input.
"""

import itertools
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from preprocessing.extraction.animations import is_animation
from utils.cli import UserError
from utils.files import text_file
from utils.own_files import read_record

_LONGEST_NAME = 200  # bytes; file systems take 255, and the row file of a video is named after it
VIDEO_SUFFIXES = (
    (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".vob", ".ts", ".mts", ".m2ts")
    + (".wmv", ".flv", ".ogv", ".3gp", ".3g2")
)  # fmt: skip
PHOTO_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".heic", ".heif", ".avif")


class LeftOut(NamedTuple):
    """What is not read of the folders that the user named."""

    files: list[Path]  # of other kinds
    results: list[Path]  # the output folder; folders and the table of earlier predictions


def find_videos(paths: Iterable[Path], output: Path, photos: bool = False) -> tuple[dict[str, Path], LeftOut]:
    """Find the videos, or the photographs, that the paths name.

    Args:
        paths: Folders (searched with their subfolders; hidden files and folders are skipped), video files, and .txt
            files with one path per line, relative to the current folder. Listed videos may be missing.
        output: Folder of the results.

    Returns:
        (name -> file, sorted by name; what is left out). A name is the path without its suffix, below the searched
        folder or, for single and listed files, below the deepest folder that they share.

        The second video of a name gets the name with a number, name_2.

    Raises:
        UserError: A path is missing, a list cannot be read, or photographs and their crops would share a folder.
    """
    found: list[tuple[Path, Path]] = []  # name with suffix, file
    files: list[Path] = []
    left_out = LeftOut([], [])
    for path in paths:
        if path.is_dir():
            if photos and os.path.realpath(path) == os.path.realpath(output):
                raise UserError(f"the crops of the photographs in {path} would be read as photographs in the next run; "
                                "choose another output folder")  # fmt: skip
            below = _files_below(path, output, left_out.results)
            wanted = [file for file in below if (_is_photo(file) if photos else _is_video(file))]
            found += [(file.relative_to(path), file) for file in wanted]
            left_out.files.extend(sorted(set(below).difference(wanted)))
        elif path.suffix.lower() == ".txt":
            listed = _listed_files(path)
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
    named: dict[str, Path] = {}
    for name, path in sorted((place.with_suffix("").as_posix(), path) for place, path in found):
        name = name.encode("utf-8", "backslashreplace").decode()  # the manifest is UTF-8
        numbered = (name if number == 1 else f"{name}_{number}" for number in itertools.count(1))
        named[next(free for free in numbered if named.get(free, path) == path)] = path
    return named, left_out


def _is_own_table(path: Path) -> bool:
    """Whether it is a predictions.csv, which a shell adds to the inputs for FOLDER/*."""
    try:
        return path.name == "predictions.csv" and path.name in read_record(path.parent).files
    except UserError:
        return False


def _holds_prediction(folder: Path) -> bool:
    """Whether SJEDD_predict.py wrote its results of an input into the folder, or was killed while it did."""
    try:
        record = read_record(folder)
    except UserError:  # a damaged one, perhaps of somebody else
        return False
    done = "prediction.json" in record.files and (folder / "prediction.json").is_file()
    return done or "prediction.json" in record.unfinished


def _is_video(file: Path) -> bool:
    return file.suffix.lower() in VIDEO_SUFFIXES or is_animation(file)


def _is_photo(file: Path) -> bool:
    return file.suffix.lower() in PHOTO_SUFFIXES and not is_animation(file)


def find_inputs(paths: Iterable[Path], output: Path | None = None) -> tuple[list[Path], LeftOut]:
    """Find the photographs and videos that the paths name; they need not exist.

    Args:
        paths: Files, folders (searched with their subfolders), and .txt files with one path per line, relative to the
            current folder.
        output: Folder of the results, if there is one.

    Returns:
        (each file once, those of a folder in sorted order; what is left out).

    Raises:
        UserError: A list cannot be read, or nothing is found.
    """
    found: list[Path] = []
    left_out = LeftOut([], [])
    for path in paths:
        if os.path.isdir(path):  # noqa: PTH112 - False for names that no file system takes
            for file in sorted(_files_below(path, output, left_out.results)):
                suffix = file.suffix.lower()
                (found if suffix in VIDEO_SUFFIXES or suffix in PHOTO_SUFFIXES else left_out.files).append(file)
        elif path.suffix.lower() == ".txt":
            found += _listed_files(path)
        elif _is_own_table(path):
            left_out.results.append(path)
        else:
            found.append(path)
    if not found:
        raise UserError("no photograph and no video in the folders and lists of --input; check the paths")
    return list(dict.fromkeys(found)), left_out


def left_out_note(left_out: LeftOut) -> str | None:
    """One line about what is left out of folders; None if nothing is."""
    parts = []
    if files := left_out.files:
        suffixes = Counter(path.suffix.lower() or "without ending" for path in files).most_common()
        kinds = ", ".join(f"{number} {suffix}" for suffix, number in suffixes)
        parts.append(f"left out of the folders, by their endings: {len(files)} files ({kinds}), the first: {files[0]}")
    if folders := left_out.results:
        parts.append(f"not read, because they hold results: {len(folders)}, the first: {folders[0]}")
    return "; ".join(parts) or None


def _files_below(folder: Path, output: Path | None, results: list[Path]) -> list[Path]:
    """The files of a folder and its subfolders, without hidden ones. Follows links, enters no folder twice.

    Folders of results are added to ``results`` instead. The searched folder itself may be the output folder.
    """
    files, entered = [], set()
    output_place = output and os.path.realpath(output)
    for parent, folders, names in os.walk(folder, followlinks=True):
        place = os.path.realpath(parent)
        if place in entered:
            folders.clear()
            continue
        entered.add(place)
        is_output = place == output_place and Path(parent) != folder
        if is_output or _holds_prediction(Path(parent)):
            results.append(Path(parent))
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        paths = (Path(parent) / name for name in names if not name.startswith("."))
        files += [path for path in paths if not path.is_dir()]  # a broken link counts: its file is missing
    return files


def _may_be_a_video(path: Path) -> bool:
    """Whether the path is a file, or missing and could be the name of a file."""
    if os.path.exists(path):  # noqa: PTH110 - False for names that no file system takes
        return path.is_file()
    return "\0" not in str(path) and max(len(part.encode()) for part in path.parts) <= _LONGEST_NAME


def _listed_files(path: Path) -> list[Path]:
    """The paths in a text file, one per line. Raises UserError if it cannot be read as text."""
    try:
        return [Path(line) for line in text_file(path).read_text(encoding="utf-8-sig").split("\n") if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the list {path} ({error})") from error
