"""DeeperForensics-1.0: fakes of FF++ videos, crops under DF-1.0/faces/end_to_end/<a>_<Wxxx>; the reals are FF++'s."""

import random
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from datasets.data_set_format import CheckedGroups, DataSetFormat, ReadOptions, extraction_command
from datasets.raw_videos import VideoSet, all_videos, folder_of_videos, require_download, video_set
from datasets.readers.ffpp import check_fakes_of_ffpp, fakes_beside_reals, split_names, tested_names
from datasets.records import DataSet, subfolders

METHOD = "end_to_end"


def _read(options: ReadOptions) -> DataSet:
    """Fakes that have a folder of crops, and FF++ reals of the split. Video ids are end_to_end/<a>_<Wxxx> and real/<a>.

    Protocol ours takes the fakes whose target (a) is a real of the split, so that no training target is tested. The
    reference's draws as many fakes as there are reals, by the seed, from the sorted names (the reference itself draws
    from an unsorted listing). datapath: holds faces/end_to_end or end_to_end, or the fakes' crops themselves.
    """
    root = options.datapath or options.data_root / "DF-1.0"
    inside = (root / "faces" / METHOD, root / METHOD)
    faces = next((folder for folder in inside if folder.is_dir()), root if options.datapath else inside[0])
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
    paths = all_videos(folder_of_videos(root, f"videos/{METHOD}", f"manipulated_videos/{METHOD}"))
    if "all" not in splits:
        targets, _ = tested_names(data_root)
        paths = [path for path in paths if path.stem.split("_")[0] in targets]
    return [video_set(root, [(f"{METHOD}/{path.stem}", path, METHOD) for path in paths])]


def _crop_groups(data_root: Path, datapath: Path | None, compression: str) -> CheckedGroups:
    root = datapath or data_root / "DF-1.0"
    if root.name == METHOD:
        root = root.parent
    faces = root if (root / METHOD).is_dir() else root / "faces"
    home = next((folder.parent for folder in faces.parents if folder.name == "DF-1.0"), data_root)
    command = extraction_command("Deeper", home)
    return check_fakes_of_ffpp(METHOD, faces, f"{METHOD}/", data_root, compression, command, by_target=True)


FORMAT = DataSetFormat(
    name="Deeper",
    read=_read,
    has_splits=True,
    videos=_videos,
    video_splits=("test", "all"),
    crop_groups=_crop_groups,
    ffpp_sources=(re.compile(r"/DF-1\.0/.*/(\d+)_[WM]\d+$"),),
)
