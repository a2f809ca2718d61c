"""The torch Dataset of --augment_on device: batches of full crops, and the perturbation that each is to get."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset

from datasets.augmentation import KINDS, Draw, draw_augmentation
from datasets.crop_cache import CachedCrops, MappedCrop
from datasets.frames import split_unreadable, stacked
from datasets.image_sources import ImageFiles, ImageSource
from datasets.records import Record
from datasets.transforms import ImageError

_PAGE = 4096  # bytes, the least that is read from a disk


@dataclass(frozen=True)
class MappedCrops:
    """Crops of one size in a crop cache, in place of a tensor uint8 [n, H, W, 3].

    The process that needs them stacks them: all processes share the memory of the mapped file already.
    """

    crops: list[MappedCrop]

    def pin_memory(self) -> torch.Tensor:
        """Stacked in page-locked memory; a loader with pin_memory calls this."""
        return self._stacked(pinned=True)

    def to(self, device: torch.device, non_blocking: bool = False) -> torch.Tensor:
        """Stacked on the device."""
        return self._stacked(pinned=False).to(device, non_blocking=non_blocking)

    def _stacked(self, pinned: bool) -> torch.Tensor:
        out = torch.empty((len(self.crops), *self.crops[0].shape), dtype=torch.uint8, pin_memory=pinned)
        np.stack([crop.view() for crop in self.crops], out=out.numpy())
        return out


class SizeGroup(NamedTuple):
    """The crops of a batch that have one size, ordered by perturbation: none, then KINDS.

    crops: uint8 [n, H, W, 3] RGB, or where they lie in a cache.
    counts: How many have each of KINDS; the first n - sum(counts) have none.
    strengths: int64 [n], index in STRENGTHS[kind].
    places: Corners (y, x) of the blocks of those with blocks, int64 [count, blocks, 2].
    seeds: Of those with noise.
    """

    crops: torch.Tensor | MappedCrops
    counts: tuple[int, ...]
    strengths: torch.Tensor
    places: torch.Tensor
    seeds: tuple[int, ...]


class RawBatch(NamedTuple):
    """groups: the crops by size. order: int64 [B], the place of each image of the batch among the groups' crops."""

    groups: list[SizeGroup]
    order: torch.Tensor


class RawFrames(Dataset):
    """Item (index, draw) -> (index, (crop, perturbation or None, seed of its noise) or why it is unreadable).

    Perturbations are those of ``Frames`` for the same item. They and the seed depend on the item alone.
    """

    def __init__(
        self, records: Sequence[Record], augment_probability: float = 0.0, images: ImageSource | None = None
    ) -> None:
        self.records = records
        self._probability = augment_probability
        self._images = images or ImageFiles(records)

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, item: tuple[int, tuple[int, ...]]) -> tuple[int, "_Item | str"]:
        index, draw = item
        try:
            crop = self._crop(index)
        except ImageError as error:
            return index, str(error)
        if self._probability <= 0:
            return index, (crop, None, 0)
        rng = np.random.default_rng(draw)
        height, width = crop.shape[:2]
        drawn = draw_augmentation(height, width, self._probability, rng)
        return index, (crop, drawn, int(rng.integers(2**63)))

    def _crop(self, index: int) -> np.ndarray | MappedCrop:
        if not isinstance(self._images, CachedCrops):
            return self._images.read(index)
        crop = self._images.find(index)
        if isinstance(crop, MappedCrop):
            crop.view().reshape(-1)[::_PAGE].max()  # read the disk here, not in the process that trains
        return crop

    @staticmethod
    def collate(items: list[tuple[int, "_Item | str"]]) -> tuple[RawBatch, torch.Tensor, list[tuple[int, str]]]:
        """-> (batch, record indices int64 [B], [(index, reason)] of unreadable images)."""
        good, indices, bad = split_unreadable(items)
        alike: dict[tuple, list[int]] = {}
        for i, (crop, _, _) in enumerate(good):
            alike.setdefault((type(crop), crop.shape), []).append(i)
        groups, places = [], []
        for members in alike.values():
            members.sort(key=lambda i: _rank(good[i][1]))
            groups.append(_group([good[i] for i in members]))
            places += members
        order = torch.empty(len(good), dtype=torch.int64)
        order[places] = torch.arange(len(good))
        return RawBatch(groups, order), indices, bad


_Item = tuple[np.ndarray | MappedCrop, Draw | None, int]


def _rank(draw: Draw | None) -> int:
    return -1 if draw is None else KINDS.index(draw.kind)


def _group(items: list[_Item]) -> SizeGroup:
    draws = [draw for _, draw, _ in items]
    kinds = [draw.kind if draw else "" for draw in draws]
    read = [crop for crop, _, _ in items if isinstance(crop, np.ndarray)]
    mapped = [crop for crop, _, _ in items if isinstance(crop, MappedCrop)]
    return SizeGroup(
        crops=MappedCrops(mapped) if mapped else stacked(read),
        counts=tuple(map(kinds.count, KINDS)),
        strengths=torch.tensor([draw.strength if draw else 0 for draw in draws]),
        places=_places([draw.places for draw in draws if draw and draw.kind == "blocks"]),
        seeds=tuple(seed for _, draw, seed in items if draw and draw.kind == "noise"),
    )


def _places(places: list[np.ndarray]) -> torch.Tensor:
    """Corners [blocks, 2] of each crop -> [crops, most blocks, 2], padded with the crop's first block."""
    most = max(map(len, places), default=0)
    filled = [np.concatenate((each, each[:1].repeat(most - len(each), axis=0))) for each in places]
    return torch.from_numpy(np.array(filled, dtype=np.int64).reshape(len(places), most, 2))
