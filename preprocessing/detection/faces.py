"""The faces of an image, as every detector gives them."""

from typing import NamedTuple

import numpy as np


class Faces(NamedTuple):
    """The n faces of one image, largest box first: float32, in pixels of that image."""

    boxes: np.ndarray  # [n, 4] x1, y1, x2, y2
    scores: np.ndarray  # [n] in 0..1
    landmarks: np.ndarray  # [n, 5, 2] (x, y) of left eye, right eye, nose tip, left and right mouth corner
