"""What every list has in common: an even and seeded choice of its images, its checks, its file and its recipe."""

import hashlib
import math
import os
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from utils.cli import UserError
from utils.files import file_sha256, read_json, write_json, write_text

CROP_SETTINGS = (
    ("protocol", "detector", "weights", "min_confidence", "detect_side", "track")  # which face, and where
    + ("size", "scale", "format", "quality")
)
T = TypeVar("T")
Video = tuple[str, str]  # method, name


class Image(NamedTuple):
    """One line of a list. method: "real", a manipulation, or "expansion/<region>". video: its name, "" for none."""

    path: str
    code: str
    method: str
    video: str = ""

    @property
    def is_real(self) -> bool:
        return self.method == "real"


def in_turn(items: Iterable[T], group_of: Callable[[T], Hashable]) -> list[T]:
    """The first item of every group, then the second of every group, and so on; otherwise in their order.

    So the first k of them are spread over the groups as evenly as the groups' sizes allow.
    """
    seen: Counter = Counter()
    turns = []
    for item in items:
        turns.append((seen[group_of(item)], item))
        seen[group_of(item)] += 1
    return [item for _, item in sorted(turns, key=lambda turn: turn[0])]


def spread(capacity: Mapping[Video, int], total: int, rng: np.random.Generator) -> Counter[Video]:
    """How many of ``total`` frames each video gives: in rounds of one each, as long as it has any.

    The last round may be incomplete: a seeded choice of videos, evenly over methods.
    """
    videos = sorted(capacity)
    videos = [videos[i] for i in rng.permutation(len(videos))]
    rounds = (
        in_turn((video for video in videos if capacity[video] > number), group_of=lambda video: video[0])
        for number in range(max(capacity.values(), default=0))
    )
    return Counter(islice(chain.from_iterable(rounds), total))


def draw(
    images: Sequence[Image], total: int, rng: np.random.Generator, *groups: Callable[[Image], Hashable]
) -> list[Image]:
    """A seeded choice of ``total`` images, sorted by path: evenly over the last of ``groups``, within it evenly over
    the one before, and so on."""
    images = sorted(images)
    chosen = [images[i] for i in rng.permutation(len(images))]
    for group_of in groups:
        chosen = in_turn(chosen, group_of)
    return sorted(chosen[:total])


def fake_numbers(n_real: int | None, n_crops: int, n_expansion: int, share: float) -> tuple[int, int]:
    """How many (crops, expansion images) make the fake side: at most ``share`` of it is expansion.

    n_real: the size it may have at most; None for no bound. n_crops, n_expansion: how many there are.
    """
    exact = Fraction(str(share))
    expansion = n_expansion if exact == 1 else min(n_expansion, math.floor(n_crops * exact / (1 - exact)))
    if n_real is None or n_crops + expansion <= n_real:
        return n_crops, expansion
    expansion = min(expansion, math.floor(n_real * exact))
    return n_real - expansion, expansion


def balanced_videos(
    there: Mapping[Video, int], expansion: Sequence[Image], equal: bool, share: float, seed: int
) -> tuple[dict[Video, int], list[Image]]:
    """(frames of each video, expansion images) of a train list, from what is ``there`` at most.

    equal: as many fake as real images. share: of the fake images, the most that may be expansion.
    """
    rng = np.random.default_rng(seed)
    real = {video: number for video, number in there.items() if video[0] == "real"}
    fake = {video: number for video, number in there.items() if video[0] != "real"}
    n_real = sum(real.values()) if equal else None
    n_fake, n_expansion = fake_numbers(n_real, sum(fake.values()), len(expansion), share)
    frames = dict(there)
    if equal:
        if not n_real or not n_fake + n_expansion:
            raise UserError(f"the train split has no {'fake' if n_real else 'real'} crops to balance the others with; "
                            "run preprocessing/extract_faces.py, or give --balance none")  # fmt: skip
        numbers = spread(real, n_fake + n_expansion, rng) + spread(fake, n_fake, rng)
        frames = {video: numbers[video] for video in there}
    return frames, draw(expansion, n_expansion, rng, lambda image: (image.method, image.video), lambda i: i.method)


def balanced_classes(images: Sequence[Image], seed: int) -> list[Image]:
    """As many real as fake images, by leaving out some of the larger class evenly over methods; sorted by path."""
    rng = np.random.default_rng(seed)
    sides = [[image for image in images if image.is_real is real] for real in (True, False)]
    fewest = min(len(side) for side in sides)
    return sorted(image for side in sides for image in draw(side, fewest, rng, lambda image: image.method))


def crop_settings(folders: Iterable[Path]) -> dict[str, object] | None:
    """Those of CROP_SETTINGS that the manifest.json files of the folders name; None where there is none.

    UserError when they differ, also when only one of two names a setting: the way of cropping would tell the classes
    apart.
    """
    found: dict[str, object] | None = None
    first: Path | None = None
    for folder in folders:
        content = read_json(folder / "manifest.json") if (folder / "manifest.json").is_file() else None
        if isinstance(content, dict):
            settings = {key: content[key] for key in CROP_SETTINGS if key in content}
            if found not in (None, settings):
                changed = [k for k in CROP_SETTINGS if settings.get(k, "unknown") != found.get(k, "unknown")]
                own, other = (
                    ", ".join(f"{key} {made.get(key, 'unknown')}" for key in changed) for made in (settings, found)
                )
                raise UserError(f"{folder} holds crops made with {own}, {first} with {other}; a detector would learn "
                                "that difference: extract all of them alike")  # fmt: skip
            found, first = settings, folder
    return found


def shuffled_codes(images: Sequence[Image], seed: int) -> list[Image]:
    """The same images and the same codes, but dealt out anew."""
    codes = np.random.default_rng(seed).permutation([image.code for image in images])
    return [image._replace(code=str(code)) for image, code in zip(images, codes, strict=True)]


def check_lists(lists: Mapping[str, Sequence[Image]]) -> None:
    """UserError when a path cannot stand in a list, or when two lines lead to one file.

    Lists of one split (test, test_protocol1) may share their images.
    """
    folders: dict[str, str] = {}
    places: dict[str, tuple[str, str]] = {}  # file -> (list, path)
    for name, images in lists.items():
        for image in images:
            if any(end in image.path for end in "\r\n") or image.path[0].isspace() or not _is_utf8(image.path):
                raise UserError(f"{image.path!r} cannot stand in a list: a path must be UTF-8 without line breaks and "
                                "leading blanks; rename it")  # fmt: skip
            folder, _, file = image.path.rpartition("/")
            if folder not in folders:
                folders[folder] = os.path.realpath(folder or ".")
            place = f"{folders[folder]}/{file}"
            other, path = places.get(place, ("", ""))
            if other and (other == name or other.split("_")[0] != name.split("_")[0]):
                raise UserError(f"{image.path} ({name} list) and {path} ({other} list) are one file, which would be "
                                "listed twice; remove the link that leads to it")  # fmt: skip
            places[place] = (name, image.path)


def check_copies(lists: Mapping[str, Sequence[Image]]) -> None:
    """UserError when two splits hold images of the same bytes. Empty files do not count.

    Of images whose size occurs in two splits it reads 64 bytes, and it reads those wholly that are alike in them too:
    100,000 images take about 5 s when the system has them in memory, 20 s from an SSD, more over a network.
    """
    list_of = {image.path: name for name, images in lists.items() for image in images}
    try:
        sizes = {path: Path(path).stat().st_size for path in list_of}
        groups = [[path for path, size in sizes.items() if size]]
        for look in (sizes.__getitem__, _middle, lambda path: file_sha256(Path(path))):
            alike = (same for group in groups for same in _grouped(group, look))
            groups = [same for same in alike if len({list_of[path].split("_")[0] for path in same}) > 1]
    except OSError as error:
        raise UserError(f"cannot read {error.filename} ({error.strerror}); unpack the data set again") from error
    if groups:
        path, *others = groups[0]
        other = next(other for other in others if list_of[other].split("_")[0] != list_of[path].split("_")[0])
        more = f" (and so do {len(groups) - 1} more pairs)" if len(groups) > 1 else ""
        raise UserError(f"{other} ({list_of[other]} list) and {path} ({list_of[path]} list) hold the same bytes{more}, "
                        "but an image belongs to one split; remove one of them")  # fmt: skip


def _grouped(items: Iterable[T], group_of: Callable[[T], Hashable]) -> Iterable[list[T]]:
    groups: dict[Hashable, list[T]] = {}
    for item in items:
        groups.setdefault(group_of(item), []).append(item)
    return groups.values()


def _middle(path: str) -> bytes:
    """64 bytes from the middle of a file; the first ones are alike in many images."""
    with Path(path).open("rb", buffering=0) as file:
        file.seek(os.fstat(file.fileno()).st_size // 2)
        return file.read(64)


def _is_utf8(text: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def write_list(folder: Path, name: str, images: Sequence[Image], facts: Mapping[str, object]) -> None:
    """Write <name>.txt with lines `path code` and <name>.recipe.json (``facts``, counts, SHA-256); print the counts."""
    text = "".join(f"{image.path} {image.code}\n" for image in images)
    real = sum(image.is_real for image in images)
    codes = dict(sorted(Counter(image.code for image in images).items()))
    methods = dict(Counter(image.method for image in images))
    counts = {"images": len(images), "real": real, "fake": len(images) - real, "codes": codes, "methods": methods}
    digest = hashlib.sha256(text.encode("utf-8")).hexdigest()
    write_text(folder / f"{name}.txt", text)
    write_json(folder / f"{name}.recipe.json", {**facts, **counts, "sha256": digest})
    print(f"{folder / name}.txt: {len(images)} images, {real} real and {len(images) - real} fake")
    for what, numbers in (("codes", codes), ("methods", methods)):
        print(f"  {what}: {', '.join(f'{key} x {number}' for key, number in numbers.items())}")
