"""The account of an extraction: a row for every wanted frame, with what became of it.

Every video has a row file of its own in a hidden folder; it is written after the video's last crop, so a video counts
as finished when, and only when, its row file is there. The row files are merged into manifest.csv.
"""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from utils.cli import UserError
from utils.files import write_text

POINTS = ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")
COLUMNS = (
    ("video", "frame", "status", "x1", "y1", "x2", "y2", "score")
    + tuple(f"{point}_{axis}" for point in POINTS for axis in "xy")
    + ("faces_in_frame", "path", "wanted_frame")
)
NO_VIDEO = ("video_missing", "video_unreadable")  # one row for a whole video, its frame numbers empty
# What can become of a wanted frame. `frame` is a neighbour of `wanted_frame` where that has no good face itself.
STATUSES = ("ok", "no_face", "low_confidence", "too_small", "bad_landmarks", "not_tracked", "decode_error", *NO_VIDEO)

Row = dict[str, str]


def frame_row(
    video: str, frame: int | None, status: str, faces: int | None = None, path: str = "", wanted: int | None = None
) -> Row:
    """A row without a face. faces: confident faces in the frame. path: of the crop, relative to the manifest's folder.
    wanted: the frame that was asked for, ``frame`` itself when not given."""
    numbers = {"frame": frame, "faces_in_frame": faces, "wanted_frame": frame if wanted is None else wanted}
    texts = {name: "" if value is None else str(value) for name, value in numbers.items()}
    return dict.fromkeys(COLUMNS, "") | {"video": video, "status": status, "path": path} | texts


def face_values(box: np.ndarray, score: float, landmarks: np.ndarray) -> Row:
    """The columns that describe a face. box: [4] xyxy; landmarks: [5, 2]; pixels of the frame."""
    values = [*(f"{value:.3f}" for value in box), f"{score:.6f}", *(f"{value:.3f}" for value in landmarks.ravel())]
    return dict(zip(COLUMNS[3:18], values, strict=True))


def landmarks_of(row: Row) -> np.ndarray:
    """[5, 2] float64, the landmarks of a row whose status is ok, in pixels of the frame."""
    return np.array([float(row[column]) for column in COLUMNS[8:18]]).reshape(5, 2)


def row_file(folder: Path, video: str) -> Path:
    """Where the rows of one video lie; ``folder`` is the manifest's, ``video`` may hold slashes."""
    return Path(folder) / ".manifest" / f"{video}.csv"


def row_files(folder: Path) -> list[Path]:
    """The row files of all finished videos (without what a killed run left half-written)."""
    return sorted(path for path in (Path(folder) / ".manifest").rglob("*.csv") if not path.name.startswith("."))


def write_rows(path: Path, rows: Iterable[Row], columns: Sequence[str] = COLUMNS) -> None:
    """Write rows as CSV in one step."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, text.getvalue())


def read_rows(path: Path) -> list[Row]:
    """The rows of a row file or a manifest; none when there is no such file."""
    if not path.is_file():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            rows = list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} is damaged ({error}); remove it and run extract_faces.py again") from error
    if tuple(reader.fieldnames or ()) != COLUMNS or not all(
        row["frame"].isdigit() or row["frame"] == "" for row in rows
    ):
        raise UserError(f"{path} is no manifest of face crops; remove it and run extract_faces.py again")
    return rows


def merge(folder: Path) -> list[Row]:
    """Merge all row files of ``folder`` into its manifest.csv, sorted by video and frame; returns the rows."""
    rows = [row for path in row_files(folder) for row in read_rows(path)]
    rows.sort(key=lambda row: (row["video"], int(row["frame"] or -1)))
    write_rows(Path(folder) / "manifest.csv", rows)
    return rows
