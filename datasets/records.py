"""One row of any data set, and which frames of a video are taken. Readers make records; everything else takes them."""

import functools
import os
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, TypeVar

from datasets.crop_manifest import UNFINISHED, unfinished
from utils.cli import UserError

if TYPE_CHECKING:  # NumPy is imported late: --help must not wait for it
    import numpy as np

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")
T = TypeVar("T")
_DIGITS = str.maketrans("123456789", "0" * 9)


@dataclass(frozen=True, slots=True)
class Record:
    """One image of a data set.

    path: Image file.
    video: Id, unique within the data set (the image itself in image sets).
    label: 0 real, 1 fake.
    code: Node vector as digits in node order, "" if not known.
    method: Manipulation, "real", or "".
    """

    path: str
    video: str
    label: int
    code: str = ""
    method: str = ""

    @property
    def frame(self) -> str:
        """The file name without its ending."""
        return PurePath(self.path).stem


@dataclass(frozen=True, slots=True)
class Dropped:
    """A listed video or image that could not be used, and why. ``path`` is "" for a whole video."""

    video: str
    path: str
    label: int
    reason: str


@dataclass(frozen=True)
class DataSet:
    """What a reader returns.

    dropped: Videos and images that are listed and not used.
    source: Where it was read, for people.
    n_frames: Frames per video at most; None for all.
    notes: What was decided while reading, and what was not used, one line each.
    """

    name: str
    records: list[Record]
    dropped: Sequence[Dropped] = ()
    source: str = ""
    n_frames: int | None = None
    notes: Sequence[str] = ()

    @functools.cached_property
    def image_level(self) -> bool:
        """Whether every image counts for itself: there are no videos."""
        return all(record.video == record.path for record in self.records)

    @property
    def videos_listed(self) -> int:
        """Number of videos, those that are not used included."""
        return len({record.video for record in self.records} | {drop.video for drop in self.dropped})


def node_code(vector: "np.ndarray") -> str:
    """Node vector [nodes] of 0, 1, 2 -> digits in node order."""
    return "".join(str(int(value)) for value in vector)


def node_vector(code: str) -> "np.ndarray":
    """Digits in node order -> float32 [nodes]."""
    import numpy as np

    return np.frombuffer(code.encode("ascii"), dtype=np.uint8).astype(np.float32) - ord("0")


def evenly_spaced_indices(count: int, wanted: int) -> list[int]:
    """At most ``wanted`` of the indices 0..count-1: linspace from first to last, truncated to integers, each once."""
    import numpy as np

    return np.unique(np.linspace(0, count - 1, wanted, dtype=int)).tolist() if count else []


def evenly_spaced(items: Sequence[T], n: int) -> list[T]:
    """At most ``n`` items, evenly from the first to the last (the FF++ protocol's choice of frames)."""
    return [items[i] for i in evenly_spaced_indices(len(items), n)]


def in_order(items: Iterable[T], path: Callable[[T], str] = str) -> list[T]:
    """Sort by path, with numbers in order of their value: 9.png before 10.png. path: Of an item."""
    ordered = sorted(items, key=path)
    if len({path(item).translate(_DIGITS) for item in ordered}) > 1:  # else all numbers stand in the same places
        ordered.sort(key=lambda item: _number_order(path(item)))
    return ordered


def _number_order(path: str) -> list[tuple[int, str]]:
    parts = re.split("([0-9]+)", path)  # text, number, text ...
    return [(len(number := part.lstrip("0")), number) if i % 2 else (0, part) for i, part in enumerate(parts)]


def by_video(data: DataSet, n_frames: int | None) -> DataSet:
    """Sort the records by video, and those of a video as ``in_order`` does: the order of a list does not matter.

    Keep at most ``n_frames`` of each video, evenly spaced; None keeps all.
    """
    videos: dict[str, list[Record]] = {}
    for record in data.records:
        videos.setdefault(record.video, []).append(record)
    records: list[Record] = []
    for video in sorted(videos):
        frames = in_order(videos[video], lambda record: record.path)
        records += evenly_spaced(frames, n_frames) if n_frames else frames
    return replace(data, records=records, n_frames=None if data.image_level else n_frames)


def as_images(data: DataSet, name: str) -> DataSet:
    """The same records as a data set ``name`` without videos: every image counts for itself."""
    records = [replace(record, video=record.path) for record in data.records]
    dropped = [replace(drop, video=drop.path or drop.video) for drop in data.dropped]
    return replace(data, name=name, records=records, dropped=dropped)


def list_images(folder: Path) -> list[str]:
    """Paths of the images directly in ``folder``, ``in_order``; [] if there is no such folder."""
    names = [entry.name for entry in _entries(folder)]
    return [str(Path(folder) / name) for name in in_order(names) if name.lower().endswith(IMAGE_SUFFIXES)]


def subfolders(folder: Path) -> list[str]:
    """Names of the folders in ``folder``, sorted, without hidden ones; [] if there is no such folder."""
    return [entry.name for entry in _entries(folder) if Path(entry).is_dir()]


def _entries(folder: Path) -> list["os.DirEntry[str]"]:
    """What is directly in ``folder`` and not hidden, sorted by name. Raises UserError if it cannot be listed."""
    try:
        with os.scandir(folder) as entries:
            return sorted((e for e in entries if not e.name.startswith(".")), key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except (OSError, ValueError) as error:  # ValueError: a NUL in a name from a list
        raise UserError(f"cannot list {str(folder)!r} ({error}); check its name and permissions") from error


def images_below(folder: Path, others: Collection[str] = ()) -> list[str]:
    """Paths of the images in ``folder`` and below, folder by folder, those of a folder ``in_order``.

    Links are followed, but each real folder is entered once, and ``others`` (real paths) never. Hidden files and
    folders are skipped.
    """

    def refuse(error: OSError) -> None:
        raise UserError(f"cannot list {error.filename} ({error.strerror}); check its permissions") from error

    found: dict[str, list[str]] = {}
    entered = set(others)
    for parent, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        place = os.path.realpath(parent)
        if place in entered and parent != str(folder):
            folders.clear()
            continue
        entered.add(place)
        # Links last, so that an image has the path without a link if there is one.
        shown_folders = sorted(name for name in folders if not name.startswith("."))
        links = [name for name in shown_folders if os.path.islink(f"{parent}/{name}")]  # noqa: PTH114
        folders[:] = [name for name in shown_folders if name not in links] + links
        shown = (name for name in names if not name.startswith("."))
        found[parent] = in_order(name for name in shown if name.lower().endswith(IMAGE_SUFFIXES))
    return [f"{parent}/{name}" for parent in sorted(found) for name in found[parent]]


def folder_ids(folders: Iterable[str]) -> dict[str, str]:
    """Absolute folder -> its path below the deepest folder that all share; for a single folder its name."""
    folders = list(folders)
    if len(folders) == 1:
        return {folders[0]: Path(folders[0]).name}
    shared = os.path.commonpath(folders)
    return {folder: Path(folder).relative_to(shared).as_posix() for folder in folders}


def video_folders_to_dataset(
    name: str, videos: Sequence[tuple[str, Path, int, str, str]], n_frames: int, where: str, fewest: int = 1
) -> DataSet:
    """Make a data set of videos, of each at most ``n_frames`` evenly spaced frames.

    A video is dropped if it has no crops (reason no_crops), if their extraction did not end (unfinished), or if they
    are fewer than ``fewest`` (too_few_crops). Raises UserError if no video is left.

    Args:
        videos: (video id, folder of crops, label, code, method) of each.
        where: The folders that are searched, for people.
    """
    records, dropped = [], []
    half_done = unfinished(folder for _, folder, *_ in videos)
    for video, folder, label, code, method in videos:
        images = list_images(folder)
        if not images:
            dropped.append(Dropped(video, "", label, "no_crops"))
        elif folder in half_done:
            dropped.append(Dropped(video, "", label, UNFINISHED))
        elif len(images) < fewest:
            dropped.append(Dropped(video, "", label, f"too_few_crops: {len(images)} of {fewest}"))
        else:
            records += [Record(path, video, label, code, method) for path in evenly_spaced(images, n_frames)]
    if not records:
        short = next((drop.reason for drop in dropped if drop.reason != "no_crops"), None)
        what = f"no video has enough face crops ({short})" if short else "no face crops found"
        raise UserError(f"{name}: {what} under {where}; run preprocessing/extract_faces.py or set --datapath")
    return DataSet(name, records, dropped, where, n_frames)
