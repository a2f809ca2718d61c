"""DiFF and DiffusionFace: images in a list of lines `path label` (0 real, 1 fake), every image for itself."""

from pathlib import Path

from datasets.readers.txt_list import CodeBook, read_txt_list
from datasets.records import DataSet, as_images


def read_diffusion(name: str, data_root: Path, place: Path | None, tree: CodeBook) -> DataSet:
    """The list ``data_root``/<name>/<name>test.txt, or ``place`` (the list, or the folder it lies in).

    Relative paths are tried from the current folder, the list's, the data set's and ``data_root``.
    """
    home = Path(data_root) / name
    path = Path(place or home)
    path = path / f"{name}test.txt" if path.is_dir() or place is None else path
    return as_images(read_txt_list(path, tree, missing_allowed=True, folders=(home, Path(data_root))), name)
