"""Images in Parquet tables, as Hugging Face data sets keep them: TABLE.parquet/ROW is the path of a row's image."""

import functools
import re
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from utils.cli import UserError

if TYPE_CHECKING:
    import pyarrow
    from pyarrow.parquet import ParquetFile

_ROW = re.compile(r"(.*\.parquet)/(\d+)", re.DOTALL)
_COLUMNS = ("image", "image_bytes")


class _Table(NamedTuple):
    """An open table, the column of its images, and the number of the row after each row group."""

    file: "ParquetFile"
    column: str
    ends: list[int]


def row_path(table: Path, row: int) -> str:
    """The path of the image in a row, counted from 0. Sorted paths are in the order of the rows."""
    return f"{table}/{row:09d}"


def file_of(path: str | Path) -> str | Path:
    """The file that holds an image: the table for a path of ``row_path``, else the path itself."""
    match = _match(path)
    return match[1] if match else path


def _match(path: str | Path) -> re.Match | None:
    text = str(path)
    return _ROW.fullmatch(text) if ".parquet/" in text else None  # the pattern alone takes as long as a stat


def open_table(path: Path) -> "ParquetFile":
    """Open a table. Raises UserError if pyarrow is not installed or the file is no Parquet table named .parquet."""
    if path.suffix != ".parquet":
        raise UserError(f"{path} is no table: the name of a Parquet table ends in .parquet")
    try:
        import pyarrow
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise UserError("Parquet tables need the package pyarrow; pip install pyarrow") from error
    try:
        return ParquetFile(path)
    except (OSError, pyarrow.ArrowException) as error:
        raise UserError(f"cannot read {path} ({str(error).splitlines()[0]}); it must be a Parquet table") from error


def image_column(file: "ParquetFile") -> str | None:
    """The column of bytes, or of {bytes, path}, that is called image or image_bytes; None if there is none."""
    import pyarrow

    for name in _COLUMNS:
        if name in (schema := file.schema_arrow).names:
            kind = schema.field(name).type
            if pyarrow.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
                kind = kind.field("bytes").type
            if pyarrow.types.is_binary(kind) or pyarrow.types.is_large_binary(kind):
                return name
    return None


def row_bytes(path: str | Path) -> bytes | None:
    """The bytes of an image file in a table, b"" for an empty row; None if the path is none of ``row_path``.

    A row group is read as a whole and kept until another one is read: read rows in their order. Raises OSError or
    ValueError if the table cannot be read.
    """
    match = _match(path)
    if match is None:
        return None
    Path(match[1]).stat()  # FileNotFoundError as for any other image
    ends, row = _table(match[1]).ends, int(match[2])
    group = next((i for i, end in enumerate(ends) if row < end), None)
    if group is None:
        raise ValueError(f"the table has {ends[-1] if ends else 0} rows")
    value = _images(match[1], group)[row - (ends[group - 1] if group else 0)].as_py()
    return (value.get("bytes") if isinstance(value, dict) else value) or b""


@functools.lru_cache(maxsize=16)
def _table(path: str) -> _Table:
    file = open_table(Path(path))
    sizes = (file.metadata.row_group(i).num_rows for i in range(file.metadata.num_row_groups))
    return _Table(file, image_column(file) or "", list(accumulate(sizes)))


@functools.lru_cache(maxsize=1)
def _images(path: str, group: int) -> "pyarrow.ChunkedArray":
    table = _table(path)
    return table.file.read_row_group(group, columns=[table.column], use_threads=False).column(0)
