"""DFDC (test set of the full version): videos in one folder, labels.csv with filename,label (1 = fake).

Some downloads have metadata.json instead: file name -> {"label": "FAKE" or "REAL"} or {"is_fake": 1 or 0}.
"""

import csv
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from datasets.checks.findings import (
    Edit,
    Finding,
    correction_command,
    count_findings,
    error_finding,
    label_findings,
    refuse_wrong_lines,
    repeated_line,
)
from datasets.data_set_format import CheckedGroups, CropGroup, DataSetFormat, extraction_command
from datasets.raw_videos import VideoSet, folder_of_videos, require_download, video_set
from datasets.records import DataSet, video_folders_to_dataset
from utils.cli import UserError
from utils.files import read_json, text_file

LABEL_FILES = ("labels.csv", "metadata.json", "videos/metadata.json", "test/metadata.json")
OFFICIAL = {"real": 2500, "fake": 2500}  # test set
_AGAIN = "take labels.csv of the DFDC test set"
_LABELS = {"0": 0, "1": 1, "real": 0, "fake": 1}
# The first column, which may be quoted; the label; the end of the line or the next columns.
_ROW = re.compile(r'^((?:"(?:[^"]|"")*"|[^",][^,]*),)"?[ \t]*(real|fake|0|1)[ \t]*"?(,.*|\r?)$', re.IGNORECASE)


class Entry(NamedTuple):
    """A line of labels.csv. label: 0 real, 1 fake. text: the label as written, perhaps a word or with blanks."""

    line: int
    file: str
    label: int
    text: str

    @property
    def video(self) -> str:
        """The file name without its ending: the id, and the folder of the crops."""
        return Path(self.file).stem


def read_dfdc(root: Path, n_frames: int, drop_short: bool = False) -> DataSet:
    """Read the videos of labels.csv or metadata.json. Video ids are the file names without ending.

    Args:
        root: The data set's folder (crops are in faces/<video>), or its faces folder.
        drop_short: Drop videos with fewer than ``n_frames`` crops, as the reference does.
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
    """The first of LABEL_FILES that exists in the data set's folder; labels.csv if none does."""
    return next((root / name for name in LABEL_FILES if (root / name).is_file()), root / LABEL_FILES[0])


def read_labels(path: Path) -> list[tuple[str, int]]:
    """[(file name of a video, 0 real or 1 fake)] of labels.csv or metadata.json, in its order, each video once.

    Raises UserError if the file cannot be read or one of its lines is wrong.
    """
    entries, findings = _read_labels(path)
    refuse_wrong_lines(findings)
    return [(entry.file, entry.label) for entry in entries]


def _read_labels(path: Path) -> tuple[list[Entry], list[Finding]]:
    """(first line of each video, what is wrong with the file). Raises UserError if the file cannot be read.

    Words such as REAL are read too. Entries of metadata.json are numbered in order.
    """
    entries, findings = (_parse_metadata(path), []) if path.suffix == ".json" else _parse_csv(path)
    videos: dict[str, Entry] = {}
    words = []
    for entry in entries:
        first = videos.setdefault(entry.video, entry)
        if entry.file != first.file or entry.label != first.label:
            both = f"{entry.file} and {first.file} share a name"
            why = f"{entry.file} has two different labels" if entry.file == first.file else both
            message, fix = f"{why}; see line {first.line}", "keep the right one of the two lines"
            findings.append(Finding("label_conflict", str(path), entry.line, message, fix))
        elif first is not entry:
            findings.append(repeated_line(path, entry.line, entry.file, first.line))
        if entry.text not in ("0", "1"):
            words.append((entry.line, f"{entry.file} has {entry.text!r}, but labels are 0 for real and 1 for fake"))
    fix = f"write 0 and 1; {correction_command('DFDC', path)} does that"
    return list(videos.values()), findings + label_findings(path, words, len(entries), fix, Edit(_with_number))


def _with_number(line: str) -> str:
    return _ROW.sub(lambda m: f"{m[1]}{_LABELS[m[2].lower()]}{m[3]}", line)


def _parse_csv(path: Path) -> tuple[list[Entry], list[Finding]]:
    try:
        with text_file(path).open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            rows = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"cannot read {path} ({error}); it comes with the DFDC test set") from error
    header = rows[0][1] if rows else []
    entries, wrong = [], [] if header[:2] == ["filename", "label"] else [(1, "the header filename,label", header)]
    for number, row in rows[1:]:
        label = _LABELS.get(row[1].strip(" \t").lower()) if len(row) > 1 else None
        if label is not None and _is_file_name(row[0]):
            entries.append(Entry(number, row[0], label, row[1]))
        elif row:
            wrong.append((number, "a file name and 0 or 1", row))
    return entries, [
        Finding("unknown_code", str(path), number, f"expected {what}, got {','.join(row)[:80]!r}", _AGAIN)
        for number, what, row in wrong
    ]


def _parse_metadata(path: Path) -> list[Entry]:
    entries, content = [], read_json(path)
    if not isinstance(content, Mapping):
        raise UserError(f"{path} is no object of videos; take metadata.json of the DFDC test set")
    for number, (file, facts) in enumerate(content.items(), start=1):
        written = facts.get("label", facts.get("is_fake")) if isinstance(facts, Mapping) else None
        label = _LABELS.get(str(written).lower())
        if label is None or not _is_file_name(file):
            forms = '"label": "REAL" or "FAKE", or "is_fake": 0 or 1'
            raise UserError(f"{path}: {file[:80]!r} is no video with {forms}; take the file of the DFDC test set")
        entries.append(Entry(number, file, label, str(label)))
    return entries


def _is_file_name(name: str) -> bool:
    return Path(name).name == name and name.strip(".") != ""


def _videos(data_root: Path, _compression: str, _splits: Sequence[str]) -> list[VideoSet]:
    """Every video of labels.csv or metadata.json. They are in videos, in test or beside the file."""
    root = require_download(data_root / "DFDC", "the DFDC test set")
    videos = folder_of_videos(root / "videos", root / "test", root)
    labels = read_labels(labels_file(root))
    return [video_set(root, [(Path(name).stem, videos / name, ("real", "fake")[label]) for name, label in labels])]


def _crop_groups(data_root: Path, datapath: Path | None, _compression: str) -> CheckedGroups:
    root = datapath or data_root / "DFDC"
    root = root.parent if root.name == "faces" else root
    path = labels_file(root)
    if not path.is_file():
        fix = f"{_AGAIN} and put it there"
        return [], [Finding("missing_file", str(path), None, "there is no labels.csv and no metadata.json", fix)]
    try:
        entries, findings = _read_labels(path)
    except UserError as error:
        return [], [error_finding("unknown_code", path, error)]
    command = extraction_command("DFDC", "DFDC", root, data_root, inside="")
    groups = []
    for i, (label, official) in enumerate(OFFICIAL.items()):
        names = [entry.video for entry in entries if entry.label == i]
        groups.append(CropGroup("test", label, official, root / "faces", names, command))
        findings += count_findings(path, f"{label} videos", len(names), official, _AGAIN)
    return groups, findings


FORMAT = DataSetFormat(
    read=lambda o: read_dfdc(o.datapath or o.data_root / "DFDC", o.frames_per_video, o.protocol == "reference"),
    videos=_videos,
    crop_groups=_crop_groups,
)
