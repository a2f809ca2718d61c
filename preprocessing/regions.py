"""Face regions of an aligned crop as soft masks. The crop is aligned, so the regions have fixed places in it."""

import cv2
import numpy as np

from preprocessing.align import template

# Ellipses of each region: landmarks whose mean is the centre, shift of the centre, radii; in eye distances.
REGIONS = {
    "eyes": (((0,), (0.0, -0.02), (0.40, 0.24)), ((1,), (0.0, -0.02), (0.40, 0.24))),
    "nose": (((0, 1, 2, 2), (0.0, 0.12), (0.30, 0.42)),),
    "mouth": (((3, 4), (0.0, 0.02), (0.60, 0.33)),),  # with the lips
}
FEATHER = 0.08  # eye distances, standard deviation of the blur of a mask's edge


def region_mask(region: str, size: int = 317, scale: float = 1.3, grow: float = 1.0) -> np.ndarray:
    """The mask of a region in a crop.

    region: a key of REGIONS. size, scale: of the crop, as in align.align_face. grow: factor on the radii. Returns
    [size, size] float32, 1 inside, 0 outside, with a feathered edge. Raises KeyError for an unknown region.
    """
    points = template(size, scale)
    unit = points[1, 0] - points[0, 0]
    y, x = np.mgrid[0:size, 0:size]
    mask = np.zeros((size, size), np.float32)
    for landmarks, shift, radii in REGIONS[region]:
        centre = points[list(landmarks)].mean(axis=0) + np.array(shift) * unit
        radius = np.array(radii) * unit * grow
        mask[((x - centre[0]) / radius[0]) ** 2 + ((y - centre[1]) / radius[1]) ** 2 < 1] = 1
    return cv2.GaussianBlur(mask, (0, 0), FEATHER * unit)


def transplant(real: np.ndarray, fake: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Blend ``fake`` over ``real`` where ``mask`` is 1.

    real, fake: [H, W, 3] uint8 of the same alignment and colour order; mask: [H, W] float32 in 0..1. Returns
    [H, W, 3] uint8.
    """
    weight = mask[..., None]
    return np.rint(real * (1 - weight) + fake * weight).astype(np.uint8)


def move_crop(crop: np.ndarray, own: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Warp a crop as if it had been cut out of its frame with another crop's matrix.

    crop: [S, S, 3] uint8, cut with the matrix ``own`` [2, 3]; other: [2, 3], the matrix of a crop of the same frame
    geometry (align.similarity_matrix). Returns [S, S, 3] uint8; what the crop does not hold repeats its edge.
    """
    to_frame = np.linalg.inv(np.vstack([own, [0, 0, 1]]))
    matrix = other @ to_frame
    return cv2.warpAffine(crop, matrix, crop.shape[1::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
