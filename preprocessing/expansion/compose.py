"""Make one image of the expansion: lay a region of the fake crop over the real crop, save the result."""

from pathlib import Path

import cv2
import numpy as np

from datasets.face_regions import face_of, region_mask
from datasets.transforms import ImageError, read_image
from preprocessing.expansion import blending
from preprocessing.expansion.planning import Job
from preprocessing.extraction.crop_files import save_image


class CropError(Exception):
    """A crop that cannot be used. The message names the file."""


def read_crop(path: Path, size: int) -> np.ndarray:
    """Read a crop [size, size, 3] uint8 BGR. Raises CropError if it cannot be read or has another size."""
    try:
        crop = cv2.cvtColor(read_image(path), cv2.COLOR_RGB2BGR)
    except ImageError as error:
        raise CropError(f"{path}: {error}") from error
    if crop.shape != (size, size, 3):
        raise CropError(f"{path} has {crop.shape[1]}x{crop.shape[0]} px instead of {size}x{size}")
    return crop


def compose(job: Job) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Transplant one region: (real, fake, mask, result). Raises CropError if a crop cannot be used.

    The pictures are [S, S, 3] uint8 BGR in the alignment of the real crop; the mask is [S, S] float32 in 0..1.
    """
    pair, row = job.pair, job.row
    real, fake = (read_crop(path, pair.crops.size) for path in (pair.real, pair.fake))
    fake = blending.move_crop(fake, pair.fake_matrix, pair.real_matrix)
    grow, feather = float(row["grow"]), float(row["feather"])
    mask = region_mask(row["region"], pair.points, pair.crops.size, grow, feather)
    if not (mask > 0.5).any():
        raise CropError(f"the {row['region']} of {pair.real} lies outside the crop")
    donor = fake
    if row["color_transfer"] == "1":
        band = blending.band_around(mask, blending.BAND * face_of(pair.points).unit)
        donor = blending.match_colours(fake, real, band)
    blend = blending.poisson if row["blend"] == "poisson" else blending.transplant
    try:
        return real, fake, mask, blend(real, donor, mask)
    except ValueError as error:
        raise CropError(f"{pair.real}, {row['region']}: {error}") from error


def make_image(job: Job) -> str:
    """Make and save one image. Returns "", or why its crops cannot be used."""
    try:
        save_image(job.path, compose(job)[-1], job.pair.crops.quality)
    except CropError as error:
        return str(error)
    return ""
