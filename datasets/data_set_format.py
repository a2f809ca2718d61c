"""What a reader module tells about its data set: how it is read, where its videos and crops are, how many there are.

Each module of datasets/readers exports its ``DataSetFormat``; datasets/test_sets.py lists them.
"""

import os
import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from datasets.checks.findings import Finding
from datasets.raw_videos import VideoSet
from datasets.records import DataSet

if TYPE_CHECKING:  # NumPy is imported late: --help must not wait for it
    from models.label_tree import LabelTree

PROTOCOLS = ("ours", "reference")


@dataclass(frozen=True)
class ReadOptions:
    """What a test asks of a reader.

    data_root: Folder of all data sets.
    tree: Of the model that is tested.
    datapath: Place of the data set, if not the usual one under ``data_root``.
    protocol: One of PROTOCOLS.
    seed: Of protocol reference's draw of fakes.
    n_frames: Frames per video; None for the usual number of the model, or for all frames of a list or CSV file.
    """

    data_root: Path
    tree: "LabelTree"
    datapath: Path | None = None
    compression: str = "c23"
    split: str = "test"
    protocol: str = "ours"
    seed: int = 0
    n_frames: int | None = None

    @property
    def given_path(self) -> Path:
        """``datapath`` of a format that needs one."""
        if self.datapath is None:
            raise ValueError("this format has no usual place: give a datapath")
        return self.datapath

    @property
    def frames_per_video(self) -> int:
        """``n_frames``, or what the model's paper takes: 64 for the FF++ tree, 32 for the FFSC tree."""
        return self.n_frames or (64 if self.tree.family == "ffpp" else 32)

    @property
    def ffpp_tree(self) -> "LabelTree | None":
        """The model's tree if it has the nodes of FF++'s, else None."""
        from models.label_tree import FFPP

        return self.tree if self.tree.nodes == FFPP.nodes else None


class CropGroup(NamedTuple):
    """The videos of one class in one split, for SJEDD_check_data.py.

    official: How many videos there should be.
    faces: Folder of the crops. Those of a video are in faces/<video>, the manifest is beside faces.
    command: Extracts the crops.
    """

    split: str
    label: str
    official: int
    faces: Path
    videos: list[str]
    command: str


CheckedGroups = tuple[list[CropGroup], list[Finding]]


@dataclass(frozen=True)
class DataSetFormat:
    """A data set or list format.

    For tests:
        read: Reads the test set.
        needs_datapath: What --datapath must be, if the format has no usual place; else "".
        has_splits: Whether --split and --compression change what is read.
    For the extraction of crops, data sets of videos only:
        videos: (data_root, compression, splits) -> the raw videos. Raises UserError if the download is missing.
        video_splits: The splits that ``videos`` takes, if any.
        videos_by_compression: Whether each compression has a folder of videos.
    For checks:
        crop_groups: (data_root, datapath, compression) -> the groups to check, and what is wrong with the official
            lists. Data sets of videos.
        image_list: (data_root, datapath) -> the list to check; None if there is none. Data sets of images.
        count_images: (data_root, subset) -> counts by list and method, image -> whether it is a test image, findings.
            Data sets of images in folders. subset: missing methods are no finding.
        method_of: Folder of an image -> "real", a method, or None if the folder is not of this data set.
        ffpp_sources: Patterns of crop folders; their groups are the numbers of the FF++ videos (three digits) or of
            the DeepFakeDetection actors (two) that the crops show.
    For pairs in training:
        fake_name: Name of a fake video; the groups, joined, are the name of its target, the real video whose frames it
            has.
    """

    read: Callable[[ReadOptions], DataSet]
    needs_datapath: str = ""
    has_splits: bool = False
    videos: Callable[[Path, str, Sequence[str]], list[VideoSet]] | None = None
    video_splits: tuple[str, ...] = ()
    videos_by_compression: bool = False
    crop_groups: Callable[[Path, Path | None, str], CheckedGroups] | None = None
    image_list: Callable[[Path, Path | None], Path | None] | None = None
    count_images: Callable[[Path, bool], tuple[dict, dict[str, bool], list[Finding]]] | None = None
    method_of: Callable[[str], str | None] | None = None
    ffpp_sources: tuple[re.Pattern, ...] = ()
    fake_name: re.Pattern | None = None


def extraction_command(
    name: str, folder: str, place: Path, data_root: Path, *options: str, inside: str | None = None
) -> str:
    """The command that extracts the crops of a data set.

    Args:
        folder: Name of the data set's folder. If ``place`` is it or in it, its parent is the command's --data_root,
            else ``data_root``.
        inside: Where ``place`` is looked for in ``folder``. If given, a place elsewhere is to be linked there first:
            the extraction knows no other.
    """
    above = next((path.parent for path in (place, *place.parents) if path.name == folder), None)
    link, usual = "", data_root / folder / (inside or "")
    if above is None and inside is not None and usual.resolve() != place.resolve():
        above = Path("NEW") if os.path.lexists(usual) else None  # nothing that is there is to be replaced
        link = f"link {place.absolute()} as {(above or data_root) / folder / inside}, then "
    words = ["python", "preprocessing/extract_faces.py", "--dataset", name, "--data_root", str(above or data_root)]
    return link + shlex.join([*words, *options])
