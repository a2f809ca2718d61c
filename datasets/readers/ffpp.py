"""FaceForensics++: official layout, list codes of the manipulations, pairs of the split files, and the test set.

FaceShifter and DeeperForensics share its reals; their fakes have folders of their own. DeepFakeDetection (DFD) is a
part of the download with reals of its own, videos of actors. It has no official splits: all its videos are tested.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from datasets.checks.findings import Finding, count_findings, error_finding
from datasets.data_set_format import CheckedGroups, CropGroup, DataSetFormat, ReadOptions, extraction_command
from datasets.raw_videos import VideoSet, all_videos, mp4_files, video_set
from datasets.records import DataSet, node_code, subfolders, video_folders_to_dataset
from utils.cli import UserError
from utils.files import read_json

if TYPE_CHECKING:  # NumPy is imported late: --help must not wait for it
    from models.label_tree import LabelTree

REAL_CODE = "1000000000"
# Manipulation folder -> list code (the order of digits is explained in models/label_tree.py).
METHOD_CODES = {
    "Deepfakes": "0101011111",
    "Face2Face": "0110001100",
    "FaceSwap": "0101011111",
    "NeuralTextures": "0110001100",
}
# Region that the data set expansion copies from a fake to its real frame -> list code.
REGION_CODES = {"eyes": "0100110000", "nose": "0100100010", "mouth": "0100101100"}
OFFICIAL = {"train": 720, "val": 140, "test": 140}  # reals, and fakes of each method: two per pair
OFFICIAL_FAKES = 1000  # of FaceShifter and of DeeperForensics' end_to_end: one for each real video
SPLITS = tuple(OFFICIAL)
DFD = "DeepFakeDetection"
DFD_CODES = {"real": REAL_CODE, DFD: METHOD_CODES["Deepfakes"]}  # made with Deepfakes, by the download's README
DFD_OFFICIAL = {"real": 363, DFD: 3068}

_EXPANSION = r"expansion/[^/]+/[^/]+"  # expansion/<compression>/<split>/<region>
EXPANSION_FOLDER = re.compile(rf"/{_EXPANSION}/[^/]+/[^/_]+_(\d+)_(\d+)$")
_METHOD = re.compile(rf"/(?:original_sequences|manipulated_sequences/([^/]+)|{_EXPANSION}/([^/]+))/")
_VIDEO = re.compile(
    rf"(.*)/(?:original_sequences/youtube|(original_sequences/actors|manipulated_sequences/{DFD})"
    r"|manipulated_sequences/[^/]+)/(c23|c40|raw)/faces/[^/]+"
)
_ACTORS = re.compile(r"(\d+)(?:_(\d+))?__.+")  # real 24__scene, fake 24_23__scene__ID: target, source


def ffpp_root(data_root: Path) -> Path:
    """The FF++ folder: ``data_root``/FF++, or ``data_root`` itself if it holds original_sequences."""
    data_root = Path(data_root)
    return data_root if (data_root / "original_sequences").is_dir() else data_root / "FF++"


def compression_dir(data_root: Path, method: str, compression: str) -> Path:
    """The folder that holds videos/ and faces/. method: "real", "actors" (DFD's reals) or a manipulation."""
    root = ffpp_root(data_root)
    if originals := {"real": "youtube", "actors": "actors"}.get(method):
        return root / "original_sequences" / originals / compression
    return root / "manipulated_sequences" / method / compression


def read_pairs(data_root: Path, split: str) -> list[tuple[str, str]]:
    """The pairs (a, b) of FF++/<split>.json: reals a and b, fakes a_b and b_a of every method.

    Raises UserError if the file is missing or is not a list of pairs.
    """
    path = ffpp_root(data_root) / f"{split}.json"
    if not path.is_file():
        raise UserError(f"{path} is missing; put the official FF++ split files there or set --data_root")
    pairs = read_json(path)
    if not isinstance(pairs, list) or not all(
        isinstance(pair, list) and len(pair) == 2 and all(map(_is_video_name, pair)) for pair in pairs
    ):
        raise UserError(f'{path} must be a list of pairs such as [["000", "003"]]; download the official file again')
    return [(a, b) for a, b in pairs]


def _is_video_name(value: object) -> bool:
    """Whether it can name a file in a folder, and no other place."""
    return isinstance(value, str) and value not in ("", ".", "..") and not {"/", "\\", "\0"} & set(value)


def split_names(data_root: Path, split: str) -> tuple[list[str], list[str]]:
    """(reals a, fakes a_b and b_a) of a split's pairs, sorted, each once. Raises UserError as ``read_pairs`` does."""
    pairs = read_pairs(data_root, split)
    reals = sorted({name for pair in pairs for name in pair})
    return reals, sorted({f"{a}_{b}" for pair in pairs for a, b in (pair, pair[::-1])})


def split_videos(data_root: Path, split: str) -> list[tuple[str, str]]:
    """(method, video) of every video of a split: reals first, then one method after the other, sorted by name."""
    reals, fakes = split_names(data_root, split)
    return [("real", video) for video in reals] + [(method, video) for method in METHOD_CODES for video in fakes]


def read_ffpp(
    data_root: Path, tree: "LabelTree | None", n_frames: int, compression: str = "c23", split: str = "test"
) -> DataSet:
    """Read the reals and the four methods' fakes of a split. Video ids are real/<a> and <method>/<a>_<b>.

    tree: The FF++ tree, for the node codes; None (a model of another tree) leaves them empty.
    """
    videos = []
    for method, video in split_videos(data_root, split):
        code = REAL_CODE if method == "real" else METHOD_CODES[method]
        folder = compression_dir(data_root, method, compression) / "faces" / video
        vector = node_code(tree.encode(code)) if tree else ""
        videos.append((f"{method}/{video}", folder, int(method != "real"), vector, method))
    return video_folders_to_dataset("FFpp", videos, n_frames, f"{ffpp_root(data_root)}/.../{compression}/faces")


def _videos(data_root: Path, compression: str, splits: Sequence[str]) -> list[VideoSet]:
    """The reals and the four manipulations of the splits, one set each."""
    named: dict[str, set[str]] = {method: set() for method in ("real", *METHOD_CODES)}
    for split in SPLITS if "all" in splits else splits:
        for method, name in split_videos(data_root, split):
            named[method].add(name)
    sets = []
    for method, names in named.items():
        root = compression_dir(data_root, method, compression)
        sets.append(video_set(root, [(name, root / "videos" / f"{name}.mp4", method) for name in names]))
    return sets


def _check_split(data_root: Path, split: str) -> tuple[list[str], list[str], list[Finding]]:
    """(reals, fakes, what is wrong with the split file)."""
    path = ffpp_root(data_root) / f"{split}.json"
    try:
        reals, fakes = split_names(data_root, split)
    except UserError as error:
        return [], [], [error_finding("unknown_code" if path.is_file() else "missing_file", path, error)]
    what, fix = f"real videos in the {split} pairs", f"download the official {split}.json of FaceForensics++ again"
    return reals, fakes, count_findings(path, what, len(reals), OFFICIAL[split], fix)


def _group(data_root: Path, compression: str, split: str, method: str, videos: list[str]) -> CropGroup:
    faces = compression_dir(data_root, method, compression) / "faces"
    root = ffpp_root(data_root)
    command = extraction_command("FFpp", "FF++", root, root, "--compression", compression, "--split", split)
    return CropGroup(split, method, OFFICIAL[split], faces, videos, command)


def _crop_groups(data_root: Path, datapath: Path | None, compression: str) -> CheckedGroups:
    data_root = datapath or data_root
    groups, findings = [], []
    for split in SPLITS:
        reals, fakes, wrong = _check_split(data_root, split)
        findings += wrong
        if reals:
            groups.append(_group(data_root, compression, split, "real", reals))
            groups += [_group(data_root, compression, split, method, fakes) for method in METHOD_CODES]
    return groups, findings


def extraction_of(folder: str) -> str | None:
    """The command that extracts the crops of a folder; None if it is not a folder of FF++."""
    match = _VIDEO.fullmatch(folder)
    if match is None:
        return None
    root = Path(match[1] or "/")
    return extraction_command("DFD" if match[2] else "FFpp", "FF++", root, root, "--compression", match[3])


def _method_of(folder: str) -> str | None:
    """real, a manipulation, or expansion/<region>."""
    if match := _METHOD.search(folder):
        method, region = match.groups()
        return f"expansion/{region}" if region else method or "real"
    return None


FORMAT = DataSetFormat(
    read=lambda o: read_ffpp(o.datapath or o.data_root, o.ffpp_tree, o.frames_per_video, o.compression, o.split),
    has_splits=True,
    videos=_videos,
    video_splits=(*SPLITS, "all"),
    videos_by_compression=True,
    crop_groups=_crop_groups,
    method_of=_method_of,
    ffpp_sources=(re.compile(r"/(?:original|manipulated)_sequences/.*/(\d+)(?:_(\d+))?$"), EXPANSION_FOLDER),
    fake_name=re.compile(r"(?:[^_]+_)?(\d+)_\d+"),  # 000_003, and Deepfakes_000_003 of the expansion
)


# DeepFakeDetection.


def dfd_dirs(data_root: Path, compression: str) -> dict[str, Path]:
    """ "real" and the method -> the folder that holds videos/ and faces/."""
    return {
        "real": compression_dir(data_root, "actors", compression),
        DFD: compression_dir(data_root, DFD, compression),
    }


def dfd_videos(data_root: Path, compression: str) -> list[tuple[str, str]]:
    """(method, video) of every video with a file or a folder of crops: reals first, sorted by name."""
    return [
        (method, name)
        for method, folder in dfd_dirs(data_root, compression).items()
        for name in sorted({*subfolders(folder / "faces"), *(path.stem for path in mp4_files(folder / "videos"))})
    ]


def split_of_actors(video: str) -> str | None:
    """The split of a DFD video by the numbers of its actors; None if its two actors are in two splits.

    Of every seven actors the sixth is in val, the seventh in test: 20, 4 and 4 of the 28. Raises UserError if the name
    is none of DFD's.
    """
    match = _ACTORS.fullmatch(video)
    if match is None:
        raise UserError(f"{video!r} is no video of {DFD}, such as 24__scene or 24_23__scene__ID; move it away")
    splits = {{6: "val", 0: "test"}.get(int(actor) % 7, "train") for actor in match.groups() if actor}
    return splits.pop() if len(splits) == 1 else None


def _read_dfd(options: ReadOptions) -> DataSet:
    """Read all reals and fakes. Video ids are real/<a>__<scene> and DeepFakeDetection/<a>_<b>__<scene>__<ID>."""
    root = options.datapath or options.data_root
    if options.split != "test":
        fix = "leave --split out, or test a list of make_lists.py --dataset DFD"
        raise UserError(f"DFD has no official splits, all its videos are tested; {fix}")
    folders, tree = dfd_dirs(root, options.compression), options.ffpp_tree
    codes = {method: node_code(tree.encode(code)) if tree else "" for method, code in DFD_CODES.items()}
    videos = [
        (f"{method}/{video}", folders[method] / "faces" / video, int(method != "real"), codes[method], method)
        for method, video in dfd_videos(root, options.compression)
    ]
    where = " and ".join(f"{folder}/faces" for folder in folders.values())
    return video_folders_to_dataset("DFD", videos, options.frames_per_video, where)


def _dfd_video_sets(data_root: Path, compression: str, _splits: Sequence[str]) -> list[VideoSet]:
    """All reals and all fakes, one set each."""
    return [
        video_set(folder, [(path.stem, path, method) for path in all_videos(folder / "videos")])
        for method, folder in dfd_dirs(data_root, compression).items()
    ]


def _dfd_crop_groups(data_root: Path, datapath: Path | None, compression: str) -> CheckedGroups:
    data_root = datapath or data_root
    root = ffpp_root(data_root)
    command = extraction_command("DFD", "FF++", root, root, "--compression", compression)
    videos = dfd_videos(data_root, compression)
    groups, findings = [], []
    for method, folder in dfd_dirs(data_root, compression).items():
        names, official = [name for of, name in videos if of == method], DFD_OFFICIAL[method]
        groups.append(CropGroup("test", method, official, folder / "faces", names, command))
        findings += count_findings(folder, f"{method} videos", len(names), official, command)
    return groups, findings


DFD_FORMAT = DataSetFormat(
    read=_read_dfd,
    has_splits=True,
    videos=_dfd_video_sets,
    videos_by_compression=True,
    crop_groups=_dfd_crop_groups,
    ffpp_sources=(re.compile(rf"/(?:actors|{DFD})/[^/]+/faces/(\d+)(?:_(\d+))?__[^/]+$"),),
    fake_name=re.compile(r"(\d+)_\d+(__.+)__[^_]+"),
)


# FaceShifter and DeeperForensics: fakes of FF++ videos.


def folder_of_fakes(usual: Path, datapath: Path | None, *inside: str) -> Path:
    """The folder of the fakes' crops: the first of ``inside`` in ``datapath`` or ``usual``, or ``datapath`` itself."""
    folders = [(datapath or usual) / name for name in inside]
    return next((folder for folder in folders if folder.is_dir()), datapath or folders[0])


def tested_names(data_root: Path) -> tuple[list[str], list[str]]:
    """``split_names`` of the test split. The UserError names --split all, the way to extract without it."""
    try:
        return split_names(data_root, "test")
    except UserError as error:
        raise UserError(
            f"which fakes are tested follows from FF++'s test.json: {error} (or use --split all)"
        ) from error


def fakes_beside_reals(
    name: str,
    method: str,
    faces: Path,
    fakes: Sequence[str],
    reals: Sequence[str],
    data_root: Path,
    compression: str,
    n_frames: int,
) -> DataSet:
    """Read fakes with crops in ``faces``/<fake>, and FF++'s reals. Video ids are <method>/<fake> and real/<a>.

    Raises UserError if a class has no crops.
    """
    real_faces = compression_dir(data_root, "real", compression) / "faces"
    videos = [(f"real/{video}", real_faces / video, 0, "", "real") for video in reals]
    videos += [(f"{method}/{video}", faces / video, 1, "", method) for video in fakes]
    data = video_folders_to_dataset(name, videos, n_frames, f"{faces} and {real_faces}")
    labels = {record.label for record in data.records}
    if 1 not in labels:
        raise UserError(f"{name}: no face crops of its fakes under {faces}; extract them or set --datapath")
    if 0 not in labels:
        raise UserError(f"{name}: its reals are FF++'s, but {real_faces} has no crops of them; extract them first")
    return data


def check_fakes_of_ffpp(
    label: str, faces: Path, prefix: str, data_root: Path, compression: str, command: str, by_target: bool
) -> CheckedGroups:
    """The groups of fakes of FF++ videos, and of the FF++ test reals they are tested against.

    The group of all fakes is checked only if there are more than the test fakes.

    Args:
        prefix: Folder below ``faces`` that holds the fakes, with a slash; or "".
        command: Extracts the fakes.
        by_target: Test the fakes whose first video is a test real, instead of the fakes of the test pairs.
    """
    existing = [f"{prefix}{folder}" for folder in subfolders(faces / prefix)]
    reals, tested, findings = _check_split(data_root, "test")
    groups = []
    if reals:
        if by_target:
            tested = [video for video in existing if video.removeprefix(prefix).split("_")[0] in reals]
            what = "fakes of FF++ test videos"
            findings += count_findings(faces / prefix, what, len(tested), OFFICIAL["test"], command)
        groups.append(_group(data_root, compression, "test", "real", reals))
        groups.append(CropGroup("test", label, OFFICIAL["test"], faces, tested, command))
    if not set(existing) <= set(tested):
        everything = f"{command} --split all"
        groups.append(CropGroup("all", label, OFFICIAL_FAKES, faces, existing, everything))
        findings += count_findings(faces / prefix, f"{label} fakes", len(existing), OFFICIAL_FAKES, everything)
    return groups, findings
