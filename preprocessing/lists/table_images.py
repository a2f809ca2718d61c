"""Write the images of Parquet tables as files: a training reads them in random order, which a table is slow at."""

import io
from dataclasses import replace
from pathlib import Path

from PIL import Image

from datasets.records import DataSet, Dropped
from utils.cli import UserError
from utils.files import output_dir, sync_files, write_bytes
from utils.images import FORMATS
from utils.progress import progress_bar
from utils.tables import file_of, row_bytes

_SUFFIXES = dict(zip(FORMATS, (".png", ".jpg", ".bmp", ".webp", ".tif"), strict=True))


def unpack(data: DataSet, folder: Path) -> DataSet:
    """Write each image, byte by byte as in its row; returns the records of the files.

    The file is ``folder``/<table>/<first row of the video>/<row>.<ending>: a list takes the images of a folder for one
    video, so an image that counts for itself has its own. A file that is there with the same bytes stays. Rows that
    hold no image are dropped. Raises UserError if a file is there with other bytes.
    """
    records, dropped, written = [], [*data.dropped], []
    first_rows: dict[tuple[str, str], str] = {}
    for record in progress_bar(data.records, desc=f"images of {data.source}", unit="image", leave=False, delay=1):
        try:
            content = row_bytes(record.path) or b""
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                suffix = _SUFFIXES[image.format or ""]
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            dropped.append(Dropped(record.video, record.path, record.label, "unreadable_image"))
            continue
        table, row = str(file_of(record.path)), record.frame
        first_row = first_rows.setdefault((table, record.video), row)
        path = folder / Path(table).stem / first_row / f"{row}{suffix}"
        if not path.exists():
            output_dir(path.parent)
            write_bytes(path, content, durable=False)
            written.append(path)
        elif path.read_bytes() != content:
            raise UserError(f"{path} is another image; give an empty folder as --images_to, and tables different names")
        video = str(path) if record.video == record.path else record.video
        records.append(replace(record, path=str(path), video=video))
    sync_files(written)
    return replace(data, records=records, dropped=dropped)
