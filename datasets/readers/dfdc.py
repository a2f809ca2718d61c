"""DFDC (test set of the full version): videos in one folder, labels.csv with filename,label (1 = fake).

A part of the download has metadata.json instead: file name -> {"label": "FAKE" or "REAL"} or {"is_fake": 1 or 0}.
"""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from datasets.records import DataSet, video_folders_to_dataset
from utils.cli import UserError
from utils.files import read_json, text_file

LABEL_FILES = ("labels.csv", "metadata.json", "videos/metadata.json", "test/metadata.json")
_LABELS = {"0": 0, "1": 1, "real": 0, "fake": 1}


class Entry(NamedTuple):
    """A line of labels.csv. label: 0 real, 1 fake. text: the label as written, which may be a word, or in blanks."""

    line: int
    file: str
    label: int
    text: str

    @property
    def video(self) -> str:
        """The file's name without its ending: the id, and the folder of its crops."""
        return Path(self.file).stem


def read_dfdc(root: Path, n_frames: int, drop_short: bool = False) -> DataSet:
    """The videos of labels.csv or metadata.json, crops under faces/<name without ending>/, which is the video id too.

    root: the data set's folder, or its faces folder. drop_short: drop videos with fewer than ``n_frames`` crops, as the
    reference does.
    """
    root = Path(root)
    if root.name == "faces" and labels_file(root.parent).is_file():
        root = root.parent
    videos = []
    for name, label in read_labels(labels_file(root)):
        video = Path(name).stem
        videos.append((video, root / "faces" / video, label, "", "" if label else "real"))
    return video_folders_to_dataset("DFDC", videos, n_frames, f"{root}/faces", n_frames if drop_short else 1)


def labels_file(root: Path) -> Path:
    """The first of LABEL_FILES that is there in the data set's folder; labels.csv when none is."""
    return next((root / name for name in LABEL_FILES if (root / name).is_file()), root / LABEL_FILES[0])


def read_labels(path: Path) -> list[tuple[str, int]]:
    """[(file name of the video, 0 real or 1 fake)] of labels.csv or metadata.json, in its order, each once. UserError
    says what is wrong."""
    entries, odd_lines = parse_labels(path)
    if odd_lines and odd_lines[0][0] == 1:
        raise UserError(f"{path} does not start with the line filename,label; take the file of the DFDC test set")
    odd_lines += [(entry.line, f"{entry.file},{entry.text}") for entry in entries if entry.text not in ("0", "1")]
    if odd_lines:
        raise UserError(f"{path}:{min(odd_lines)[0]}: expected a file name and 0 or 1, such as aalscayrfi.mp4,1")
    videos: dict[str, Entry] = {}
    for entry in entries:
        earlier = videos.setdefault(entry.video, entry)
        if why := clash(entry, earlier):
            raise UserError(f"{path}:{entry.line}: {why}; keep the right line")
    return [(entry.file, entry.label) for entry in videos.values()]


def parse_labels(path: Path) -> tuple[list[Entry], list[tuple[int, str]]]:
    """(lines of labels.csv, (number, text) of those that are none; number 1 is a wrong header). UserError when the file
    cannot be read, and for an entry of metadata.json that is none. Its entries are numbered as they come."""
    if path.suffix == ".json":
        return _parse_metadata(path), []
    try:
        with text_file(path).open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            rows = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"cannot read {path} ({error}); it comes with the DFDC test set") from error
    header = rows[0][1] if rows else []
    entries, odd_lines = [], [] if header[:2] == ["filename", "label"] else [(1, ",".join(header))]
    for number, row in rows[1:]:
        label = _LABELS.get(row[1].strip(" \t").lower()) if len(row) > 1 else None
        if label is not None and _is_file_name(row[0]):
            entries.append(Entry(number, row[0], label, row[1]))
        elif row:
            odd_lines.append((number, ",".join(row)))
    return entries, odd_lines


def _parse_metadata(path: Path) -> list[Entry]:
    entries, content = [], read_json(path)
    if not isinstance(content, Mapping):
        raise UserError(f"{path} is no object of videos; take metadata.json of the DFDC test set")
    for number, (file, told) in enumerate(content.items(), start=1):
        said = told.get("label", told.get("is_fake")) if isinstance(told, Mapping) else None
        label = _LABELS.get(str(said).lower())
        if label is None or not _is_file_name(file):
            raise UserError(f'{path}: {file[:80]!r} is no video with "label": "REAL" or "FAKE", or "is_fake": 0 or 1')
        entries.append(Entry(number, file, label, str(label)))
    return entries


def _is_file_name(name: str) -> bool:
    return Path(name).name == name and name.strip(".") != ""


def clash(entry: Entry, earlier: Entry) -> str | None:
    """Why two lines of one video do not go together; None for the same line twice."""
    if entry.file != earlier.file:
        return f"{entry.file} and {earlier.file} share a name"
    return f"{entry.file} has two different labels" if entry.label != earlier.label else None
