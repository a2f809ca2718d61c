"""DFDC (test set of the full version): videos in one folder, labels.csv with filename,label (1 = fake)."""

import csv
from pathlib import Path
from typing import NamedTuple

from datasets.records import DataSet, video_folders_to_dataset
from utils.cli import UserError
from utils.files import text_file

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
    """The videos of labels.csv, crops under faces/<name without ending>/, which is the video id too.

    root: the data set's folder, or its faces folder. drop_short: drop videos with fewer than ``n_frames`` crops, as the
    reference does.
    """
    root = Path(root)
    if root.name == "faces" and (root.parent / "labels.csv").is_file():
        root = root.parent
    videos = []
    for name, label in read_labels(root / "labels.csv"):
        video = Path(name).stem
        videos.append((video, root / "faces" / video, label, "", "" if label else "real"))
    return video_folders_to_dataset("DFDC", videos, n_frames, f"{root}/faces", n_frames if drop_short else 1)


def read_labels(path: Path) -> list[tuple[str, int]]:
    """[(file name of the video, 0 real or 1 fake)] of labels.csv, in its order, each once. UserError says what is
    wrong."""
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
    cannot be read."""
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
        if label is not None and Path(row[0]).name == row[0] and row[0].strip("."):
            entries.append(Entry(number, row[0], label, row[1]))
        elif row:
            odd_lines.append((number, ",".join(row)))
    return entries, odd_lines


def clash(entry: Entry, earlier: Entry) -> str | None:
    """Why two lines of one video do not go together; None for the same line twice."""
    if entry.file != earlier.file:
        return f"{entry.file} and {earlier.file} share a name"
    return f"{entry.file} has two different labels" if entry.label != earlier.label else None
