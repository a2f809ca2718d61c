"""The files of face crops: their names, and how they are written."""

import re
from pathlib import Path

import cv2
import numpy as np

from utils.files import TEMPORARY, write_bytes

OWN_FILE = re.compile(rf"(\d{{4,}}|{re.escape(TEMPORARY)}.*)\.(png|jpg)")  # a crop, or its temporary file


def save_image(path: Path, image: np.ndarray, quality: int | None) -> None:
    """Write an image [H, W, 3] uint8 BGR in one step; make its folder. quality: Of a .jpg, 1..100; None for .png.

    ``sync_files`` must follow before a table names it.

    Raises OSError or UserError if the disk is full, which cv2.imwrite does not notice.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    options = [] if quality is None else [cv2.IMWRITE_JPEG_QUALITY, quality]
    write_bytes(path, cv2.imencode(path.suffix, image, options)[1].tobytes(), durable=False)
