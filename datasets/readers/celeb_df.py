"""Celeb-DF v2, v1 and ++: the test videos are those of the official list.

Crops are under faces/RealCDF/<video> and faces/FakeCDF/<video>; those of Celeb-DF++'s fakes, whose videos are in
Celeb-synthesis/<kind>/<method>, under faces/<method>/<video>.
"""

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from datasets.checks.findings import (
    Edit,
    Finding,
    correction_command,
    count_findings,
    error_finding,
    label_findings,
    refuse_wrong_lines,
    repeated_line,
)
from datasets.data_set_format import CheckedGroups, CropGroup, DataSetFormat, extraction_command
from datasets.raw_videos import VideoSet, folder_of_videos, mp4_files, require_download, video_set
from datasets.records import DataSet, subfolders, video_folders_to_dataset
from utils.cli import UserError
from utils.files import text_file

LIST_NAME = "List_of_testing_videos.txt"
REAL, FAKE = "RealCDF", "FakeCDF"  # folders of crops
SYNTHESIS = "Celeb-synthesis"
FOLDERS = {"Celeb-real": REAL, "YouTube-real": REAL, SYNTHESIS: FAKE}  # of videos -> of crops
# Kind -> Celeb-DF++'s methods, by the names of their folders.
METHODS = {
    "FaceSwap": ("Celeb-DF", "BlendFace", "GHOST", "HifiFace", "InSwapper", "MobileFaceSwap", "SimSwap", "UniFace"),
    "FaceReenact": ("DaGAN", "FSRT", "HyperReenact", "LIA", "LivePortrait", "MCNET", "TPSMM"),
    "TalkingFace": ("AniTalker", "EchoMimic", "EDTalk", "FLOAT", "IP_LAP", "Real3DPortrait", "SadTalker"),
}
_TESTED = {"FaceSwap": 200, "FaceReenact": 200, "TalkingFace": 300}  # videos of each method
_PLUS_FAKES = {method: _TESTED[kind] for kind, methods in METHODS.items() for method in methods} | {"Celeb-DF": 340}
_LABEL_AND_FOLDER = re.compile(rf"^(\s*)[01](\s+({'|'.join(FOLDERS)})[/\\])")
_FAKE_NAME = re.compile(r"(id\d+)_id\d+(_\d+)")  # target, source, number of the target's video


class Release(NamedTuple):
    """A release of Celeb-DF.

    name: For --dataset. folder: Of the data set. title: For people.
    official: Class (the folder of its crops) -> number of test videos; empty if it is not known.
    by_method: Whether the fakes have a class for each method.
    """

    name: str
    folder: str
    title: str
    official: dict[str, int]
    by_method: bool = False


V2 = Release("CDF", "CDF", "Celeb-DF v2", {REAL: 178, FAKE: 340})
V1 = Release("CDFv1", "CDFv1", "Celeb-DF v1", {})
PLUS = Release("CDFpp", "CDF++", "Celeb-DF++", {REAL: 178} | _PLUS_FAKES, by_method=True)


class Entry(NamedTuple):
    """A line of the official list: folder and name of a video, and its class."""

    folder: str
    file: str
    label: str

    @property
    def video(self) -> str:
        """<class>/<video>: the id, and the folder of its crops."""
        return f"{self.label}/{PurePosixPath(self.file).stem}"


def _class_of(folder: str, release: Release) -> str | None:
    """The class of a folder of videos, by its path below the data set's; None if it is not one of the release."""
    top, *inside = folder.split("/")
    if not release.by_method or top != SYNTHESIS:
        return None if inside else FOLDERS.get(top)
    if len(inside) != 2 or any(name.strip(".") == "" for name in inside):
        return None
    method = inside[1]
    return "Celeb-DF" if method.startswith("Celeb-DF") else method  # Celeb-DF-v2 in some downloads


def _find_faces(root: Path) -> tuple[Path, Path | None]:
    """(folder with RealCDF and the fakes, the official list in it or above it). root: this folder or the data set's."""
    faces = root if any((root / name).is_dir() for name in (REAL, FAKE)) else root / "faces"
    return faces, next((f / LIST_NAME for f in (root, faces.parent) if (f / LIST_NAME).is_file()), None)


def _classes_in(faces: Path, release: Release) -> list[str]:
    """The classes whose crops may be in ``faces``: reals first."""
    methods = [name for name in subfolders(faces) if name != REAL] if release.by_method else [FAKE]
    return [REAL, *methods]


def read_celeb_df(root: Path, n_frames: int, release: Release = V2) -> DataSet:
    """Read the test set. Video ids are <class>/<video>: RealCDF/00170, FakeCDF/id1_id0_0007.

    root: The folder with RealCDF and the fakes, or the data set's folder (with faces/). If one of them has the official
    list, its videos are tested; else all video folders are.
    """
    faces, official = _find_faces(Path(root))
    if official is None:
        names = [f"{name}/{video}" for name in _classes_in(faces, release) for video in subfolders(faces / name)]
    else:
        names = list(dict.fromkeys(entry.video for entry in listed_videos(official, release)))
    videos = []
    for video in names:
        label = video.partition("/")[0]
        method = {REAL: "real", FAKE: SYNTHESIS}.get(label, label)
        videos.append((video, faces / video, int(label != REAL), "", method))
    where = f"{faces}/{REAL} and " + (f"{faces}/<method>" if release.by_method else f"{faces}/{FAKE}")
    return video_folders_to_dataset(release.name, videos, n_frames, where)


def listed_videos(path: Path, release: Release = V2) -> list[Entry]:
    """The lines of the official list. Raises UserError if it cannot be read or one of its lines is wrong."""
    entries, findings = _read_list(path, release)
    refuse_wrong_lines(findings)
    return entries


def _read_list(path: Path, release: Release) -> tuple[list[Entry], list[Finding]]:
    """(lines of the list, what is wrong with it). Raises UserError if the file cannot be read.

    A line is `1 Celeb-real/id0_0000.mp4`, 1 for real, with any white space, either slash and any line end.
    """
    download = f"download the official list of {release.title} again"
    try:
        lines = text_file(path).read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path} ({error}); {download}") from error
    first_lines: dict[str, int] = {}  # video -> its first line
    entries, findings, wrong = [], [], []
    for number, line in enumerate(lines, start=1):
        label, place = (line.split(maxsplit=1) + ["", ""])[:2]
        folder, _, file = place.strip().replace("\\", "/").rpartition("/")
        folder = folder.removesuffix("/videos")
        name = _class_of(folder, release)
        if label in ("0", "1") and name and file not in ("", ".", ".."):
            entry = Entry(folder, file, name)
            entries.append(entry)
            if (label == "1") != (name == REAL):
                wrong.append((number, f"{folder}/{file} has {label}, but 1 is real and 0 is fake"))
            earlier = first_lines.setdefault(entry.video, number)
            if earlier != number:
                findings.append(repeated_line(path, number, f"{folder}/{file}", earlier))
        elif label:
            message = f"{line.strip()[:80]!r} names no {release.title} video, such as `1 Celeb-real/id0_0000.mp4`"
            findings.append(Finding("unknown_code", str(path), number, message, download))
    fix = f"write 1 before real and 0 before fake videos; {correction_command(release.name, path)} does that"
    return entries, findings + label_findings(path, wrong, len(entries), fix, Edit(_with_label_of_folder))


def _with_label_of_folder(line: str) -> str:
    return _LABEL_AND_FOLDER.sub(lambda m: f"{m[1]}{FOLDERS[m[3]] == REAL:d}{m[2]}", line, count=1)


def _videos(data_root: Path, splits: Sequence[str], release: Release) -> list[VideoSet]:
    """The videos of the official test list, or of all folders. They are in <folder>/videos or <folder>."""
    root = require_download(data_root / release.folder, release.title)
    if "all" in splits:
        folders = [folder for folder in FOLDERS if folder != SYNTHESIS or not release.by_method]
        if release.by_method:
            kinds = [f"{SYNTHESIS}/{kind}" for kind in subfolders(root / SYNTHESIS)]
            folders += [f"{kind}/{method}" for kind in kinds for method in subfolders(root / kind)]
        classes = {folder: name for folder in folders if (name := _class_of(folder, release))}
        listed = [(name, path) for folder, name in classes.items() for path in mp4_files(_place(root, folder))]
        if not listed:
            raise UserError(f"no .mp4 file in {' or '.join(f'{root / folder}' for folder in FOLDERS)}; put them there")
    else:
        if not (root / LIST_NAME).is_file():
            raise UserError(f"{root / LIST_NAME} is missing; it comes with {release.title} (or use --split all)")
        entries = listed_videos(root / LIST_NAME, release)
        places = {folder: _place(root, folder) for folder in {entry.folder for entry in entries}}
        listed = [(entry.label, places[entry.folder] / entry.file) for entry in entries]
    return [video_set(root, [(f"{label}/{path.stem}", path, label) for label, path in listed])]


def _place(root: Path, folder: str) -> Path:
    return folder_of_videos(root / folder / "videos", root / folder)


def _crop_groups(data_root: Path, datapath: Path | None, release: Release) -> CheckedGroups:
    """A line's class is that of its folder, so that swapped labels do not hide the crops."""
    faces, official = _find_faces(datapath or data_root / release.folder)
    command = extraction_command(release.name, release.folder, faces.parent, data_root, inside="")
    groups, findings = [], []
    if official is None:
        names = [f"{label}/{name}" for label in _classes_in(faces, release) for name in subfolders(faces / label)]
        fix = f"put {LIST_NAME} of {release.title} into {faces.parent}, then {command}"
    else:
        names, fix = [], f"download the official list of {release.title} again"
        try:
            entries, findings = _read_list(official, release)
            names = list(dict.fromkeys(entry.video for entry in entries))
        except UserError as error:
            findings = [error_finding("unknown_code", official, error)]
    labels = dict.fromkeys([*(release.official or (REAL, FAKE)), *(name.partition("/")[0] for name in names)])
    for label in labels:
        videos = [name for name in names if name.partition("/")[0] == label]
        number = release.official.get(label, len(videos))
        groups.append(CropGroup("test", label, number, faces, videos, command))
        findings += count_findings(official or faces / label, f"{label} videos", len(videos), number, fix)
    return groups, findings


def data_set_format(release: Release) -> DataSetFormat:
    """The format of a release."""
    return DataSetFormat(
        read=lambda o: read_celeb_df(o.datapath or o.data_root / release.folder, o.frames_per_video, release),
        videos=lambda data_root, _compression, splits: _videos(data_root, splits, release),
        video_splits=("test", "all"),
        crop_groups=lambda data_root, datapath, _compression: _crop_groups(data_root, datapath, release),
        fake_name=_FAKE_NAME,
    )
