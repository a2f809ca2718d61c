"""Write manifest.csv, which has a row for every wanted frame, and compare the settings in manifest.json.

Every video has a row file of its own in the hidden folder .manifest. It is written after the video's last crop, so a
video is finished if and only if its row file exists. The row files are merged into manifest.csv.
"""

import contextlib
import csv
import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from datasets.crop_manifest import (  # noqa: F401 - some are only re-exported
    COLUMNS,
    NAMES,
    NO_VIDEO,
    POINTS,
    STATUSES,
    Row,
    finished_videos,
    read_rows,
    row_file,
)
from datasets.csv_cells import safe_cell
from utils.cli import UserError
from utils.files import atomic_path, write_text
from utils.locks import hold

MOVED = "moved"  # what merge counts beside the statuses


def frame_row(
    video: str, frame: int | None, status: str, faces: int | None = None, path: str = "", wanted: int | None = None
) -> Row:
    """Make a row without a face.

    Args:
        frame: Number of the frame that was taken; None for a whole video.
        faces: Number of confident faces in the frame; None = not counted.
        path: Of the crop, relative to the manifest's folder.
        wanted: Number of the frame that was asked for; None = ``frame``.
    """
    numbers = {"frame": frame, "faces_in_frame": faces, "wanted_frame": frame if wanted is None else wanted}
    texts = {name: "" if value is None else str(value) for name, value in numbers.items()}
    return dict.fromkeys(COLUMNS, "") | {"video": video, "status": status, "path": path} | texts


def face_values(box: np.ndarray, score: float, landmarks: np.ndarray) -> Row:
    """The columns of a face. box: [4] x1, y1, x2, y2; landmarks: [5, 2]; in pixels of the frame."""
    values = [*(f"{value:.3f}" for value in box), f"{score:.6f}", *(f"{value:.3f}" for value in landmarks.ravel())]
    return dict(zip(COLUMNS[3:18], values, strict=True))


def landmarks_of(row: Row) -> np.ndarray:
    """The landmarks of a row with status ok: [5, 2] float64, in pixels of the frame."""
    return np.array([float(row[column]) for column in COLUMNS[8:18]]).reshape(5, 2)


def _table_text(rows: Sequence[Row], columns: Sequence[str]) -> str:
    # The csv module cannot read a lone carriage return that it wrote without quotes.
    lone = any("\r" in value for row in rows for value in row.values())
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n", quoting=csv.QUOTE_ALL if lone else csv.QUOTE_MINIMAL)
    writer.writeheader()
    writer.writerows(row | {name: safe_cell(row[name]) for name in NAMES if name in row} for row in rows)
    return text.getvalue()


def write_rows(path: Path, rows: Iterable[Row], columns: Sequence[str] = COLUMNS) -> None:
    """Write rows as CSV in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, _table_text(list(rows), columns))


def merge(folder: Path) -> dict[str, Counter[str]]:
    """Merge the row files of a folder, those of other runs too, into its manifest.csv, sorted by video and frame.

    Returns video -> status -> number of rows; MOVED counts the crops of a neighbour of the wanted frame. Raises
    UserError if the folder is gone.
    """
    counts = {}
    with contextlib.ExitStack() as stack:
        stack.enter_context(hold(folder / ".manifest" / ".turn.lock"))
        if not (folder / "manifest.json").is_file():
            raise UserError(f"{folder} was removed while this run worked in it; run it again")
        temporary = stack.enter_context(atomic_path(folder / "manifest.csv"))
        merged = stack.enter_context(temporary.open("w", encoding="utf-8", newline=""))
        merged.write(_table_text([], COLUMNS))
        for video in finished_videos(folder):
            rows = read_rows(row_file(folder, video))
            merged.write(_table_text(rows, COLUMNS).split("\n", 1)[1])
            counts[video] = Counter(row["status"] for row in rows)
            counts[video][MOVED] = sum(row["status"] == "ok" and row["frame"] != row["wanted_frame"] for row in rows)
    return counts


def changed_settings(old: object, new: Mapping[str, object]) -> str:
    """Which settings differ, such as "size 256 there, 317 now"; "" if none does. The versions of libraries may.

    old: Content of a manifest.json; if it holds no settings, all differ.
    """
    old = old if isinstance(old, dict) else {}
    changed = (key for key, value in new.items() if key != "versions" and old.get(key) != value)
    return ", ".join(f"{key} {old.get(key)} there, {new[key]} now" for key in changed)
