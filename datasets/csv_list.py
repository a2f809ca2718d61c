"""CSV files with the header path,label[,video,method]; label 0 real, 1 fake."""

import csv
from collections import defaultdict
from pathlib import Path

from datasets.records import DataSet, Record, locate
from utils.cli import UserError


def read_csv_list(path: Path) -> DataSet:
    """The images of a CSV file; other columns are ignored. Paths are relative to the current folder, else the file's.

    An image without video counts for itself. Where a video name occurs under several methods, its ids are
    <method>/<video>: the four FF++ manipulations of a pair are four videos. UserError with file:line for a row that
    cannot be read, and for an image or a video with two labels.
    """
    path = Path(path)
    rows = _read_rows(path)
    images, _ = locate([row["path"] for _, row in rows], [path.parent])
    methods = defaultdict(set)
    for _, row in rows:
        methods[row["video"]].add(row["method"])
    records, labels = [], {}
    for (number, row), image in zip(rows, images, strict=True):
        video = row["video"] or image
        if row["video"] and len(methods[row["video"]]) > 1:
            video = f"{row['method']}/{row['video']}"
        label = int(row["label"])
        for what, name in (("image", image), ("video", video)):
            if labels.setdefault((what, name), label) != label:
                raise UserError(
                    f"{path}:{number}: {what} {name} has label {label} here and {1 - label} above; keep one"
                )
        records.append(Record(image, video, label, "", row["method"]))
    alone = not any(row["video"] for _, row in rows)
    return DataSet("csv", records, len({record.video for record in records}), [], alone, str(path))


def _read_rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    """(line number, path, label, video and method, "" where there is none) of every row."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            header = reader.fieldnames = [name.strip().lower() for name in reader.fieldnames or ()]
            rows = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"cannot read {path} ({error}); it must be a CSV file of UTF-8 text") from error
    if not {"path", "label"} <= set(header):
        raise UserError(f"{path}:1: the header needs path,label[,video,method], got {','.join(header)[:80]!r}")
    if not rows:
        raise UserError(f"{path} lists no image; each row must be path,label[,video,method]")
    cleaned = []
    for number, row in rows:
        values = {name: (row.get(name) or "").strip() for name in ("path", "label", "video", "method")}
        if not values["path"] or values["label"] not in ("0", "1"):
            raise UserError(f"{path}:{number}: expected a path and the label 0 (real) or 1 (fake)")
        cleaned.append((number, values))
    return cleaned
