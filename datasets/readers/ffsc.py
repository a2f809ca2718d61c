"""FFSC, the image data set of the sister paper (arXiv 2405.08487): its folders and the list code of every method.

Facts, from the data set's published description: Train and Val hold METHODS and Real, Test/Protocol-1 holds
PROTOCOL1_METHODS, Test holds Real. Images are in a method's folder, at any depth. The file names of fomm-expr end in
_surprised.

Assumptions: Val and the in-distribution fakes of Test, which the description does not show, are laid out like Train.
Protocol-1 takes the reals of Test if it has no Real folder. StyleRes-expr is smile (UNVERIFIED).
"""

import functools
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from datasets.checks.findings import Finding, error_finding
from datasets.data_set_format import DataSetFormat, ReadOptions
from datasets.readers.csv_list import read_csv_list
from datasets.readers.txt_list import read_txt_list
from datasets.records import DataSet, Record, as_images, by_video, images_below, subfolders
from datasets.video_ids import folder_of
from utils.cli import UserError

# What was changed -> list code: a digit per node of the FFSC tree, 2 if the data set does not tell.
CODES = {
    "real": "000000000000",
    "age": "110000100001",
    "smile": "101000001100",
    "surprise": "101000101111",
    "gender": "120110111101",
    "identity": "120010111111",
    "pose": "100001111111",
}
# Method folder -> key of CODES.
METHODS = {
    "BlendFace": "identity",
    "diffae-age": "age",
    "diffae-gender": "gender",
    "fomm-expr": "surprise",
    "fomm-pose": "pose",
    "fsgan": "identity",
    "simswap": "identity",
    "StyleGAN2_dis-gender": "gender",
    "StyleRes-age": "age",
    "StyleRes-expr": "smile",
    "TPS-pose": "pose",
}
PROTOCOL1_METHODS = {
    "FNeVR": "pose",
    "HFGI-age": "age",
    "HFGI-smile": "smile",
    "InfoSwap": "identity",
    "StyleCLIP-gender": "gender",
}
UNVERIFIED = {"StyleRes-expr": "its images are taken as smile; no source tells whether they smile or look surprised"}
FOLDERS = {"train": "Train", "val": "Val", "test": "Test"}
_METHOD_FOLDER = re.compile(r"/(?:train|val|test)/(?:protocol-1/)?([^/]+)(?:/|$)", re.IGNORECASE)


def ffsc_root(data_root: Path) -> Path:
    """The FFSC folder: ``data_root`` itself if it holds Train, Val or Test, else ``data_root``/FFSC."""
    own = any(_child(Path(data_root), name) for name in FOLDERS.values())
    return Path(data_root) if own else Path(data_root) / "FFSC"


def read_ffsc(data_root: Path, split: str) -> dict[str, list[Record]]:
    """Read the images of a split from their folders.

    Returns:
        List name -> its records, sorted by path; their codes are list codes and node codes alike. train and val give
        one list of this name. test gives "test" if Test itself holds fakes, and "test_protocol1" if it holds
        Protocol-1; both may hold the same reals.

    Raises:
        UserError: A folder is missing, empty or of no known method, or the code of an image is not known.
    """
    return {name: _sorted_by_path(*found) for name, found in _read_classes(data_root, split).items()}


def _read_classes(data_root: Path, split: str) -> dict[str, tuple[Path, list[Record], list[Record]]]:
    """List name of ``read_ffsc`` -> (its folder, reals, fakes), perhaps none."""
    root = ffsc_root(data_root)
    folder = _child(root, FOLDERS[split])
    if folder is None:
        raise UserError(f"{root / FOLDERS[split]} is missing; set --data_root, or choose other splits with --split")
    if split != "test":
        return {split: (folder, *_read(folder, METHODS))}
    protocol1 = _child(folder, "Protocol-1")
    reals, fakes = _read(folder, METHODS, skipped=protocol1)
    lists = {"test": (folder, reals, fakes)} if fakes or protocol1 is None else {}
    if protocol1:
        own_reals, unseen = _read(protocol1, PROTOCOL1_METHODS)
        lists["test_protocol1"] = (protocol1, own_reals or reals, unseen)
    return lists


def _read_test(options: ReadOptions) -> DataSet:
    """The images of a list (see ``_read_list``), or of all lists of ``read_ffsc``.

    datapath is the list, or FFSC's folder; without it, ``data_root``/FFSC is the folder. FFSCtest.txt in the folder is
    the list. Without a list, the fakes of Test and of Protocol-1 are tested together (metrics per method tell them
    apart), each real once. Records for a model of another tree have no node codes.
    """
    from models.label_tree import FFSC

    usual = options.data_root / "FFSC"
    place = options.datapath or usual
    path = place / "FFSCtest.txt" if options.datapath is None or place.is_dir() else place
    if path.is_file() or path == place:
        data = _read_list(path, (usual, options.data_root))
    else:
        data = _folders_as_test(options.datapath or options.data_root, path)
    if options.tree.nodes != FFSC.nodes:
        data = replace(data, records=[replace(record, code="") for record in data.records])
    return by_video(as_images(data, "FFSC"), None)


def _read_list(path: Path, folders: Sequence[Path]) -> DataSet:
    """A txt list, whose lines end in a code of the FFSC tree or in a label, or a CSV file with a column label.

    As in the data set's folders, each fake gets a method, for the AUC per method: that of the CSV file, of its folder,
    or else what its code says was changed. A real, and a fake of a known method, gets its code if the list has none.
    """
    from models.label_tree import FFSC

    if path.suffix.lower() == ".csv":
        data = read_csv_list(path, folders, FFSC)
    else:
        data = read_txt_list(path, FFSC, missing_allowed=True, folders=folders)
    known = METHODS | PROTOCOL1_METHODS
    changed = {code: name for name, code in CODES.items()}
    named = functools.cache(lambda name: _method(name, known) or name)
    of_folder = functools.cache(_method_of)
    records = []
    for record in data.records:
        candidates = named(record.method), of_folder(folder_of(record.path)), changed.get(record.code)
        fits = (name for name in candidates if name and (name == "real") == (record.label == 0))
        method = next(fits, "" if record.label else "real")
        code = record.code or CODES.get("real" if method == "real" else known.get(method, ""), "")
        records.append(replace(record, method=method, code=code))
    return replace(data, records=records)


def _folders_as_test(data_root: Path, missing_list: Path) -> DataSet:
    try:
        lists = read_ffsc(data_root, "test")
    except UserError as error:
        reason = str(error).split(";")[0]
        raise UserError(f"FFSC: there is no {missing_list}, and {reason}; give one of them as --datapath") from error
    records = {record.path: record for records in lists.values() for record in records}
    source = f"{' and '.join(lists)} of {ffsc_root(data_root)}"
    return DataSet("FFSC", list(records.values()), source=source)


def _child(folder: Path, name: str) -> Path | None:
    """The folder ``name`` in ``folder``, upper or lower case."""
    return next((folder / own for own in subfolders(folder) if own.lower() == name.lower()), None)


def _read(folder: Path, methods: dict[str, str], skipped: Path | None = None) -> tuple[list[Record], list[Record]]:
    """(reals, fakes) of the method folders in ``folder``, without the folder ``skipped``."""
    reals, fakes = [], []
    named = {name: _method(name, methods) for name in subfolders(folder) if folder / name != skipped}
    if unknown := [name for name, method in named.items() if not method]:
        known = f"known here are Real, {', '.join(methods)}: rename them, or move them away"
        raise UserError(f"{folder} has {', '.join(unknown)}, folders of no known method; {known}")
    for name, method in named.items():
        images = images_below(folder / name)
        checked = images if method == "fomm-expr" else []
        if others := [image for image in checked if not Path(image).stem.lower().endswith("_surprised")]:
            what = f"{len(others)} of {len(images)} images of fomm-expr do not end in _surprised"
            raise UserError(f"{others[0]}: {what}, and the code of other expressions is not known; move them away")
        code, records = (CODES["real"], reals) if method == "real" else (CODES[methods[method]], fakes)
        records += [Record(image, image, int(method != "real"), code, method) for image in images]
    return reals, fakes


def _method(name: str, methods: dict[str, str]) -> str:
    """The method of a folder, upper or lower case, or ""; its name may end in what was changed (FNeVR-pose)."""
    name = name.lower().replace("_", "-")
    for method, changed in {"real": "", **methods}.items():
        plain = method.lower().replace("_", "-")
        if name in (plain, f"{plain}-{changed}"):
            return method
    return ""


def _sorted_by_path(folder: Path, reals: list[Record], fakes: list[Record]) -> list[Record]:
    """All records. Raises UserError if a class has none."""
    for records, what in ((reals, "real"), (fakes, "fake")):
        if not records:
            fix = "unpack the data set again, or choose other splits with --split"
            raise UserError(f"no {what} image under {folder}; {fix}")
    return sorted(reals + fakes, key=lambda record: record.path)


def _count_images(data_root: Path, subset: bool) -> tuple[dict[str, dict[str, int]], dict[str, bool], list[Finding]]:
    """No official numbers are known, but every split, class and method must have images, unless ``subset``."""
    root = ffsc_root(data_root)
    splits = [split for split, folder in FOLDERS.items() if _child(root, folder)] if subset else []
    counts: dict[str, dict[str, int]] = {}
    findings, images = [], {}
    for split in splits or FOLDERS:
        folder = FOLDERS[split]
        try:
            classes = _read_classes(data_root, split)
            lists = {
                name: reals + fakes if subset else _sorted_by_path(of, reals, fakes)
                for name, (of, reals, fakes) in classes.items()
            }
        except UserError as error:
            findings.append(error_finding("count_mismatch", root / folder, error))
            continue
        for name, records in lists.items():
            number = Counter(record.method for record in records)
            methods = PROTOCOL1_METHODS if name == "test_protocol1" else METHODS
            counts[name] = {method: number[method] for method in ("real", *methods)}
            images |= dict.fromkeys((record.path for record in records), split == "test")
            for method in methods:
                if not number[method] and not subset:
                    message, fix = f"no image of {method} ({name} list)", f"unpack FFSC's {folder} again"
                    findings.append(Finding("count_mismatch", str(root / folder), None, message, fix))
    return counts, images, findings


def _method_of(folder: str) -> str | None:
    match = _METHOD_FOLDER.search(folder)
    return (match and _method(match[1], METHODS | PROTOCOL1_METHODS)) or None


FORMAT = DataSetFormat(
    read=_read_test,
    image_list=lambda _data_root, datapath: datapath if datapath and datapath.is_file() else None,
    count_images=_count_images,
    method_of=_method_of,
)
