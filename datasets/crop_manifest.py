"""What preprocessing/extract_faces.py writes beside its crops: which videos are finished, and a row for each frame.

Its hidden folder .manifest holds an empty file <video>.new while a video is cropped, and the rows <video>.csv after the
last crop. A video is finished if and only if its row file exists. Row files are merged into manifest.csv. Crops of
other tools have none of this.
"""

import csv
import re
from collections.abc import Iterable
from pathlib import Path

from datasets.csv_cells import plain_cell
from utils.cli import UserError
from utils.files import TEMPORARY, text_file

POINTS = ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")
COLUMNS = (
    ("video", "frame", "status", "x1", "y1", "x2", "y2", "score")
    + tuple(f"{point}_{axis}" for point in POINTS for axis in "xy")
    + ("faces_in_frame", "path", "wanted_frame", "n_frames", "video_bytes")
)
NAMES = ("video", "path")  # columns of texts: written as datasets/csv_cells.py says
NO_VIDEO = ("video_missing", "video_unreadable")  # one row for a whole video, its frame numbers empty
# The result for a wanted frame. `frame` is a neighbour of `wanted_frame` if that has no good face.
STATUSES = ("ok", "no_face", "low_confidence", "too_small", "bad_landmarks", "not_tracked", "decode_error", *NO_VIDEO)
UNFINISHED = "unfinished: the extraction of its crops did not end"  # reason for dropping a video

Row = dict[str, str]
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")
_FRAME = re.compile(r"[0-9]{1,18}")
_DEPTH = 3  # folders from a video's crops up to .manifest, at most: <place>/faces/<class>/<video>


def row_file(folder: Path, video: str) -> Path:
    """The file of the rows of a video. folder: Of the manifest. video: May hold slashes."""
    return Path(folder) / ".manifest" / f"{video}.csv"


def finished_videos(folder: Path) -> list[str]:
    """The videos that have a row file, sorted by name."""
    root = Path(folder) / ".manifest"
    files = (path for path in root.rglob("*.csv") if not path.name.startswith(TEMPORARY) and path.is_file())
    return sorted(path.relative_to(root).as_posix().removesuffix(".csv") for path in files)


def unfinished(folders: Iterable[Path]) -> set[Path]:
    """Those of the folders (each with the crops of one video) whose extraction began and did not end."""
    absolute_of = {Path(folder): Path(folder).absolute() for folder in folders}
    half_done = set()
    for place in {place for folder in absolute_of.values() for place in list(folder.parents)[:_DEPTH]}:
        hidden = place / ".manifest"
        for mark in hidden.rglob("*.new"):
            if mark.is_file() and not mark.with_suffix(".csv").is_file():
                video = mark.relative_to(hidden).with_suffix("")
                half_done |= {place / "faces" / video, place / video}
    return {folder for folder, absolute in absolute_of.items() if absolute in half_done}


def read_rows(path: Path) -> list[Row]:
    """The rows of a row file or a manifest.csv; [] if there is no such file.

    Raises UserError if the file is damaged or of another version.
    """
    if not path.is_file():
        return []
    again = "move it away and run extract_faces.py again"
    try:
        with text_file(path).open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            rows, header = list(reader), tuple(reader.fieldnames or ())
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} is damaged ({error}); {again}") from error
    if header != COLUMNS:
        raise UserError(f"{path} is no manifest of face crops, or one of an older version; {again}")
    for number, row in enumerate(rows, start=1):
        if not _is_complete(row):
            raise UserError(f"{path} is damaged in row {number}; {again}")
        row.update({name: plain_cell(row[name]) for name in NAMES})
    return rows


def _is_complete(row: Row) -> bool:
    """Whether every column is there, with valid values for its status."""
    if None in row or None in row.values() or row["status"] not in STATUSES:
        return False
    if row["status"] in NO_VIDEO:
        return row["frame"] == ""
    numbers = [row[column] for column in COLUMNS[3:18]] if row["status"] == "ok" else []
    has_path = bool(row["path"]) or not numbers
    return bool(_FRAME.fullmatch(row["frame"])) and has_path and all(map(_NUMBER.fullmatch, numbers))


def rows_by_video(folder: Path) -> dict[str, list[Row]] | None:
    """Finished video -> its rows. folder: Of the manifest. None if it has no manifest, or one that cannot be read."""
    try:
        if row_file(folder, "").parent.is_dir():  # after a killed run manifest.csv is old
            return {video: read_rows(row_file(folder, video)) for video in finished_videos(folder)}
        rows: dict[str, list[Row]] = {}
        for row in read_rows(folder / "manifest.csv"):
            rows.setdefault(row["video"], []).append(row)
    except UserError:  # the crops are counted without it
        return None
    return rows or None
