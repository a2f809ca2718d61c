"""The training augmentation: draw the perturbation of a crop, then apply it on the CPU.

``device_augmentation`` applies the same draws on the training device.
"""

from typing import NamedTuple

import numpy as np

from datasets.transforms import gaussian_blur, gaussian_noise, grey_blocks, grey_places, jpeg, pixelate

# Kind -> parameter at each of its strengths. The order is part of the draws.
STRENGTHS: dict[str, tuple[float, ...]] = {
    "blocks": (16, 32),  # grey blocks for every whole 256 px of the shorter side
    "noise": (0.001, 0.002),  # variance on [0, 1]
    "blur": (7, 9),  # kernel in pixels
    "pixelation": (2, 3),  # factor of the downscaling
    "jpeg": (75, 80, 90),  # quality
}
KINDS = tuple(STRENGTHS)
_NO_PLACES = np.empty((0, 2), dtype=np.int64)


class Draw(NamedTuple):
    """The perturbation of a crop. strength: index in STRENGTHS[kind]. places: of ``blocks``, see ``grey_places``."""

    kind: str
    strength: int
    places: np.ndarray = _NO_PLACES

    @property
    def parameter(self) -> float:
        return STRENGTHS[self.kind][self.strength]


def draw_augmentation(height: int, width: int, probability: float, rng: np.random.Generator) -> Draw | None:
    """Draw a perturbation and one of its strengths, uniformly; None with probability 1 - ``probability``.

    height, width: Of the crop. rng: Decides everything; only noise draws more from it later.
    """
    if rng.random() >= probability:
        return None
    kind = KINDS[rng.integers(len(KINDS))]
    strength = int(rng.integers(2))
    if kind == "jpeg":  # its strength is a second draw; the first one is made for every kind
        strength = int(rng.integers(len(STRENGTHS[kind])))
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


def augment(image: np.ndarray, probability: float, rng: np.random.Generator) -> np.ndarray:
    """Draw and apply. image: the full crop before the resize, uint8 [H, W, 3] RGB, as is the result."""
    height, width, _ = image.shape
    draw = draw_augmentation(height, width, probability, rng)
    return image if draw is None else apply_draw(image, draw, rng)
