"""Text lists of images: `path code`, `path flag code` or `path label`, separated by white space or a comma.

Lines are read from the right, so paths may hold spaces; a flag is a token of digits only and is ignored. A relative
path is taken from the current folder, else from the list's own folder.
"""

import os
import re
from pathlib import Path
from typing import Protocol

import numpy as np

from datasets.records import DataSet, Record, node_code
from utils.cli import UserError

_LAST_NUMBER = re.compile(r"(?<=[\s,])\d+$")
_SEPARATORS = " \t\r\f\v,"


class CodeBook(Protocol):
    """The part of a label tree that a list needs."""

    code_length: int

    def encode(self, code: str) -> np.ndarray:
        """List code -> node vector [nodes]; UserError for a code of no state."""


def read_txt_list(path: str | Path, tree: CodeBook, name: str = "list", labels_allowed: bool = True) -> DataSet:
    """Read a list file.

    tree: turns codes into node vectors. labels_allowed: whether lines may end in a label (0 real, 1 fake) instead of a
    code; such records have no code. All lines of a file use the same form.

    The video of an image is its folder relative to the deepest folder all images share. When all images lie in one
    folder, or a folder mixes labels, folders are not videos and every image counts for itself.

    UserError with file:line for a line that cannot be read, a code of another tree, another code length than the
    first line's, an image that does not exist, or an image listed with two labels; UserError for an empty list.
    """
    path = Path(path)
    rows: dict[str, tuple[int, str]] = {}  # image path -> (line number, code)
    vectors: dict[str, np.ndarray] = {}
    lengths = (tree.code_length, 1) if labels_allowed else (tree.code_length,)
    image_paths, codes = [], []
    for number, line in enumerate(_read_lines(path), start=1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        name, code = _split(line.strip())
        if not code:
            raise UserError(f"{where}: expected `path code`, got {line.strip()[:80]!r}")
        if codes and len(code) != len(codes[0]):
            raise UserError(
                f"{where}: code {code} has {len(code)} digits, the lines above have {len(codes[0])}; one form per list"
            )
        if len(code) not in lengths:
            raise UserError(f"{where}: code {code!r} has {len(code)} digits, the tree's codes have {tree.code_length}")
        if code not in vectors:
            try:
                vectors[code] = _label_vector(code) if len(code) == 1 else tree.encode(code)
            except UserError as error:
                raise UserError(f"{where}: {error}") from error
        image = _existing(name, path, where)
        earlier = rows.setdefault(os.path.abspath(image), (number, code))  # noqa: PTH100 - see _existing
        if earlier[1] != code:
            raise UserError(
                f"{where}: {image} has code {code} here and {earlier[1]} on line {earlier[0]}; keep one of them"
            )
        image_paths.append(image)
        codes.append(code)
    if not codes:
        raise UserError(f"{path} lists no image; each line must be `path code`")
    labels = [int(vectors[code][0]) for code in codes]
    videos, image_level = _videos(image_paths, labels)
    records = [
        Record(image, video, label, "" if len(code) == 1 else node_code(vectors[code]))
        for image, video, label, code in zip(image_paths, videos, labels, codes, strict=True)
    ]
    return DataSet(name, records, len(set(videos)), [], image_level)


def _split(line: str) -> tuple[str, str]:
    """`path code` or `path flag code` -> (path, code), read from the right; ("", "") when the line is neither."""
    code = _LAST_NUMBER.search(line)
    if code is None:
        return "", ""
    path = line[: code.start()].rstrip(_SEPARATORS)
    flag = _LAST_NUMBER.search(path)
    path = path[: flag.start()].rstrip(_SEPARATORS) if flag else path
    return (path, code[0]) if path else ("", "")


def _read_lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").split("\n")
    except OSError as error:
        raise UserError(f"cannot read the list {path} ({error.strerror}); check the path") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8") from error


def _label_vector(label: str) -> np.ndarray:
    if label not in "01":
        raise UserError(f"label {label} is neither 0 (real) nor 1 (fake)")
    return np.array([float(label)], dtype=np.float32)


def _existing(image: str, list_path: Path, where: str) -> str:
    if os.path.isfile(image):  # noqa: PTH113 - a list has 100,000s of lines and Path costs 10 times as much
        return image
    beside = os.path.join(list_path.parent, image)  # noqa: PTH118
    if os.path.isfile(beside):  # noqa: PTH113
        return beside
    raise UserError(
        f"{where}: image {image[:200]} does not exist, nor beside the list; mend the path or remove the line"
    )


def _videos(images: list[str], labels: list[int]) -> tuple[list[str], bool]:
    folders = [os.path.dirname(os.path.abspath(image)) for image in images]  # noqa: PTH100, PTH120 - see _existing
    label_of: dict[str, int] = {}
    mixed = any(label_of.setdefault(folder, label) != label for folder, label in zip(folders, labels, strict=True))
    if mixed or len(label_of) == 1:
        return images, True
    shared = os.path.commonpath(label_of)
    names = {folder: Path(folder).relative_to(shared).as_posix() for folder in label_of}
    return [names[folder] for folder in folders], False
