"""CSV files with the header path,label[,video,method]; label 0 or real, 1 or fake."""

import csv
import os
from pathlib import Path

from datasets.data_set_format import DataSetFormat
from datasets.records import DataSet, Dropped, Record, by_video, find_images
from datasets.video_ids import separate_videos
from utils.cli import UserError
from utils.files import text_file

Row = tuple[int, dict[str, str]]  # line number; path, label, video and method, "" if there is none


def read_csv_list(path: Path, split: str | None = None) -> DataSet:
    """Read the images of a CSV file. Paths in it are relative to the current folder or to its own, with either slash.

    An image without video counts for itself. A video name under several methods is several videos, <method>/<video>:
    the four FF++ manipulations of a pair are four. Without methods, the folders above the video's tell them apart; see
    ``separate_videos``. An image that is listed again is dropped with the reason duplicate.

    split: Read only the rows with this value in the column split.

    Raises:
        UserError: (with file:line) A row cannot be read, a video has two labels, or an image is listed again with
            another label, video or method.
    """
    path = Path(path)
    rows = _read_rows(path, split)
    listed = [row["path"] for _, row in rows]
    for i in find_images(listed, [path.parent])[1]:
        listed[i] = listed[i].replace("\\", "/")
    images, _ = find_images(listed, [path.parent])
    names, methods = ([row[name] for _, row in rows] for name in ("video", "method"))
    videos, _ = separate_videos(names, methods, listed, [""] * len(rows))
    records, dropped, labels = [], [], {}
    earlier: dict[str, Row] = {}
    for (number, row), image, video in zip(rows, images, videos, strict=True):
        file = os.path.abspath(image)  # noqa: PTH100 - Path costs 10 times as much
        first, values = earlier.setdefault(file, (number, row))
        for name in ("label", "video", "method"):
            if row[name] != values[name]:
                both = f"{row[name] or 'none'} here and {values[name] or 'none'} above (line {first})"
                raise UserError(f"{path}:{number}: image {image} has {name} {both}; keep one")
        record = Record(image, video if row["video"] else image, int(row["label"]), "", row["method"])
        if first != number:
            dropped.append(Dropped(record.video, image, record.label, "duplicate"))
            continue
        if labels.setdefault(record.video, record.label) != record.label:
            here, above = record.label, 1 - record.label
            raise UserError(f"{path}:{number}: video {record.video} has label {here} here and {above} above; keep one")
        records.append(record)
    return DataSet("csv", records, dropped, str(path))


def _read_rows(path: Path, split: str | None) -> list[Row]:
    """The rows below the header. Raises UserError for one without a path or with another label than 0 or 1."""
    try:
        with text_file(path).open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            header = reader.fieldnames = [name.strip().lower() for name in reader.fieldnames or ()]
            rows = [(reader.line_num, row) for row in reader if split in (None, (row.get("split") or "").strip())]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"cannot read {path} ({error}); it must be a CSV file of UTF-8 text") from error
    if not {"path", "label"} <= set(header):
        raise UserError(f"{path}:1: the header needs path,label[,video,method], got {','.join(header)[:80]!r}")
    if not rows:
        raise UserError(f"{path} lists no image; each row must be path,label[,video,method]")
    cleaned = []
    for number, row in rows:
        values = {name: (row.get(name) or "").strip() for name in ("path", "label", "video", "method")}
        values["label"] = {"real": "0", "fake": "1"}.get(values["label"].lower(), values["label"])
        if not values["path"] or values["label"] not in ("0", "1"):
            raise UserError(f"{path}:{number}: expected a path and the label 0 (real) or 1 (fake)")
        cleaned.append((number, values))
    return cleaned


FORMAT = DataSetFormat(
    read=lambda o: by_video(read_csv_list(o.given_path), o.n_frames),
    needs_datapath="FILE",
)
