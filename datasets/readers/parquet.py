"""Parquet tables of images, as Hugging Face data sets keep them: a row for each image, with its bytes.

Columns: image ({bytes, path} or bytes) or image_bytes, label, and perhaps video, method and split. Labels are those of
datasets/list_rules.py; numbers of a Hugging Face class label mean what its names in the table say. The split of a row
is its column, or the beginning of the table's name (train-00000-of-00002.parquet).
"""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from datasets.data_set_format import DataSetFormat, ReadOptions
from datasets.list_rules import label_of
from datasets.records import DataSet, Record, by_video
from datasets.video_ids import separate_videos
from utils.cli import UserError
from utils.tables import image_column, open_table, row_path

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile

# Name of a split in tables, CSV files and folders -> the split.
SPLIT_NAMES = {"train": "train", "training": "train", "test": "test", "testing": "test"}
SPLIT_NAMES |= dict.fromkeys(("val", "valid", "validation", "dev"), "val")
_SHARD = re.compile(r"([a-z]+)(?:[-_.]|$)", re.IGNORECASE)


def read_parquet(place: Path) -> dict[str, DataSet]:
    """Split -> its images, in order of the rows; "" where the tables name no splits.

    An image without video counts for itself. A video name under several methods is several videos, <method>/<video>.
    Images are read later, see ``utils.tables``.

    place: A table, or a folder with tables at any depth. Raises UserError if pyarrow is not installed, there is no
    table, one of them lacks a column, a label is neither real nor fake, or a video has two labels.
    """
    if not place.exists():
        raise UserError(f"{place} does not exist; set --datapath to a .parquet file, or to a folder of such files")
    records: dict[str, list[Record]] = {}
    tables = sorted(path for path in place.rglob("*.parquet") if path.is_file()) if place.is_dir() else [place]
    for table in tables:
        with open_table(table) as file:
            for split, record in _rows(table, file):
                records.setdefault(split, []).append(record)
    if not records:
        raise UserError(f"{place} holds no row of a .parquet file; set --datapath to a table, or to the tables' folder")
    return {split: DataSet("parquet", _videos(place, found), source=str(place)) for split, found in records.items()}


def _rows(table: Path, file: "ParquetFile") -> Iterator[tuple[str, Record]]:
    """(split, record) of each row."""
    columns = file.schema_arrow.names
    if image_column(file) is None or "label" not in columns:
        wanted = "image or image_bytes (bytes of image files) and label"
        raise UserError(f"{table} has the columns {', '.join(columns)[:200]}; it needs {wanted}")
    names = _class_names(file)
    prefix = _SHARD.match(table.stem)
    split_of_name = SPLIT_NAMES.get(prefix[1].lower(), "") if prefix else ""
    texts = [name for name in ("label", "video", "method", "split") if name in columns]
    rows = (values for batch in file.iter_batches(columns=texts, use_threads=False) for values in batch.to_pylist())
    for row, values in enumerate(rows):
        text = {name: "" if value is None else str(value).strip() for name, value in values.items()}
        word = names.get(text["label"], text["label"])
        label = label_of(word)
        if label is None:
            what = f"row {row} has the label {word[:80]!r}, which is neither 0 or real nor 1 or fake"
            raise UserError(f"{table}: {what}; write one of them, or drop the row")
        split = text.get("split", "")
        if split and split.lower() not in SPLIT_NAMES:
            raise UserError(f"{table}: row {row} has the split {split[:80]!r}; write train, val or test")
        path = row_path(table, row)
        record = Record(path, text.get("video") or path, label, "", text.get("method", ""))
        yield SPLIT_NAMES[split.lower()] if split else split_of_name, record


def _videos(place: Path, records: list[Record]) -> list[Record]:
    """The records with different videos told apart."""
    columns = [(record.video, record.method, record.path, "") for record in records]
    videos, _ = separate_videos(*zip(*columns, strict=True))
    labels: dict[str, int] = {}
    for video, record in zip(videos, records, strict=True):
        if labels.setdefault(video, record.label) != record.label:
            raise UserError(f"{place}: video {video} has real and fake rows; give it one label, or two names")
    return [replace(record, video=video) for video, record in zip(videos, records, strict=True)]


def _class_names(file: "ParquetFile") -> dict[str, str]:
    """Number -> name of the Hugging Face class label; {} if the label is none."""
    try:
        note = json.loads((file.schema_arrow.metadata or {})[b"huggingface"])
        return {str(number): name for number, name in enumerate(note["info"]["features"]["label"]["names"])}
    except (KeyError, TypeError, ValueError):
        return {}


def _read(options: ReadOptions) -> DataSet:
    """The images of a split, or of all tables where they name no splits."""
    splits = read_parquet(options.given_path)
    data = splits.get(options.split) or splits.get("")
    if data is None:
        raise UserError(f"{options.given_path} has no split {options.split}, but {', '.join(splits)}; set --split")
    part = f" ({options.split})" if options.split in splits else ""
    return by_video(replace(data, source=data.source + part), options.n_frames)


FORMAT = DataSetFormat(
    read=_read,
    needs_datapath="FILE, or the DIR of the tables",
    has_splits=True,
)
