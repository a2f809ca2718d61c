"""CSV files with the header path,label[,video,method]; labels and paths as in datasets/list_rules.py."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from datasets.csv_cells import is_ours, plain_cell
from datasets.data_set_format import DataSetFormat
from datasets.list_rules import BLANKS, each_once, find_images, label_of, listed_again
from datasets.records import DataSet, Record, by_video, node_code
from datasets.video_ids import separate_videos
from utils.cli import UserError
from utils.files import text_file

if TYPE_CHECKING:  # NumPy is imported late: --help must not wait for it
    from models.label_tree import LabelTree

_COLUMNS = ("path", "label", "video", "method", "code", "split")
Row = tuple[int, dict[str, str]]  # line number; path, label, video, method and code, "" if there is none


def read_csv_list(
    path: Path, folders: Sequence[Path] = (), tree: "LabelTree | None" = None, split: str | None = None
) -> DataSet:
    """Read the images of a CSV file. Paths are relative to the current folder, to the file's own, or to ``folders``.

    An image without video counts for itself. A video name under several methods is several videos, <method>/<video>:
    the four FF++ manipulations of a pair are four. Without methods, the folders above the video's tell them apart; see
    ``separate_videos``. An image that is listed again is dropped with the reason duplicate.

    Args:
        tree: Reads the list codes of a column code, if there is one; without a tree such a column is ignored.
        split: Read only the rows with this value in the column split.

    Raises:
        UserError: (with file:line) A row cannot be read, its code does not fit the tree or its label, a video has two
            labels, or an image is listed again with another label, video, method or code.
    """
    path = Path(path)
    rows = _read_rows(path, split)
    listed = [row["path"] for _, row in rows]
    images, _, notes = find_images(listed, [path.parent, *folders])
    again = listed_again(images)
    for i, first in again.items():
        (number, row), (above, values) = rows[i], rows[first]
        for name in ("label", "video", "method", "code"):
            if row[name] != values[name]:
                both = f"{row[name] or 'none'} here and {values[name] or 'none'} above (line {above})"
                raise UserError(f"{path}:{number}: image {images[i]} has {name} {both}; keep one")
        listed[i] = listed[first]
    names, methods = ([row[name] for _, row in rows] for name in ("video", "method"))
    videos, _ = separate_videos(names, methods, listed, [""] * len(rows))
    codes = [_node_code(f"{path}:{number}", row, tree) if tree and row["code"] else "" for number, row in rows]
    records = [
        Record(image, video if row["video"] else image, int(row["label"]), code, row["method"])
        for (_, row), image, video, code in zip(rows, images, videos, codes, strict=True)
    ]
    labels: dict[str, int] = {}
    for (number, _), record in zip(rows, records, strict=True):
        if labels.setdefault(record.video, record.label) != record.label:
            here, above = record.label, 1 - record.label
            raise UserError(f"{path}:{number}: video {record.video} has label {here} here and {above} above; keep one")
    others = {row["split"] for _, row in rows if row["split"]} if split is None else set()
    if len(others) > 1:
        notes = [*notes, f"the rows of all splits are read ({', '.join(sorted(others))}): the column split is not used"]
    return DataSet("csv", *each_once(records, again), str(path), notes=notes)


def _node_code(place: str, row: dict[str, str], tree: "LabelTree") -> str:
    try:
        vector = tree.encode(row["code"])
    except UserError as error:
        raise UserError(f"{place}: {error}") from error
    if vector[0] != int(row["label"]):
        raise UserError(f"{place}: label {row['label']}, but the code {row['code']} is of the other class; correct one")
    return node_code(vector)


def _read_rows(path: Path, split: str | None) -> list[Row]:
    """The rows below the header. Raises UserError for one without a path or a label."""
    try:
        with text_file(path).open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            header = reader.fieldnames = [name.strip().lower() for name in reader.fieldnames or ()]
            chosen = (row for row in reader if split in (None, (row.get("split") or "").strip(BLANKS)))
            rows = [(reader.line_num, row) for row in chosen if any((row.get(name) or "").strip() for name in _COLUMNS)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"cannot read {path} ({error}); it must be a CSV file of UTF-8 text") from error
    if not {"path", "label"} <= set(header):
        wanted = "the header needs path,label[,video,method,code,split], separated by commas"
        raise UserError(f"{path}:1: {wanted}, got {','.join(header)[:80]!r}; rename the columns")
    if not rows:
        raise UserError(f"{path} lists no image; each row must be path,label[,video,method]")
    cleaned, text_of = [], plain_cell if is_ours(header) else str
    for number, row in rows:
        values = {name: text_of((row.get(name) or "").strip(BLANKS)) for name in _COLUMNS}
        label = label_of(values["label"])
        if not values["path"] or label is None:
            got = f"the path {values['path'][:80]!r} and the label {values['label'][:80]!r}"
            raise UserError(f"{path}:{number}: expected a path and the label 0 or real, or 1 or fake, got {got}")
        values["label"] = str(label)
        cleaned.append((number, values))
    return cleaned


FORMAT = DataSetFormat(
    read=lambda o: by_video(read_csv_list(o.given_path, [o.data_root]), o.n_frames),
    needs_datapath="FILE",
)
