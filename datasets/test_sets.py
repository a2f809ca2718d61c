"""The test sets by name: where each lies under --data_root and which reader takes it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from datasets.readers.celeb_df import read_celeb_df
from datasets.readers.csv_list import read_csv_list
from datasets.readers.deeperforensics import read_deeperforensics
from datasets.readers.deepfakebench_json import read_deepfakebench_json
from datasets.readers.dfdc import read_dfdc
from datasets.readers.diffusion import read_diffusion
from datasets.readers.faceshifter import read_faceshifter
from datasets.readers.ffpp import read_ffpp
from datasets.readers.ffsc import read_ffsc_test
from datasets.readers.image_folder import read_image_folder
from datasets.readers.txt_list import CodeBook, read_txt_list
from datasets.records import DataSet, by_video

PROTOCOLS = ("ours", "reference")


@dataclass(frozen=True)
class Wanted:
    """What to read. datapath: place of the data set, None for its usual one. protocol: one of PROTOCOLS. seed: of the
    reference's draw of fakes. n_frames: frames per video, None for the model's usual number (and for all of a list's).
    tree: the model's tree; trees: all trees by name."""

    data_root: Path
    datapath: Path | None
    compression: str
    split: str
    protocol: str
    seed: int
    n_frames: int | None
    tree: CodeBook
    trees: Mapping[str, CodeBook]

    @property
    def usual_frames(self) -> int:
        """Frames per video of a video set: the FF++ model's paper takes 64, the FFSC model's 32."""
        return self.n_frames or (64 if self.tree is self.trees["ffpp"] else 32)

    @property
    def ffpp_tree(self) -> CodeBook | None:
        """The FF++ tree if it is the model's."""
        return self.tree if self.tree is self.trees["ffpp"] else None


def _ffpp(w: Wanted) -> DataSet:
    return read_ffpp(w.datapath or w.data_root, w.ffpp_tree, w.usual_frames, w.compression, w.split)


def _celeb_df(w: Wanted) -> DataSet:
    return read_celeb_df(w.datapath or w.data_root / "CDF", w.usual_frames)


def _faceshifter(w: Wanted) -> DataSet:
    return read_faceshifter(w.data_root, w.datapath, w.usual_frames, w.compression, w.split)


def _deeperforensics(w: Wanted) -> DataSet:
    seed = w.seed if w.protocol == "reference" else None
    return read_deeperforensics(w.data_root, w.datapath, w.usual_frames, w.compression, w.split, seed)


def _dfdc(w: Wanted) -> DataSet:
    return read_dfdc(w.datapath or w.data_root / "DFDC", w.usual_frames, drop_short=w.protocol == "reference")


def _ffsc(w: Wanted) -> DataSet:
    ffsc = w.trees["ffsc"]
    return by_video(read_ffsc_test(w.data_root, w.datapath, ffsc, codes=w.tree is ffsc), None)


def _diff(w: Wanted) -> DataSet:
    return by_video(read_diffusion("DiFF", w.data_root, w.datapath, w.tree), None)


def _diffusion_face(w: Wanted) -> DataSet:
    return by_video(read_diffusion("DiffusionFace", w.data_root, w.datapath, w.tree), None)


def _list(w: Wanted) -> DataSet:
    return by_video(read_txt_list(w.datapath, w.tree, missing_allowed=True), w.n_frames)


def _json(w: Wanted) -> DataSet:
    return read_deepfakebench_json(w.datapath, w.data_root, w.ffpp_tree, w.usual_frames, w.compression, w.split)


def _folder(w: Wanted) -> DataSet:
    return read_image_folder(w.datapath, w.usual_frames)


def _csv(w: Wanted) -> DataSet:
    return by_video(read_csv_list(w.datapath), w.n_frames)


READERS: dict[str, Callable[[Wanted], DataSet]] = {
    "FFpp": _ffpp,
    "CDF": _celeb_df,
    "FSh": _faceshifter,
    "Deeper": _deeperforensics,
    "DFDC": _dfdc,
    "FFSC": _ffsc,
    "DiFF": _diff,
    "DiffusionFace": _diffusion_face,
    "list": _list,
    "json": _json,
    "folder": _folder,
    "csv": _csv,
}
WITHOUT_USUAL_PLACE = ("list", "json", "folder", "csv")  # need --datapath
WITH_SPLITS = ("FFpp", "FSh", "Deeper", "json")  # --split and --compression mean something


def frames_per_video(name: str, data: DataSet, wanted: Wanted) -> int | None:
    """How many frames of a video are taken at most; None for image sets and for all frames of a list."""
    if data.image_level:
        return None
    return wanted.n_frames if name in ("list", "csv") else wanted.usual_frames
