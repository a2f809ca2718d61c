"""DFDC (test set of the full version): videos in one folder, labels.csv with filename,label (1 = fake)."""

import csv
from pathlib import Path

from datasets.records import DataSet, video_folders_to_dataset
from utils.cli import UserError


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
    """[(file name of the video, 0 real or 1 fake)] of labels.csv, in its order. UserError says what is wrong."""
    try:
        with Path(path).open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.reader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"cannot read {path} ({error}); it comes with the DFDC test set") from error
    if not rows or rows[0][:2] != ["filename", "label"]:
        raise UserError(f"{path} does not start with the line filename,label; take the file of the DFDC test set")
    videos: dict[str, int] = {}
    for number, row in enumerate(rows[1:], start=2):
        if not row:
            continue
        if len(row) < 2 or not row[0] or Path(row[0]).name != row[0] or row[1] not in ("0", "1"):
            raise UserError(f"{path}:{number}: expected a file name and 0 or 1, such as aalscayrfi.mp4,1")
        if videos.setdefault(row[0], int(row[1])) != int(row[1]):
            raise UserError(f"{path}:{number}: {row[0]} has two different labels; keep the right line")
    return list(videos.items())
