"""Images and videos that training, validation and test share, in lists and in the test splits of data sets.

Two splits share an image if one file is in both (overlap_path) or two files have the same bytes (overlap_content). They
share a video if one folder of crops is in both or, for FF++ and fakes made of it, one source video under any method
(overlap_video).
"""

import contextlib
import functools
import os
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

from datasets.checks.findings import DROP, Finding
from datasets.checks.list_checks import CheckedList, Row
from datasets.test_sets import TEST_SETS
from utils.files import file_sha256
from utils.progress import progress_bar

_SOURCES = [pattern for data_set in TEST_SETS.values() for pattern in data_set.ffpp_sources]
_FIX = "a source video belongs to one split: make the lists with preprocessing/make_lists.py from the official "


class SplitContents(NamedTuple):
    """Images of one split, of a list or of a data set.

    split: train, val or test.
    name: The list or data set.
    rows: File -> its first row. Rows of a data set have line 0.
    folders: Of lists: folder of a video's crops -> its first row.
    videos: Key of each video (see video_keys) -> where it is, in words.
    """

    split: str
    name: str
    rows: Mapping[str, Row]
    folders: Mapping[str, Row]
    videos: Mapping[str, str]

    def place(self, row: Row) -> str:
        return f"line {row.line} of {self.name}" if row.line else f"a test image of {self.name}"


def list_contents(split: str, checked: CheckedList, no_videos: Collection[str]) -> SplitContents:
    """The contents of a list. no_videos: Folders whose images are not frames of one video."""
    rows: dict[str, Row] = {}
    for row in checked.rows:
        rows.setdefault(row.file, row)
    folders = {folder: row for folder, row in checked.first_rows().items() if folder not in no_videos}
    videos: dict[str, str] = {}
    for folder, row in folders.items():
        for key in video_keys(folder):
            videos.setdefault(key, f"{row.path}, line {row.line} of {checked.path}")
    return SplitContents(split, str(checked.path), rows, folders, videos)


def data_set_contents(name: str, sizes: Mapping[str, int], videos: Mapping[str, Path]) -> SplitContents:
    """The contents of a data set's test split. sizes: Image -> bytes. videos: Video -> folder of its crops."""
    real_folder = functools.cache(os.path.realpath)
    rows = {}
    for image, size in sizes.items():
        folder, _, name_of_file = image.rpartition("/")
        file = f"{real_folder(folder)}/{name_of_file}"
        rows[file] = Row(0, image, "", file, size)
    shown = {}
    of_ffpp = bool(TEST_SETS[name].ffpp_sources)
    for video, crops in videos.items():
        sources = [part for part in crops.name.split("_") if part.isdigit()] if of_ffpp else []
        for key in [os.path.realpath(crops), *map(_ffpp_key, sources)]:
            shown.setdefault(key, f"{video}, a test video of {name}")
    return SplitContents("test", name, rows, {}, shown)


def video_keys(folder: str) -> list[str]:
    """Keys of the source videos of a folder of crops: the FF++ videos it shows, under any method; else the folder."""
    match = next(filter(None, (pattern.search(folder) for pattern in _SOURCES)), None)
    return [_ffpp_key(name) for name in match.groups() if name] if match else [folder]


def _ffpp_key(name: str) -> str:
    return f"{'FF++ video' if len(name) > 2 else 'DeepFakeDetection actor'} {name}"


def check_overlaps(contents: Sequence[SplitContents]) -> list[Finding]:
    """What different splits share. A finding is for the later of the two contents: give data sets before lists."""
    pairs = [(other, own) for other, own in combinations(contents, 2) if other.split != own.split]
    sizes: dict[str, dict[str, int]] = {}
    for own in {id(own): own for pair in pairs for own in pair}.values():
        sizes.setdefault(own.split, {}).update((file, row.size) for file, row in own.rows.items() if row.size)
    twins = same_content(list(sizes.values()))
    findings = []
    for other, own in pairs:
        findings += _same_images(other, own, twins) + _same_videos(other, own)
    return findings


def _same_images(other: SplitContents, own: SplitContents, twins: Iterable[Sequence[str]]) -> list[Finding]:
    """One finding for each image of ``own`` that ``other`` has. twins: Groups of files with the same bytes."""
    why = " (it is tested)" if other.split == "test" else ""
    fix = f"{other.name} keeps it{why}; drop this line from {own.name}, --fix OUT.txt does that"
    twin_of: dict[str, Row | None] = {}
    for files in twins:
        twin_of |= dict.fromkeys(files, next((other.rows[file] for file in files if file in other.rows), None))
    findings = []
    for file, row in own.rows.items():
        if file in other.rows:
            message = f"{row.path} is {other.place(other.rows[file])} too"
            findings.append(Finding("overlap_path", own.name, row.line, message, fix, DROP))
        elif twin := twin_of.get(file):
            message = f"{row.path} has the same bytes as {twin.path}, {other.place(twin)}"
            findings.append(Finding("overlap_content", own.name, row.line, message, fix, DROP))
    return findings


def _same_videos(other: SplitContents, own: SplitContents) -> list[Finding]:
    """One finding for each folder of crops whose video, or one of its sources, is in the other split."""
    findings = []
    for folder, row in own.folders.items():
        key = next((key for key in video_keys(folder) if key in other.videos), None)
        if key is not None:
            what, files = ("is of the same video as", "splits, or keep this video in one of them")
            if key != folder:
                what, files = f"shows {key}, as does", "split files"
            message = f"{row.path} {what} {other.videos[key]}"
            findings.append(Finding("overlap_video", own.name, row.line, message, _FIX + files))
    return findings


def same_content(splits: Sequence[Mapping[str, int]]) -> list[list[str]]:
    """Groups of files with the same bytes and different paths, each with files of at least two splits.

    splits: File -> its size in bytes. Files are grouped by size, then by a few bytes, then by all bytes (SHA-256); only
    the remaining groups are opened. A file that cannot be read is in no group.
    """
    sizes = {file: size for files in splits for file, size in files.items()}
    keys: dict[str, Callable[[str], object]]
    keys = {"sizes": sizes.get, "comparing": _middle_bytes, "hashing": lambda file: file_sha256(Path(file))}
    groups = [list(sizes)]
    for stage, key in keys.items():
        alike = []
        for files in progress_bar(groups, desc=stage, unit="group", leave=False, delay=1):
            by_key: dict[object, list[str]] = defaultdict(list)
            for file in files:
                with contextlib.suppress(OSError):
                    by_key[key(file)].append(file)
            alike += [twins for twins in by_key.values() if _of_two_splits(twins, splits)]
        groups = alike
    return groups


def _of_two_splits(files: Sequence[str], splits: Sequence[Mapping[str, int]]) -> bool:
    return len(files) > 1 and sum(any(file in own for file in files) for own in splits) > 1


def _middle_bytes(file: str) -> bytes:
    """64 bytes from the middle: the first bytes are alike in many images."""
    with open(file, "rb", buffering=0) as opened:  # noqa: PTH123 - 100,000s of files, and Path doubles the time
        opened.seek(os.fstat(opened.fileno()).st_size // 2)
        return opened.read(64)
