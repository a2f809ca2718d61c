"""Celeb-DF v2: crops under faces/RealCDF/<video> and faces/FakeCDF/<video>, 518 test videos in the official list."""

from pathlib import Path, PurePosixPath
from typing import NamedTuple

from datasets.records import DataSet, subfolders, video_folders_to_dataset
from utils.cli import UserError
from utils.files import text_file

LIST_NAME = "List_of_testing_videos.txt"
FOLDERS = {"Celeb-real": "RealCDF", "YouTube-real": "RealCDF", "Celeb-synthesis": "FakeCDF"}  # of videos -> of crops
_CLASSES = {"RealCDF": (0, "real"), "FakeCDF": (1, "Celeb-synthesis")}


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


def read_celeb_df(root: Path, n_frames: int) -> DataSet:
    """The test set under ``root``: the folder with RealCDF and FakeCDF, or the data set's own folder (with faces/).

    With List_of_testing_videos.txt beside the crops (or in the data set's folder) exactly its videos are tested;
    without it every video folder is. Video ids are RealCDF/<video> and FakeCDF/<video>.
    """
    root = Path(root)
    faces = root if any((root / name).is_dir() for name in _CLASSES) else root / "faces"
    official = next((f / LIST_NAME for f in (root, faces.parent) if (f / LIST_NAME).is_file()), None)
    if official is None:
        wanted = [f"{name}/{video}" for name in _CLASSES for video in subfolders(faces / name)]
    else:
        wanted = list(dict.fromkeys(entry.video for entry in listed_videos(official)))
    videos = []
    for video in wanted:
        label, method = _CLASSES[video.partition("/")[0]]
        videos.append((video, faces / video, label, "", method))
    return video_folders_to_dataset("CDF", videos, n_frames, f"{faces}/RealCDF and {faces}/FakeCDF")


def listed_videos(path: Path) -> list[Entry]:
    """The lines of the official list, whose first column is 1 for REAL. UserError for any other list."""
    entries, odd_lines = parse_list(path)
    again = "download the official list again"
    if odd_lines:
        number, line = odd_lines[0]
        raise UserError(f"{path}:{number}: {odd_line(line)}; {again}")
    if wrong := next((entry for entry in entries if entry.contradicts), None):
        raise UserError(f"{path}:{wrong.line}: {wrong.folder}/{wrong.file} has {wrong.real:d}, but 1 is real and 0 is "
                        f"fake; {again}, or mend it as SJEDD_check_data.py says")  # fmt: skip
    return entries


def parse_list(path: Path) -> tuple[list[Entry], list[tuple[int, str]]]:
    """(lines of the list, (number, text) of those that are none). UserError when the file cannot be read.

    `1 Celeb-real/id0_0000.mp4` with any white space between the two, either slash and any end of line.
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


def odd_line(line: str) -> str:
    """What is wrong with a line that ``parse_list`` does not understand."""
    return f"{line[:80]!r} names no Celeb-DF v2 video, such as `1 Celeb-real/id0_0000.mp4`"
