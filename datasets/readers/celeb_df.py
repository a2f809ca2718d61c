"""Celeb-DF v2: crops under faces/RealCDF/<video> and faces/FakeCDF/<video>, 518 test videos in the official list."""

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from datasets.checks.findings import DROP, DROP_LINE, Edit, Finding, count_findings, error_finding, label_findings
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
    """A line of the official list. real: what its first column says. folder, file: where the video lies."""

    line: int
    real: bool
    folder: str
    file: str

    @property
    def label(self) -> str:
        """The class that its folder says, named as the folder of its crops."""
        return FOLDERS[self.folder]

    @property
    def video(self) -> str:
        """RealCDF/<video> or FakeCDF/<video>: the id, and where its crops lie."""
        return f"{self.label}/{PurePosixPath(self.file).stem}"

    @property
    def contradicts(self) -> bool:
        """Whether the first column and the folder say different classes."""
        return self.real != (self.label == "RealCDF")


def _find_faces(root: Path) -> tuple[Path, Path | None]:
    """(folder with RealCDF and FakeCDF, the official list beside or above it). root: this folder, or the data set's."""
    faces = root if any((root / name).is_dir() for name in _CLASSES) else root / "faces"
    return faces, next((f / LIST_NAME for f in (root, faces.parent) if (f / LIST_NAME).is_file()), None)


def read_celeb_df(root: Path, n_frames: int) -> DataSet:
    """Read the test set. Video ids are RealCDF/<video> and FakeCDF/<video>.

    Args:
        root: The folder with RealCDF and FakeCDF, or the data set's own folder (with faces/). With
            List_of_testing_videos.txt in one of them exactly its videos are tested, without it all video folders.
        n_frames: Frames per video at most, evenly spaced.
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
    """The lines of the official list, whose first column is 1 for REAL. Raises UserError for any other list."""
    entries, odd_lines = _parse_list(path)
    if odd_lines:
        number, line = odd_lines[0]
        raise UserError(f"{path}:{number}: {_odd_line(line)}; download the official list again")
    if wrong := next((entry for entry in entries if entry.contradicts), None):
        raise UserError(
            f"{path}:{wrong.line}: {wrong.folder}/{wrong.file} has {wrong.real:d}, but 1 is real and 0 is fake; "
            "download the official list again, or correct it with SJEDD_check_data.py --dataset CDF --fix OUT.txt"
        )
    return entries


def _parse_list(path: Path) -> tuple[list[Entry], list[tuple[int, str]]]:
    """(lines of the list, (number, text) of other lines). Raises UserError if the file cannot be read.

    `1 Celeb-real/id0_0000.mp4` with any white space between the two, either slash and any line end.
    """
    try:
        lines = text_file(path).read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path} ({error}); download the official list again") from error
    entries, odd_lines = [], []
    for number, line in enumerate(lines, start=1):
        first, place = (line.split(maxsplit=1) + ["", ""])[:2]
        folder, _, file = place.strip().replace("\\", "/").partition("/")
        if first in ("0", "1") and folder in FOLDERS and "/" not in file and file not in ("", ".", ".."):
            entries.append(Entry(number, first == "1", folder, file))
        elif first:
            odd_lines.append((number, line.strip()))
    return entries, odd_lines


def _odd_line(line: str) -> str:
    return f"{line[:80]!r} names no Celeb-DF v2 video, such as `1 Celeb-real/id0_0000.mp4`"


def _videos(data_root: Path, _compression: str, splits: Sequence[str]) -> list[VideoSet]:
    """The videos of the official test list, or of all three folders; in <folder>/videos or <folder>."""
    root = require_download(data_root / "CDF", "Celeb-DF v2")
    places = {folder: folder_of_videos(root, f"{folder}/videos", folder) for folder in FOLDERS}
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
    """As the reader finds them; a line's class is that of its folder, so that swapped labels do not hide the crops."""
    faces, official = _find_faces(datapath or data_root / "CDF")
    home = faces.parent
    command = extraction_command("CDF", home.parent if home.name == "CDF" else data_root)
    if official is None:
        videos = {label: [f"{label}/{name}" for name in subfolders(faces / label)] for label in OFFICIAL}
        findings, fix = [], f"put {LIST_NAME} of Celeb-DF v2 into {home}, then {command}"
    else:
        videos, findings = _check_list(official)
        fix = _DOWNLOAD
    groups = []
    for label, number in OFFICIAL.items():
        groups.append(CropGroup("test", label, number, faces, videos[label], command))
        findings += count_findings(official or faces / label, f"{label} videos", len(videos[label]), number, fix)
    return groups, findings


def _check_list(path: Path) -> tuple[dict[str, list[str]], list[Finding]]:
    """(class -> its videos, what is wrong with the list)."""
    videos: dict[str, dict[str, int]] = {label: {} for label in OFFICIAL}  # video -> its line
    try:
        entries, odd_lines = _parse_list(path)
    except UserError as error:
        return {label: [] for label in OFFICIAL}, [error_finding("unknown_code", path, error)]
    findings = [Finding("unknown_code", str(path), n, _odd_line(line), _DOWNLOAD) for n, line in odd_lines]
    wrong = []
    for entry in entries:
        place = f"{entry.folder}/{entry.file}"
        earlier = videos[entry.label].setdefault(entry.video, entry.line)
        if earlier != entry.line:
            message = f"{place} is on line {earlier} too"
            findings.append(Finding("duplicate", str(path), entry.line, message, DROP_LINE, DROP))
        if entry.contradicts:
            wrong.append((entry.line, f"{place} has {entry.real:d}, but this list has 1 for real and 0 for fake"))
    fix = "write 1 before real and 0 before fake videos; --fix OUT.txt does that"
    findings += label_findings(path, wrong, len(entries), fix, Edit(_with_label_of_folder))
    return {label: list(names) for label, names in videos.items()}, findings


def _with_label_of_folder(line: str) -> str:
    return _LABEL_AND_FOLDER.sub(lambda m: f"{m[1]}{FOLDERS[m[3]] == 'RealCDF':d}{m[2]}", line, count=1)


FORMAT = DataSetFormat(
    name="CDF",
    read=lambda o: read_celeb_df(o.datapath or o.data_root / "CDF", o.frames_per_video),
    videos=_videos,
    video_splits=("test", "all"),
    crop_groups=_crop_groups,
)
