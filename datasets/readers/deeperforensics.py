"""DeeperForensics-1.0: fakes of FF++ videos, crops under DF-1.0/faces/end_to_end/<a>_<Wxxx>; the reals are FF++'s."""

import random
from dataclasses import replace
from pathlib import Path

from datasets.readers.ffpp import fakes_beside_reals
from datasets.readers.ffpp_methods import split_names
from datasets.records import DataSet, subfolders

METHOD = "end_to_end"


def read_deeperforensics(
    data_root: Path,
    place: Path | None,
    n_frames: int,
    compression: str = "c23",
    split: str = "test",
    draw_seed: int | None = None,
) -> DataSet:
    """Fakes that have a folder of crops, and FF++ reals of ``split``. Video ids are end_to_end/<a>_<Wxxx> and real/<a>.

    place: the fakes' folder if not ``data_root``/DF-1.0: one that holds faces/end_to_end or end_to_end, or that itself.
    draw_seed: None takes the fakes whose target (a) is a real of the split, so that no training target is tested; a
    seed draws as many fakes as there are reals from the sorted names (the reference draws from an unsorted listing).
    """
    root = Path(place or Path(data_root) / "DF-1.0")
    inside = (root / "faces" / METHOD, root / METHOD)
    default = root if place else inside[0]
    faces = next((folder for folder in inside if folder.is_dir()), default)
    reals, _ = split_names(data_root, split)
    fakes = subfolders(faces)
    if draw_seed is None:
        fakes = [fake for fake in fakes if fake.split("_")[0] in set(reals)]
    else:
        fakes = sorted(random.Random(draw_seed).sample(fakes, min(len(reals), len(fakes))))
    data = fakes_beside_reals("Deeper", METHOD, faces, fakes, reals, data_root, compression, n_frames)
    return data if draw_seed is None else replace(data, source=f"{data.source} (fakes drawn with seed {draw_seed})")
