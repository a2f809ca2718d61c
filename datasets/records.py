"""One row of any data set, and how frames of a video are chosen. Readers make records; everything else takes them."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TypeVar

import numpy as np

from utils.cli import UserError
from utils.sampling import evenly_spaced_indices

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Record:
    """One image of a data set.

    path: image file. video: id unique within the data set (the image itself in image sets). label: 0 real, 1 fake.
    code: node vector as digits in node order, "" when not known. method: manipulation, "real", or "". frame: the file
    name without its ending.
    """

    path: str
    video: str
    label: int
    code: str = ""
    method: str = ""

    @property
    def frame(self) -> str:
        return PurePath(self.path).stem


@dataclass(frozen=True, slots=True)
class Dropped:
    """A listed video or image that could not be used, and why. ``path`` is "" for a whole video."""

    video: str
    path: str
    label: int
    reason: str


@dataclass(frozen=True, slots=True)
class DataSet:
    """What a reader returns. videos_listed: videos that should be there. dropped: those of them without any crop.
    image_level: True where a row is a whole sample (no videos)."""

    name: str
    records: list[Record]
    videos_listed: int
    dropped: list[Dropped]
    image_level: bool = False


def node_code(vector: np.ndarray) -> str:
    """Node vector [nodes] of 0, 1, 2 -> digits in node order."""
    return "".join(str(int(value)) for value in vector)


def node_vector(code: str) -> np.ndarray:
    """Digits in node order -> float32 [nodes]."""
    return np.frombuffer(code.encode("ascii"), dtype=np.uint8).astype(np.float32) - ord("0")


def evenly_spaced(items: Sequence[T], n: int) -> list[T]:
    """At most ``n`` items, evenly from the first to the last (the FF++ protocol's choice of frames)."""
    return [items[i] for i in evenly_spaced_indices(len(items), n)]


def list_images(folder: Path) -> list[str]:
    """Paths of the images directly in ``folder``, sorted by name; [] when there is no such folder."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if entry.name.lower().endswith(IMAGE_SUFFIXES)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except (OSError, ValueError) as error:  # ValueError: a NUL in a name from a list
        raise UserError(f"cannot list {str(folder)!r} ({error}); check its name and permissions") from error
    return [str(Path(folder) / name) for name in sorted(names) if not name.startswith(".")]


def video_folders_to_dataset(
    name: str, videos: Sequence[tuple[str, Path, int, str, str]], n_frames: int, where: str
) -> DataSet:
    """Videos given as (video id, folder of crops, label, code, method) -> their records, ``n_frames`` evenly spaced.

    A video without crops is dropped with the reason no_crops. UserError when no video has any; ``where`` tells the
    user which folders were looked at.
    """
    records, dropped = [], []
    for video, folder, label, code, method in videos:
        images = evenly_spaced(list_images(folder), n_frames)
        records += [Record(path, video, label, code, method) for path in images]
        if not images:
            dropped.append(Dropped(video, "", label, "no_crops"))
    if not records:
        raise UserError(
            f"{name}: no face crops found under {where}; run preprocessing/extract_faces.py or set --datapath"
        )
    return DataSet(name, records, len(videos), dropped)
