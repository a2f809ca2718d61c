"""DeepfakeBench's and DF40's JSON files: data set -> label -> split [-> compression] -> video -> label and frames.

Real labels contain "real" in any case; fake ones contain "fake", start with FF- (FF-DF) or are the name of a method of
FF++. Other labels are those of datasets/list_rules.py, which also says how paths are read.
"""

import itertools
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from datasets.data_set_format import DataSetFormat
from datasets.list_rules import each_once, find_images, label_of, listed_again
from datasets.readers.ffpp import METHOD_CODES, REAL_CODE
from datasets.records import DataSet, Dropped, Record, evenly_spaced, in_order, node_code
from utils.cli import UserError
from utils.files import read_json

if TYPE_CHECKING:  # NumPy is imported late: --help must not wait for it
    from models.label_tree import LabelTree

_CLASS_WORDS = re.compile(f"real|fake|^ff-|^(?:{'|'.join(METHOD_CODES)}|FaceShifter)$", re.IGNORECASE)
_DOWNLOAD = "take the file from DeepfakeBench or DF40 again"
# Labels of FaceForensics++ -> list code.
_CODES = {
    "FF-real": REAL_CODE,
    "FF-DF": METHOD_CODES["Deepfakes"],
    "FF-F2F": METHOD_CODES["Face2Face"],
    "FF-FS": METHOD_CODES["FaceSwap"],
    "FF-NT": METHOD_CODES["NeuralTextures"],
}


def read_deepfakebench_json(
    path: Path, data_root: Path, tree: "LabelTree | None", n_frames: int, compression: str = "c23", split: str = "test"
) -> DataSet:
    """Read the videos of a split. Video ids are <label>/<video>. A label such as 1 names no method: its key is taken.

    A frame that does not exist stays in the records; scoring drops it with its reason. A frame that a video lists twice
    is dropped with the reason duplicate. A video without frames (or with null) is dropped.

    Args:
        data_root: Where frames are, if not beside the file or in the current folder.
        tree: The FF++ tree, for the node codes of FaceForensics++; None leaves them empty.
        n_frames: Frames per video at most, evenly spaced by their number.

    Raises:
        UserError: The file has another form, or a label is neither real nor fake.
    """
    path = Path(path)
    records: list[Record] = []
    dropped: list[Dropped] = []
    taken: set[str] = set()
    videos = list(_videos(path, compression, split))
    found, _, notes = find_images([frame for *_, frames in videos for frame in frames], [path.parent, data_root])
    images = iter(found)
    for place, label, fake, name, frames in videos:
        # If two keys have one label, the keys tell the videos apart.
        video = f"{label}/{name}" if f"{label}/{name}" not in taken else f"{place}/{name}"
        taken.add(video)
        code = node_code(tree.encode(_CODES[label])) if tree and label in _CODES else ""
        listed = [Record(image, video, fake, code, label) for image in itertools.islice(images, len(frames))]
        once, duplicates = each_once(listed, listed_again([record.path for record in listed]))
        records += evenly_spaced(in_order(once, lambda record: record.path), n_frames)
        dropped += duplicates
        if not frames:
            dropped.append(Dropped(video, "", fake, "no_crops"))
    if not records:
        raise UserError(f"{path} lists no frame of the split {split}; choose another one with --split")
    return DataSet("json", records, dropped, f"{path} ({split})", n_frames, notes)


def _is_fake(path: Path, label: str, where: str) -> int:
    """0 real, 1 fake. If a label has both words, the last one decides (RealSwap_fake)."""
    plain, words = label_of(label), _CLASS_WORDS.findall(label)
    if plain is None and not words:
        raise UserError(f"{path}: the label {label[:80]!r} of {where} is neither real nor fake; write one into it")
    return int(words[-1].lower() != "real") if plain is None else plain


def _videos(path: Path, compression: str, split: str) -> Iterator[tuple[str, str, int, str, list[str]]]:
    """(data set/key of the label, label, whether it is fake, video, frames) of every video of the split."""
    for dataset, labels in _mapping(path, read_json(path), "the file").items():
        for key, splits in _mapping(path, labels, dataset).items():
            place = f"{dataset}/{key}"
            videos = _mapping(path, _mapping(path, splits, place).get(split, {}), f"{place}/{split}")
            if videos and not any("frames" in _mapping(path, v, f"{place}/{split}/{k}") for k, v in videos.items()):
                if compression not in videos:
                    raise UserError(f"{path}: {place} has {', '.join(videos)}, not {compression}; set --compression")
                videos = _mapping(path, videos[compression], f"{place}/{split}/{compression}")
            for name, video in videos.items():
                where = f"{place}/{split}/{name}"
                label, frames = _label_and_frames(path, video, where)
                fake = _is_fake(path, key if label is None else label, where)
                yield place, label if label and _CLASS_WORDS.search(label) else key, fake, name, frames


def _label_and_frames(path: Path, video: object, where: str) -> tuple[str | None, list[str]]:
    entry = _mapping(path, video, where)
    label, frames = entry.get("label"), entry.get("frames", "")
    frames = [] if frames is None else frames
    if isinstance(label, int | float):  # bool too
        label = str(label)
    if not isinstance(label, str | None):
        raise UserError(f"{path}: the label of {where} is no text; {_DOWNLOAD}")
    if not isinstance(frames, list) or not all(isinstance(frame, str) for frame in frames):
        raise UserError(f"{path}: {where} has no list of frames; {_DOWNLOAD}")
    return label, frames


def _mapping(path: Path, value: object, where: str) -> Mapping:
    if not isinstance(value, Mapping):
        form = "data set -> label -> split -> video -> label and frames"
        raise UserError(f"{path}: {where} is no object of DeepfakeBench's form ({form}); {_DOWNLOAD}")
    return value


FORMAT = DataSetFormat(
    read=lambda o: read_deepfakebench_json(
        o.given_path, o.data_root, o.ffpp_tree, o.frames_per_video, o.compression, o.split
    ),
    needs_datapath="FILE",
    has_splits=True,
)
