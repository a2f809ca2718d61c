"""How text becomes labels, paths and samples, for every list, table and folder; see docs/data.md."""

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from datasets.records import IMAGE_SUFFIXES, Dropped, Record

BLANKS = " \t\r\n\f\v"  # what is stripped from names; other white space, such as U+2028, may be part of them
_LABELS = {
    **dict.fromkeys(("0", "0.0", "real", "false", "original", "pristine"), 0),
    **dict.fromkeys(("1", "1.0", "fake", "true", "manipulated", "deepfake"), 1),
}
_LAST_WORD = re.compile(r"(.*[\s,])([^\s,]+)", re.DOTALL)
_SEPARATORS = f"{BLANKS},"
_PROBES = 1000  # missing images, at most, with which a foreign prefix is searched


def label_of(text: str) -> int | None:
    """0 real, 1 fake, None for text that is no label. Upper and lower case are the same."""
    return _LABELS.get(text.strip().lower())


def split_line(line: str) -> tuple[str, str]:
    """`path code`, `path label` or `path flag code` -> (path, code); ("", "") if the line is none of them.

    Lines are read from the right, so paths may hold spaces. A code is digits only; a label becomes 0 or 1. A flag is
    one word after the image's ending, or digits only.
    """
    words = _LAST_WORD.fullmatch(line.rstrip().lstrip(BLANKS))
    if words is None:
        return "", ""
    path, code = words[1].strip(_SEPARATORS), words[2]
    if not (code.isdigit() and code.isascii()):
        label = label_of(code)
        code = "" if label is None else str(label)
    if not path.lower().endswith(IMAGE_SUFFIXES) and (words := _LAST_WORD.fullmatch(path)):
        before = words[1].rstrip(_SEPARATORS)
        if words[2].isdigit() or before.lower().endswith(IMAGE_SUFFIXES):
            path = before
    return (path, code) if path and code else ("", "")


class Found(NamedTuple):
    """Where listed images are. missing: Positions of those that do not exist. notes: What was decided, for people."""

    paths: list[str]
    missing: list[int]
    notes: list[str]


def find_images(images: Sequence[str], folders: Sequence[Path]) -> Found:
    r"""Find images as they are named, from the current folder, and relative to ``folders``, in this order.

    - A name with \ is tried as it is, then with /. A name that starts with / is tried below ``folders`` too.
    - If the names of all missing images start with a folder that does not exist, and the rest of a name is an image
      in one of these places, then that place is taken instead of the folder: lists of other machines.
    - A missing image gets the place of most others, the last of ``folders`` if there are none.
    """
    # Text instead of Path, which costs 10 times as much: a list has 100,000s of lines.
    bases = list(dict.fromkeys(["", *(os.path.join(folder, "") for folder in folders)]))  # noqa: PTH118
    paths, missing, used = [], [], Counter[str]()
    for i, image in enumerate(images):
        place = _place(image, bases)
        if place is None:
            missing.append(i)
            paths.append(image)
        else:
            used[place[0]] += 1
            paths.append(place[0] + place[1])
    if not missing:
        return Found(paths, [], [])
    plain = {i: images[i].replace("\\", "/") for i in missing}
    prefix, new = _foreign_prefix(list(plain.values()), bases, alone=not used)
    usual = used.most_common(1)[0][0] if used else bases[-1]
    for i, name in plain.items():
        paths[i] = new + name[len(prefix) :] if prefix else _missing_place(usual, name)
    if not prefix:
        return Found(paths, missing, [])
    note = f"{len(missing)} of {len(images)} paths start with {prefix}, which does not exist: they are read from "
    return Found(paths, [i for i in missing if not os.path.isfile(paths[i])], [note + (new or "the current folder")])  # noqa: PTH113


def _place(image: str, bases: Sequence[str]) -> tuple[str, str] | None:
    """(base, name below it) of an image that exists; None of another."""
    for name in (image, image.replace("\\", "/")) if "\\" in image else (image,):
        for base in bases:
            below = name.lstrip("/") if base else name
            if os.path.isfile(base + below):  # noqa: PTH113
                return base, below
    return None


def _missing_place(base: str, name: str) -> str:
    """The path of a missing image. It may start with / and be no path of this machine."""
    top, _, rest = name.lstrip("/").partition("/")
    return base + name.lstrip("/") if rest and not os.path.lexists(f"/{top}") else os.path.join(base, name)  # noqa: PTH118


def _foreign_prefix(names: Sequence[str], bases: Sequence[str], alone: bool) -> tuple[str, str]:
    """(shortest folder that starts all names and never exists, the base that replaces it); ("", "") if there is none.

    names: Of the missing images, with /. alone: No image of the list was found. A prefix may then be all folders of a
    name; otherwise one folder must be left, because any folder may hold an image of that name.
    """
    least, greatest = min(names), max(names)
    probes = names[:: len(names) // _PROBES + 1]
    for cut in (match.end() for match in re.finditer("/", least)):
        prefix = least[:cut]
        if not greatest.startswith(prefix) or any(os.path.exists(base + prefix) for base in bases):  # noqa: PTH110
            continue
        tails = [name[cut:] for name in probes if alone or "/" in name[cut:]]
        for base in bases:
            if any(os.path.isfile(base + tail) for tail in tails):  # noqa: PTH113
                return prefix, base
    return "", ""


def absolute_folders(images: Iterable[str]) -> list[str]:
    """The absolute folder of each image, links not followed."""
    absolute: dict[str, str] = {}
    folders = []
    for image in images:
        folder = os.path.split(image)[0]
        if folder not in absolute:
            absolute[folder] = os.path.abspath(folder)  # noqa: PTH100
        folders.append(absolute[folder])
    return folders


def listed_again(images: Sequence[str]) -> dict[int, int]:
    """Position of each image that is listed again -> position where it is listed first."""
    first: dict[str, dict[str, int]] = {}
    again = {}
    for i, (image, folder) in enumerate(zip(images, absolute_folders(images), strict=True)):
        earlier = first.setdefault(folder, {}).setdefault(os.path.basename(image), i)  # noqa: PTH119
        if earlier != i:
            again[i] = earlier
    return again


def each_once(records: list[Record], again: Mapping[int, int]) -> tuple[list[Record], list[Dropped]]:
    """(the records without those that are ``listed_again``, these as dropped duplicates)."""
    first_listings = (records[first] for first in again.values())
    duplicates = [Dropped(record.video, record.path, record.label, "duplicate") for record in first_listings]
    return [record for i, record in enumerate(records) if i not in again] if again else records, duplicates
