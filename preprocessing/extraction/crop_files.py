"""The files of face crops: their names, and how they are written."""

import re
from pathlib import Path

import cv2
import numpy as np

from utils.files import TEMPORARY, atomic_path

OWN_FILE = re.compile(rf"(\d{{4,}}|{re.escape(TEMPORARY)}.*)\.(png|jpg)")  # a crop, or its temporary file


def save_image(path: Path, image: np.ndarray, quality: int | None) -> None:
    """Write an image in one step; its folders are made. cv2.imwrite would not tell that the disk is full.

    Args:
        path: A .png or .jpg file.
        image: [H, W, 3] uint8 BGR.
        quality: Of a .jpg, 1..100; None for .png.

    Raises:
        OSError, UserError: The file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    options = [] if quality is None else [cv2.IMWRITE_JPEG_QUALITY, quality]
    with atomic_path(path) as temporary:
        temporary.write_bytes(cv2.imencode(path.suffix, image, options)[1])
