"""Splits that share no video and, as far as the names of videos tell, no person and no source video."""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from datasets.video_ids import bare_id
from utils.cli import UserError


class Sample(NamedTuple):
    """An image with its split. video: Unique over all sources; the path if the image counts for itself."""

    path: str
    label: int
    method: str
    video: str
    split: str


# Names of videos that tell the persons or the source videos they show, the shown video or person first.
_NAMES = {
    "Celeb-DF": re.compile(r"(id\d+)(?:_(id\d+))?_\d+.*"),  # id0_0000, id0_id1_0000
    "DFD": re.compile(r"(\d\d)(?:_(\d\d))?__.+"),  # 01__walking, 01_02__walking__YVGY8LOK
    "FF++": re.compile(r"(\d{3})(?:_(\d{3}))?"),  # 000, 000_003
    "FF++ ": re.compile(r"(\d{3})_[WM]\d+"),  # DeeperForensics: 000_W025
}


def _place(sample: Sample) -> str:
    """The video, or the folder of an image that counts for itself."""
    return sample.video if sample.video != sample.path else os.path.dirname(sample.path)  # noqa: PTH120 - as in records


def shown(video: str) -> list[str]:
    """The persons or source videos that the name of a video tells, such as ["FF++ 000", "FF++ 003"]; else []."""
    name = bare_id(video)
    for group, pattern in _NAMES.items():
        if match := pattern.fullmatch(name):
            return [f"{group.strip()} {part}" for part in match.groups() if part]
    return []


# What splits do not share -> the keys of a sample; the strictest that can be kept is taken.
RULES: dict[str, Callable[[Sample], list[str]]] = {
    "video, nor a person or source video that names tell": lambda sample: (
        shown(_place(sample)) or [bare_id(_place(sample))]
    ),
    "video, nor a target person or video that names tell": lambda sample: (
        shown(_place(sample)) or [bare_id(_place(sample))]
    )[:1],
    "video": lambda sample: [_place(sample)],
    "image (no video is known)": lambda sample: [sample.video],
}


def draw_splits(samples: Sequence[Sample], shares: Mapping[str, float], seed: int) -> tuple[list[Sample], str]:
    """Give some of the samples, in whole groups, to other splits: (all samples, the rule of RULES that is kept).

    shares: Split -> its share of the videos. Each class is drawn by itself, so that all splits have both. Raises
    UserError if there are too few videos for that.
    """
    for name, keys_of in RULES.items():
        groups = _groups(samples, keys_of)
        split_of = _draw(samples, groups, shares, seed)
        drawn = [
            sample._replace(split=split_of.get(group, sample.split))
            for sample, group in zip(samples, groups, strict=True)
        ]
        classes = {(sample.split, sample.label) for sample in drawn}
        if len(classes) == (len(shares) + 1) * len({sample.label for sample in samples}):
            return drawn, name
    videos = Counter(label for label, _ in {(sample.label, sample.video) for sample in samples})
    what = f"{videos[0]} real and {videos[1]} fake videos are too few for real and fake videos in each split"
    raise UserError(f"{what} ({', '.join(['train', *shares])}); give more, or set --val_share or --test_share 0")


def _groups(samples: Sequence[Sample], keys_of: Callable[[Sample], list[str]]) -> list[int]:
    """The group of each sample: samples with a common key, or linked by others, are in one group."""
    numbers: dict[str, int] = {}
    parent: list[int] = []

    def root(number: int) -> int:
        while parent[number] != number:
            parent[number] = number = parent[parent[number]]
        return number

    firsts = []
    by_video: dict[str, int] = {}
    for sample in samples:
        if sample.video not in by_video:
            keys = [numbers.setdefault(key, len(numbers)) for key in keys_of(sample)]
            parent.extend(range(len(parent), len(numbers)))
            for key in keys[1:]:
                parent[root(key)] = root(keys[0])
            by_video[sample.video] = keys[0]
        firsts.append(by_video[sample.video])
    return [root(number) for number in firsts]


def _draw(samples: Sequence[Sample], groups: Sequence[int], shares: Mapping[str, float], seed: int) -> dict[int, str]:
    """Group -> split, of the groups that leave theirs.

    Groups are taken in random order. Each goes to the split that lacks most of its share, if at least half of the group
    fits into it.
    """
    videos: dict[int, set[str]] = defaultdict(set)
    labels: dict[int, set[int]] = defaultdict(set)
    for sample, group in zip(samples, groups, strict=True):
        videos[group].add(sample.video)
        labels[group].add(sample.label)
    alike: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for group in sorted(videos, key=lambda group: min(videos[group])):
        alike[tuple(sorted(labels[group]))].append(group)
    rng = np.random.default_rng(seed)
    split_of: dict[int, str] = {}
    for _, members in sorted(alike.items()):
        sizes = [len(videos[group]) for group in members]
        lacking = {split: max(share * sum(sizes), min(sizes)) for split, share in shares.items()}
        for i in rng.permutation(len(members)):
            split = max(lacking, key=lacking.__getitem__)
            if lacking[split] >= sizes[i] / 2:
                split_of[members[i]] = split
                lacking[split] -= sizes[i]
    return split_of


def check_disjoint(samples: Sequence[Sample]) -> str:
    """What the splits share though their videos differ: persons, source videos or folders, in words; "" if nothing.

    Raises UserError if one video is in two splits.
    """
    split_of: dict[str, str] = {}
    places: dict[str, set[str]] = defaultdict(set)
    for sample in samples:
        other = split_of.setdefault(sample.video, sample.split)
        if other != sample.split:
            both = f"video {sample.video} is in {other} and in {sample.split}"
            raise UserError(f"{both}, but a video belongs to one split; give --resplit, or one of them as --split")
        places[_place(sample)].add(sample.split)
    splits_of: dict[str, set[str]] = defaultdict(set)
    for place, splits in places.items():
        for key in shown(place):
            splits_of[key] |= splits
    shared = [key for key, splits in splits_of.items() if len(splits) > 1]
    words = [f"{len(shared)} persons or source videos, such as {shared[0]}, are in several splits"] if shared else []
    splits_of = defaultdict(set)
    for sample in samples:
        if sample.video == sample.path:
            splits_of[os.path.split(sample.path)[0]].add(sample.split)
    if folders := [folder for folder, splits in splits_of.items() if len(splits) > 1]:
        words.append(
            f"{len(folders)} folders, such as {folders[0]}, have images in several splits; if the images of one are "
            "frames of a video, name it in a column video"
        )
    return "; ".join(words)
