"""DFDC: labels.csv or metadata.json names the videos, 1 or FAKE for fake.

The test set has one such file, in DFDC, in DFDC/test or beside the videos. Without one, those of the training parts
(dfdc_train_part_0 ...) are read. Columns of the CSV are found by their names (FILE_COLUMNS, LABEL_COLUMNS), others are
ignored. metadata.json is file name -> {"label": "FAKE" or "REAL"} or {"is_fake": 1 or 0}.
"""

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from datasets.checks.findings import (
    Finding,
    count_findings,
    error_finding,
    refuse_wrong_lines,
    repeated_line,
)
from datasets.data_set_format import CheckedGroups, CropGroup, DataSetFormat, extraction_command
from datasets.raw_videos import VideoSet, folder_of_videos, mp4_files, require_download, video_set
from datasets.records import DataSet, video_folders_to_dataset
from utils.cli import UserError
from utils.files import read_json, text_file

LABEL_FILES = ("labels.csv", "metadata.json")
FILE_COLUMNS = ("filename", "video", "name")
LABEL_COLUMNS = ("label", "is_fake")
OFFICIAL = {"real": 2500, "fake": 2500}  # test set
_TEST_FOLDERS = ("", "videos", "test", "test/videos")
_PART = "dfdc_train_part_*"
_AGAIN = "take labels.csv of the DFDC test set"
_LABELS = dict.fromkeys(("0", "0.0", "real", "false"), 0) | dict.fromkeys(("1", "1.0", "fake", "true"), 1)


class Entry(NamedTuple):
    """A video of a label file. line: Of the CSV, or the number in metadata.json. label: 0 real, 1 fake."""

    source: Path
    line: int
    file: str
    label: int

    @property
    def video(self) -> str:
        """The file name without its ending: the id, and the folder of the crops."""
        return Path(self.file).stem


def read_dfdc(root: Path, n_frames: int, drop_short: bool = False) -> DataSet:
    """Read the videos of the label files. Video ids are the file names without ending.

    Args:
        root: The data set's folder (crops are in faces/<video>), or its faces or test folder.
        drop_short: Drop videos with fewer than ``n_frames`` crops, as the reference does.
    """
    root = _data_set_folder(Path(root))
    videos = [
        (entry.video, root / "faces" / entry.video, entry.label, "", "" if entry.label else "real")
        for entry in read_labels(*_some_label_files(root))
    ]
    return video_folders_to_dataset("DFDC", videos, n_frames, f"{root}/faces", n_frames if drop_short else 1)


def label_files(root: Path) -> list[Path]:
    """The label file of the test set, else those of the training parts; [] if there is none.

    Raises UserError for a part that holds videos, but no labels.
    """
    found = _label_files_in(root / folder for folder in _TEST_FOLDERS)
    if found:
        return found[:1]
    parts = {*root.glob(_PART), *root.glob(f"*/{_PART}")}
    for part in sorted(parts, key=lambda part: (len(part.name), part)):  # part 9 before part 10
        files = _label_files_in([part])
        if not files and mp4_files(part):
            raise UserError(f"{part} holds videos, but no metadata.json; unpack the part again, or move it away")
        found += files[:1]
    return found


def _label_files_in(folders: Iterable[Path]) -> list[Path]:
    return [folder / name for folder in folders for name in LABEL_FILES if (folder / name).is_file()]


def _some_label_files(root: Path) -> list[Path]:
    if not (files := label_files(root)):
        what = f"no labels.csv and no metadata.json of DFDC in {root}, its folders test and videos, or its {_PART}"
        raise UserError(f"{what}; put the file of the download there")
    return files


def _data_set_folder(place: Path) -> Path:
    """``place``, or the folder above it if that is the data set's."""
    inside = place.name in ("faces", "test", "videos") and not (place / "faces").is_dir()
    return place.parent if inside and (place.name == "faces" or label_files(place.parent)) else place


def read_labels(*paths: Path) -> list[Entry]:
    """The videos of label files, in their order, each once.

    Raises UserError if a file cannot be read or one of its lines is wrong.
    """
    entries, findings = _read_labels(paths)
    refuse_wrong_lines(findings)
    return entries


def _read_labels(paths: Sequence[Path]) -> tuple[list[Entry], list[Finding]]:
    """(first entry of each video, what is wrong with the files). Raises UserError if a file cannot be read."""
    videos: dict[str, Entry] = {}
    findings = []
    for path in paths:
        entries, wrong = (_parse_metadata(path), []) if path.suffix == ".json" else _parse_csv(path)
        findings += wrong
        for entry in entries:
            first = videos.setdefault(entry.video, entry)
            if entry.file != first.file or entry.label != first.label:
                both = f"{entry.file} and {first.file} share a name"
                why = f"{entry.file} has two different labels" if entry.file == first.file else both
                message = f"{why}; see line {first.line}" + (f" of {first.source}" if first.source != path else "")
                findings.append(
                    Finding("label_conflict", str(path), entry.line, message, "keep the right one of the two lines")
                )
            elif first is not entry:
                findings.append(repeated_line(path, entry.line, entry.file, first.line))
    return list(videos.values()), findings


def _parse_csv(path: Path) -> tuple[list[Entry], list[Finding]]:
    try:
        with text_file(path).open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            rows = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"cannot read {path} ({error}); it comes with the DFDC test set") from error
    header = [name.strip().lower() for name in (rows[0][1] if rows else [])]
    columns = [next((header.index(n) for n in names if n in header), None) for names in (FILE_COLUMNS, LABEL_COLUMNS)]
    if None in columns:
        message = f"expected the header filename,label, got {','.join(header)[:80]!r}"
        fix = f"name the columns {' or '.join(FILE_COLUMNS)}, and {' or '.join(LABEL_COLUMNS)}"
        return [], [Finding("unknown_code", str(path), 1, message, fix)]
    entries, findings = [], []
    for number, row in rows[1:]:
        name, written = (row[column] if column < len(row) else "" for column in columns if column is not None)
        label = _LABELS.get(written.strip().lower())
        if label is not None and _is_file_name(name):
            entries.append(Entry(path, number, name, label))
        elif row:
            message = f"expected a file name and 0 or 1, got {','.join(row)[:80]!r}"
            findings.append(Finding("unknown_code", str(path), number, message, _AGAIN))
    return entries, findings


def _parse_metadata(path: Path) -> list[Entry]:
    entries, content = [], read_json(path)
    if not isinstance(content, Mapping):
        raise UserError(f"{path} is no object of videos; take metadata.json of DFDC")
    for number, (file, facts) in enumerate(content.items(), start=1):
        facts = facts if isinstance(facts, Mapping) else {}
        label = _LABELS.get(str(next((facts[key] for key in LABEL_COLUMNS if key in facts), None)).lower())
        if label is None or not _is_file_name(file):
            forms = '"label": "REAL" or "FAKE", or "is_fake": 0 or 1'
            raise UserError(f"{path}: {file[:80]!r} is no video with {forms}; take metadata.json of DFDC")
        entries.append(Entry(path, number, file, label))
    return entries


def _is_file_name(name: str) -> bool:
    return Path(name).name == name and name.strip(".") != ""


def _videos(data_root: Path, _compression: str, _splits: Sequence[str]) -> list[VideoSet]:
    """Every video of the label files. They are beside the file or in the test set's folders."""
    root = require_download(data_root / "DFDC", "DFDC")
    usual = [root / folder for folder in ("videos", "test", "test/videos", "")]
    videos, folders = [], {}
    for file in (files := _some_label_files(root)):
        beside = [file.parent, file.parent / "videos"] if file.parent != root else []
        folders[file] = folder_of_videos(*beside, *usual)
    for entry in read_labels(*files):
        name = entry.file if Path(entry.file).suffix else f"{entry.file}.mp4"
        videos.append((entry.video, folders[entry.source] / name, ("real", "fake")[entry.label]))
    return [video_set(root, videos)]


def _crop_groups(data_root: Path, datapath: Path | None, _compression: str) -> CheckedGroups:
    root = datapath or data_root / "DFDC"
    try:
        root = _data_set_folder(root)
        files = _some_label_files(root)
    except UserError as error:
        return [], [error_finding("missing_file", root, error)]
    try:
        entries, findings = _read_labels(files)
    except UserError as error:
        return [], [error_finding("unknown_code", files[0], error)]
    command = extraction_command("DFDC", "DFDC", root, data_root)
    of_parts = files[0].parent.match(_PART)
    groups = []
    for i, (label, official) in enumerate(OFFICIAL.items()):
        names = [entry.video for entry in entries if entry.label == i]
        number = len(names) if of_parts else official  # the numbers are the test set's
        groups.append(CropGroup("test", label, number, root / "faces", names, command))
        findings += count_findings(files[0], f"{label} videos", len(names), number, _AGAIN)
    return groups, findings


FORMAT = DataSetFormat(
    read=lambda o: read_dfdc(o.datapath or o.data_root / "DFDC", o.frames_per_video, o.protocol == "reference"),
    videos=_videos,
    crop_groups=_crop_groups,
)
