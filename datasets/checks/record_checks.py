"""Checks of CSV files, JSON files and folders of images, as a test reads them: there are no official numbers."""

import csv
import functools
import os
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from datasets.checks.findings import Finding, error_finding, one_class
from datasets.checks.folder_labels import contradictions
from datasets.checks.list_checks import CheckedList, Row, file_and_size, short_video
from datasets.crop_manifest import UNFINISHED
from datasets.csv_cells import is_ours, plain_cell
from datasets.list_rules import BLANKS
from datasets.readers.ffpp import SPLITS
from datasets.records import DataSet
from datasets.test_sets import TEST_SETS, ReadOptions
from models.label_tree import FFPP
from utils.cli import UserError
from utils.files import read_json, text_file
from utils.terminal import say

LinesOf = Callable[[str], list[int]]
# Reason of a dropped video or image -> kind of the finding, what to do.
_DROPPED = {
    "duplicate": ("duplicate", "leave it (a test counts it once), or write the file without it"),
    "no_crops": ("empty", "list its frames, or leave it: a test counts it as no_crops in its coverage"),
    UNFINISHED: ("unfinished", "run preprocessing/extract_faces.py again"),
}


def check_records(
    name: str, datapath: Path, data_root: Path, compression: str, n_frames: int | None, subset: bool
) -> tuple[dict[str, CheckedList], set[str]]:
    """Check all images of a data set without official numbers.

    Findings name the line of a CSV file, and the split and video of a JSON file. What a reader refuses is one finding.
    What it tells (folders that it does not read, say) is printed.

    Args:
        n_frames: Fewest images of a video; None for any number.
        subset: One class only is no finding.

    Returns:
        (split -> its images, "test" of a data set without splits; folders whose images are not frames of one video).
    """
    data_set, lists, no_videos, notes = TEST_SETS[name], {}, set(), {}
    lines_of = _csv_lines(datapath, data_root) if name == "csv" else lambda _image: []
    for split in _splits_of(datapath) if data_set.has_splits else ["test"]:
        options = ReadOptions(data_root, FFPP, datapath, compression, split, n_frames=sys.maxsize)
        lists[split] = checked = CheckedList(datapath, [], {"0": False, "1": True}, {}, [])
        try:
            data = data_set.read(options)
        except UserError as error:
            kind = "unknown_code" if datapath.is_file() else "empty" if datapath.is_dir() else "missing_file"
            checked.findings.append(error_finding(kind, datapath, error))
            continue
        notes |= dict.fromkeys(data.notes)
        entry = f"{split}/{{}}: " if data_set.has_splits else ""
        checked.rows.extend(_rows(data, lines_of, entry))
        no_videos |= _folders_of_images(data, checked.rows)
        checked.counts.update(_counts(data, checked.rows))
        checked.findings.extend(_missing_and_empty(checked) + _not_used(data, datapath, lines_of, entry))
        if name != "folder":  # whose labels are its folders
            pairs = zip(checked.rows, data.records, strict=True)
            judged = [(row.line or None, record.path, bool(record.label)) for row, record in pairs]
            checked.findings.extend(contradictions(datapath, judged, labels=False))
        if not subset:
            found = one_class(datapath, [record.label for record in data.records])
            of_split = f"{split} " if data_set.has_splits else ""
            checked.findings.extend(f._replace(message=of_split + f.message) for f in found)
        if n_frames and not data.image_level:
            checked.findings.extend(_short_videos(data, checked, n_frames, entry))
    for note in notes:
        say(f"{datapath}: {note}", file=sys.stderr)
    return lists, no_videos


def _splits_of(path: Path) -> list[str]:
    """The splits that DeepfakeBench's JSON file has; test if it has none or cannot be read: the reader says why."""
    try:
        content = read_json(path)
    except UserError:
        return ["test"]
    named = set()
    for labels in _values(content):
        for of_label in _values(labels):
            named |= {split for split in SPLITS if isinstance(of_label, Mapping) and of_label.get(split)}
    return [split for split in SPLITS if split in named] or ["test"]


def _values(content: object) -> Iterable[object]:
    return content.values() if isinstance(content, Mapping) else ()


def _csv_lines(path: Path, data_root: Path) -> LinesOf:
    """The lines of a CSV file: absolute path of an image -> the lines that list it, [] if they are not known."""
    lines: dict[str, list[int]] = defaultdict(list)
    real_folder = functools.cache(os.path.realpath)
    try:
        with text_file(path).open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            header = [name.strip().lower() for name in next(reader, [])]
            column, text_of = header.index("path"), plain_cell if is_ours(header) else str
            for row in reader:
                if len(row) > column:
                    listed = text_of(row[column].strip(BLANKS)).replace("\\", "/")
                    image, _ = file_and_size(listed, ["", f"{path.parent}/", f"{data_root}/"], real_folder)
                    lines[image].append(reader.line_num)
    except (OSError, ValueError, csv.Error):  # the reader says what is wrong
        return lambda _image: []

    @functools.cache
    def by_end() -> dict[str, list[str]]:
        found = defaultdict(list)
        for listed in lines:
            found[_end(listed)].append(listed)
        return found

    def lines_of(image: str) -> list[int]:
        if image in lines:
            return lines[image]
        alike = by_end().get(_end(image), [])  # it is missing, or the reader has replaced the start of its path
        nearest = max(alike, key=lambda path: _alike(path[::-1], image[::-1]), default=None)
        return lines[nearest] if nearest else []

    return lines_of


def _alike(a: str, b: str) -> int:
    """How many characters at the start are the same."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _end(path: str) -> str:
    """The name and the last two folders."""
    return "/".join(path.rsplit("/", 3)[-3:])


def _rows(data: DataSet, lines_of: LinesOf, entry: str) -> Iterable[Row]:
    real_folder = functools.cache(os.path.realpath)
    for record in data.records:
        file, size = file_and_size(record.path, [""], real_folder)
        shown = entry.format(record.video) + record.path
        yield Row(next(iter(lines_of(file)), 0), shown, str(record.label), file, size)


def _counts(data: DataSet, rows: Sequence[Row]) -> dict[str, dict]:
    """Class and method -> numbers, as those of a data set of videos. Images that count for themselves are no videos."""
    images: dict[str, Counter[str]] = defaultdict(Counter)  # class and method -> video -> images that are there
    for record, row in zip(data.records, rows, strict=True):
        label = ("real", "fake")[record.label]
        name = label if record.method in ("", label) else f"{label} {record.method}"
        images[name][record.video] += row.size is not None
    none = {"videos": 0, "with_crops": 0} if data.image_level else {}
    return {
        name: {
            "videos": len(videos),
            "with_crops": sum(map(bool, videos.values())),
            "official": None,
            "crops": videos.total(),
            "manifest": {},
        }
        | none
        for name, videos in sorted(images.items())
    }


def _missing_and_empty(checked: CheckedList) -> list[Finding]:
    findings = []
    for row in checked.rows:
        if row.size is None:
            kind, what, fix = "missing_file", "does not exist", "put the file there, or set --data_root"
        elif row.size == 0:
            kind, what, fix = "unreadable_image", "is empty (0 bytes)", "extract or copy the image again"
        else:
            continue
        findings.append(Finding(kind, str(checked.path), row.line or None, f"{row.path} {what}", fix))
    return findings


def _not_used(data: DataSet, path: Path, lines_of: LinesOf, entry: str) -> list[Finding]:
    """One finding for each video or image that the reader drops."""
    findings = []
    repeats: Counter[str] = Counter()
    real_folder = functools.cache(os.path.realpath)
    for drop in data.dropped:
        kind, fix = _DROPPED.get(drop.reason, ("count_mismatch", "leave it: a test counts it in its coverage"))
        file, _ = file_and_size(drop.path, [""], real_folder) if drop.path else ("", None)
        repeats[file] += 1  # the first line is that of the record
        listed = lines_of(file) if file else []
        line = listed[min(repeats[file], len(listed) - 1)] if listed else None
        what = "is listed again" if kind == "duplicate" else f"is not used ({drop.reason})"
        shown = entry.format(drop.video) + drop.path if drop.path else entry.format(drop.video) or drop.video
        findings.append(Finding(kind, str(path), line, f"{shown.removesuffix(': ')} {what}", fix))
    return findings


def _short_videos(data: DataSet, checked: CheckedList, n_frames: int, entry: str) -> list[Finding]:
    numbers = Counter(record.video for record in data.records)
    first: dict[str, Row] = {}
    for record, row in zip(data.records, checked.rows, strict=True):
        first.setdefault(record.video, row)
    findings = []
    for video, row in first.items():
        shown = entry.format(video).removesuffix(": ") or video
        findings += short_video(numbers[video], n_frames, str(checked.path), row.line or None, None, shown)
    return findings


def _folders_of_images(data: DataSet, rows: Sequence[Row]) -> set[str]:
    """Folders whose images count for themselves or are of several videos."""
    videos: dict[str, set[str]] = defaultdict(set)
    for record, row in zip(data.records, rows, strict=True):
        videos[row.folder].add(record.video)
    images = {row.folder for record, row in zip(data.records, rows, strict=True) if record.video == record.path}
    return images | {folder for folder, names in videos.items() if len(names) > 1}
