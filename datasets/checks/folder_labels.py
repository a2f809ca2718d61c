"""The class and method of an image by its folders, and labels of lists that contradict them."""

import re
from collections.abc import Iterable
from pathlib import Path

from datasets.checks.findings import Edit, Finding, label_findings
from datasets.list_rules import label_of
from datasets.readers.ffpp import METHOD_CODES
from datasets.readers.ffsc import METHODS, PROTOCOL1_METHODS
from datasets.test_sets import TEST_SETS

_CLASS_WORDS = dict.fromkeys(("real", "reals", "original", "originals", "pristine", "genuine", "authentic"), False)
_CLASS_WORDS |= dict.fromkeys(("fake", "fakes", "manipulated", "synthesis", "synthesized", "forged"), True)
_CLASS_FOLDERS = {*_CLASS_WORDS, *(name.lower() for name in (*METHOD_CODES, *METHODS, *PROTOCOL1_METHODS))}
_LABEL = re.compile(r"(?<=[\s,])[^\s,]+(?=\s*$)")


def method_of(folder: str) -> str | None:
    """The method of a folder: "real", a manipulation or expansion/<region>; None outside FF++'s and FFSC's layouts."""
    folder = folder.replace("\\", "/")
    found = (data_set.method_of(folder) for data_set in TEST_SETS.values() if data_set.method_of)
    return next((method for method in found if method), None)


def is_class_folder(name: str) -> bool:
    """Whether a folder is named after a class or method (real, 1_fake, simswap): it does not hold a single video."""
    return re.sub(r"^\d+[_-]|[_-]\d+$", "", name).lower() in _CLASS_FOLDERS


def contradictions(path: Path, rows: Iterable[tuple[int, str, bool]], labels: bool) -> list[Finding]:
    """Find lines of a list whose folders say the other class.

    In the layouts of FF++ and FFSC the method says the class; elsewhere names such as real/, 1_fake/ and original/ do,
    below the folder that all images share. A path that names both classes says nothing.

    Args:
        rows: (line number, image, whether it is listed as fake).
        labels: Lines end in 0 or 1 (which --fix can exchange), not in a code.
    """
    rows = list(rows)
    folders = {image: tuple(re.split(r"[\\/]+", image)[:-1]) for _, image, _ in rows}
    shared = 0
    for names in zip(*folders.values(), strict=False):
        if len(set(names)) > 1:
            break
        shared += 1
    fake_by_folder = {}
    for folder in set(folders.values()):
        method = method_of(f"/{'/'.join(folder)}/")
        fake_by_folder[folder] = _named_class(folder[shared:]) if method is None else method != "real"
    wrong, n_telling = [], 0
    words = ("real (0)", "fake (1)")
    for number, image, fake in rows:
        folder_fake = fake_by_folder[folders[image]]
        n_telling += folder_fake is not None
        if folder_fake not in (None, fake):
            wrong.append((number, f"{image} is listed as {words[fake]}, its folder says {words[folder_fake]}"))
    fix_of_one = "0 is real and 1 is fake: fix this label, or the folder's name"
    if labels:
        fix, edit = "exchange 0 and 1 in all lines; --fix OUT.txt does that", Edit(_with_other_label)
    else:
        fix, edit = "these codes are of the other class: write the list again", None
    return label_findings(path, wrong, n_telling, fix, edit, fix_of_one)


def _named_class(names: Iterable[str]) -> bool | None:
    """True for fake, False for real, None if the names say neither or both."""
    words = [word for name in names for word in re.findall("[a-z]+", name.lower())]
    classes = {_CLASS_WORDS[word] for word in words if word in _CLASS_WORDS}
    return classes.pop() if len(classes) == 1 else None


def _with_other_label(line: str) -> str:
    return _LABEL.sub(lambda m: m[0] if (label := label_of(m[0])) is None else str(1 - label), line)
