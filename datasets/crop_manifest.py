"""What preprocessing/extract_faces.py leaves beside its crops: which videos are finished, and a row for each frame.

It keeps a hidden folder .manifest: an empty <video>.new while a video is cropped, and the rows <video>.csv after its
last crop. A video is finished when, and only when, its row file is there. Row files are merged into manifest.csv. Crops
of other tools have none of this.
"""

import csv
import re
from collections.abc import Iterable
from pathlib import Path

from utils.cli import UserError
from utils.files import TEMPORARY, text_file

POINTS = ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")
COLUMNS = (
    ("video", "frame", "status", "x1", "y1", "x2", "y2", "score")
    + tuple(f"{point}_{axis}" for point in POINTS for axis in "xy")
    + ("faces_in_frame", "path", "wanted_frame", "n_frames", "video_bytes")
)
NO_VIDEO = ("video_missing", "video_unreadable")  # one row for a whole video, its frame numbers empty
# What can become of a wanted frame. `frame` is a neighbour of `wanted_frame` if that has no good face itself.
STATUSES = ("ok", "no_face", "low_confidence", "too_small", "bad_landmarks", "not_tracked", "decode_error", *NO_VIDEO)
UNFINISHED = "unfinished: the extraction of its crops did not end"  # reason for dropping a video

Row = dict[str, str]
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")
_FRAME = re.compile(r"[0-9]{1,18}")
_DEPTH = 3  # most folders from a video's crops up to the place of .manifest: <place>/faces/<class>/<video>


def row_file(folder: Path, video: str) -> Path:
    """The file of the rows of one video. folder: the manifest's. video: may hold slashes."""
    return Path(folder) / ".manifest" / f"{video}.csv"


def finished_videos(folder: Path) -> list[str]:
    """The videos that have a row file, sorted by name."""
    root = Path(folder) / ".manifest"
    files = (path for path in root.rglob("*.csv") if not path.name.startswith(TEMPORARY))
    return sorted(path.relative_to(root).as_posix().removesuffix(".csv") for path in files)


def unfinished(folders: Iterable[Path]) -> set[Path]:
    """Those of the folders, each with the crops of one video, whose extraction began and did not end."""
    whole = {Path(folder): Path(folder).absolute() for folder in folders}
    half_done = set()
    for place in {place for folder in whole.values() for place in list(folder.parents)[:_DEPTH]}:
        hidden = place / ".manifest"
        for mark in hidden.rglob("*.new"):
            if mark.is_file() and not mark.with_suffix(".csv").is_file():
                video = mark.relative_to(hidden).with_suffix("")
                half_done |= {place / "faces" / video, place / video}
    return {folder for folder, absolute in whole.items() if absolute in half_done}


def read_rows(path: Path) -> list[Row]:
    """Read a row file or a manifest.csv.

    Returns:
        Its rows, column -> text; [] if there is no such file.

    Raises:
        UserError: The file is damaged, or of another version.
    """
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
        if not _is_complete(row):
            raise UserError(f"{path} is damaged in row {number}; {again}")
    return rows


def _is_complete(row: Row) -> bool:
    """Whether every column is there, with the values that the status promises."""
    if None in row or None in row.values() or row["status"] not in STATUSES:
        return False
    if row["status"] in NO_VIDEO:
        return row["frame"] == ""
    numbers = [row[column] for column in COLUMNS[3:18]] if row["status"] == "ok" else []
    has_path = bool(row["path"]) or not numbers
    return bool(_FRAME.fullmatch(row["frame"])) and has_path and all(map(_NUMBER.fullmatch, numbers))


def rows_by_video(folder: Path) -> dict[str, list[Row]] | None:
    """Read the rows of all finished videos.

    Args:
        folder: Where the manifest lies.

    Returns:
        Video -> its rows. None if nothing was extracted there, or the files cannot be read.
    """
    try:
        if row_file(folder, "").parent.is_dir():  # a killed run leaves an old manifest.csv behind
            return {video: read_rows(row_file(folder, video)) for video in finished_videos(folder)}
        rows: dict[str, list[Row]] = {}
        for row in read_rows(folder / "manifest.csv"):
            rows.setdefault(row["video"], []).append(row)
    except UserError:  # the crops themselves are counted all the same
        return None
    return rows or None
