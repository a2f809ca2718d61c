"""The torch Dataset of resized images, and the loaders for training and scoring."""

import math
from collections.abc import Iterator, Sequence
from typing import TypeVar

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler, get_worker_info

from datasets.augmentation import augment
from datasets.image_sources import ImageFiles, ImageSource
from datasets.perturbations import Perturbation, perturbed
from datasets.records import Record, node_vector
from datasets.transforms import ImageError, resize, resize_for_training
from utils.cli import UserError
from utils.ranks import share
from utils.stopping import ignore_stop_signals, stop_signals_wait

T = TypeVar("T")


class Frames(Dataset):
    """Item (index, draw) -> (index, image uint8 [3, size, size] RGB or the reason why it is unreadable).

    ``draw`` seeds the augmentation of this item; None is none. An item depends neither on the number of workers nor on
    what was read before.

    Args:
        records: In the order of the indices.
        size: Side of the images.
        augment_probability: Of the training augmentation.
        perturbation: Of every image, before the resize; ``seed`` and the record seed its draws.
        images: Source of the records' images; None for their files.
    """

    def __init__(
        self,
        records: Sequence[Record],
        size: int,
        augment_probability: float = 0.0,
        perturbation: Perturbation | None = None,
        seed: int = 0,
        images: ImageSource | None = None,
    ) -> None:
        self.records = records
        self.size = size
        self.augment_probability = augment_probability
        self._images = perturbed(images or ImageFiles(records), records, perturbation, seed)

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, item: tuple[int, tuple[int, ...] | None]) -> tuple[int, np.ndarray | str]:
        index, draw = item
        try:
            image = self._images.read(index)
        except ImageError as error:
            return index, str(error)
        if draw is None:
            return index, resize(image, self.size).transpose(2, 0, 1)
        if self.augment_probability > 0:
            image = augment(image, self.augment_probability, np.random.default_rng(draw))
        return index, resize_for_training(image, self.size).transpose(2, 0, 1)

    @staticmethod
    def collate(items: list[tuple[int, np.ndarray | str]]) -> "Batch":
        """-> (images uint8 [B, 3, S, S], record indices int64 [B], [(index, reason)] of unreadable images)."""
        good, indices, bad = split_unreadable(items)
        return stacked(good) if good else torch.empty(0, 3, 0, 0, dtype=torch.uint8), indices, bad


def split_unreadable(items: list[tuple[int, T | str]]) -> tuple[list[T], torch.Tensor, list[tuple[int, str]]]:
    """A dataset's items (index, value or reason) -> (values, their indices int64 [n], [(index, reason)])."""
    good = [(index, value) for index, value in items if not isinstance(value, str)]
    bad = [(index, value) for index, value in items if isinstance(value, str)]
    return [value for _, value in good], torch.tensor([index for index, _ in good], dtype=torch.int64), bad


def stacked(images: Sequence[np.ndarray]) -> torch.Tensor:
    """Stack uint8 arrays of one shape; in a loader's process directly into memory shared with the main process."""
    shape = (len(images), *images[0].shape)
    if get_worker_info() is None:
        out = torch.empty(shape, dtype=torch.uint8)
    else:
        storage = torch.UntypedStorage._new_shared(math.prod(shape))
        out = torch.empty(0, dtype=torch.uint8).set_(storage).view(shape)
    np.stack(images, out=out.numpy())
    return out


Batch = tuple[torch.Tensor, torch.Tensor, list[tuple[int, str]]]


class EpochBatches(Sampler):
    """Batches of (index, draw) in one epoch's shuffled order; under torchrun this process's share of each batch.

    The order depends on the arguments alone. The last, smaller batch is skipped unless it is the only one.

    Args:
        n: Number of records.
        batch_size: Of all processes together.
        stream: Tells independent shuffles of one list apart: 0 training batches, 1 second batches.
        start: Number of the first batch.
    """

    def __init__(self, n: int, batch_size: int, seed: int, epoch: int, stream: int = 0, start: int = 0) -> None:
        self._n, self._batch_size = n, min(batch_size, n)
        self._key = (seed, epoch, stream)
        self._steps = list(range(start, batches_per_epoch(n, batch_size)))

    def keep_every(self, every: int, offset: int) -> None:
        """Keep the batches whose number in the run, ``offset`` + number in the epoch, is a multiple of ``every``.

        None if ``every`` is 0.
        """
        self._steps = [step for step in self._steps if every and (offset + step) % every == 0]

    def __len__(self) -> int:
        return len(self._steps)

    def __iter__(self) -> Iterator[list[tuple[int, tuple[int, ...]]]]:
        order = np.random.default_rng(self._key).permutation(self._n)
        own = share(self._batch_size)
        for step in self._steps:
            positions = range(step * self._batch_size, (step + 1) * self._batch_size)[own.start : own.stop]
            yield [(int(order[position]), (*self._key, position)) for position in positions]


def batches_per_epoch(n: int, batch_size: int) -> int:
    """Number of full batches in an epoch of n samples, at least 1."""
    return max(n // batch_size, 1)


class _InOrder(Sampler):
    """Batches of (index, None) for a range of indices, in order; the last one may be smaller."""

    def __init__(self, indices: range, batch_size: int) -> None:
        self._indices, self._batch_size = indices, batch_size

    def __len__(self) -> int:
        return -(-len(self._indices) // self._batch_size)

    def __iter__(self) -> Iterator[list[tuple[int, None]]]:
        for start in range(0, len(self._indices), self._batch_size):
            yield [(index, None) for index in self._indices[start : start + self._batch_size]]


def _quiet_worker(_worker: int) -> None:
    # Ctrl-C and SIGTERM reach the whole process group. The main process handles them and ends the workers.
    ignore_stop_signals()
    torch.set_num_threads(1)


class _Loader(DataLoader):
    """A DataLoader that raises UserError if one of its processes was killed."""

    def __iter__(self) -> Iterator[Batch]:
        try:
            # The processes that are started inherit the signal mask: they get no signal until they ignore them.
            with stop_signals_wait():
                batches = super().__iter__()
            yield from batches
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            what = "a process that reads images was killed, perhaps it ran out of memory"
            raise UserError(f"{what}; use fewer --num_workers") from error


def training_loader(frames: Dataset, batches: Sampler, num_workers: int, pin_memory: bool = False) -> DataLoader:
    """Loader of the given batches of Frames or RawFrames, collated by ``frames.collate``."""
    return _Loader(
        frames,
        batch_sampler=batches,
        num_workers=num_workers,
        collate_fn=frames.collate,
        worker_init_fn=_quiet_worker,
        pin_memory=pin_memory,
    )


def scoring_loader(
    frames: Frames, batch_size: int, num_workers: int, pin_memory: bool = False, indices: range | None = None
) -> DataLoader:
    """Loader of the records of ``indices`` (None for all), once, in order; a batch may hold several videos."""
    order = _InOrder(range(len(frames)) if indices is None else indices, batch_size)
    return training_loader(frames, order, num_workers, pin_memory)


def own_videos(records: Sequence[Record]) -> range:
    """This process's share of the records under torchrun. The frames of a video stay together."""
    part = share(len(records))
    return range(_start_of_video(records, part.start), _start_of_video(records, part.stop))


def _start_of_video(records: Sequence[Record], index: int) -> int:
    """``index``, or the next one at which another video begins."""
    while 0 < index < len(records) and records[index].video == records[index - 1].video:
        index += 1
    return index


def node_labels(records: Sequence[Record], indices: torch.Tensor) -> torch.Tensor:
    """Node vectors of the records at ``indices`` [B] -> float32 [B, nodes]."""
    return torch.from_numpy(np.stack([node_vector(records[i].code) for i in indices.tolist()]))
