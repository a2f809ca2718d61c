"""Checks of txt lists that go on after the first error: every line for itself, then what two lists share.

Two lists share an image by one file (overlap_path) or by two files with the same bytes (overlap_content), and a video
by one folder of crops or, where folders are FF++'s, by one source video under any method (overlap_video).
"""

import os
import re
import stat
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from datasets.official_counts import is_class_folder
from datasets.records import list_images
from datasets.txt_list import CodeBook, split_line
from utils.cli import UserError
from utils.data_checks import Finding, same_content, sed
from utils.progress import progress_bar

_FFPP_FOLDER = re.compile(r"/(?:original|manipulated)_sequences/.*/(\d+)(?:_(\d+))?$")
_EXPANSION_FOLDER = re.compile(r"/expansion/[^/]+/[^/]+/[^/]+/[^/_]+_(\d+)_(\d+)$")


class Row(NamedTuple):
    """A line of a list. file: where the image lies, links of folders resolved. size: bytes, None without a file."""

    line: int
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


def read_rows(path: Path) -> tuple[list[Row], list[Finding]]:
    """The lines of a list that have the form `path code`, and findings for those that have not."""
    try:
        lines = path.read_bytes().decode("utf-8-sig", errors="surrogateescape").split("\n")
    except OSError as error:
        raise UserError(f"cannot read the list {path} ({error.strerror}); check the path") from error
    rows, findings = [], []
    folders: dict[str, str] = {}
    beside = str(path.parent)
    for number, line in enumerate(progress_bar(lines, desc=path.name, unit="line", leave=False, delay=1), start=1):
        line = line.strip()
        image, code = split_line(line)
        if line and not line.isascii() and any("\ud800" <= letter <= "\udfff" for letter in line):
            message, fix = f"{line[:80]!r} is not UTF-8 text", "save the list as UTF-8"
            findings.append(Finding("unknown_code", str(path), number, message, fix))
        elif line and not code:
            message = f"expected `path code`, got {line[:80]!r}"
            fix = "write the code after the path, or remove the line"
            findings.append(Finding("unknown_code", str(path), number, message, fix))
        elif line:
            rows.append(Row(number, image, code, *locate(image, beside, folders)))
    return rows, findings


def locate(image: str, beside: str, folders: dict[str, str]) -> tuple[str, int | None]:
    """(place of the file, its size in bytes or None); from the current folder, else from ``beside``.

    folders: folder -> the same with links resolved, filled here.
    """
    for candidate in (image, f"{beside}/{image}"):
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
    paths: Mapping[str, Path], trees: Sequence[CodeBook], data_root: Path, labels_allowed: bool
) -> tuple[dict[str, Checked], dict[str, dict], list[Finding]]:
    """Each line of lists that should have one form -> (name -> list, name -> counts, findings).

    The form is the length of code that most lines have, of those that a tree has. labels_allowed: or 0 and 1.
    data_root: missing images are looked for there too, to say how the list is mended.
    """
    read = {name: read_rows(path) for name, path in paths.items()}
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
        }
    return lists, counts, findings


def check_rows(checked: Checked, data_root: Path) -> list[Finding]:
    """Codes, files and repeated files of one list."""
    path, findings = str(checked.path), []
    first: dict[str, Row] = {}
    moves: dict[str, str | None] = {}
    for row in checked.rows:
        meaning = checked.codes[row.code]
        if isinstance(meaning, str):
            fix = "give the code that make_lists.py writes (one form for both lists), or remove the line"
            findings.append(Finding("unknown_code", path, row.line, f"{row.path}: {meaning}", fix))
        if row.size is None:
            folder = os.path.dirname(row.path)  # noqa: PTH120
            if folder not in moves:
                moves[folder] = move_command(row.path, checked.path, data_root)
            fix = moves[folder] or "put the file there, or remove the line"
            findings.append(Finding("missing_file", path, row.line, f"{row.path[:200]} does not exist", fix))
        elif row.size == 0:
            fix = "extract or copy the image again, or remove the line"
            findings.append(Finding("unreadable_image", path, row.line, f"{row.path} is empty (0 bytes)", fix))
        earlier = first.setdefault(row.file, row)
        if earlier.line != row.line:
            kind = "duplicate" if earlier.code == row.code else "label_conflict"
            message = f"{row.path} is on line {earlier.line} too"
            message += "" if kind == "duplicate" else f", with code {earlier.code} instead of {row.code}"
            fix = f"remove line {row.line}" if kind == "duplicate" else "keep the right one of the two lines"
            findings.append(Finding(kind, path, row.line, message, fix))
    return findings


def move_command(image: str, list_path: Path, data_root: Path) -> str | None:
    """The command that gives the list the right folder, when the image lies elsewhere under a folder we know."""
    plain = image.replace("\\", "/")
    parts = plain.split("/")
    for start in range(len(parts)):
        tail = "/".join(parts[start:])
        for root in ("", f"{data_root}/", f"{list_path.parent}/"):
            if (start or root or plain != image) and tail and os.path.isfile(root + tail):  # noqa: PTH113
                old, new = plain[: len(plain) - len(tail)], root if root != f"{list_path.parent}/" else ""
                slashes = [r"s|\\|/|g"] if plain != image else []
                old, new = re.sub(r"([][\\.*^$|+?(){}])", r"\\\1", old), re.sub(r"([&|\\])", r"\\\1", new)
                moved = [f"s|^{old}|{new}|"] if old != new else []
                return sed(list_path, *slashes, *moved) if slashes or moved else None
    return None


def check_overlaps(train: Checked, val: Checked) -> list[Finding]:
    """Images and videos of the validation list that the training list has too."""
    path, findings = str(val.path), []
    in_train = {row.file: row for row in reversed(train.rows)}
    in_val = {row.file: row for row in reversed(val.rows)}
    fix = f"remove it from {train.path} or from {val.path}"
    for row in val.rows:
        if row.file in in_train:
            message = f"{row.path} is line {in_train[row.file].line} of {train.path} too"
            findings.append(Finding("overlap_path", path, row.line, message, fix))
    sizes = [{file: row.size for file, row in rows.items() if row.size} for rows in (in_train, in_val)]
    for file, twin in same_content(*sizes).items():
        if file not in in_train:
            row, other = in_val[file], in_train[twin]
            message = f"{row.path} has the same bytes as {other.path}, line {other.line} of {train.path}"
            findings.append(Finding("overlap_content", path, row.line, message, fix))
    return findings + check_videos(train, val)


def check_videos(train: Checked, val: Checked) -> list[Finding]:
    """One finding for each video of the validation list that is, or shares a source with, one of the training list."""
    train_videos, val_videos = first_rows(train), first_rows(val)
    train_sources = {name: row for folder, row in train_videos.items() for name in sources_of(folder)}
    no_videos = folders_without_videos([*train.labelled(), *val.labelled()])
    findings = []
    for folder, row in val_videos.items():
        sources = sources_of(folder)
        shared = next((name for name in sources if name in train_sources), None)
        if shared:
            other, what = train_sources[shared], f"shows FF++ video {shared}"
        elif not sources and folder in train_videos and folder not in no_videos:
            other, what = train_videos[folder], "is of a video"
        else:
            continue
        message = f"{row.path} {what}, as does {other.path}, line {other.line} of {train.path}"
        fix = "a source video belongs to one split: make both lists with preprocessing/make_lists.py from the official "
        fix += "split files" if shared else "splits, or keep this video in one list"
        findings.append(Finding("overlap_video", str(val.path), row.line, message, fix))
    return findings


def first_rows(checked: Checked) -> dict[str, Row]:
    """Folder -> the first row in it."""
    folders: dict[str, Row] = {}
    for row in checked.rows:
        folders.setdefault(row.file.rpartition("/")[0], row)
    return folders


def sources_of(folder: str) -> tuple[str, ...]:
    """The FF++ videos that a folder of crops shows, under any method; () outside FF++'s folder structure."""
    match = _FFPP_FOLDER.search(folder) or _EXPANSION_FOLDER.search(folder)
    return tuple(name for name in match.groups() if name) if match else ()


def folders_without_videos(labelled: Iterable[tuple[Row, bool]]) -> set[str]:
    """Folders that hold single images: those with both labels, and those named after a class."""
    classes: dict[str, set[bool]] = {}
    for row, fake in labelled:
        classes.setdefault(row.file.rpartition("/")[0], set()).add(fake)
    return {folder for folder, both in classes.items() if len(both) > 1 or is_class_folder(folder.rpartition("/")[2])}


def check_list_crops(lists: Sequence[Checked], n_frames: int) -> list[Finding]:
    """short_video for the crops that lie in the folder of each listed video (a list may take fewer of them)."""
    findings, command = [], "python preprocessing/extract_faces.py"
    for checked in lists:
        no_videos = folders_without_videos(checked.labelled())
        for folder, row in first_rows(checked).items():
            if folder not in no_videos and not _EXPANSION_FOLDER.search(folder):
                n_crops = len(list_images(Path(folder)))
                findings += short_video(n_crops, n_frames, str(checked.path), row.line, command, folder)
    return findings


def short_video(
    n_crops: int, n_frames: int, path: str, line: int | None, command: str, folder: str = "the video"
) -> list[Finding]:
    """The finding that a video has fewer crops than ``n_frames``. command: extracts it."""
    if n_crops >= n_frames:
        return []
    fix = f"{command} --n_frames {n_frames} --overwrite, or leave it: the crops that exist are used"
    return [Finding("short_video", path, line, f"{folder} has {n_crops} crops, fewer than {n_frames}", fix)]
