"""The files of crops: their names, and how they are written."""

import re
from pathlib import Path

import cv2
import numpy as np

from utils.files import atomic_path

OWN_FILE = re.compile(r"\d{4,}\.(png|jpg)|\.\d{4,}\..*\.(png|jpg)")  # a crop, or a temporary name of one


def save_image(path: Path, image: np.ndarray, quality: int | None) -> None:
    """Write an image [H, W, 3] uint8 BGR in one step, its folders too. quality: of a .jpg, 1..100; None for .png."""
    path.parent.mkdir(parents=True, exist_ok=True)
    options = [] if quality is None else [cv2.IMWRITE_JPEG_QUALITY, quality]
    with atomic_path(path) as temporary:
        if not cv2.imwrite(str(temporary), image, options):
            raise OSError(f"cannot write {path}")
