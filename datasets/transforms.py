"""Image reading, resizing and the training augmentation. Images are HWC RGB uint8 until ``normalise``."""

import functools
import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from utils.images import DamagedImageError, read_rgb

if TYPE_CHECKING:
    import torch

# CLIP's normalisation, RGB on [0, 1].
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)

# RGB on [0, 1] -> YCbCr of studio swing (ITU-R BT.601): Y spans 16..235, Cb and Cr 16..240.
_TO_YCBCR = np.array(
    [[65.481, 128.553, 24.966], [-37.797, -74.203, 112.0], [112.0, -93.786, -18.214]], dtype=np.float32
)
_FROM_YCBCR = np.linalg.inv(_TO_YCBCR).astype(np.float32)


class ImageError(Exception):
    """An image that cannot be read. The message is the reason, without the path: a code (missing_file,
    unreadable_image), and after a colon what is wrong."""


def read_image(path: str | Path) -> np.ndarray:
    """Image file -> HWC RGB uint8. Raises ImageError for a missing, truncated, oversized or foreign file."""
    try:
        return read_rgb(path)
    except FileNotFoundError as error:
        raise ImageError("missing_file") from error
    except UnidentifiedImageError as error:
        raise ImageError("unreadable_image: no PNG, JPEG, BMP, WEBP or TIFF image") from error
    except DamagedImageError as error:
        raise ImageError(f"unreadable_image: {error}") from error


def resize(image: np.ndarray, size: int) -> np.ndarray:
    """HWC RGB uint8 -> [size, size, 3] uint8 by PIL's antialiased bicubic, also for images that are not square.

    Torch's own antialiased resize differs by 0.3 grey levels on average, which moves P(fake) by up to 9e-3.
    """
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC))


def normalise(images: "torch.Tensor") -> "torch.Tensor":
    """uint8 [B, 3, S, S] RGB -> float32 [B, 3, S, S], CLIP-normalised."""
    mean, std = _mean_and_std(images.device)
    return (images.float() / 255 - mean) / std


@functools.lru_cache(maxsize=32)
def _mean_and_std(device: "torch.device") -> tuple["torch.Tensor", "torch.Tensor"]:
    import torch  # which all else here, and command lines that name perturbations, do without

    with torch.inference_mode(False):  # kept for training too, whoever asks first
        return tuple(torch.tensor(values, device=device).view(3, 1, 1) for values in (MEAN, STD))


def augment(image: np.ndarray, probability: float, rng: np.random.Generator) -> np.ndarray:
    """With ``probability`` apply exactly one, uniformly drawn, of the five perturbations at one of its two strengths.

    image: the full crop, HWC RGB uint8, before the resize. Returns the same shape and dtype.
    """
    if rng.random() >= probability:
        return image
    perturbation = _PERTURBATIONS[rng.integers(len(_PERTURBATIONS))]
    return perturbation(image, int(rng.integers(2)), rng)


def grey_blocks(image: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """``n`` blocks of 8 x 8 pixels of grey 128 at uniformly drawn places, which may overlap."""
    height, width = image.shape[:2]
    out = image.copy()
    for _ in range(n):
        y, x = rng.integers(max(height - 8, 0) + 1), rng.integers(max(width - 8, 0) + 1)
        out[y : y + 8, x : x + 8] = 128
    return out


def gaussian_noise(image: np.ndarray, variance: float, rng: np.random.Generator) -> np.ndarray:
    """White noise of ``variance`` on [0, 1], added to each channel of 8-bit studio-swing YCbCr."""
    ycbcr = (image.astype(np.float32) / 255) @ _TO_YCBCR.T
    noise = rng.standard_normal(image.shape, dtype=np.float32) * np.float32(255 * variance**0.5)
    rgb = (ycbcr + noise) @ _FROM_YCBCR.T
    return np.clip(np.rint(rgb * 255), 0, 255).astype(np.uint8)


def gaussian_blur(image: np.ndarray, kernel: int) -> np.ndarray:
    """Gaussian of ``kernel`` x ``kernel`` pixels (odd), sigma kernel / 6."""
    return cv2.GaussianBlur(image, (kernel, kernel), kernel / 6)


def pixelate(image: np.ndarray, factor: int) -> np.ndarray:
    """Bilinear down by ``factor`` and up again."""
    height, width = image.shape[:2]
    small = cv2.resize(image, (max(width // factor, 1), max(height // factor, 1)), interpolation=cv2.INTER_LINEAR)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)


def _blocks(image: np.ndarray, level: int, rng: np.random.Generator) -> np.ndarray:
    return grey_blocks(image, min(image.shape[:2]) // 256 * (16, 32)[level], rng)


def _gaussian_noise(image: np.ndarray, level: int, rng: np.random.Generator) -> np.ndarray:
    return gaussian_noise(image, (0.001, 0.002)[level], rng)


def _gaussian_blur(image: np.ndarray, level: int, _rng: np.random.Generator) -> np.ndarray:
    return gaussian_blur(image, (7, 9)[level])


def _pixelate(image: np.ndarray, level: int, _rng: np.random.Generator) -> np.ndarray:
    return pixelate(image, (2, 3)[level])


def _jpeg(image: np.ndarray, _level: int, rng: np.random.Generator) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=int(rng.choice((75, 80, 90))))
    return np.asarray(Image.open(buffer))


_PERTURBATIONS: tuple[Callable[[np.ndarray, int, np.random.Generator], np.ndarray], ...] = (
    _blocks,
    _gaussian_noise,
    _gaussian_blur,
    _pixelate,
    _jpeg,
)
