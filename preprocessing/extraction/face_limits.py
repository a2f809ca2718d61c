"""Which faces are good enough to be cropped: least score, least size, shape of the landmarks."""

import numpy as np

from preprocessing.detection.align import misfit
from preprocessing.detection.faces import Faces

# Smallest score of a confident face. RetinaFace: the paper's. MTCNN's scores are higher: on benchmarks/footage.py true
# faces score at least 0.998, three quarters of the false ones less than 0.95.
MIN_CONFIDENCE = {"retinaface": 0.8, "mtcnn": 0.95}
MIN_FACE = 32  # px, shorter side of a face's box in the frame
MAX_MISFIT = 0.6  # of the landmarks (align.misfit); a face in full profile has about 0.4


def confident(faces: Faces, min_confidence: float) -> np.ndarray:
    """Indices of the faces whose score is high enough, largest first."""
    return np.flatnonzero(faces.scores >= min_confidence)


def judge(faces: Faces, face: int, protocol: str) -> str:
    """Decide whether a face is good enough for a crop: ok, too_small or bad_landmarks."""
    x1, y1, x2, y2 = faces.boxes[face]
    landmarks = faces.landmarks[face]
    if np.ptp(landmarks, axis=0).max() < 1:
        return "bad_landmarks"
    if protocol == "ours":
        if min(x2 - x1, y2 - y1) < MIN_FACE:
            return "too_small"
        if misfit(landmarks) > MAX_MISFIT:
            return "bad_landmarks"
    return "ok"
