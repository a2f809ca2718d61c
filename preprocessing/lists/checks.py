"""Checks before lists are written: disjoint splits, crops made alike, paths that a list can hold."""

import functools
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from datasets.checks.overlap_checks import same_content
from datasets.crop_settings import differences
from datasets.readers.ffpp import SPLITS, ffpp_root, read_pairs
from preprocessing.lists.choosing import Lists
from utils.cli import UserError
from utils.files import read_json

CROP_SETTINGS = (
    ("protocol", "detector", "weights", "min_confidence", "detect_side", "track")  # which face, and where
    + ("size", "scale", "format", "quality")
)
_NOT_LISTABLE = re.compile(r"^\s|[\r\n\ud800-\udfff]")  # \ud800-\udfff: bytes that are not UTF-8


def check_splits(data_root: Path, splits: Sequence[str]) -> None:
    """Raise UserError if a source video is in two of the FF++ split files, or a pair is in one of them twice.

    splits: Their files must exist; the others are checked if they exist.
    """
    split_of: dict[str, str] = {}
    for split in SPLITS:
        path = ffpp_root(data_root) / f"{split}.json"
        pairs = read_pairs(data_root, split) if split in splits or path.is_file() else []
        for number, (a, b) in enumerate(pairs):
            shared = [video for video in (a, b) if split_of.setdefault(video, split) != split]
            if a == b:
                problem = f"the pair {a}, {b} is one video"
            elif (a, b) in pairs[:number] or (b, a) in pairs[:number]:
                problem = f"the pair {a}, {b} is there twice"
            elif shared:
                other = split_of[shared[0]]
                problem = f"video {shared[0]} is in {other}.json too, but a source video belongs to one split"
            else:
                continue
            raise UserError(f"{path}: {problem}; download the official split files again")


def shared_crop_settings(folders: Iterable[Path]) -> dict[str, object] | None:
    """The CROP_SETTINGS that all manifest.json files of the folders share; None if no folder has one.

    Raises UserError if they differ: a detector would learn the way of cropping instead of the fakes.
    """
    settings: dict[str, dict] = {}
    for note in (folder / "manifest.json" for folder in folders):
        content = read_json(note) if note.is_file() else None
        if isinstance(content, dict):
            settings[str(note.parent)] = {key: content[key] for key in CROP_SETTINGS if key in content}
    if lines := differences(settings):
        what = f"crops were made in several ways ({'; '.join(lines)}), and a detector would learn that difference"
        raise UserError(f"{what}; extract all of them alike")
    return next(iter(settings.values()), None)


def check_paths(lists: Lists) -> None:
    """Raise UserError if a list cannot hold a path, or if two lines name one file.

    Lists of one split (test, test_protocol1) may share their images.
    """
    real_path = functools.cache(os.path.realpath)
    files: dict[str, tuple[str, str]] = {}  # file -> (list, path)
    for name, (images, _) in lists.items():
        for image in images:
            if _NOT_LISTABLE.search(image.path):
                rule = "rename it to UTF-8 without line breaks and leading blanks"
                raise UserError(f"a list cannot hold the path {image.path!r}; {rule}")
            folder, _, file = image.path.rpartition("/")
            place = f"{real_path(folder)}/{file}"
            other, path = files.get(place, ("", ""))
            if other and (other == name or _split_of(other) != _split_of(name)):
                both = f"{image.path} ({name} list) and {path} ({other} list)"
                raise UserError(f"{both} are one file, which would be listed twice; move the link to it away")
            files[place] = (name, image.path)


def check_copies(lists: Lists) -> None:
    """Raise UserError if two splits hold images of the same bytes. Empty files do not count.

    100,000 images take about 5 s if they are cached in memory, 20 s from an SSD, more over a network.
    """
    list_of = {image.path: name for name, (images, _) in lists.items() for image in images}
    sizes: dict[str, dict[str, int]] = {_split_of(name): {} for name in lists}
    try:
        for path, name in list_of.items():
            if size := Path(path).stat().st_size:
                sizes[_split_of(name)][path] = size
    except OSError as error:
        raise UserError(f"cannot read {error.filename} ({error.strerror}); unpack the data set again") from error
    if groups := same_content(list(sizes.values())):
        path, *others = groups[0]
        other = next(other for other in others if _split_of(list_of[other]) != _split_of(list_of[path]))
        both = f"{other} ({list_of[other]} list) and {path} ({list_of[path]} list)"
        more = f" (and so do {len(groups) - 1} more pairs)" if len(groups) > 1 else ""
        raise UserError(f"{both} hold the same bytes{more}, but an image belongs to one split; remove one of them")


def _split_of(name: str) -> str:
    return name.split("_")[0]
