"""The account of an extraction: a row for every wanted frame, with what became of it.

Every video has a row file of its own in a hidden folder; it is written after the video's last crop, so a video counts
as finished when, and only when, its row file is there. The row files are merged into manifest.csv.
"""

import csv
import io
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from datasets.crop_manifest import (  # noqa: F401 - some for those who import this module
    COLUMNS,
    NO_VIDEO,
    POINTS,
    STATUSES,
    Row,
    finished_videos,
    read_rows,
    row_file,
)
from utils.files import atomic_path, write_text


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


def table_text(rows: Iterable[Row], columns: Sequence[str]) -> str:
    """Rows as CSV with a header."""
    rows = list(rows)
    # The csv module leaves a lone carriage return unquoted, and cannot read that again.
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


class Account(NamedTuple):
    """What became of one video. frames: wanted ones; moved: crops of a neighbouring frame."""

    status: Counter
    frames: int
    moved: int


def merge(folder: Path) -> dict[str, Account]:
    """Merge all row files of ``folder`` into its manifest.csv, sorted by video and frame; returns video -> account."""
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
