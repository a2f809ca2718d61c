"""What training, validation and test share, whether a list names it or a data set is tested on it.

Two sides share an image by one file (overlap_path) or by two files with the same bytes (overlap_content), and a video
by one folder of crops or, where folders are FF++'s or of fakes made of FF++, by one source video under any method
(overlap_video).
"""

import os
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

from datasets.checks.findings import Finding, drop_lines, same_content
from datasets.checks.list_checks import Checked, Row, first_rows

# Folders of crops whose names tell the FF++ videos they show: the reals and fakes, FaceShifter, DeeperForensics, and
# the images of preprocessing/expand_FFpp.py.
_SOURCES = (
    re.compile(r"/(?:original|manipulated)_sequences/.*/(\d+)(?:_(\d+))?$"),
    re.compile(r"/FSh/.*/(\d+)_(\d+)$"),
    re.compile(r"/DF-1\.0/.*/(\d+)_[WM]\d+$"),
    re.compile(r"/expansion/[^/]+/[^/]+/[^/]+/[^/_]+_(\d+)_(\d+)$"),
)
_FIX = "a source video belongs to one split: make the lists with preprocessing/make_lists.py from the official "


class SplitContents(NamedTuple):
    """Images of one stage (train, val, test), of a list or of a data set. rows: file -> its first row; those of a data
    set have no line. folders: folder of a video's crops -> its first row, of lists. videos: a key of each video (see
    video_keys) -> who shows it, in words."""

    stage: str
    name: str
    rows: Mapping[str, Row]
    folders: Mapping[str, Row]
    videos: Mapping[str, str]

    def place(self, row: Row) -> str:
        return f"line {row.line} of {self.name}" if row.line else f"a test image of {self.name}"


def list_side(stage: str, checked: Checked, no_videos: Collection[str]) -> SplitContents:
    """The side of a list. no_videos: folders whose images are no frames of one video."""
    rows: dict[str, Row] = {}
    for row in checked.rows:
        rows.setdefault(row.file, row)
    folders = {folder: row for folder, row in first_rows(checked).items() if folder not in no_videos}
    videos: dict[str, str] = {}
    for folder, row in folders.items():
        for key in video_keys(folder):
            videos.setdefault(key, f"{row.path}, line {row.line} of {checked.path}")
    return SplitContents(stage, str(checked.path), rows, folders, videos)


def data_set_side(name: str, sizes: Mapping[str, int], videos: Mapping[str, Path], of_ffpp: bool) -> SplitContents:
    """The side of a data set's test split. sizes: image -> bytes. videos: video -> folder of its crops. of_ffpp:
    whether the names of these folders are numbers of FF++ videos."""
    real: dict[str, str] = {}
    rows = {}
    for image, size in sizes.items():
        folder, _, file = image.rpartition("/")
        if folder not in real:
            real[folder] = os.path.realpath(folder)
        rows[f"{real[folder]}/{file}"] = Row(None, image, "", f"{real[folder]}/{file}", size)
    shown = {}
    for video, folder in videos.items():
        sources = [part for part in folder.name.split("_") if part.isdigit()] if of_ffpp else []
        for key in [os.path.realpath(folder), *map(_ffpp_key, sources)]:
            shown.setdefault(key, f"{video}, a test video of {name}")
    return SplitContents("test", name, rows, {}, shown)


def video_keys(folder: str) -> list[str]:
    """By what the video of a folder of crops is known: the FF++ videos it shows, under any method, or else itself."""
    match = next(filter(None, (pattern.search(folder) for pattern in _SOURCES)), None)
    return [_ffpp_key(name) for name in match.groups() if name] if match else [folder]


def _ffpp_key(name: str) -> str:
    return f"FF++ video {name}"


def check_overlaps(sides: Sequence[SplitContents]) -> list[Finding]:
    """What sides of different stages share. Found at the later side of two: data sets come before lists."""
    pairs = [(other, side) for other, side in combinations(sides, 2) if other.stage != side.stage]
    stages: dict[str, dict[str, int]] = {}
    for side in {id(side): side for pair in pairs for side in pair}.values():
        sizes = stages.setdefault(side.stage, {})
        sizes.update((file, row.size) for file, row in side.rows.items() if row.size)
    twins = same_content(list(stages.values()))
    findings = []
    for other, side in pairs:
        findings += _same_files(other, side) + _same_bytes(other, side, twins) + _same_videos(other, side)
    return findings


def _same_files(other: SplitContents, side: SplitContents) -> list[Finding]:
    findings = []
    for file, row in side.rows.items():
        if file in other.rows:
            message = f"{row.path} is {other.place(other.rows[file])} too"
            findings.append(Finding("overlap_path", side.name, row.line, message, _drop(other, side, row)))
    return findings


def _same_bytes(other: SplitContents, side: SplitContents, twins: Iterable[Sequence[str]]) -> list[Finding]:
    findings = []
    for files in twins:
        twin = next((other.rows[file] for file in files if file in other.rows), None)
        for file in files if twin else ():
            if file in side.rows and file not in other.rows:
                row = side.rows[file]
                message = f"{row.path} has the same bytes as {twin.path}, {other.place(twin)}"
                findings.append(Finding("overlap_content", side.name, row.line, message, _drop(other, side, row)))
    return findings


def _same_videos(other: SplitContents, side: SplitContents) -> list[Finding]:
    """One finding for each folder of crops whose video, or a source of it, the other side has."""
    findings = []
    for folder, row in side.folders.items():
        key = next((key for key in video_keys(folder) if key in other.videos), None)
        if key is not None:
            what, files = ("is of the same video as", "splits, or keep this video in one of them")
            if key != folder:
                what, files = f"shows {key}, as does", "split files"
            message = f"{row.path} {what} {other.videos[key]}"
            findings.append(Finding("overlap_video", side.name, row.line, message, _FIX + files))
    return findings


def _drop(other: SplitContents, side: SplitContents, row: Row) -> str:
    why = " (it is tested)" if other.stage == "test" else ""
    return f"{other.name} keeps it{why}; drop it from {side.name}: {drop_lines(side.name, row.line)}"
