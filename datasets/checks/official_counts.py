"""How many videos each data set officially has, and where their crops should lie: what SJEDD_check_data.py compares.

Nothing here stops at the first error: official lists with bad lines give findings and the lines that can be read.
"""

import re
import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from datasets.checks.findings import Finding, drop_lines, finding_of_error, sed
from datasets.readers.celeb_df import LIST_NAME, odd_line, parse_list
from datasets.readers.dfdc import Entry, clash, labels_file, parse_labels
from datasets.readers.ffpp_methods import METHOD_CODES, compression_dir, ffpp_root, read_pairs, split_videos
from datasets.readers.ffsc import FOLDERS, METHODS, PROTOCOL1_METHODS, ffsc_root, read_ffsc
from datasets.readers.method_folders import method_of
from datasets.records import subfolders
from utils.cli import UserError

FFPP = {"train": 720, "val": 140, "test": 140}  # reals, and fakes of each method: two per pair
CELEB_DF = {"RealCDF": 178, "FakeCDF": 340}  # test videos
FAKES_OF_FFPP = 1000  # FaceShifter; DeeperForensics-1.0 end_to_end; one for each FF++ video, so 140 of test videos
DFDC = {"real": 2500, "fake": 2500}  # test set
_FFPP_VIDEO = re.compile(r"(.*)/(?:original_sequences/youtube|manipulated_sequences/[^/]+)/(c23|c40|raw)/faces/[^/]+")
_CLASS_WORDS = dict.fromkeys(("real", "reals", "original", "originals", "pristine", "genuine", "authentic"), False)
_CLASS_WORDS |= dict.fromkeys(("fake", "fakes", "manipulated", "synthesis", "synthesized", "forged"), True)
_CLASS_FOLDERS = {*_CLASS_WORDS, *(name.lower() for name in (*METHOD_CODES, *METHODS, *PROTOCOL1_METHODS))}


class Group(NamedTuple):
    """The videos of one class in one split. Crops of a video lie in faces/<video>, the manifest beside faces.
    command: extracts them."""

    split: str
    label: str
    official: int
    faces: Path
    videos: list[str]
    command: str


Layout = tuple[list[Group], list[Finding]]


def layout(name: str, data_root: Path, datapath: Path | None, compression: str) -> Layout:
    """The groups of a data set of videos, and what is wrong with its official lists.

    datapath: the data set's own folder, or its folder of crops, where that is not under ``data_root``.
    """
    if name == "FFpp":
        return _ffpp(datapath or data_root, compression)
    if name == "CDF":
        return _celeb_df(datapath or data_root / "CDF", data_root)
    if name == "FSh":
        root = datapath or data_root / "FSh"
        faces = next((f for f in (root / compression / "faces", root / "faces") if f.is_dir()), None)
        default = root / compression / "faces" if datapath is None else root
        return _fakes_of_ffpp(name, "FaceShifter", faces or default, "", data_root, compression)
    if name == "Deeper":
        root = datapath or data_root / "DF-1.0"
        if root.name == "end_to_end":
            root = root.parent
        faces = root if (root / "end_to_end").is_dir() else root / "faces"
        return _fakes_of_ffpp(name, "end_to_end", faces, "end_to_end/", data_root, compression)
    return _dfdc(datapath or data_root / "DFDC", data_root)


def _extract(name: str, data_root: Path, *options: str) -> str:
    words = ["python", "preprocessing/extract_faces.py", "--dataset", name, "--data_root", str(data_root), *options]
    return shlex.join(words)


def extraction_of(folder: str) -> str | None:
    """The command that extracted the video whose crops lie in a folder, where its place tells that: in FF++."""
    match = _FFPP_VIDEO.fullmatch(folder)
    if match is None:
        return None
    root = Path(match[1] or "/")
    return _extract("FFpp", root.parent if root.name == "FF++" else root, "--compression", match[2])


def _listed(path: Path, what: str, there: int, official: int, fix: str) -> list[Finding]:
    """The finding that ``path`` has another number of videos than it should."""
    if there == official:
        return []
    return [Finding("count_mismatch", str(path), None, f"{there} {what}, officially {official}", fix)]


def _ffpp(data_root: Path, compression: str) -> Layout:
    groups, findings = [], []
    root = ffpp_root(data_root)
    for split, official in FFPP.items():
        path = root / f"{split}.json"
        try:
            videos = split_videos(data_root, split)
        except UserError as error:
            findings.append(finding_of_error("unknown_code" if path.is_file() else "missing_file", path, error))
            continue
        named = {method: [name for m, name in videos if m == method] for method in ("real", *METHOD_CODES)}
        fix = f"download the official {split}.json of FaceForensics++ again"
        findings += _listed(path, f"real videos in the {split} pairs", len(named["real"]), official, fix)
        command = _extract("FFpp", root.parent, "--compression", compression, "--split", split)
        for method, names in named.items():
            faces = compression_dir(data_root, method, compression) / "faces"
            groups.append(Group(split, method, official, faces, names, command))
    return groups, findings


def _celeb_df(root: Path, data_root: Path) -> Layout:
    """As the reader finds it; a line's class is that of its folder, so that swapped labels do not hide the crops."""
    faces = root if any((root / name).is_dir() for name in CELEB_DF) else root / "faces"
    official = next((f / LIST_NAME for f in (root, faces.parent) if (f / LIST_NAME).is_file()), None)
    home = faces.parent
    command = _extract("CDF", home.parent if home.name == "CDF" else data_root)
    if official is None:
        videos = {label: [f"{label}/{name}" for name in subfolders(faces / label)] for label in CELEB_DF}
        findings, fix = [], f"put {LIST_NAME} of Celeb-DF v2 into {home}, then {command}"
    else:
        videos, findings = _celeb_list(official)
        fix = "download the official list of Celeb-DF v2 again"
    groups = []
    for label, number in CELEB_DF.items():
        groups.append(Group("test", label, number, faces, videos[label], command))
        findings += _listed(official or faces / label, f"{label} videos", len(videos[label]), number, fix)
    return groups, findings


def _celeb_list(path: Path) -> tuple[dict[str, list[str]], list[Finding]]:
    """(class -> its videos, what is wrong with the list)."""
    videos: dict[str, dict[str, int]] = {label: {} for label in CELEB_DF}  # video -> its line
    findings, swapped = [], []
    try:
        entries, odd_lines = parse_list(path)
    except UserError as error:
        entries, odd_lines, findings = [], [], [finding_of_error("unknown_code", path, error)]
    fix = "download the official list of Celeb-DF v2 again"
    findings += [Finding("unknown_code", str(path), number, odd_line(line), fix) for number, line in odd_lines]
    for entry in entries:
        place = f"{entry.folder}/{entry.file}"
        earlier = videos[entry.label].setdefault(entry.video, entry.line)
        if earlier != entry.line:
            message, fix = f"{place} is on line {earlier} too", drop_lines(path, entry.line)
            findings.append(Finding("duplicate", str(path), entry.line, message, fix))
        if entry.contradicts:
            swapped.append((entry.line, f"{place} has {entry.real:d}, but this list has 1 for real and 0 for fake"))
    by_folder = ("1", r"(Celeb|YouTube)-real[/\]"), ("0", r"(Celeb)-synthesis[/\]")
    mend = sed(path, *(rf"s#^([[:space:]]*)[01]([[:space:]]+{folder})#\1{label}\2#" for label, folder in by_folder))
    findings += _orientation(path, swapped, len(entries), mend, mend)
    return {label: list(names) for label, names in videos.items()}, findings


def _orientation(path: Path, wrong: Sequence[tuple[int, str]], n_lines: int, swap: str, one_line: str) -> list[Finding]:
    """A finding per wrong line (number, message); one for all where most lines are wrong, and ``swap`` mends them."""
    if 2 * len(wrong) <= n_lines:
        return [Finding("label_orientation", str(path), number, message, one_line) for number, message in wrong]
    number, message = wrong[0]
    return [Finding("label_orientation", str(path), number, f"{len(wrong)} of {n_lines} labels: {message}", swap)]


def _fakes_of_ffpp(name: str, label: str, faces: Path, prefix: str, data_root: Path, compression: str) -> Layout:
    """FaceShifter and DeeperForensics: fakes of FF++ videos, tested against the FF++ test reals.

    All fakes are compared with the official number only where more than those of the test are there.
    """
    path = ffpp_root(data_root) / "test.json"
    home = next((f.parent for f in faces.parents if f.name in ("FSh", "DF-1.0")), data_root)
    command = _extract(name, home, *(("--compression", compression) if name == "FSh" else ()))
    there = [f"{prefix}{folder}" for folder in subfolders(faces / prefix)]
    groups, findings, test = [], [], []
    try:
        pairs = read_pairs(data_root, "test")
    except UserError as error:
        findings.append(finding_of_error("unknown_code" if path.is_file() else "missing_file", path, error))
    else:
        reals = sorted({video for pair in pairs for video in pair})
        if name == "FSh":
            test = sorted(f"{x}_{y}" for a, b in pairs for x, y in ((a, b), (b, a)))
        else:
            test = [video for video in there if video.removeprefix(prefix).split("_")[0] in reals]
            what = "fakes of FF++ test videos"
            findings += _listed(faces / prefix, what, len(test), FFPP["test"], command)
        fix = "download the official test.json of FaceForensics++ again"
        findings += _listed(path, "real videos in the test pairs", len(reals), FFPP["test"], fix)
        real_faces = compression_dir(data_root, "real", compression) / "faces"
        root = ffpp_root(data_root).parent
        real_command = _extract("FFpp", root, "--compression", compression, "--split", "test")
        groups.append(Group("test", "real", FFPP["test"], real_faces, reals, real_command))
        groups.append(Group("test", label, FFPP["test"], faces, test, command))
    if not set(there) <= set(test):
        everything = f"{command} --split all"
        groups.append(Group("all", label, FAKES_OF_FFPP, faces, there, everything))
        findings += _listed(faces / prefix, f"{label} fakes", len(there), FAKES_OF_FFPP, everything)
    return groups, findings


def _dfdc(root: Path, data_root: Path) -> Layout:
    """labels.csv or metadata.json of the test set. Words (REAL) in labels.csv are understood here, but not by tests."""
    root = root.parent if root.name == "faces" else root
    path = labels_file(root)
    again = "take labels.csv of the DFDC test set"
    if not path.is_file():
        return [], [Finding("missing_file", str(path), None, "there is no labels.csv and no metadata.json", again)]
    try:
        entries, odd_lines = parse_labels(path)
    except UserError as error:
        return [], [finding_of_error("unknown_code", path, error)]
    videos: dict[str, Entry] = {}
    findings, words = [], []
    for number, line in odd_lines:
        wanted = "the header filename,label" if number == 1 else "a file name and 0 or 1"
        findings.append(Finding("unknown_code", str(path), number, f"expected {wanted}, got {line[:80]!r}", again))
    for entry in entries:
        earlier = videos.setdefault(entry.video, entry)
        if why := clash(entry, earlier):
            fix = "keep the right one of the two lines"
            findings.append(Finding("label_conflict", str(path), entry.line, f"{why}; see line {earlier.line}", fix))
        elif earlier is not entry:
            message, fix = f"{entry.file} is on line {earlier.line} too", drop_lines(path, entry.line)
            findings.append(Finding("duplicate", str(path), entry.line, message, fix))
        if entry.text not in ("0", "1"):
            words.append((entry.line, f"{entry.file} has {entry.text!r}, but labels are 0 for real and 1 for fake"))
    name = r'("([^"]|"")*"|[^",][^,]*)'  # the first column, which may be quoted
    numbers = (
        rf's/^({name},)"?[[:blank:]]*({label}|{i})[[:blank:]]*"?(,|\r?$)/\1{i}\5/I' for i, label in enumerate(DFDC)
    )
    mend = sed(path, *numbers)
    findings += _orientation(path, words, len(entries), mend, mend)
    command = _extract("DFDC", root.parent if root.name == "DFDC" else data_root)
    groups = []
    for i, (label, official) in enumerate(DFDC.items()):
        names = [video for video, entry in videos.items() if entry.label == i]
        groups.append(Group("test", label, official, root / "faces", names, command))
        findings += _listed(path, f"{label} videos", len(names), official, again)
    return groups, findings


def count_ffsc(data_root: Path, subset: bool) -> tuple[dict[str, dict[str, int]], dict[str, bool], list[Finding]]:
    """Images of FFSC's folders: list -> method -> number, image -> whether it is of the test, and what is wrong. No
    official numbers are known, but every method must have images, unless it is a subset on purpose."""
    root = ffsc_root(data_root)
    counts: dict[str, dict[str, int]] = {}
    findings, images = [], {}
    for split, folder in FOLDERS.items():
        try:
            lists = read_ffsc(data_root, split)
        except UserError as error:
            findings.append(finding_of_error("count_mismatch", root / folder, error))
            continue
        for name, records in lists.items():
            number = Counter(record.method for record in records)
            methods = PROTOCOL1_METHODS if name == "test_protocol1" else METHODS
            counts[name] = {method: number[method] for method in ("real", *methods)}
            images |= dict.fromkeys((record.path for record in records), split == "test")
            for method in methods:
                if not number[method] and not subset:
                    fix = f"unpack FFSC's {folder} again"
                    message = f"no image of {method} ({name} list)"
                    findings.append(Finding("count_mismatch", str(root / folder), None, message, fix))
    return counts, images, findings


def contradictions(path: Path, rows: Iterable[tuple[int, str, bool]], labels: bool) -> list[Finding]:
    """Lines (number, image, is fake) of a list whose folders say the other class: FF++'s and FFSC's by their place,
    others by their names (real/, 1_fake/, original/).

    Only names below the folder that all images share count; a path that names both classes says nothing. labels:
    whether lines end in 0 or 1, which a command can exchange, instead of a code.
    """
    rows = list(rows)
    folders = {image: re.split(r"[\\/]+", image)[:-1] for _, image, _ in rows}
    shared = 0
    for names in zip(*folders.values(), strict=False):
        if len(set(names)) > 1:
            break
        shared += 1
    said = {}
    for folder in set(map(tuple, folders.values())):
        method = method_of(f"/{'/'.join(folder)}/")
        said[folder] = _said_class(folder[shared:]) if method is None else method != "real"
    wrong, n_telling = [], 0
    for number, image, fake in rows:
        says_fake = said[tuple(folders[image])]
        n_telling += says_fake is not None
        if says_fake not in (None, fake):
            words = ("real (0)", "fake (1)")
            wrong.append((number, f"{image} is listed as {words[fake]}, its folder says {words[says_fake]}"))
    one_line = "0 is real and 1 is fake: mend this label, or the folder's name"
    start, end = r"s/([[:space:],])", r"([[:blank:]\r]*)$/\1"  # of an exchange; a line itself holds no newline
    exchange = sed(path, rf"{start}0{end}\n\2/", rf"{start}1{end}0\2/", r"s/\n/1/")
    swap = exchange if labels else "these codes are of the other class: write the list again"
    return _orientation(path, wrong, n_telling, swap, one_line)


def _said_class(names: Iterable[str]) -> bool | None:
    """True for fake, False for real, None when the names say neither or both."""
    said = {_CLASS_WORDS[word] for name in names for word in re.findall("[a-z]+", name.lower()) if word in _CLASS_WORDS}
    return said.pop() if len(said) == 1 else None


def is_class_folder(name: str) -> bool:
    """Whether a folder is named after a class or method (real, 1_fake, simswap): it holds images, not one video."""
    return re.sub(r"^\d+[_-]|[_-]\d+$", "", name).lower() in _CLASS_FOLDERS
