"""DeeperForensics-1.0: fakes of FF++ videos, crops under DF-1.0/faces/end_to_end/<a>_<Wxxx>; the reals are FF++'s."""

import random
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from datasets.data_set_format import CheckedGroups, DataSetFormat, ReadOptions, extraction_command
from datasets.raw_videos import VideoSet, all_videos, folder_of_videos, require_download, video_set
from datasets.readers.ffpp import check_fakes_of_ffpp, fakes_beside_reals, folder_of_fakes, split_names, tested_names
from datasets.records import DataSet, subfolders

METHOD = "end_to_end"


def _faces(data_root: Path, datapath: Path | None) -> Path:
    return folder_of_fakes(data_root / "DF-1.0", datapath, f"faces/{METHOD}", METHOD)


def _read(options: ReadOptions) -> DataSet:
    """Fakes that have a folder of crops, and FF++ reals of the split. Video ids are end_to_end/<a>_<Wxxx> and real/<a>.

    Protocol ours takes the fakes whose target (a) is a real of the split, so that no training target is tested.
    Protocol reference draws as many fakes as there are reals by the seed, from the sorted names (the reference itself
    draws from an unsorted listing).
    """
    faces = _faces(options.data_root, options.datapath)
    reals, _ = split_names(options.data_root, options.split)
    fakes, note = subfolders(faces), ""
    if options.protocol == "reference":
        fakes = sorted(random.Random(options.seed).sample(fakes, min(len(reals), len(fakes))))
        note = f" (fakes drawn with seed {options.seed})"
    else:
        fakes = [fake for fake in fakes if fake.split("_")[0] in reals]
    settings = (options.data_root, options.compression, options.frames_per_video)
    data = fakes_beside_reals("Deeper", METHOD, faces, fakes, reals, *settings)
    return replace(data, source=data.source + note)


def _videos(data_root: Path, _compression: str, splits: Sequence[str]) -> list[VideoSet]:
    """The fakes whose target is an FF++ test video, or all."""
    root = require_download(data_root / "DF-1.0", "DeeperForensics-1.0")
    paths = all_videos(folder_of_videos(root / "videos" / METHOD, root / "manipulated_videos" / METHOD))
    if "all" not in splits:
        targets, _ = tested_names(data_root)
        paths = [path for path in paths if path.stem.split("_")[0] in targets]
    return [video_set(root, [(f"{METHOD}/{path.stem}", path, METHOD) for path in paths])]


def _crop_groups(data_root: Path, datapath: Path | None, compression: str) -> CheckedGroups:
    faces = _faces(data_root, datapath)
    command = extraction_command("Deeper", "DF-1.0", faces, data_root, inside=f"faces/{METHOD}")
    return check_fakes_of_ffpp(METHOD, faces.parent, f"{faces.name}/", data_root, compression, command, by_target=True)


FORMAT = DataSetFormat(
    read=_read,
    has_splits=True,
    videos=_videos,
    video_splits=("test", "all"),
    crop_groups=_crop_groups,
    ffpp_sources=(re.compile(r"/DF-1\.0/.*/(\d+)_[WM]\d+$"),),
    fake_name=re.compile(r"(\d+)_[WM]\d+"),
)
