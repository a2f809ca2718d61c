"""Where the parts of a face are in an aligned crop: its five landmarks, outlines around them, and masks.

The unit of lengths is the eye distance or the distance from eyes to mouth (scaled to the template's proportion),
whichever is larger. Turning the head shortens the first, nodding the second, so the unit hardly changes.
"""

from typing import NamedTuple

import cv2
import numpy as np

from datasets.crop_settings import DEFAULT_SCALE

# Left eye, right eye, nose tip, left and right mouth corner in a tight face of 112x112 px: the ArcFace template of a
# face 96 px wide, shifted by 8 px.
TEMPLATE_112 = np.array(
    [[30.2946, 51.6963], [65.5318, 51.5014], [48.0252, 71.7366], [33.5493, 92.3655], [62.7299, 92.2041]]
) + [8.0, 0.0]
REGIONS = ("eyes", "eyebrows", "nose", "lips", "mouth", "skin", "face")  # the mouth with the lips
_HOLES = {"skin": ("eyes", "eyebrows", "nose", "mouth")}  # what the outlines of a region do not show
_LEFT_EYE, _RIGHT_EYE, _NOSE, _LEFT_MOUTH, _RIGHT_MOUTH = range(5)
_CORNERS = np.linspace(0, 2 * np.pi, 64, endpoint=False)


def template(size: int = 317, scale: float = DEFAULT_SCALE) -> np.ndarray:
    """Where the five landmarks lie in a crop: [5, 2] float64 (x, y) in its pixels.

    size: Side of the crop, px. scale: Width of the crop / width of the tight face.
    """
    margin = size * (scale - 1) / 2
    return (TEMPLATE_112 * size / 112 + margin) * size / (size + 2 * margin)


class Face(NamedTuple):
    """The coordinate system of a face. Vectors are [2] (x, y) in pixels of the crop."""

    across: np.ndarray  # unit vector from the left eye to the right one
    down: np.ndarray  # unit vector from the eyes to the mouth, perpendicular to ``across``
    unit: float  # pixels
    breadth: float  # pixels; ``unit`` for a frontal face, down to half of it for a profile

    def ellipse(self, centre: np.ndarray, across: float, down: float) -> np.ndarray:
        """Corners [64, 2] of an ellipse with radii in pixels."""
        return centre + across * np.outer(np.cos(_CORNERS), self.across) + down * np.outer(np.sin(_CORNERS), self.down)


def face_of(points: np.ndarray) -> Face:
    """The coordinate system of a face. Raises ValueError if its landmarks show no direction or size.

    points: [5, 2] landmarks (order of TEMPLATE_112) in pixels of the crop.
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

    region: One of REGIONS, else KeyError. points: [5, 2] landmarks as for face_of. grow: Factor on all radii.
    """
    face = face_of(points)
    eyes, mouth = _eyes_and_mouth(points)
    u, b = face.unit * grow, face.breadth * grow
    # From the tip of the nose to the line of the mouth. The nose ends and the mouth begins halfway.
    gap = max(float((mouth - points[_NOSE]) @ face.down), 0.2 * face.unit) * grow
    if region == "eyes":  # lids and lashes, without the brows
        centres = (points[eye] + 0.01 * face.unit * face.down for eye in (_LEFT_EYE, _RIGHT_EYE))
        parts = [[face.ellipse(centre, 0.36 * b, 0.20 * u)] for centre in centres]
    elif region == "eyebrows":
        outwards = ((_LEFT_EYE, -0.06 * b), (_RIGHT_EYE, 0.06 * b))
        centres = (points[eye] - 0.34 * u * face.down + shift * face.across for eye, shift in outwards)
        parts = [[face.ellipse(centre, 0.46 * b, 0.13 * u)] for centre in centres]
    elif region == "nose":  # bridge, wings and tip; in a profile the wings lie between tip and midline
        tip = points[_NOSE]
        foot = eyes + (mouth - eyes) * float((tip - eyes) @ face.down) / max(float((mouth - eyes) @ face.down), 1e-3)
        low = min(0.24 * u, 0.5 * gap)
        parts = [[
            face.ellipse(eyes + 0.35 * (tip - eyes), 0.13 * b, 0.10 * u),
            face.ellipse((tip + foot) / 2, 0.32 * b, low),
            face.ellipse(tip, 0.14 * u, low),
        ]]  # fmt: skip
    elif region == "lips":
        width = float(np.linalg.norm(points[_RIGHT_MOUTH] - points[_LEFT_MOUTH])) * grow
        corners = (face.ellipse(points[corner], 0.08 * b, 0.08 * u) for corner in (_LEFT_MOUTH, _RIGHT_MOUTH))
        parts = [[*corners, face.ellipse(mouth + 0.04 * u * face.down, 0.36 * width, min(0.22 * u, 0.5 * gap))]]
    elif region == "mouth":  # in a smile the corners are higher than the middle of the lips
        top, bottom = min(0.24 * u, 0.5 * gap), 0.36 * u
        width = float(np.linalg.norm(points[_RIGHT_MOUTH] - points[_LEFT_MOUTH])) * grow
        parts = [[
            face.ellipse(points[_LEFT_MOUTH], 0.16 * b, 0.15 * u),
            face.ellipse(points[_RIGHT_MOUTH], 0.16 * b, 0.15 * u),
            face.ellipse(mouth + (bottom - top) / 2 * face.down, 0.48 * width, (bottom + top) / 2),
        ]]  # fmt: skip
    elif region in ("face", "skin"):  # from the forehead to the chin; of the skin, ``region_mask`` leaves holes
        parts = [[face.ellipse(eyes + 0.55 * (mouth - eyes), 1.02 * b, 1.30 * u)]]
    else:
        raise KeyError(region)
    return [cv2.convexHull(np.concatenate(ellipses).astype(np.float32))[:, 0] for ellipses in parts]


def region_mask(region: str, points: np.ndarray, size: int, grow: float = 1.0, feather: float = 0.0) -> np.ndarray:
    """The mask of a region: [size, size] float32, 1 inside, 0 outside, 0.5 on the outline. Otherwise as ``outlines``.

    feather: Standard deviation of the edge's blur in pixels; it ends 4 deviations outside. 0: a hard edge.
    """
    mask = np.zeros((size, size), np.float32)
    for part, value in ((region, 1), *((hole, 0) for hole in _HOLES.get(region, ()))):
        for corners in outlines(part, points, grow):
            cv2.fillConvexPoly(mask, np.rint(corners * 16).astype(np.int32), value, cv2.LINE_8, 4)  # 16ths of a pixel
    return cv2.GaussianBlur(mask, (0, 0), feather) if feather else mask
