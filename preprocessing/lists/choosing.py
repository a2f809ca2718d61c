"""Choose the images of a list: seeded draws that are even over groups."""

import math
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from fractions import Fraction
from itertools import chain, islice
from typing import NamedTuple, TypeVar

import numpy as np

from utils.cli import UserError

T = TypeVar("T")
Video = tuple[str, str]  # method, name


class ListedImage(NamedTuple):
    """One line of a list. method: "real", a manipulation, or "expansion/<region>". video: Its name, or ""."""

    path: str
    code: str
    method: str
    video: str = ""

    @property
    def is_real(self) -> bool:
        return self.method == "real"


Lists = dict[str, tuple[list[ListedImage], dict[str, object]]]  # name -> its images, and facts for its recipe


def in_turn(items: Iterable[T], group_of: Callable[[T], Hashable]) -> list[T]:
    """Round robin: the first item of every group, then the second of every group, and so on.

    The first k items are therefore spread over the groups as evenly as the groups' sizes allow.
    """
    seen: Counter = Counter()
    rounds = []
    for item in items:
        rounds.append((seen[group_of(item)], item))
        seen[group_of(item)] += 1
    return [item for _, item in sorted(rounds, key=lambda entry: entry[0])]


def spread(capacity: Mapping[Video, int], total: int, rng: np.random.Generator) -> Counter[Video]:
    """How many of ``total`` frames each video gives: one per round while it has any. capacity: frames of each video.

    The last round may be incomplete: a random choice, even over the methods, decides which videos give one more.
    """
    videos = sorted(capacity)
    videos = [videos[i] for i in rng.permutation(len(videos))]
    rounds = (
        in_turn((video for video in videos if capacity[video] > number), group_of=lambda video: video[0])
        for number in range(max(capacity.values(), default=0))
    )
    return Counter(islice(chain.from_iterable(rounds), total))


def draw(
    images: Sequence[ListedImage], total: int, rng: np.random.Generator, *groups: Callable[[ListedImage], Hashable]
) -> list[ListedImage]:
    """Draw ``total`` images: even over the last of ``groups``, then over the one before, and so on.

    Returns them sorted by path. Their order in ``images`` changes nothing.
    """
    images = sorted(images)
    chosen = [images[i] for i in rng.permutation(len(images))]
    for group_of in groups:
        chosen = in_turn(chosen, group_of)
    return sorted(chosen[:total])


def fake_numbers(n_real: int | None, n_crops: int, n_expansion: int, share: float) -> tuple[int, int]:
    """(crops, expansion images): how many of those that exist make up the fakes.

    n_real: Largest number of fakes; None for no limit. share: Largest share of the expansion in the fakes.
    """
    exact = Fraction(str(share))
    expansion = n_expansion if exact == 1 else min(n_expansion, math.floor(n_crops * exact / (1 - exact)))
    if n_real is None or n_crops + expansion <= n_real:
        return n_crops, expansion
    expansion = min(expansion, math.floor(n_real * exact))
    return n_real - expansion, expansion


def balanced_videos(
    there: Mapping[Video, int], expansion: Sequence[ListedImage], equal: bool, share: float, seed: int
) -> tuple[dict[Video, int], list[ListedImage]]:
    """Choose the images of an FF++ train list: (frames that each video gives, images of the expansion).

    Args:
        there: How many frames each video can give.
        expansion: All images of the expansion.
        equal: Take as many fake as real images. Raises UserError if one class is empty.
        share: Largest share of the expansion in the fakes, 0..1.
    """
    rng = np.random.default_rng(seed)
    real = {video: number for video, number in there.items() if video[0] == "real"}
    fake = {video: number for video, number in there.items() if video[0] != "real"}
    n_real = sum(real.values()) if equal else None
    n_fake, n_expansion = fake_numbers(n_real, sum(fake.values()), len(expansion), share)
    if equal:
        if not n_real or not n_fake + n_expansion:
            what = f"the train split has no {'fake' if n_real else 'real'} crops, which --balance equal needs"
            raise UserError(f"{what}; run preprocessing/extract_faces.py, or give --balance none")
        numbers = spread(real, n_fake + n_expansion, rng) + spread(fake, n_fake, rng)
        there = {video: numbers[video] for video in there}
    chosen = draw(expansion, n_expansion, rng, lambda image: (image.method, image.video), lambda image: image.method)
    return dict(there), chosen


def balanced_classes(images: Sequence[ListedImage], seed: int) -> list[ListedImage]:
    """As many real as fake images: the larger class leaves out images evenly over its methods. Sorted by path."""
    rng = np.random.default_rng(seed)
    classes = [[image for image in images if image.is_real is real] for real in (True, False)]
    fewest = min(map(len, classes))
    return sorted(image for group in classes for image in draw(group, fewest, rng, lambda image: image.method))


def shuffled_codes(images: Sequence[ListedImage], seed: int) -> list[ListedImage]:
    """The same images with their codes shuffled among them."""
    codes = np.random.default_rng(seed).permutation([image.code for image in images])
    return [image._replace(code=str(code)) for image, code in zip(images, codes, strict=True)]
