"""Cut an aligned square face crop out of a frame by five landmarks, as in the paper."""

import cv2
import numpy as np

from datasets.face_regions import template


def similarity_matrix(landmarks: np.ndarray, size: int = 317, scale: float = 1.3) -> np.ndarray:
    """The least-squares similarity (rotation, scale and shift, no mirroring) from a frame to its crop.

    With points as complex numbers a similarity is target = factor * source + shift. Least squares gives
    factor = sum(conj(s) t) / sum(|s|^2), where s and t are source and target minus their means.

    Args:
        landmarks: [5, 2] (x, y) in pixels of the frame, in the order of face_regions.TEMPLATE_112.
        size, scale: Of the crop, as for ``template``.

    Returns:
        [2, 3] float64 with crop = matrix @ (x, y, 1).

    Raises:
        ValueError: The landmarks have another shape, are not finite, or all coincide.
    """
    landmarks = np.asarray(landmarks, dtype=np.float64)
    if landmarks.shape != (5, 2) or not np.isfinite(landmarks).all():
        raise ValueError(f"landmarks must be five finite (x, y) points, got {landmarks.tolist()}")
    source, target = landmarks @ [1, 1j], template(size, scale) @ [1, 1j]
    centred = source - source.mean()
    spread = np.vdot(centred, centred).real
    if spread < 1e-6:
        raise ValueError("the five landmarks coincide, so they give no scale or rotation")
    factor = np.vdot(centred, target - target.mean()) / spread
    shift = target.mean() - factor * source.mean()
    return np.array([[factor.real, -factor.imag, shift.real], [factor.imag, factor.real, shift.imag]])


def misfit(landmarks: np.ndarray) -> float:
    """How little five landmarks look like a face: the share of the template's variance that similarity_matrix leaves.

    0 (the template's shape) to 1; about 0.4 for a full profile, where the eyes coincide, 0.95 for a mirrored face.
    Raises ValueError as similarity_matrix.
    """
    matrix, target = similarity_matrix(landmarks, 112, 1.0), template(112, 1.0)
    left = landmarks @ matrix[:, :2].T + matrix[:, 2] - target
    return float(np.square(left).sum() / np.square(target - target.mean(axis=0)).sum())


def align_face(image: np.ndarray, landmarks: np.ndarray, size: int = 317, scale: float = 1.3) -> np.ndarray:
    """Warp a face into its crop [size, size, 3] uint8, bilinear, black outside the frame.

    image: [H, W, 3] uint8 in any colour order. Otherwise as similarity_matrix, also the errors.
    """
    matrix = similarity_matrix(landmarks, size, scale)
    return cv2.warpAffine(image, matrix, (size, size), flags=cv2.INTER_LINEAR, borderValue=0)
