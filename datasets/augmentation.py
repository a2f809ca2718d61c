"""The training augmentation: draw the perturbation of a crop, then apply it on the CPU.

``device_augmentation`` applies the same draws on the training device.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from datasets.transforms import gaussian_blur, gaussian_noise, grey_blocks, grey_places, jpeg, pixelate

QUALITIES = (75, 80, 90)  # of JPEG, if no others are asked for
# Kind -> parameter at each of its strengths. The order is part of the draws.
STRENGTHS: dict[str, tuple[float, ...]] = {
    "blocks": (16, 32),  # grey blocks for every whole 256 px of the shorter side
    "noise": (0.001, 0.002),  # variance on [0, 1]
    "blur": (7, 9),  # kernel in pixels
    "pixelation": (2, 3),  # factor of the downscaling
    "jpeg": QUALITIES,
}
KINDS = tuple(STRENGTHS)
_NO_PLACES = np.empty((0, 2), dtype=np.int64)


class Draw(NamedTuple):
    """The perturbation of a crop.

    strength: Index in STRENGTHS[kind]; of ``jpeg`` the quality. places: Of ``blocks``, see ``grey_places``.
    """

    kind: str
    strength: int
    places: np.ndarray = _NO_PLACES

    @property
    def parameter(self) -> float:
        return self.strength if self.kind == "jpeg" else STRENGTHS[self.kind][self.strength]


def draw_flip(flip: float, rng: np.random.Generator) -> bool:
    """Whether to mirror an image, with probability ``flip``. Draws nothing if that is 0; else it is the first draw."""
    return flip > 0 and rng.random() < flip


def draw_augmentation(
    height: int, width: int, probability: float, rng: np.random.Generator, qualities: Sequence[int] = QUALITIES
) -> Draw | None:
    """Draw a perturbation and one of its strengths, uniformly; None with probability 1 - ``probability``.

    Args:
        height, width: Of the crop.
        rng: Decides everything; only noise draws more from it later.
        qualities: Of JPEG, to draw from.
    """
    if rng.random() >= probability:
        return None
    kind = KINDS[rng.integers(len(KINDS))]
    strength = int(rng.integers(2))
    if kind == "jpeg":  # its strength is a second draw; the first one is made for every kind
        strength = qualities[int(rng.integers(len(qualities)))]
    draw = Draw(kind, strength)
    if kind == "blocks":
        n = min(height, width) // 256 * int(draw.parameter)
        draw = draw._replace(places=grey_places(height, width, n, rng))
    return draw


def apply_draw(image: np.ndarray, draw: Draw, rng: np.random.Generator) -> np.ndarray:
    """Perturb a copy of ``image``, uint8 [H, W, 3] RGB. rng: as ``draw_augmentation`` left it."""
    match draw.kind:
        case "blocks":
            return grey_blocks(image, draw.places)
        case "noise":
            return gaussian_noise(image, draw.parameter, rng)
        case "blur":
            return gaussian_blur(image, int(draw.parameter))
        case "pixelation":
            return pixelate(image, int(draw.parameter))
        case "jpeg":
            return jpeg(image, int(draw.parameter))
    raise ValueError(draw.kind)


def augment(
    image: np.ndarray,
    probability: float,
    rng: np.random.Generator,
    flip: float = 0.0,
    qualities: Sequence[int] = QUALITIES,
) -> np.ndarray:
    """Mirror with probability ``flip``, then draw a perturbation and apply it.

    image: the full crop before the resize, uint8 [H, W, 3] RGB, as is the result.
    """
    height, width, _ = image.shape
    if draw_flip(flip, rng):
        image = np.ascontiguousarray(image[:, ::-1])
    draw = draw_augmentation(height, width, probability, rng, qualities)
    return image if draw is None else apply_draw(image, draw, rng)
