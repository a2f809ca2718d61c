"""The torch Dataset of --augment_on device: batches of full crops with the perturbation that each will get."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset

from datasets.augmentation import KINDS, QUALITIES, Draw, draw_augmentation, draw_flip
from datasets.crop_cache import CachedCrops, MappedCrop
from datasets.frames import split_unreadable, stacked
from datasets.records import Record
from datasets.self_blending import SelfBlending, apply_blend
from datasets.transforms import ImageError, ImageFiles, ImageSource

_PAGE = 4096  # bytes; a disk is read in pages


@dataclass(frozen=True)
class MappedCrops:
    """Crops of one size in a crop cache, in place of a tensor uint8 [n, H, W, 3].

    The training process stacks them itself: all processes share the memory of the mapped file.
    """

    crops: list[MappedCrop]

    def pin_memory(self) -> torch.Tensor:
        """Stacked in page-locked memory. A loader with pin_memory calls this."""
        return self._stacked(pinned=True)

    def to(self, device: torch.device, non_blocking: bool = False) -> torch.Tensor:
        """Stacked on the device."""
        return self._stacked(pinned=False).to(device, non_blocking=non_blocking)

    def _stacked(self, pinned: bool) -> torch.Tensor:
        out = torch.empty((len(self.crops), *self.crops[0].shape), dtype=torch.uint8, pin_memory=pinned)
        np.stack([crop.view() for crop in self.crops], out=out.numpy())
        return out


class SizeGroup(NamedTuple):
    """The crops of a batch that have one size, ordered by perturbation: none first, then as in KINDS.

    crops: uint8 [n, H, W, 3] RGB, or where they are in a cache.
    counts: Number of crops with each of KINDS; the first n - sum(counts) have no perturbation.
    strengths: int64 [n], see ``Draw``.
    places: Corners (y, x) of the grey blocks of crops with "blocks", int64 [count, blocks, 2].
    seeds: Of the crops with "noise".
    flips: Numbers of the crops to be mirrored first, int64 [m].
    """

    crops: torch.Tensor | MappedCrops
    counts: tuple[int, ...]
    strengths: torch.Tensor
    places: torch.Tensor
    seeds: tuple[int, ...]
    flips: torch.Tensor


class RawBatch(NamedTuple):
    """groups: The crops by size. order: int64 [B], the place of each image of the batch among all groups' crops."""

    groups: list[SizeGroup]
    order: torch.Tensor


class RawFrames(Dataset):
    """Item (index, draw) -> (index, (crop, perturbation or None, seed of its noise, whether mirrored)).

    For an image that cannot be read the second part is the reason. The draws depend on the item alone. Blend, mirroring
    and perturbation are those of ``Frames`` for the same item.
    """

    def __init__(
        self,
        records: Sequence[Record],
        augment_probability: float = 0.0,
        images: ImageSource | None = None,
        flip: float = 0.0,
        qualities: Sequence[int] = QUALITIES,
        blending: SelfBlending | None = None,
    ) -> None:
        self.records = records
        self._probability, self._flip, self._qualities = augment_probability, flip, qualities
        self._blending = blending
        self._images = images or ImageFiles(records)

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, item: tuple[int, tuple[int, ...]]) -> tuple[int, "_Item | str"]:
        index, draw = item
        try:
            blend = self._blending.drawn(index, draw) if self._blending else None
            crop = apply_blend(self._images.read(index), blend) if blend else self._crop(index)
        except ImageError as error:
            return index, str(error)
        if self._probability <= 0 and self._flip <= 0:
            return index, (crop, None, 0, False)
        rng = np.random.default_rng(draw)
        height, width, _ = crop.shape
        flipped = draw_flip(self._flip, rng)
        drawn = draw_augmentation(height, width, self._probability, rng, self._qualities)
        return index, (crop, drawn, int(rng.integers(2**63)), flipped)

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
        for i, (crop, *_) in enumerate(good):
            alike.setdefault((type(crop), crop.shape), []).append(i)
        ranks = [KINDS.index(draw.kind) if draw else -1 for _, draw, _, _ in good]
        groups, places = [], []
        for members in alike.values():
            members.sort(key=ranks.__getitem__)
            groups.append(_group([good[i] for i in members]))
            places += members
        order = torch.empty(len(good), dtype=torch.int64)
        order[places] = torch.arange(len(good))
        return RawBatch(groups, order), indices, bad


_Item = tuple[np.ndarray | MappedCrop, Draw | None, int, bool]


def _group(items: list[_Item]) -> SizeGroup:
    draws = [draw for _, draw, _, _ in items]
    kinds = [draw.kind if draw else "" for draw in draws]
    mapped = [crop for crop, *_ in items if isinstance(crop, MappedCrop)]
    return SizeGroup(
        crops=MappedCrops(mapped) if mapped else stacked([crop for crop, *_ in items if isinstance(crop, np.ndarray)]),
        counts=tuple(map(kinds.count, KINDS)),
        strengths=torch.tensor([draw.strength if draw else 0 for draw in draws]),
        places=_places([draw.places for draw in draws if draw and draw.kind == "blocks"]),
        seeds=tuple(seed for _, draw, seed, _ in items if draw and draw.kind == "noise"),
        flips=torch.tensor([i for i, (*_, flipped) in enumerate(items) if flipped], dtype=torch.int64),
    )


def _places(places: list[np.ndarray]) -> torch.Tensor:
    """Corners [blocks, 2] of each crop -> [crops, most blocks, 2]; shorter ones repeat their first block."""
    most = max(map(len, places), default=0)
    filled = [np.concatenate((each, each[:1].repeat(most - len(each), axis=0))) for each in places]
    return torch.from_numpy(np.array(filled, dtype=np.int64).reshape(len(places), most, 2))
