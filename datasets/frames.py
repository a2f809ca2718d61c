"""The torch Dataset of resized images, and the loaders for training and scoring."""

import bisect
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import numpy as np
import torch
from torch.utils.data import BatchSampler, DataLoader, Dataset, Sampler, get_worker_info

from datasets.augmentation import QUALITIES, augment
from datasets.perturbations import Perturbation, perturbed
from datasets.records import Record, node_vector
from datasets.self_blending import SelfBlending, apply_blend
from datasets.transforms import ImageError, ImageFiles, ImageSource, resize, resize_for_training
from utils.cli import UserError
from utils.ranks import share
from utils.stopping import ignore_stop_signals, stop_signals_wait

T = TypeVar("T")


class Frames(Dataset):
    """Item (index, draw) -> (index, image uint8 [3, size, size] RGB or the reason why it is unreadable).

    ``draw`` is the seed of the item's training augmentation and of its blend; None for neither. An item depends neither
    on the number of workers nor on what was read before.

    Args:
        augment_probability: Of the training augmentation.
        perturbation: Of every image, before the resize. ``seed`` and the record seed its draws.
        images: Source of the images; None for the records' files.
        flip, qualities: Of the training augmentation, see ``augment``.
        blending: Makes some of the images pseudo-fakes, before the augmentation.
    """

    def __init__(
        self,
        records: Sequence[Record],
        size: int,
        augment_probability: float = 0.0,
        perturbation: Perturbation | None = None,
        seed: int = 0,
        images: ImageSource | None = None,
        flip: float = 0.0,
        qualities: Sequence[int] = QUALITIES,
        blending: SelfBlending | None = None,
    ) -> None:
        self.records = records
        self.size = size
        self._blending = blending
        self.augment_probability = augment_probability
        self.flip, self.qualities = flip, qualities
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
        if self._blending and (blend := self._blending.drawn(index, draw)):
            image = apply_blend(image, blend)
        if self.augment_probability > 0 or self.flip > 0:
            rng = np.random.default_rng(draw)
            image = augment(image, self.augment_probability, rng, self.flip, self.qualities)
        return index, resize_for_training(image, self.size).transpose(2, 0, 1)

    @staticmethod
    def collate(items: list[tuple[int, np.ndarray | str]]) -> "Batch":
        """-> (images uint8 [B, 3, S, S], record indices int64 [B], [(index, reason)] of unreadable images)."""
        good, indices, bad = split_unreadable(items)
        return stacked(good) if good else torch.empty(0, 3, 0, 0, dtype=torch.uint8), indices, bad


def split_unreadable(items: list[tuple[int, T | str]]) -> tuple[list[T], torch.Tensor, list[tuple[int, str]]]:
    """Items (index, value or reason) -> (values, their indices int64 [n], [(index, reason)])."""
    good = [(index, value) for index, value in items if not isinstance(value, str)]
    bad = [(index, value) for index, value in items if isinstance(value, str)]
    return [value for _, value in good], torch.tensor([index for index, _ in good], dtype=torch.int64), bad


def stacked(images: Sequence[np.ndarray]) -> torch.Tensor:
    """Stack uint8 arrays of one shape. In a loader's process, write into memory shared with the main process."""
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
        n: Number of images in an epoch.
        batch_size: Of all processes together.
        stream: Independent shuffles of one list: 0 for the training batches, 1 for the second batches.
        start: Number of the first batch.
        every: Keep one batch in this many, counted over the run; 0 keeps none.
        order: Draws the record indices of an epoch, int64 [n] (default: a permutation).
    """

    def __init__(
        self,
        n: int,
        batch_size: int,
        seed: int,
        epoch: int,
        stream: int = 0,
        start: int = 0,
        every: int = 1,
        order: Callable[[np.random.Generator], np.ndarray] | None = None,
    ) -> None:
        self._batch_size = min(batch_size, n)
        self._order = order or (lambda rng: rng.permutation(n))
        self._key = (seed, epoch, stream)
        steps = batches_per_epoch(n, batch_size)
        self._steps = [step for step in range(start, steps) if every and (epoch * steps + step) % every == 0]

    def __len__(self) -> int:
        return len(self._steps)

    def __iter__(self) -> Iterator[list[tuple[int, tuple[int, ...]]]]:
        order = self._order(np.random.default_rng(self._key))
        own = share(self._batch_size)
        for step in self._steps:
            positions = range(step * self._batch_size, (step + 1) * self._batch_size)[own.start : own.stop]
            yield [(int(order[position]), (*self._key, position)) for position in positions]


def batches_per_epoch(n: int, batch_size: int) -> int:
    """Number of full batches in an epoch of n samples, at least 1."""
    return max(n // batch_size, 1)


def _quiet_worker(_worker: int) -> None:
    # Ctrl-C and SIGTERM reach all processes. The main process handles them and ends the workers.
    ignore_stop_signals()
    torch.set_num_threads(1)


class _Loader(DataLoader):
    """A DataLoader that raises UserError if one of its processes was killed."""

    def __iter__(self) -> Iterator[Batch]:
        try:
            # New processes inherit the signal mask: no signal reaches them before they ignore signals.
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
    """Loader of the records of ``indices`` (None for all), in order; a batch may hold several videos."""
    items = [(index, None) for index in (range(len(frames)) if indices is None else indices)]
    return training_loader(frames, BatchSampler(items, batch_size, drop_last=False), num_workers, pin_memory)


def own_videos(records: Sequence[Record]) -> range:
    """This process's share of the records under torchrun. The frames of a video stay together."""
    starts = [i for i, record in enumerate(records) if i == 0 or record.video != records[i - 1].video]
    starts.append(len(records))
    part = share(len(records))
    first, end = (starts[bisect.bisect_left(starts, index)] for index in (part.start, part.stop))
    return range(first, end)


def node_labels(codes: Iterable[str]) -> torch.Tensor:
    """Node vectors of the records' codes -> float32 [B, nodes]."""
    return torch.from_numpy(np.stack([node_vector(code) for code in codes]))
