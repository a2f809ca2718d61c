"""The manifest of an extraction: a row for every wanted frame, which says what became of it.

Every video has a row file of its own in the hidden folder .manifest. It is written after the video's last crop, so a
video is finished if and only if its row file exists. The row files are merged into manifest.csv.
"""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from utils.cli import UserError
from utils.files import TEMPORARY, atomic_path, text_file, write_text

POINTS = ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")
COLUMNS = (
    ("video", "frame", "status", "x1", "y1", "x2", "y2", "score")
    + tuple(f"{point}_{axis}" for point in POINTS for axis in "xy")
    + ("faces_in_frame", "path", "wanted_frame", "n_frames", "video_bytes")
)
NO_VIDEO = ("video_missing", "video_unreadable")  # one row for a whole video, its frame numbers empty
# What can become of a wanted frame. `frame` is a neighbour of `wanted_frame` where that has no good face itself.
STATUSES = ("ok", "no_face", "low_confidence", "too_small", "bad_landmarks", "not_tracked", "decode_error", *NO_VIDEO)

Row = dict[str, str]
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")
_FRAME = re.compile(r"[0-9]{1,18}")


def frame_row(
    video: str, frame: int | None, status: str, faces: int | None = None, path: str = "", wanted: int | None = None
) -> Row:
    """Make a row without a face.

    Args:
        video: Name of the video.
        frame: Number of the frame that was taken; None for a whole video.
        status: One of STATUSES.
        faces: Number of confident faces in the frame; None = not counted.
        path: Of the crop, relative to the manifest's folder.
        wanted: Number of the frame that was asked for; None = ``frame``.
    """
    numbers = {"frame": frame, "faces_in_frame": faces, "wanted_frame": frame if wanted is None else wanted}
    texts = {name: "" if value is None else str(value) for name, value in numbers.items()}
    return dict.fromkeys(COLUMNS, "") | {"video": video, "status": status, "path": path} | texts


def face_values(box: np.ndarray, score: float, landmarks: np.ndarray) -> Row:
    """The columns that describe a face. box [4] is x1, y1, x2, y2, landmarks are [5, 2]; in pixels of the frame."""
    values = [*(f"{value:.3f}" for value in box), f"{score:.6f}", *(f"{value:.3f}" for value in landmarks.ravel())]
    return dict(zip(COLUMNS[3:18], values, strict=True))


def landmarks_of(row: Row) -> np.ndarray:
    """The landmarks of a row with status ok: [5, 2] float64, in pixels of the frame."""
    return np.array([float(row[column]) for column in COLUMNS[8:18]]).reshape(5, 2)


def row_file(folder: Path, video: str) -> Path:
    """Where the rows of one video lie; ``folder`` is the manifest's, ``video`` may hold slashes."""
    return Path(folder) / ".manifest" / f"{video}.csv"


def finished_videos(folder: Path) -> list[str]:
    """The videos that have a row file, sorted by name."""
    root = Path(folder) / ".manifest"
    files = (path for path in root.rglob("*.csv") if not path.name.startswith(TEMPORARY))
    return sorted(path.relative_to(root).as_posix().removesuffix(".csv") for path in files)


def table_text(rows: Iterable[Row], columns: Sequence[str]) -> str:
    """Format rows as CSV with a header."""
    rows = list(rows)
    # The csv module cannot read a lone carriage return that it wrote without quotes.
    quoting = csv.QUOTE_ALL if any("\r" in value for row in rows for value in row.values()) else csv.QUOTE_MINIMAL
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n", quoting=quoting)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def write_rows(path: Path, rows: Iterable[Row], columns: Sequence[str] = COLUMNS) -> None:
    """Write rows as CSV in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, table_text(rows, columns))


def read_rows(path: Path) -> list[Row]:
    """The rows of a row file or a manifest; none when there is no such file. UserError for a damaged one."""
    if not path.is_file():
        return []
    again = "remove it and run extract_faces.py again"
    try:
        with text_file(path).open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            rows, header = list(reader), tuple(reader.fieldnames or ())
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} is damaged ({error}); {again}") from error
    if header != COLUMNS:
        raise UserError(f"{path} is no manifest of face crops, or one of an older version; {again}")
    for number, row in enumerate(rows, start=1):
        if not _is_whole(row):
            raise UserError(f"{path} is damaged in row {number}; {again}")
    return rows


def _is_whole(row: Row) -> bool:
    """Every column is there, and what the status promises."""
    if None in row or None in row.values() or row["status"] not in STATUSES:
        return False
    if row["status"] in NO_VIDEO:
        return row["frame"] == ""
    numbers = [row[column] for column in COLUMNS[3:18]] if row["status"] == "ok" else []
    has_path = bool(row["path"]) or not numbers
    return bool(_FRAME.fullmatch(row["frame"])) and has_path and all(map(_NUMBER.fullmatch, numbers))


class Account(NamedTuple):
    """What became of one video."""

    status: Counter  # status -> number of rows
    frames: int  # wanted ones
    moved: int  # crops of a neighbour of the wanted frame


def merge(folder: Path) -> dict[str, Account]:
    """Merge the row files of a folder into its manifest.csv, sorted by video and frame; returns video -> account."""
    accounts = {}
    with (
        atomic_path(Path(folder) / "manifest.csv") as temporary,
        temporary.open("w", encoding="utf-8", newline="") as merged,
    ):
        merged.write(table_text([], COLUMNS))
        for video in finished_videos(folder):
            rows = read_rows(row_file(folder, video))
            merged.write(table_text(rows, COLUMNS).split("\n", 1)[1])
            accounts[video] = Account(
                status=Counter(row["status"] for row in rows),
                frames=sum(row["frame"] != "" for row in rows),
                moved=sum(row["status"] == "ok" and row["frame"] != row["wanted_frame"] for row in rows),
            )
    return accounts
