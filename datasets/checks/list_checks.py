"""Checks of txt lists. Every line is checked, also after an error."""

import functools
import os
import re
import stat
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from datasets.checks.corrected_list import read_list_lines
from datasets.checks.findings import DROP, DROP_LINE, Edit, Finding, one_class, repeated_line
from datasets.checks.folder_labels import contradictions, is_class_folder, method_of
from datasets.list_rules import find_images, split_line
from datasets.readers.ffpp import EXPANSION_FOLDER, extraction_of
from datasets.readers.ffsc import CODES
from datasets.records import list_images
from models.label_tree import FFPP, TREES, LabelTree
from utils.cli import UserError, print_note
from utils.progress import progress_bar

REPLACES_NOTHING = "where crops are in the way, it says so and replaces nothing"


class Row(NamedTuple):
    """A line of a list, or (line 0, no code) an image of a data set.

    path: As written. file: Absolute, with links of folders resolved. size: Bytes; None if there is no file.
    """

    line: int
    path: str
    code: str
    file: str
    size: int | None

    @property
    def folder(self) -> str:
        return self.file.rpartition("/")[0]


class CheckedList(NamedTuple):
    """A list, its numbers and what is wrong with it. codes: Code -> whether it is fake, or why it is wrong."""

    path: Path
    rows: list[Row]
    codes: dict[str, bool | str]
    counts: dict
    findings: list[Finding]

    def labelled(self) -> list[tuple[Row, bool]]:
        """The rows whose code is known, and whether they are fake."""
        return [(row, fake) for row in self.rows if isinstance(fake := self.codes[row.code], bool)]

    def first_rows(self) -> dict[str, Row]:
        """Folder -> the first row in it."""
        folders: dict[str, Row] = {}
        for row in self.rows:
            folders.setdefault(row.folder, row)
        return folders


def check_txt_lists(
    paths: Mapping[str, Path], data_root: Path, labels_allowed: bool, data_folders: Sequence[Path] = ()
) -> dict[str, CheckedList]:
    """Check each line of lists (by name) whose codes should have one length: that of most lines.

    Args:
        data_root: Missing images are searched there, for the fix.
        labels_allowed: Lines may end in 0 or 1 instead of a code.
        data_folders: Where the reader tries relative paths after the current folder and the list's own.
    """
    read = {name: _read_rows(path, data_folders) for name, path in paths.items()}
    lengths = Counter(len(row.code) for rows, _ in read.values() for row in rows)
    forms: dict[int, LabelTree | None] = {tree.code_length: tree for tree in TREES.values()}
    forms |= {1: None} if labels_allowed else {}
    length = next((length for length, _ in lengths.most_common() if length in forms), FFPP.code_length)
    lists = {}
    for name, (rows, odd_lines) in read.items():
        codes = Counter(row.code for row in rows)
        lists[name] = checked = CheckedList(paths[name], rows, _code_meanings(codes, length, forms[length]), {}, [])
        if not rows and not odd_lines:
            message, fix = "the list holds no line", "write it with preprocessing/make_lists.py, into a new folder"
            checked.findings.append(Finding("empty", str(paths[name]), None, message, fix))
        checked.findings.extend(
            sorted(odd_lines + _check_rows(checked, data_root), key=lambda finding: finding.line or 0)
        )
        judged = [(row.line, row.path, fake) for row, fake in checked.labelled()]
        checked.findings.extend(contradictions(checked.path, judged, labels=length == 1))
        fakes = [fake for *_, fake in judged]
        checked.findings.extend(one_class(checked.path, fakes))
        checked.counts.update(
            lines=len(rows) + len(odd_lines),
            images=len({row.file for row in rows if row.size}),
            real=fakes.count(False),
            fake=fakes.count(True),
            folders=len({row.folder for row in rows}),
            digits=length,
            codes=dict(codes.most_common()),
            methods=_count_methods(checked),
        )
    return lists


def _read_rows(path: Path, data_folders: Sequence[Path]) -> tuple[list[Row], list[Finding]]:
    """(the lines of the form `path code`, findings for the others)."""
    try:
        lines = read_list_lines(path)
    except OSError as error:
        raise UserError(f"cannot read the list {path} ({error.strerror}); check the path") from error
    rows, findings = [], []
    real_folder = functools.cache(os.path.realpath)
    bases = ["", *(f"{folder}/" for folder in (path.parent, *data_folders))]
    for number, line in enumerate(progress_bar(lines, desc=path.name, unit="line", leave=False, delay=1), start=1):
        line = line.rstrip()
        image, code = split_line(line)
        if line and not line.isascii() and any("\ud800" <= letter <= "\udfff" for letter in line):
            message, fix = f"{line[:80]!r} is not UTF-8 text", "save the list as UTF-8"
            findings.append(Finding("unknown_code", str(path), number, message, fix))
        elif line and not code:
            message, fix = f"expected `path code`, got {line[:80]!r}", f"write the code after the path, or {DROP_LINE}"
            findings.append(Finding("unknown_code", str(path), number, message, fix, DROP))
        elif line:
            rows.append(Row(number, image, code, *file_and_size(image, bases, real_folder)))
    if any(row.size is None for row in rows):  # the reader may still find them
        found = find_images([row.path for row in rows], [path.parent, *data_folders])
        for note in found.notes:
            print_note(f"{path}: {note}")
        rows = [
            Row(*row[:3], *file_and_size(file, [""], real_folder)) if row.size is None else row
            for row, file in zip(rows, found.paths, strict=True)
        ]
    return rows, findings


def file_and_size(image: str, bases: Sequence[str], real_folder: Callable[[str], str]) -> tuple[str, int | None]:
    """(absolute path of the file, its size in bytes or None). ``bases`` are put before the image in turn."""
    for base in bases:
        candidate = base + image
        try:
            status = os.stat(candidate)  # noqa: PTH116 - 100,000s of lines, and Path costs 10 times as much
        except (OSError, ValueError):  # ValueError: a NUL
            continue
        if stat.S_ISREG(status.st_mode):
            folder, name = os.path.split(candidate)
            return f"{real_folder(folder)}/{name}", status.st_size
    return os.path.abspath(image), None  # noqa: PTH100


def _code_meanings(codes: Iterable[str], length: int, tree: LabelTree | None) -> dict[str, bool | str]:
    """The meanings (see CheckedList) of the codes of a list with ``length`` digits. tree: None for labels."""
    meanings: dict[str, bool | str] = {}
    for code in codes:
        if len(code) != length:
            meanings[code] = f"code {code[:20]} has {len(code)} digits, the others have {length}"
        elif tree is None:
            meanings[code] = code == "1" if code in "01" else f"label {code} is neither 0 (real) nor 1 (fake)"
        else:
            try:
                meanings[code] = bool(tree.encode(code)[0])
            except UserError as error:
                meanings[code] = str(error)
    return meanings


def _count_methods(checked: CheckedList) -> dict[str, dict[str, int]]:
    """Class by the code -> method by the folder, as it is on disk or as listed -> number of lines."""
    numbers = Counter((row.code, row.folder, row.path.rpartition("/")[0]) for row in checked.rows)
    counts: dict[str, Counter[str]] = {"real": Counter(), "fake": Counter(), "unknown": Counter()}
    for (code, place, listed), number in numbers.items():
        fake = checked.codes[code]
        label = "unknown" if isinstance(fake, str) else ("real", "fake")[fake]
        method = method_of(place) or method_of(f"/{listed}") or ("real" if label == "real" else "unknown")
        counts[label][method] += number
    return {label: dict(sorted(methods.items())) for label, methods in counts.items() if methods}


def _check_rows(checked: CheckedList, data_root: Path) -> list[Finding]:
    """Wrong codes, missing and empty files, and repeated files of a list."""
    path, findings = str(checked.path), []
    first: dict[str, Row] = {}
    moves: dict[str, tuple[str, str] | None] = {}
    for row in checked.rows:
        meaning = checked.codes[row.code]
        if isinstance(meaning, str):
            fix = f"give the code that make_lists.py writes (one form for both lists), or {DROP_LINE}"
            findings.append(Finding("unknown_code", path, row.line, f"{row.path}: {meaning}", fix, DROP))
        if row.size is None:
            fix, edit = _fix_of_missing(row.path, checked.path, data_root, moves)
            findings.append(Finding("missing_file", path, row.line, f"{row.path[:200]} does not exist", fix, edit))
        elif row.size == 0:
            fix = f"extract or copy the image again, or {DROP_LINE}"
            findings.append(Finding("unreadable_image", path, row.line, f"{row.path} is empty (0 bytes)", fix, DROP))
        earlier = first.setdefault(row.file, row)
        if earlier.line != row.line:
            finding = repeated_line(checked.path, row.line, row.path, earlier.line)
            if earlier.code != row.code:
                message = f"{finding.message}, with code {earlier.code} instead of {row.code}"
                fix = "keep the right one of the two lines"
                finding = Finding("label_conflict", path, row.line, message, fix)
            findings.append(finding)
    return findings


def _fix_of_missing(
    image: str, list_path: Path, data_root: Path, moves: dict[str, tuple[str, str] | None]
) -> tuple[str, Edit]:
    """(fix, edit) of an image that does not exist: write its path elsewhere, or drop the line.

    moves: Cache: folder as listed -> the result of ``_moved``.
    """
    plain = image.replace("\\", "/")
    folder = plain.rpartition("/")[0]
    if folder not in moves:
        moves[folder] = _moved(plain, list_path, data_root)
    move = moves[folder]
    if move is None:
        return f"put the file there, or {DROP_LINE}", DROP
    old, new = move
    what = f"replace {old!r} at the start of such paths by {new!r}"
    path = new + plain[len(old) :]
    return f"{what}; --fix OUT.txt does that", Edit(lambda line: line.replace(image, path, 1))


def _moved(plain: str, list_path: Path, data_root: Path) -> tuple[str, str] | None:
    """(start of the path, what replaces it) for an image that is elsewhere below a folder we know; else None."""
    for start in (0, *(match.end() for match in re.finditer("/", plain))):
        old, tail = plain[:start], plain[start:]
        for root, new in (("", ""), (f"{data_root}/", f"{data_root}/"), (f"{list_path.parent}/", "")):
            if (start or root) and tail and os.path.isfile(root + tail):  # noqa: PTH113
                return old, new
    return None


def folders_without_videos(lists: Iterable[CheckedList]) -> set[str]:
    """Folders of single images: those with both labels, those named after a class, and those of FFSC's codes."""
    label_of: dict[str, bool] = {}
    of_images = set()
    for row, fake in (pair for checked in lists for pair in checked.labelled()):
        if label_of.setdefault(row.folder, fake) != fake or len(row.code) == len(CODES["real"]):
            of_images.add(row.folder)
    return of_images | {folder for folder in label_of if is_class_folder(folder.rpartition("/")[2])}


def check_list_crops(lists: Iterable[CheckedList], no_videos: Collection[str], n_frames: int) -> list[Finding]:
    """short_video for each listed video whose folder has fewer crops than ``n_frames``, though a list may take fewer.

    Folders without a listed image that exists are skipped, and ``no_videos``, whose images are not of one video.
    """
    findings = []
    for checked in lists:
        found = checked._replace(rows=[row for row in checked.rows if row.size is not None])
        for folder, row in found.first_rows().items():
            if folder not in no_videos and not EXPANSION_FOLDER.search(folder):
                n_crops, command = len(list_images(Path(folder))), extraction_of(folder)
                findings += short_video(n_crops, n_frames, str(checked.path), row.line, command, folder)
    return findings


def short_video(
    n_crops: int, n_frames: int, path: str, line: int | None, command: str | None, folder: str = "the video"
) -> list[Finding]:
    """The finding that a video has fewer crops than ``n_frames``. command: Extracts it; None if unknown."""
    if n_crops >= n_frames:
        return []
    more = f"--n_frames {n_frames}"
    how = f"again ({REPLACES_NOTHING}): {command} {more}" if command else f"the video again with {more}"
    fix = f"leave it (the crops that exist are used), or extract {how}"
    return [Finding("short_video", path, line, f"{folder} has {n_crops} crops, fewer than {n_frames}", fix)]
