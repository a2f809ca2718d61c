"""FFSC, the image data set of the sister paper (arXiv 2405.08487): its folders and the list code of every method.

Facts, from the data set's published description: Train and Val hold METHODS and Real, Test/Protocol-1 holds
PROTOCOL1_METHODS, Test holds Real; images lie in a method's folder or any depth below it; the file names of fomm-expr
end in _surprised.

Assumptions: Val and the in-distribution fakes of Test (the description shows neither) are laid out like Train; without
a Real folder of its own, Protocol-1 takes the reals of Test; StyleRes-expr is smile (UNVERIFIED).
"""

from dataclasses import replace
from pathlib import Path

from datasets.readers.txt_list import CodeBook, read_txt_list
from datasets.records import DataSet, Record, as_images, images_below, subfolders
from utils.cli import UserError

# What was changed -> list code: a digit per node of the FFSC tree, 2 where the data set does not tell.
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


def ffsc_root(data_root: Path) -> Path:
    """The FFSC folder: ``data_root`` itself when it holds Train, Val or Test, else ``data_root``/FFSC."""
    own = any(_child(data_root, name) for name in FOLDERS.values())
    return Path(data_root) if own else Path(data_root) / "FFSC"


def read_ffsc(data_root: Path, split: str) -> dict[str, list[Record]]:
    """List name -> its records, sorted by path; codes are node codes, and list codes too.

    train and val give one list of the same name. test gives "test" when fakes lie directly in Test, and
    "test_protocol1" when Test holds Protocol-1; both may hold the same reals.
    UserError for a missing or empty folder, a folder of no known method, and an image whose code is not known.
    """
    root = ffsc_root(data_root)
    folder = _child(root, FOLDERS[split])
    if folder is None:
        raise UserError(f"{root / FOLDERS[split]} is missing; set --data_root, or choose other splits with --split")
    if split != "test":
        reals, fakes = _read(folder, METHODS)
        return {split: _whole(folder, reals, fakes)}
    protocol1 = _child(folder, "Protocol-1")
    reals, fakes = _read(folder, METHODS, besides=protocol1)
    lists = {"test": _whole(folder, reals, fakes)} if fakes or protocol1 is None else {}
    if protocol1:
        own_reals, unseen = _read(protocol1, PROTOCOL1_METHODS)
        lists["test_protocol1"] = _whole(protocol1, own_reals or reals, unseen)
    return lists


def read_ffsc_test(data_root: Path, place: Path | None, tree: CodeBook, codes: bool) -> DataSet:
    """The test images: a list (lines end in a code of the FFSC tree, or in a label), or all lists of ``read_ffsc``.

    place: the list, or FFSC's folder. Without it ``data_root``/FFSC/FFSCtest.txt is the list if it is there. From the
    folders come the fakes of Test and of Protocol-1 together (figures per method tell them apart), each real once.
    tree: FFSC. codes: whether records keep their node codes; those of another tree's model do not.
    """
    usual = Path(data_root) / "FFSC"
    home = Path(place) if place else usual
    path = home / "FFSCtest.txt" if place is None or home.is_dir() else home
    if path.is_file() or path == home:
        data = read_txt_list(path, tree, missing_allowed=True, folders=(usual, Path(data_root)))
    else:
        data = _folders_as_test(home if place else Path(data_root), path)
    if not codes:
        data = replace(data, records=[replace(record, code="") for record in data.records])
    return as_images(data, "FFSC")


def _folders_as_test(data_root: Path, missing_list: Path) -> DataSet:
    try:
        lists = read_ffsc(data_root, "test")
    except UserError as error:
        reason = str(error).split(";")[0]
        raise UserError(f"FFSC: there is no {missing_list}, and {reason}; give one of them as --datapath") from error
    records = {record.path: record for records in lists.values() for record in records}
    source = f"{' and '.join(lists)} of {ffsc_root(data_root)}"
    return DataSet("FFSC", list(records.values()), len(records), [], source=source)


def _child(folder: Path, name: str) -> Path | None:
    """The folder ``name`` in ``folder``, whatever the case of its letters."""
    return next((path for path in _folders(folder) if path.name.lower() == name.lower()), None)


def _folders(folder: Path) -> list[Path]:
    return [Path(folder) / name for name in subfolders(folder)]


def _read(folder: Path, methods: dict[str, str], besides: Path | None = None) -> tuple[list[Record], list[Record]]:
    """(reals, fakes) of the method folders in ``folder``, but not of ``besides``."""
    reals, fakes = [], []
    named = {path: _method(path, methods) for path in _folders(folder) if path != besides}
    if unknown := [path.name for path, method in named.items() if method is None]:
        raise UserError(f"{folder} has {', '.join(unknown)}, folders of no known method; known here are Real, "
                        f"{', '.join(methods)}: rename them, or move them away")  # fmt: skip
    for path, method in named.items():
        images = list(images_below(path))
        if method == "fomm-expr":
            _refuse_other_expressions(images)
        code, records = (CODES["real"], reals) if method == "real" else (CODES[methods[method]], fakes)
        records += [Record(image, image, int(method != "real"), code, method) for image in images]
    return reals, fakes


def _method(folder: Path, methods: dict[str, str]) -> str | None:
    """The method of a folder: its name in any case, what was changed may follow (FNeVR-pose, InfoSwap_identity). None
    for another name."""
    name = folder.name.lower().replace("_", "-")
    for method, changed in {"real": "", **methods}.items():
        plain = method.lower().replace("_", "-")
        if name in (plain, f"{plain}-{changed}"):
            return method
    return None


def _refuse_other_expressions(images: list[str]) -> None:
    odd = [image for image in images if not Path(image).stem.lower().endswith("_surprised")]
    if odd:
        raise UserError(f"{odd[0]}: {len(odd)} of {len(images)} images of fomm-expr do not end in _surprised, and the "
                        "code of other expressions is not known; move them away")  # fmt: skip


def _whole(folder: Path, reals: list[Record], fakes: list[Record]) -> list[Record]:
    for records, what in ((reals, "real"), (fakes, "fake")):
        if not records:
            raise UserError(f"no {what} image under {folder}; unpack the data set again, or choose other splits "
                            "with --split")  # fmt: skip
    return sorted(reals + fakes, key=lambda record: record.path)
