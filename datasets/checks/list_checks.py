"""Checks of txt lists that go on after the first error: every line for itself."""

import os
import re
import stat
from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from datasets.checks.findings import Finding, drop_lines, sed
from datasets.checks.official_counts import extraction_of, is_class_folder
from datasets.readers.ffsc import CODES
from datasets.readers.method_folders import method_of
from datasets.readers.txt_list import CodeBook, split_line
from datasets.records import list_images
from utils.cli import UserError
from utils.files import text_file
from utils.progress import progress_bar

_EXPANSION_FOLDER = re.compile(r"/expansion/[^/]+/[^/]+/[^/]+/[^/_]+_\d+_\d+$")


class Row(NamedTuple):
    """A line of a list. file: where the image lies, links of folders resolved. size: bytes, None without a file. The
    images of a data set are rows, too, without line and code."""

    line: int | None
    path: str
    code: str
    file: str
    size: int | None


class Checked(NamedTuple):
    """A list and what its codes mean: code -> is it fake, or the reason why it cannot stand there."""

    path: Path
    rows: list[Row]
    codes: dict[str, bool | str]

    def labelled(self) -> list[tuple[Row, bool]]:
        """The rows whose code is known, and whether they are fake."""
        return [(row, fake) for row in self.rows if isinstance(fake := self.codes[row.code], bool)]


def read_rows(path: Path, data_folders: Sequence[Path] = ()) -> tuple[list[Row], list[Finding]]:
    """The lines of a list that have the form `path code`, and findings for those that have not. data_folders: where its
    reader tries relative paths after the current folder and the list's own."""
    try:
        lines = text_file(path).read_bytes().decode("utf-8-sig", errors="surrogateescape").split("\n")
    except OSError as error:
        raise UserError(f"cannot read the list {path} ({error.strerror}); check the path") from error
    rows, findings = [], []
    folders: dict[str, str] = {}
    bases = ["", *(f"{folder}/" for folder in (path.parent, *data_folders))]
    for number, line in enumerate(progress_bar(lines, desc=path.name, unit="line", leave=False, delay=1), start=1):
        line = line.strip()
        image, code = split_line(line)
        if line and not line.isascii() and any("\ud800" <= letter <= "\udfff" for letter in line):
            message, fix = f"{line[:80]!r} is not UTF-8 text", "save the list as UTF-8"
            findings.append(Finding("unknown_code", str(path), number, message, fix))
        elif line and not code:
            message = f"expected `path code`, got {line[:80]!r}"
            fix = f"write the code after the path, or drop the line: {drop_lines(path, number)}"
            findings.append(Finding("unknown_code", str(path), number, message, fix))
        elif line:
            rows.append(Row(number, image, code, *locate(image, bases, folders)))
    return rows, findings


def locate(image: str, bases: Sequence[str], folders: dict[str, str]) -> tuple[str, int | None]:
    """(place of the file, its size in bytes or None); bases are put before the image in turn.

    folders: folder -> the same with links resolved, filled here.
    """
    for base in bases:
        candidate = base + image
        try:
            status = os.stat(candidate)  # noqa: PTH116 - 100,000s of lines, and Path costs 10 times as much
        except (OSError, ValueError):  # ValueError: a NUL
            continue
        if stat.S_ISREG(status.st_mode):
            folder, name = os.path.split(candidate)
            if folder not in folders:
                folders[folder] = os.path.realpath(folder or ".")
            return f"{folders[folder]}/{name}", status.st_size
    return os.path.abspath(image), None  # noqa: PTH100


def code_meanings(codes: Iterable[str], length: int, tree: CodeBook | None) -> dict[str, bool | str]:
    """What each code means in a list whose codes have ``length`` digits; see Checked. tree: None for labels."""
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


def check_lists(
    paths: Mapping[str, Path],
    trees: Sequence[CodeBook],
    data_root: Path,
    labels_allowed: bool,
    data_folders: Sequence[Path] = (),
) -> tuple[dict[str, Checked], dict[str, dict], list[Finding]]:
    """Each line of lists that should have one form -> (name -> list, name -> counts, findings).

    The form is the length of code that most lines have, of those that a tree has. labels_allowed: or 0 and 1.
    data_root: missing images are looked for there too, to say how the list is mended. data_folders: see ``read_rows``.
    """
    read = {name: read_rows(path, data_folders) for name, path in paths.items()}
    lengths = Counter(len(row.code) for rows, _ in read.values() for row in rows)
    forms: dict[int, CodeBook | None] = {tree.code_length: tree for tree in trees}
    forms |= {1: None} if labels_allowed else {}
    length = next((length for length, _ in lengths.most_common() if length in forms), trees[0].code_length)
    lists, counts, findings = {}, {}, []
    for name, (rows, odd_lines) in read.items():
        codes = Counter(row.code for row in rows)
        checked = Checked(paths[name], rows, code_meanings(codes, length, forms[length]))
        lists[name] = checked
        if not rows and not odd_lines:
            message, fix = "the list holds no line", "write it with preprocessing/make_lists.py"
            findings.append(Finding("empty", str(paths[name]), None, message, fix))
        bad = odd_lines + check_rows(checked, data_root)
        findings += sorted(bad, key=lambda finding: finding.line)
        fakes = [fake for _, fake in checked.labelled()]
        counts[name] = {
            "lines": len(rows) + len(odd_lines),
            "images": len({row.file for row in rows if row.size}),
            "real": fakes.count(False),
            "fake": fakes.count(True),
            "folders": len({row.file.rpartition("/")[0] for row in rows}),
            "digits": length,
            "codes": dict(codes.most_common()),
            "methods": count_methods(checked),
        }
    return lists, counts, findings


def count_methods(checked: Checked) -> dict[str, dict[str, int]]:
    """Class -> method -> number of lines. The code says the class (unknown: it has none); the folder, where it lies or
    as it is listed, says the method: that of a class whose folders tell nothing is real or unknown."""
    numbers = Counter((row.code, row.file.rpartition("/")[0], row.path.rpartition("/")[0]) for row in checked.rows)
    counts: dict[str, Counter[str]] = {"real": Counter(), "fake": Counter(), "unknown": Counter()}
    for (code, place, listed), number in numbers.items():
        fake = checked.codes[code]
        label = "unknown" if isinstance(fake, str) else ("real", "fake")[fake]
        method = method_of(place) or method_of(f"/{listed}") or ("real" if label == "real" else "unknown")
        counts[label][method] += number
    return {label: dict(sorted(methods.items())) for label, methods in counts.items() if methods}


def check_rows(checked: Checked, data_root: Path) -> list[Finding]:
    """Codes, files and repeated files of one list."""
    path, findings = str(checked.path), []
    first: dict[str, Row] = {}
    moves: dict[str, str | None] = {}
    there = sorted(row.path for row in checked.rows if row.size is not None)
    for row in checked.rows:
        meaning = checked.codes[row.code]
        if isinstance(meaning, str):
            fix = "give the code that make_lists.py writes (one form for both lists), or drop the line: "
            fix += drop_lines(path, row.line)
            findings.append(Finding("unknown_code", path, row.line, f"{row.path}: {meaning}", fix))
        if row.size is None:
            folder = os.path.dirname(row.path)  # noqa: PTH120
            if folder not in moves:
                moves[folder] = move_command(row.path, checked.path, data_root, there)
            fix = moves[folder] or f"put the file there, or drop the line: {drop_lines(path, row.line)}"
            findings.append(Finding("missing_file", path, row.line, f"{row.path[:200]} does not exist", fix))
        elif row.size == 0:
            fix = f"extract or copy the image again, or drop the line: {drop_lines(path, row.line)}"
            findings.append(Finding("unreadable_image", path, row.line, f"{row.path} is empty (0 bytes)", fix))
        earlier = first.setdefault(row.file, row)
        if earlier.line != row.line:
            kind = "duplicate" if earlier.code == row.code else "label_conflict"
            message = f"{row.path} is on line {earlier.line} too"
            message += "" if kind == "duplicate" else f", with code {earlier.code} instead of {row.code}"
            fix = drop_lines(path, row.line) if kind == "duplicate" else "keep the right one of the two lines"
            findings.append(Finding(kind, path, row.line, message, fix))
    return findings


def move_command(image: str, list_path: Path, data_root: Path, there: Sequence[str]) -> str | None:
    """The command that gives the list the right folder, when the image lies elsewhere under a folder we know.

    there: the paths of the list that need no mend, sorted; the command changes none of them.
    """
    plain = image.replace("\\", "/")
    parts = plain.split("/")
    for start in range(len(parts)):
        tail = "/".join(parts[start:])
        for root in ("", f"{data_root}/", f"{list_path.parent}/"):
            if (start or root or plain != image) and tail and os.path.isfile(root + tail):  # noqa: PTH113
                for end in range(start, len(parts)):
                    old = "".join(f"{part}/" for part in parts[:end])
                    if not _any_starts(there, image[: len(old)]):
                        new = "" if root == f"{list_path.parent}/" else root
                        new += "".join(f"{part}/" for part in parts[start:end])
                        return _replace_start(list_path, image[: len(old)], new, plain != image)
                return None
    return None


def _any_starts(paths: Sequence[str], start: str) -> bool:
    """Whether one of the sorted paths starts so."""
    place = bisect_left(paths, start)
    return place < len(paths) and paths[place].startswith(start)


def _replace_start(list_path: Path, old: str, new: str, back_slashes: bool) -> str | None:
    """The command for all lines that start with ``old``; back_slashes: turn these too. None for too odd names."""
    mark = next((mark for mark in "|#%@!~=" if mark not in old + new), None)
    if mark is None:
        return None
    with_slashes, new = (_escaped(text) for text in (old.replace("\\", "/"), new))
    replace = f"s{mark}^([[:space:]]*){with_slashes}{mark}\\1{new}{mark}"
    if not back_slashes:
        return sed(list_path, replace)
    return sed(list_path, f"\\{mark}^[[:space:]]*{_escaped(old)}{mark}{{s{mark}\\\\{mark}/{mark}g;{replace}}}")


def _escaped(text: str) -> str:
    """The text as an extended regular expression; good for a replacement, too."""
    return re.sub(r"([][\\.*^$|+?(){}&])", r"\\\1", text)


def first_rows(checked: Checked) -> dict[str, Row]:
    """Folder -> the first row in it."""
    folders: dict[str, Row] = {}
    for row in checked.rows:
        folders.setdefault(row.file.rpartition("/")[0], row)
    return folders


def folders_without_videos(labelled: Iterable[tuple[Row, bool]]) -> set[str]:
    """Folders that hold single images: those with both labels, those named after a class, and those of FFSC's codes."""
    classes: dict[str, set[bool]] = {}
    of_images = set()
    for row, fake in labelled:
        folder = row.file.rpartition("/")[0]
        classes.setdefault(folder, set()).add(fake)
        if len(row.code) == len(CODES["real"]):
            of_images.add(folder)
    mixed = {folder for folder, both in classes.items() if len(both) > 1}
    return of_images | mixed | {folder for folder in classes if is_class_folder(folder.rpartition("/")[2])}


def check_list_crops(lists: Sequence[Checked], no_videos: Collection[str], n_frames: int) -> list[Finding]:
    """short_video for the crops that lie in the folder of each listed video (a list may take fewer of them).

    no_videos: folders whose images are no frames of one video. Folders without any listed image tell nothing.
    """
    findings = []
    for checked in lists:
        there = checked._replace(rows=[row for row in checked.rows if row.size is not None])
        for folder, row in first_rows(there).items():
            if folder not in no_videos and not _EXPANSION_FOLDER.search(folder):
                n_crops, command = len(list_images(Path(folder))), extraction_of(folder)
                findings += short_video(n_crops, n_frames, str(checked.path), row.line, command, folder)
    return findings


def short_video(
    n_crops: int, n_frames: int, path: str, line: int | None, command: str | None, folder: str = "the video"
) -> list[Finding]:
    """The finding that a video has fewer crops than ``n_frames``. command: extracts it, None where it is not known."""
    if n_crops >= n_frames:
        return []
    more = f"--n_frames {n_frames}"
    how = f"again: {command} {more} --overwrite" if command else f"the video again with {more}"
    fix = f"leave it (the crops that exist are used), or extract {how}"
    return [Finding("short_video", path, line, f"{folder} has {n_crops} crops, fewer than {n_frames}", fix)]
