"""Celeb-DF v2: crops under faces/RealCDF/<video> and faces/FakeCDF/<video>, 518 test videos in the official list."""

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
FOLDERS = {"Celeb-real": "RealCDF", "YouTube-real": "RealCDF", "Celeb-synthesis": "FakeCDF"}  # of videos -> of crops
OFFICIAL = {"RealCDF": 178, "FakeCDF": 340}  # test videos
_CLASSES = {"RealCDF": (0, "real"), "FakeCDF": (1, "Celeb-synthesis")}
_DOWNLOAD = "download the official list of Celeb-DF v2 again"
_LABEL_AND_FOLDER = re.compile(rf"^(\s*)[01](\s+({'|'.join(FOLDERS)})[/\\])")


class Entry(NamedTuple):
    """A line of the official list: folder and name of a video."""

    folder: str
    file: str

    @property
    def label(self) -> str:
        """The class by the folder: RealCDF or FakeCDF."""
        return FOLDERS[self.folder]

    @property
    def video(self) -> str:
        """RealCDF/<video> or FakeCDF/<video>: the id, and the folder of its crops."""
        return f"{self.label}/{PurePosixPath(self.file).stem}"


def _find_faces(root: Path) -> tuple[Path, Path | None]:
    """(folder with RealCDF and FakeCDF, the official list in it or above it). root: this folder, or the data set's."""
    faces = root if any((root / name).is_dir() for name in _CLASSES) else root / "faces"
    return faces, next((f / LIST_NAME for f in (root, faces.parent) if (f / LIST_NAME).is_file()), None)


def read_celeb_df(root: Path, n_frames: int) -> DataSet:
    """Read the test set. Video ids are RealCDF/<video> and FakeCDF/<video>.

    root: The folder with RealCDF and FakeCDF, or the data set's folder (with faces/). If one of them has the official
    list, its videos are tested; else all video folders are.
    """
    faces, official = _find_faces(Path(root))
    if official is None:
        names = [f"{name}/{video}" for name in _CLASSES for video in subfolders(faces / name)]
    else:
        names = list(dict.fromkeys(entry.video for entry in listed_videos(official)))
    videos = []
    for video in names:
        label, method = _CLASSES[video.partition("/")[0]]
        videos.append((video, faces / video, label, "", method))
    return video_folders_to_dataset("CDF", videos, n_frames, f"{faces}/RealCDF and {faces}/FakeCDF")


def listed_videos(path: Path) -> list[Entry]:
    """The lines of the official list. Raises UserError if it cannot be read or one of its lines is wrong."""
    entries, findings = _read_list(path)
    refuse_wrong_lines(findings)
    return entries


def _read_list(path: Path) -> tuple[list[Entry], list[Finding]]:
    """(lines of the list, what is wrong with it). Raises UserError if the file cannot be read.

    A line is `1 Celeb-real/id0_0000.mp4`, 1 for real, with any white space, either slash and any line end.
    """
    try:
        lines = text_file(path).read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path} ({error}); {_DOWNLOAD}") from error
    first_lines: dict[str, int] = {}  # video -> its first line
    entries, findings, wrong = [], [], []
    for number, line in enumerate(lines, start=1):
        label, place = (line.split(maxsplit=1) + ["", ""])[:2]
        folder, _, file = place.strip().replace("\\", "/").partition("/")
        if label in ("0", "1") and folder in FOLDERS and "/" not in file and file not in ("", ".", ".."):
            entry = Entry(folder, file)
            entries.append(entry)
            if (label == "1") != (entry.label == "RealCDF"):
                wrong.append((number, f"{folder}/{file} has {label}, but 1 is real and 0 is fake"))
            earlier = first_lines.setdefault(entry.video, number)
            if earlier != number:
                findings.append(repeated_line(path, number, f"{folder}/{file}", earlier))
        elif label:
            message = f"{line.strip()[:80]!r} names no Celeb-DF v2 video, such as `1 Celeb-real/id0_0000.mp4`"
            findings.append(Finding("unknown_code", str(path), number, message, _DOWNLOAD))
    fix = f"write 1 before real and 0 before fake videos; {correction_command('CDF', path)} does that"
    return entries, findings + label_findings(path, wrong, len(entries), fix, Edit(_with_label_of_folder))


def _with_label_of_folder(line: str) -> str:
    return _LABEL_AND_FOLDER.sub(lambda m: f"{m[1]}{FOLDERS[m[3]] == 'RealCDF':d}{m[2]}", line, count=1)


def _videos(data_root: Path, _compression: str, splits: Sequence[str]) -> list[VideoSet]:
    """The videos of the official test list, or of all three folders. They are in <folder>/videos or <folder>."""
    root = require_download(data_root / "CDF", "Celeb-DF v2")
    places = {folder: folder_of_videos(root / folder / "videos", root / folder) for folder in FOLDERS}
    if "all" in splits:
        listed = [(label, path) for folder, label in FOLDERS.items() for path in mp4_files(places[folder])]
        if not listed:
            raise UserError(f"no .mp4 file in {' or '.join(f'{root / folder}' for folder in FOLDERS)}; put them there")
    else:
        if not (root / LIST_NAME).is_file():
            raise UserError(f"{root / LIST_NAME} is missing; it comes with Celeb-DF v2 (or use --split all)")
        listed = [(entry.label, places[entry.folder] / entry.file) for entry in listed_videos(root / LIST_NAME)]
    return [video_set(root, [(f"{label}/{path.stem}", path, label) for label, path in listed])]


def _crop_groups(data_root: Path, datapath: Path | None, _compression: str) -> CheckedGroups:
    """A line's class is that of its folder, so that swapped labels do not hide the crops."""
    faces, official = _find_faces(datapath or data_root / "CDF")
    command = extraction_command("CDF", "CDF", faces.parent, data_root, inside="")
    groups, findings = [], []
    if official is None:
        names = [f"{label}/{name}" for label in OFFICIAL for name in subfolders(faces / label)]
        fix = f"put {LIST_NAME} of Celeb-DF v2 into {faces.parent}, then {command}"
    else:
        names, fix = [], _DOWNLOAD
        try:
            entries, findings = _read_list(official)
            names = list(dict.fromkeys(entry.video for entry in entries))
        except UserError as error:
            findings = [error_finding("unknown_code", official, error)]
    for label, number in OFFICIAL.items():
        videos = [name for name in names if name.startswith(label)]
        groups.append(CropGroup("test", label, number, faces, videos, command))
        findings += count_findings(official or faces / label, f"{label} videos", len(videos), number, fix)
    return groups, findings


FORMAT = DataSetFormat(
    read=lambda o: read_celeb_df(o.datapath or o.data_root / "CDF", o.frames_per_video),
    videos=_videos,
    video_splits=("test", "all"),
    crop_groups=_crop_groups,
)
