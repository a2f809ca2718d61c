"""Reading, resizing and normalising of images, and the perturbations of training and robustness tests.

Images are uint8 [H, W, 3] RGB until ``normalise``.
"""

import functools
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from datasets.records import Record
from utils.images import DamagedImageError, read_rgb

if TYPE_CHECKING:  # torch is imported late: --help must not wait for it
    import torch

    from models.joint_embedding import JointEmbedding

# CLIP's normalisation, RGB on [0, 1].
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)

# RGB on [0, 1] -> YCbCr of studio swing (ITU-R BT.601): Y spans 16..235, Cb and Cr 16..240.
TO_YCBCR = np.array([[65.481, 128.553, 24.966], [-37.797, -74.203, 112.0], [112.0, -93.786, -18.214]], dtype=np.float32)
FROM_YCBCR = np.linalg.inv(TO_YCBCR).astype(np.float32)


def preprocessing(model: "JointEmbedding") -> dict[str, object]:
    """How a crop becomes the image tower's input, as plain types for checkpoints.

    Our code always gives the model CLIP-normalised images; a tower with other values converts them itself.
    """
    own = model.architecture.get("preprocess_cfg", {})
    return {"image_size": model.image_size, "resize": "PIL bicubic", "mean": MEAN, "std": STD} | own


class ImageError(Exception):
    """An image cannot be read. The message has no path: `missing_file`, or `unreadable_image: ` and the reason."""


def read_image(path: str | Path) -> np.ndarray:
    """Image file -> uint8 [H, W, 3] RGB. Raises ImageError for a missing, truncated, oversized or other file."""
    try:
        return read_rgb(path)
    except FileNotFoundError as error:
        raise ImageError("missing_file") from error
    except UnidentifiedImageError as error:
        raise ImageError("unreadable_image: no PNG, JPEG, BMP, WEBP or TIFF image") from error
    except DamagedImageError as error:
        raise ImageError(f"unreadable_image: {error}") from error


class ImageSource(Protocol):
    """Anything that reads images by record number."""

    def read(self, index: int) -> np.ndarray:
        """The image uint8 [H, W, 3] RGB, perhaps read-only. Raises ImageError as ``read_image`` does."""


class ImageFiles:
    """The records' own files."""

    def __init__(self, records: Sequence[Record]) -> None:
        self._records = records

    def read(self, index: int) -> np.ndarray:
        return read_image(self._records[index].path)


def resize(image: np.ndarray, size: int) -> np.ndarray:
    """uint8 [H, W, 3] RGB -> uint8 [size, size, 3] by PIL's antialiased bicubic; the image need not be square.

    PyTorch's resize of float images differs by 0.3 grey levels on average, which moves P(fake) by up to 9e-3.
    """
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC))


def resize_for_training(image: np.ndarray, size: int) -> np.ndarray:
    """As ``resize``, by PyTorch's kernel for bytes, in an eighth of PIL's time.

    Its coefficients have fewer bits than PIL's: about 0.5% of the values differ, by one grey level.
    """
    import torch
    from torch.nn import functional

    pixels = torch.from_numpy(image.copy()).permute(2, 0, 1).unsqueeze(0)  # a cache's crop is not writable
    resized = functional.interpolate(pixels, (size, size), mode="bicubic", antialias=True)
    return resized[0].permute(1, 2, 0).numpy()


def normalise(images: "torch.Tensor") -> "torch.Tensor":
    """uint8 [B, 3, S, S] RGB -> float32 [B, 3, S, S], CLIP-normalised."""
    mean, std = _mean_and_std(images.device)
    return (images.float() / 255 - mean) / std


@functools.lru_cache(maxsize=32)
def _mean_and_std(device: "torch.device") -> tuple["torch.Tensor", "torch.Tensor"]:
    import torch

    with torch.inference_mode(False):  # cached for training too
        return tuple(torch.tensor(values, device=device).view(3, 1, 1) for values in (MEAN, STD))


def grey_places(height: int, width: int, n: int, rng: np.random.Generator) -> np.ndarray:
    """Draw the corners (y, x) of ``n`` blocks of 8 x 8 pixels -> int64 [n, 2], uniform; blocks may overlap."""
    return rng.integers([max(height - 8, 0) + 1, max(width - 8, 0) + 1], size=(n, 2))


def grey_blocks(image: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Paint blocks of 8 x 8 pixels of grey 128. places: see ``grey_places``."""
    out = image.copy()
    for y, x in places.tolist():
        out[y : y + 8, x : x + 8] = 128
    return out


def gaussian_noise(image: np.ndarray, variance: float, rng: np.random.Generator) -> np.ndarray:
    """Add white noise of ``variance`` (values on [0, 1]) to each channel of 8-bit studio-swing YCbCr."""
    rgb = np.divide(image, np.float32(255), dtype=np.float32) @ TO_YCBCR.T
    noise = rng.standard_normal(image.shape, dtype=np.float32)
    noise *= np.float32(255 * variance**0.5)
    noise += rgb
    np.matmul(noise, FROM_YCBCR.T, out=rgb)
    rgb *= 255
    return np.clip(np.rint(rgb, out=rgb), 0, 255, out=rgb).astype(np.uint8)


def gaussian_blur(image: np.ndarray, kernel: int) -> np.ndarray:
    """Gaussian of ``kernel`` x ``kernel`` pixels (odd), sigma kernel / 6."""
    return cv2.GaussianBlur(image, (kernel, kernel), kernel / 6)


def pixelate(image: np.ndarray, factor: int) -> np.ndarray:
    """Bilinear down by ``factor`` and up again."""
    height, width = image.shape[:2]
    small = cv2.resize(image, (max(width // factor, 1), max(height // factor, 1)), interpolation=cv2.INTER_LINEAR)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)


def jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    """Encode as JPEG of ``quality`` (1 to 100), with Pillow's 4:2:0 subsampling, and decode."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer, formats=["JPEG"]))
