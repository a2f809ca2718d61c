"""FaceShifter: the fakes of FF++'s test pairs, crops under FSh/<compression>/faces/<a>_<b>; the reals are FF++'s."""

import re
from collections.abc import Sequence
from pathlib import Path

from datasets.data_set_format import CheckedGroups, DataSetFormat, ReadOptions, extraction_command
from datasets.raw_videos import VideoSet, all_videos, folder_of_videos, video_set
from datasets.readers.ffpp import (
    check_fakes_of_ffpp,
    compression_dir,
    fakes_beside_reals,
    folder_of_fakes,
    split_names,
    tested_names,
)
from datasets.records import DataSet

METHOD = "FaceShifter"


def _faces(data_root: Path, datapath: Path | None, compression: str) -> Path:
    return folder_of_fakes(data_root / "FSh", datapath, f"{compression}/faces", "faces")


def _read(options: ReadOptions) -> DataSet:
    """Fakes and FF++ reals of the split. Video ids are FaceShifter/<a>_<b> and real/<a>."""
    root, compression = options.data_root, options.compression
    reals, fakes = split_names(root, options.split)
    faces = _faces(root, options.datapath, compression)
    return fakes_beside_reals("FSh", METHOD, faces, fakes, reals, root, compression, options.frames_per_video)


def _videos(data_root: Path, compression: str, splits: Sequence[str]) -> list[VideoSet]:
    """The fakes of the FF++ test pairs, or all. They are in FSh or in FF++'s own download."""
    root = data_root / "FSh" / compression
    folder = folder_of_videos(root / "videos", compression_dir(data_root, METHOD, compression) / "videos")
    if "all" not in splits:
        names = tested_names(data_root)[1]
        return [video_set(root, [(name, folder / f"{name}.mp4", METHOD) for name in names])]
    return [video_set(root, [(path.stem, path, METHOD) for path in all_videos(folder)])]


def _crop_groups(data_root: Path, datapath: Path | None, compression: str) -> CheckedGroups:
    faces = _faces(data_root, datapath, compression)
    command = extraction_command(
        "FSh", "FSh", faces, data_root, "--compression", compression, inside=f"{compression}/faces"
    )
    return check_fakes_of_ffpp(METHOD, faces, "", data_root, compression, command, by_target=False)


FORMAT = DataSetFormat(
    read=_read,
    has_splits=True,
    videos=_videos,
    video_splits=("test", "all"),
    videos_by_compression=True,
    crop_groups=_crop_groups,
    ffpp_sources=(re.compile(r"/FSh/.*/(\d+)_(\d+)$"),),
)
