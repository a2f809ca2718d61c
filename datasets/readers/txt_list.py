"""Text lists of images: `path code`, `path flag code` or `path label`, separated by white space or a comma.

datasets/list_rules.py says how a line and a path are read. A relative path is taken from the current folder, else from
the list's own folder, else (in tests) from --data_root.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from datasets.data_set_format import DataSetFormat
from datasets.list_rules import absolute_folders, each_once, find_images, listed_again, split_line
from datasets.readers.image_folder import CLASSES
from datasets.records import DataSet, Record, by_video, folder_ids, node_code
from utils.cli import UserError
from utils.files import text_file

if TYPE_CHECKING:  # NumPy is imported late: --help must not wait for it
    from models.label_tree import LabelTree


class _Line(NamedTuple):
    """A line of a list: its number, the image as written, and the code or label."""

    number: int
    image: str
    code: str


def read_txt_list(
    path: str | Path,
    tree: "LabelTree",
    name: str = "list",
    labels_allowed: bool = True,
    missing_allowed: bool = False,
    folders: Sequence[Path] = (),
) -> DataSet:
    """Read a list file. All its lines must have one form.

    The video of an image is its folder relative to the deepest folder that all images share, or the folder's name if
    there is only one. If a folder mixes labels or is named after a class (real, 1_fake), folders are not videos: every
    image counts for itself. An image that is listed again is dropped with the reason duplicate.

    Args:
        tree: Turns codes into node vectors.
        name: Of the data set.
        labels_allowed: Lines may end in a label instead of a code. Such records have no code.
        missing_allowed: Keep images that do not exist; scoring drops them with that reason.
        folders: Where relative paths are tried after the current folder and the list's own.

    Raises:
        UserError: The list is empty, or (with file:line) a line cannot be read, its code is of another tree or length,
            its image does not exist, or its image is listed above with another code.
    """
    path = Path(path)
    lines, meanings = _parse(path, tree, labels_allowed)
    images, missing, notes = find_images([line.image for line in lines], [path.parent, *folders])
    if missing and not missing_allowed:
        line = lines[missing[0]]
        what = f"image {line.image[:200]} does not exist, nor beside the list"
        raise UserError(f"{path}:{line.number}: {what}; fix the path or remove the line")
    again = listed_again(images)
    for i, first in again.items():
        if lines[i].code != lines[first].code:
            here = f"{images[i]} has code {lines[i].code} here and {lines[first].code} on line {lines[first].number}"
            raise UserError(f"{path}:{lines[i].number}: {here}; keep one of them")
    videos = _videos_of(images, [meanings[line.code][0] for line in lines])
    records = [
        Record(image, video, *meanings[line.code]) for line, image, video in zip(lines, images, videos, strict=True)
    ]
    return DataSet(name, *each_once(records, again), source=str(path), notes=notes)


def _parse(path: Path, tree: "LabelTree", labels_allowed: bool) -> tuple[list[_Line], dict[str, tuple[int, str]]]:
    """(the lines that are not blank, code -> label and node code)."""
    lines: list[_Line] = []
    meanings: dict[str, tuple[int, str]] = {}
    for number, text in enumerate(_read_lines(path), start=1):
        if not text.strip():
            continue
        image, code = split_line(text)
        if not code:
            raise UserError(f"{path}:{number}: expected `path code`, got {text.strip()[:80]!r}")
        if code not in meanings:
            try:
                meanings[code] = _meaning(code, lines[0].code if lines else code, tree, labels_allowed)
            except UserError as error:
                raise UserError(f"{path}:{number}: {error}") from error
        lines.append(_Line(number, image, code))
    if not lines:
        raise UserError(f"{path} lists no image; each line must be `path code`")
    return lines, meanings


def _meaning(code: str, first: str, tree: "LabelTree", labels_allowed: bool) -> tuple[int, str]:
    """(label, node code) of a code or label; a label has the node code "". first: the first code of the list."""
    digits = f"{len(code)} digits"
    if len(code) != len(first):
        raise UserError(f"code {code} has {digits}, the lines above have {len(first)}; one form per list")
    if len(code) == 1 and labels_allowed:
        if code not in "01":
            raise UserError(f"label {code} is neither 0 (real) nor 1 (fake)")
        return int(code), ""
    if len(code) != tree.code_length:
        trees = "(10 are FF++'s, 12 FFSC's): take the script, checkpoint or list of the other tree"
        raise UserError(f"code {code!r} has {digits}, the tree's codes have {tree.code_length} {trees}")
    vector = tree.encode(code)
    return int(vector[0]), node_code(vector)


def _read_lines(path: Path) -> list[str]:
    try:
        return text_file(path).read_text(encoding="utf-8-sig").split("\n")
    except OSError as error:
        raise UserError(f"cannot read the list {path} ({error.strerror}); check the path") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8") from error


def _videos_of(images: list[str], labels: Sequence[int]) -> list[str]:
    """The video id of every image; see ``read_txt_list``."""
    folders = absolute_folders(images)
    label_of: dict[str, int] = {}
    if any(label_of.setdefault(folder, label) != label for folder, label in zip(folders, labels, strict=True)):
        return images
    if any(folder.rpartition("/")[2].lower() in CLASSES for folder in label_of):
        return images
    names = folder_ids(label_of)
    return [names[folder] for folder in folders]


FORMAT = DataSetFormat(
    read=lambda o: by_video(
        read_txt_list(o.given_path, o.tree, missing_allowed=True, folders=[o.data_root]), o.n_frames
    ),
    needs_datapath="FILE",
)
