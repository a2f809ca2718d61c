"""Cut an aligned square face crop out of a frame from five landmarks (method of the paper's face crops)."""

import cv2
import numpy as np

# Left eye, right eye, nose tip, left mouth corner, right mouth corner in a 112x112 face of scale 1 (the ArcFace
# template; x is 8 short there because it was measured on a 96 wide face).
TEMPLATE_112 = np.array(
    [[30.2946, 51.6963], [65.5318, 51.5014], [48.0252, 71.7366], [33.5493, 92.3655], [62.7299, 92.2041]]
) + [8.0, 0.0]


def template(size: int = 317, scale: float = 1.3) -> np.ndarray:
    """Where the five landmarks lie in a crop.

    size: side of the crop in pixels. scale: how much wider than the tight face the crop looks (1.3 = 30% more).
    Returns [5, 2] float64, (x, y) in pixels of the crop.
    """
    margin = size * (scale - 1) / 2
    return (TEMPLATE_112 * size / 112 + margin) * size / (size + 2 * margin)


def _fit(landmarks: np.ndarray, size: int, scale: float) -> tuple[complex, np.ndarray, np.ndarray, float]:
    """The least-squares factor, both point sets as complex numbers, and the sum of squares of the centred source."""
    landmarks = np.asarray(landmarks, dtype=np.float64)
    if landmarks.shape != (5, 2) or not np.isfinite(landmarks).all():
        raise ValueError(f"landmarks must be five finite (x, y) points, got {landmarks.tolist()}")
    source, target = landmarks @ [1, 1j], template(size, scale) @ [1, 1j]
    centred = source - source.mean()
    spread = np.vdot(centred, centred).real
    if spread < 1e-6:
        raise ValueError("the five landmarks coincide, so they give no scale or rotation")
    return np.vdot(centred, target - target.mean()) / spread, source, target, spread


def similarity_matrix(landmarks: np.ndarray, size: int = 317, scale: float = 1.3) -> np.ndarray:
    """The least-squares similarity (rotation, one scale, shift; no mirroring) from a frame to its crop.

    landmarks: [5, 2] (x, y) in pixels of the frame, in the order of TEMPLATE_112; fractions are kept.
    Returns [2, 3] float64 with crop = matrix @ (x, y, 1). Raises ValueError for another shape, for values that are
    not finite and for landmarks that all coincide. Formula: with points as complex numbers the similarity is
    target = factor * source + shift, and least squares gives factor = sum(conj(s) t) / sum(|s|^2) about the means.
    """
    factor, source, target, _ = _fit(landmarks, size, scale)
    shift = target.mean() - factor * source.mean()
    return np.array([[factor.real, -factor.imag, shift.real], [factor.imag, factor.real, shift.imag]])


def misfit(landmarks: np.ndarray) -> float:
    """How little five landmarks look like a face: the share of the template's variance left by similarity_matrix.

    landmarks and errors: as similarity_matrix. Returns 0 (the template's shape) to 1 (nothing alike): about 0.4 for a
    face in full profile, whose eyes coincide, 0.95 for a mirrored one.
    """
    factor, _, target, spread = _fit(landmarks, 112, 1.0)
    return 1 - abs(factor) ** 2 * spread / np.square(np.abs(target - target.mean())).sum()


def align_face(image: np.ndarray, landmarks: np.ndarray, size: int = 317, scale: float = 1.3) -> np.ndarray:
    """Warp a face into its crop: bilinear, black where the frame ends.

    image: [H, W, 3] uint8, any colour order. landmarks, size, scale and errors: see similarity_matrix.
    Returns [size, size, 3] uint8 in the colour order of ``image``.
    """
    matrix = similarity_matrix(landmarks, size, scale)
    return cv2.warpAffine(image, matrix, (size, size), flags=cv2.INTER_LINEAR, borderValue=0)
