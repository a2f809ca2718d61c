"""FaceShifter: the fakes of FF++'s test pairs, crops under FSh/<compression>/faces/<a>_<b>; the reals are FF++'s."""

from pathlib import Path

from datasets.readers.ffpp import fakes_beside_reals
from datasets.readers.ffpp_methods import split_names
from datasets.records import DataSet


def read_faceshifter(
    data_root: Path, place: Path | None, n_frames: int, compression: str = "c23", split: str = "test"
) -> DataSet:
    """Fakes and FF++ reals of ``split``. Video ids are FaceShifter/<a>_<b> and real/<a>.

    place: the fakes' folder if not ``data_root``/FSh: one that holds <compression>/faces or faces, or the crops itself.
    """
    root = Path(place or Path(data_root) / "FSh")
    inside = (root / compression / "faces", root / "faces")
    default = root if place else inside[0]
    faces = next((folder for folder in inside if folder.is_dir()), default)
    reals, fakes = split_names(data_root, split)
    return fakes_beside_reals("FSh", "FaceShifter", faces, fakes, reals, data_root, compression, n_frames)
