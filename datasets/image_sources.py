"""Where the images of records come from: anything with ``read(index)``. Files are one source; see also
``crop_cache.CachedCrops`` and ``perturbations.CompressedVideos``."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from datasets.records import Record
from datasets.transforms import read_image


class ImageSource(Protocol):
    """Gives the image of the record number ``index``, HWC RGB uint8, perhaps not writable; ImageError as by
    ``read_image``."""

    def read(self, index: int) -> np.ndarray: ...


class ImageFiles:
    """The records' own files."""

    def __init__(self, records: Sequence[Record]) -> None:
        self._records = records

    def read(self, index: int) -> np.ndarray:
        """See ImageSource."""
        return read_image(self._records[index].path)
