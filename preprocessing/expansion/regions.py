"""Masks of face regions that follow the landmarks of an aligned crop, and ways to lay one face over another there.

Lengths are in units of the face: the larger of the eye distance and of the distance from eyes to mouth, scaled to the
usual proportion. Turning the head shortens the first, nodding the second, so the unit hardly changes.
"""

from typing import NamedTuple

import cv2
import numpy as np

from preprocessing.detection.align import TEMPLATE_112

REGIONS = ("eyes", "nose", "mouth")  # the mouth with the lips
BAND = 0.15  # units, width of the band around a region whose colours match_colours compares
_LEFT_EYE, _RIGHT_EYE, _NOSE, _LEFT_MOUTH, _RIGHT_MOUTH = range(5)
_CORNERS = np.linspace(0, 2 * np.pi, 64, endpoint=False)


class Face(NamedTuple):
    """The coordinate frame of the regions. Vectors are [2] (x, y) in pixels of the crop."""

    across: np.ndarray  # unit vector from the left eye to the right one
    down: np.ndarray  # unit vector from the eyes to the mouth, perpendicular to ``across``
    unit: float  # pixels
    breadth: float  # pixels; ``unit`` for a frontal face, down to half of it for a profile

    def ellipse(self, centre: np.ndarray, across: float, down: float) -> np.ndarray:
        """Corners [64, 2] of an ellipse with radii in pixels."""
        return centre + across * np.outer(np.cos(_CORNERS), self.across) + down * np.outer(np.sin(_CORNERS), self.down)


def face_of(points: np.ndarray) -> Face:
    """The coordinate frame of a face. Raises ValueError if its landmarks show no direction or size.

    points: [5, 2] landmarks (order of align.TEMPLATE_112) in pixels of the crop.
    """
    if not np.isfinite(points).all():
        raise ValueError(f"landmarks must be finite, got {points.tolist()}")
    eyes, mouth = _eyes_and_mouth(points)
    proportion = np.subtract(*_eyes_and_mouth(TEMPLATE_112)[::-1])[1] / np.ptp(TEMPLATE_112[:2, 0])
    along = mouth - eyes
    eye_distance = float(np.linalg.norm(points[_RIGHT_EYE] - points[_LEFT_EYE]))
    unit = max(eye_distance, float(np.linalg.norm(along)) / proportion)
    # Three estimates of one direction, weighted by their lengths, so the short eye line of a profile counts little.
    across = points[_RIGHT_EYE] - points[_LEFT_EYE] + points[_RIGHT_MOUTH] - points[_LEFT_MOUTH] + along[::-1] * [1, -1]
    length = np.linalg.norm(across)
    if length < 1e-3 or unit < 1e-3:
        raise ValueError(f"landmarks show no face: {points.tolist()}")
    across = across / length
    return Face(across, across[::-1] * [-1, 1], unit, (eye_distance + unit) / 2)


def _eyes_and_mouth(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The midpoints of the eyes and of the corners of the mouth, [2] each."""
    return points[:2].mean(axis=0), points[3:].mean(axis=0)


def outlines(region: str, points: np.ndarray, grow: float = 1.0) -> list[np.ndarray]:
    """The convex outlines whose union is a region: a list of [N, 2] float32 corners in pixels of the crop.

    Args:
        region: One of REGIONS. Raises KeyError for another one.
        points: [5, 2] landmarks in pixels of the crop. Raises ValueError as face_of does.
        grow: Factor on all radii.
    """
    face = face_of(points)
    eyes, mouth = _eyes_and_mouth(points)
    u, b = face.unit * grow, face.breadth * grow
    # From the tip of the nose to the line of the mouth. The nose ends and the mouth begins halfway.
    gap = max(float((mouth - points[_NOSE]) @ face.down), 0.2 * face.unit) * grow
    if region == "eyes":  # lids and lashes, without the brows
        centres = (points[eye] + 0.01 * face.unit * face.down for eye in (_LEFT_EYE, _RIGHT_EYE))
        parts = [[face.ellipse(centre, 0.36 * b, 0.20 * u)] for centre in centres]
    elif region == "nose":  # bridge, wings and tip; in a profile the wings lie between tip and midline
        tip = points[_NOSE]
        foot = eyes + (mouth - eyes) * float((tip - eyes) @ face.down) / max(float((mouth - eyes) @ face.down), 1e-3)
        low = min(0.24 * u, 0.5 * gap)
        parts = [[
            face.ellipse(eyes + 0.35 * (tip - eyes), 0.13 * b, 0.10 * u),
            face.ellipse((tip + foot) / 2, 0.32 * b, low),
            face.ellipse(tip, 0.14 * u, low),
        ]]  # fmt: skip
    elif region == "mouth":  # in a smile the corners are higher than the middle of the lips
        top, bottom = min(0.24 * u, 0.5 * gap), 0.36 * u
        width = float(np.linalg.norm(points[_RIGHT_MOUTH] - points[_LEFT_MOUTH])) * grow
        parts = [[
            face.ellipse(points[_LEFT_MOUTH], 0.16 * b, 0.15 * u),
            face.ellipse(points[_RIGHT_MOUTH], 0.16 * b, 0.15 * u),
            face.ellipse(mouth + (bottom - top) / 2 * face.down, 0.48 * width, (bottom + top) / 2),
        ]]  # fmt: skip
    else:
        raise KeyError(region)
    return [cv2.convexHull(np.concatenate(ellipses).astype(np.float32))[:, 0] for ellipses in parts]


def region_mask(region: str, points: np.ndarray, size: int, grow: float = 1.0, feather: float = 0.0) -> np.ndarray:
    """The mask of a region: [size, size] float32, 1 inside, 0 outside, 0.5 on the outline.

    Args:
        region, points, grow: See outlines, which names the errors too.
        size: Side of the crop in pixels.
        feather: Standard deviation of the edge's blur in pixels; it ends 4 deviations outside. 0: a hard edge.
    """
    mask = np.zeros((size, size), np.float32)
    for corners in outlines(region, points, grow):
        cv2.fillConvexPoly(mask, np.rint(corners * 16).astype(np.int32), 1, cv2.LINE_8, 4)  # sixteenths of a pixel
    return cv2.GaussianBlur(mask, (0, 0), feather) if feather else mask


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
        mask: [H, W], above 0.5 inside. Its rim of 3 px keeps the gradients of ``real``. Raises ValueError if there is
            nothing else.

    Returns:
        [H, W, 3] uint8, equal to ``real`` outside the mask.
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
    """Warp a crop as if it had been cut out of its frame with another crop's matrix. Returns [S, S, 3] uint8.

    crop: [S, S, 3] uint8, cut with the matrix ``own`` [2, 3] (align.similarity_matrix); its edge is repeated where the
    other crop reaches further. other: [2, 3], the matrix of a crop of a frame of the same size.
    """
    to_frame = np.linalg.inv(np.vstack([own, [0, 0, 1]]))
    matrix = other @ to_frame
    return cv2.warpAffine(crop, matrix, crop.shape[1::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def map_points(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Map points [N, 2] by a matrix [2, 3] (align.similarity_matrix). Returns [N, 2] float64."""
    return points @ matrix[:, :2].T + matrix[:, 2]
