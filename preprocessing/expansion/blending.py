"""Ways to blend two faces inside a mask, and to bring them into one alignment and colour."""

import cv2
import numpy as np

BAND = 0.15  # units of the face, width of the band around a region in which colours are compared


def transplant(real: np.ndarray, fake: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Blend ``fake`` over ``real`` with the weights ``mask``. Returns [H, W, 3] uint8.

    real, fake: [H, W, 3] uint8 in the same alignment and colour order. mask: [H, W] float32 in 0..1.
    """
    weight = mask[..., None]
    return np.rint(real * (1 - weight) + fake * weight).astype(np.uint8)


def poisson(real: np.ndarray, fake: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Copy the gradients of ``fake`` into ``real`` inside the mask (cv2.seamlessClone).

    Args:
        real, fake: [H, W, 3] uint8 in the same alignment and colour order.
        mask: [H, W], above 0.5 inside. Its rim of 3 px keeps the gradients of ``real``.

    Returns:
        [H, W, 3] uint8, equal to ``real`` outside the mask.

    Raises:
        ValueError: The mask is nothing but rim.
    """
    # seamlessClone needs a margin around the mask, puts the middle of the mask's box (rounded down) at the given point,
    # and changes real slightly in the whole box.
    margin = 4
    wide_fake, wide_real = (
        cv2.copyMakeBorder(image, margin, margin, margin, margin, cv2.BORDER_REPLICATE) for image in (fake, real)
    )
    inside = mask > 0.5
    hard = np.pad(inside.astype(np.uint8) * 255, margin)
    if not cv2.erode(hard, np.ones((7, 7), np.uint8)).any():
        raise ValueError("the mask is too small for Poisson blending")
    x, y, width, height = cv2.boundingRect(hard)
    cloned = cv2.seamlessClone(wide_fake, wide_real, hard, (x + width // 2, y + height // 2), cv2.NORMAL_CLONE)
    return np.where(inside[..., None], cloned[margin:-margin, margin:-margin], real)


def band_around(mask: np.ndarray, width: float) -> np.ndarray:
    """The band of ``width`` pixels around a mask [H, W], above 0.5 inside. Returns [H, W] bool."""
    inside = (mask > 0.5).astype(np.uint8)
    side = 2 * max(1, round(width)) + 1
    return cv2.dilate(inside, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))) > inside


def match_colours(fake: np.ndarray, real: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Match the colours of ``fake`` to ``real``: mean and deviation of each CIELAB channel, measured over ``where``.

    real, fake: [H, W, 3] uint8 BGR. where: [H, W] bool; if it is empty, ``fake`` is returned. The deviation is at most
    doubled or halved. Returns [H, W, 3] uint8 BGR.
    """
    if not where.any():
        return fake
    labs = [cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_BGR2LAB) for image in (fake, real)]
    (mean, spread), (mean_to, spread_to) = ((lab[where].mean(axis=0), lab[where].std(axis=0)) for lab in labs)
    gain = np.clip(spread_to / np.maximum(spread, 1e-3), 0.5, 2)
    matched = cv2.cvtColor((labs[0] - mean) * gain + mean_to, cv2.COLOR_LAB2BGR)
    return np.rint(np.clip(matched, 0, 1) * 255).astype(np.uint8)


def move_crop(crop: np.ndarray, own: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Warp a crop as if it had been cut out of its frame with another crop's matrix; its edge is repeated outside.

    crop: [S, S, 3] uint8. own, other: [2, 3], its matrix and the other crop's (align.similarity_matrix).
    """
    to_frame = np.linalg.inv(np.vstack([own, [0, 0, 1]]))
    matrix = other @ to_frame
    return cv2.warpAffine(crop, matrix, crop.shape[1::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def map_points(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Map points [N, 2] by a matrix [2, 3] (align.similarity_matrix). Returns [N, 2] float64."""
    return points @ matrix[:, :2].T + matrix[:, 2]
