"""DiFF and DiffusionFace: images in a list of lines `path label` (0 real, 1 fake); every image counts for itself."""

from functools import partial
from pathlib import Path

from datasets.data_set_format import DataSetFormat, ReadOptions
from datasets.readers.txt_list import read_txt_list
from datasets.records import DataSet, as_images, by_video


def _list_of(name: str, data_root: Path, datapath: Path | None) -> Path:
    """The list: ``data_root``/<name>/<name>test.txt, or ``datapath``, which may be the list's folder too."""
    path = datapath or data_root / name
    return path / f"{name}test.txt" if path.is_dir() or datapath is None else path


def _read(name: str, options: ReadOptions) -> DataSet:
    """Relative paths are tried from the current folder, the list's, the data set's and ``data_root``."""
    path = _list_of(name, options.data_root, options.datapath)
    folders = (options.data_root / name, options.data_root)
    data = read_txt_list(path, options.tree, missing_allowed=True, folders=folders)
    return by_video(as_images(data, name), None)


def data_set_format(name: str) -> DataSetFormat:
    """The format of DiFF or DiffusionFace."""
    return DataSetFormat(partial(_read, name), image_list=partial(_list_of, name))
