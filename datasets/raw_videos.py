"""The raw videos of a data set, as downloaded, and where their face crops go."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from utils.cli import UserError


class Video(NamedTuple):
    """One raw video. name: its crop folder below the faces folder. label: the class it is counted under."""

    name: str
    path: Path
    label: str


class VideoSet(NamedTuple):
    """Videos that share a manifest. root: holds manifest.csv. faces: holds the crop folders."""

    root: Path
    faces: Path
    videos: list[Video]


def video_set(root: Path, videos: Iterable[tuple[str, Path, str]]) -> VideoSet:
    """Make a set of videos given as (name, path, label). Raises UserError if two share a crop folder."""
    named: dict[str, Video] = {}
    for name, path, label in sorted(set(videos)):
        if name in named:
            raise UserError(f"{named[name].path} and {path} would share the crop folder {name}; rename one of them")
        named[name] = Video(name, path, label)
    return VideoSet(root, root / "faces", list(named.values()))


def require_download(root: Path, what: str) -> Path:
    """Return ``root``, the folder of a data set. Raises UserError if it is missing."""
    if not root.is_dir():
        fix = f"put or link the download there (ln -s DOWNLOAD {root}), or set --data_root"
        raise UserError(f"{root} is not there; it is the folder of {what}: {fix}")
    return root


def folder_of_videos(*folders: Path) -> Path:
    """The first of the folders that holds videos; the first if none does."""
    return next(filter(mp4_files, folders), folders[0])


def mp4_files(folder: Path) -> list[Path]:
    """The .mp4 files directly in ``folder``, sorted, without hidden ones; [] if there is no such folder."""
    return sorted(path for path in folder.glob("*.mp4") if not path.name.startswith("."))


def all_videos(folder: Path) -> list[Path]:
    """``mp4_files``. Raises UserError if there are none."""
    paths = mp4_files(folder)
    if not paths:
        raise UserError(f"no .mp4 file in {folder}; put the videos there or set --data_root")
    return paths
