"""Sources of the images of records. Others: ``crop_cache.CachedCrops`` and two in ``perturbations``."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from datasets.records import Record
from datasets.transforms import read_image


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
