"""Where the raw videos of each data set lie, and where their face crops go (official downloads under one folder).

FF++ and FaceShifter keep a folder per compression; the others have one. Videos may lie in ``videos`` or where the
download has them. Crops lie in <faces>/<name>/, where tests look for them; the manifest lies beside the faces folder.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from datasets.readers.celeb_df import FOLDERS, LIST_NAME, listed_videos
from datasets.readers.dfdc import labels_file, read_labels
from datasets.readers.ffpp_methods import METHOD_CODES, compression_dir, read_pairs, split_videos
from utils.cli import UserError


class Video(NamedTuple):
    """One raw video. name: its crop folder below the faces folder. label: class it is counted under."""

    name: str
    path: Path
    label: str


class VideoSet(NamedTuple):
    """Videos that share a manifest: root holds manifest.csv, faces holds the crop folders."""

    root: Path
    faces: Path
    videos: list[Video]


def ffpp(data_root: Path, compression: str, splits: Sequence[str]) -> list[VideoSet]:
    """FaceForensics++: the reals and four manipulations of the official splits, one set each."""
    wanted: dict[str, set[str]] = {method: set() for method in ("real", *METHOD_CODES)}
    for split in splits:
        for method, name in split_videos(data_root, split):
            wanted[method].add(name)
    sets = []
    for method, names in wanted.items():
        root = compression_dir(data_root, method, compression)
        sets.append(_video_set(root, [(name, root / "videos" / f"{name}.mp4", method) for name in names]))
    return sets


def celeb_df(data_root: Path, everything: bool) -> list[VideoSet]:
    """Celeb-DF v2: the videos of the official test list, or of all three folders; in <folder>/videos or <folder>."""
    root = _download(data_root / "CDF", "Celeb-DF v2")
    places = {folder: _videos_in(root, f"{folder}/videos", folder) for folder in FOLDERS}
    if everything:
        listed = [(label, path) for folder, label in FOLDERS.items() for path in _mp4_files(places[folder])]
        if not listed:
            raise UserError(f"no .mp4 file in {' or '.join(f'{root / folder}' for folder in FOLDERS)}; put them there")
    else:
        if not (root / LIST_NAME).is_file():
            raise UserError(f"{root / LIST_NAME} is missing; it comes with Celeb-DF v2 (or use --split all)")
        listed = [(entry.label, places[entry.folder] / entry.file) for entry in listed_videos(root / LIST_NAME)]
    return [_video_set(root, [(f"{label}/{path.stem}", path, label) for label, path in listed])]


def faceshifter(data_root: Path, compression: str, everything: bool) -> list[VideoSet]:
    """FaceShifter: the fakes of the FF++ test pairs, or all; in FSh, or where FF++'s download has them. Its reals are
    FF++'s."""
    root = data_root / "FSh" / compression
    of_ffpp = compression_dir(data_root, "FaceShifter", compression) / "videos"
    videos = root / "videos" if _mp4_files(root / "videos") or not _mp4_files(of_ffpp) else of_ffpp
    if everything:
        paths = _all_videos(videos)
    else:
        pairs = _ffpp_test_pairs(data_root)
        paths = [videos / f"{name}.mp4" for pair in pairs for name in ("_".join(pair), "_".join(pair[::-1]))]
    return [_video_set(root, [(path.stem, path, "FaceShifter") for path in paths])]


def deeperforensics(data_root: Path, everything: bool) -> list[VideoSet]:
    """DeeperForensics-1.0, end_to_end: the fakes whose target is an FF++ test video, or all."""
    root = _download(data_root / "DF-1.0", "DeeperForensics-1.0")
    paths = _all_videos(_videos_in(root, "videos/end_to_end", "manipulated_videos/end_to_end"))
    if not everything:
        targets = {name for pair in _ffpp_test_pairs(data_root) for name in pair}
        paths = [path for path in paths if path.stem.split("_")[0] in targets]
    return [_video_set(root, [(f"end_to_end/{path.stem}", path, "end_to_end") for path in paths])]


def dfdc(data_root: Path) -> list[VideoSet]:
    """DFDC test set: every video of labels.csv or metadata.json; in videos, test or beside them."""
    root = _download(data_root / "DFDC", "the DFDC test set")
    videos = _videos_in(root, "videos", "test", ".")
    named = [
        (Path(name).stem, videos / name, ("real", "fake")[label]) for name, label in read_labels(labels_file(root))
    ]
    return [_video_set(root, named)]


def _download(root: Path, what: str) -> Path:
    """``root``, a data set's own folder; UserError when it is not there."""
    if not root.is_dir():
        raise UserError(f"{root} is not there; it is the folder of {what}: put or link the download there (ln -s "
                        f"DOWNLOAD {root}), or set --data_root")  # fmt: skip
    return root


def _videos_in(root: Path, *names: str) -> Path:
    """The first of the folders below ``root`` that holds videos; the first when none does."""
    return next((root / name for name in names if _mp4_files(root / name)), root / names[0])


def _video_set(root: Path, videos: Iterable[tuple[str, Path, str]]) -> VideoSet:
    named: dict[str, Video] = {}
    for name, path, label in sorted(set(videos)):
        if name in named:
            raise UserError(f"{named[name].path} and {path} would share the crop folder {name}; rename one of them")
        named[name] = Video(name, path, label)
    return VideoSet(root, root / "faces", list(named.values()))


def _mp4_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.mp4") if not path.name.startswith(".")) if folder.is_dir() else []


def _all_videos(folder: Path) -> list[Path]:
    paths = _mp4_files(folder)
    if not paths:
        raise UserError(f"no .mp4 file in {folder}; put the videos there or set --data_root")
    return paths


def _ffpp_test_pairs(data_root: Path) -> list[tuple[str, str]]:
    try:
        return read_pairs(data_root, "test")
    except UserError as error:
        raise UserError(
            f"which fakes are tested follows from FF++'s test.json: {error} (or use --split all)"
        ) from error
