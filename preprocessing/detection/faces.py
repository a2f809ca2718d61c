"""What every face detector shares: the faces of an image, and how an image is resized."""

from typing import NamedTuple

import cv2
import numpy as np


class Faces(NamedTuple):
    """The faces of one image, largest box first; all float32, in pixels of that image, (x, y) order."""

    boxes: np.ndarray  # [n, 4] x1, y1, x2, y2
    scores: np.ndarray  # [n] in 0..1
    landmarks: np.ndarray  # [n, 5, 2] left eye, right eye, nose tip, left and right mouth corner


def resize(image: np.ndarray, factor: float) -> np.ndarray:
    """An image [H, W, ...] with its sides times ``factor``, rounded to the next whole number above."""
    height, width = image.shape[:2]
    return cv2.resize(image, (int(width * factor + 1), int(height * factor + 1)), interpolation=cv2.INTER_AREA)
