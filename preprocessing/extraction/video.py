"""Read chosen frames of a video: exact frame numbers, sequential decoding, only wanted frames turned into RGB."""

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # libav's own messages; read when a video is opened
# Containers alone: playlists (HLS, concat) would play other files, or addresses, than the one that is opened.
_FORMATS = (
    "mov,matroska,webm,avi,flv,mpeg,mpegts,mpegvideo,m4v,asf,gif,ogg,h264,hevc,mjpeg,ivf,mxf,dv,nut,rm,yuv4mpegpipe"
)
os.environ.setdefault("OPENCV_FFMPEG_CAPTURE_OPTIONS", f"format_whitelist;{_FORMATS}")
import cv2
import numpy as np

from datasets.sampling import evenly_spaced_indices
from utils.cli import UserError
from utils.files import text_file

getattr(cv2.utils, "logging", cv2).setLogLevel(0)  # silent; OpenCV 4 has it right in cv2

_LONGEST_NAME = 200  # bytes; file systems take 255, and the rows of a video lie in a file named after it
VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv", ".ts", ".3gp")
# These containers store the number of frames; for the others OpenCV guesses it from duration and frame rate.
COUNTED_SUFFIXES = (".mp4", ".avi", ".mov", ".m4v")

# A frame of 8K has 33 million pixels; sixteen frames of 40 million, of a file of a few kilobytes, take 2 GB.
MAX_PIXELS = 40_000_000


class VideoError(Exception):
    """A video that gives no frames. ``code``: missing | unreadable | no_frames; the message holds path and reason."""

    def __init__(self, code: str, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.code = code


@contextlib.contextmanager
def _open_video(path: Path) -> Iterator[cv2.VideoCapture]:
    if not Path(path).is_file():
        raise VideoError("missing", path, "there is no such file")
    try:
        os.fspath(path).encode("utf-8")
    except UnicodeEncodeError as error:  # OpenCV crashes on such a name
        raise VideoError("unreadable", path, "its name is not UTF-8; rename it") from error
    capture = cv2.VideoCapture(str(Path(path).absolute()), cv2.CAP_FFMPEG)  # a relative a:b.mp4 would be a protocol
    try:
        if not capture.isOpened():
            raise VideoError("unreadable", path, "not a video that ffmpeg can open, or it holds no picture")
        _refuse_giant(path, capture)
        yield capture
    finally:
        capture.release()


def _refuse_giant(path: Path, capture: cv2.VideoCapture) -> None:
    """OpenCV scales all frames to the size that it tells at the start."""
    width, height = (round(capture.get(side)) for side in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
    if width * height > MAX_PIXELS:
        raise VideoError("unreadable", path, f"frames of {width}x{height} px, more than {MAX_PIXELS:,} pixels")


def count_frames(path: Path, decode: bool = False) -> int:
    """Number of frames of a video.

    The container's own number where it stores one; else, and with ``decode``, the number that really decodes (as slow
    as reading the video). Raises VideoError when the video cannot be opened or holds no frame.
    """
    with _open_video(path) as capture:
        count = round(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        if decode or count < 1 or Path(path).suffix.lower() not in COUNTED_SUFFIXES:
            count = 0
            while capture.grab():
                count += 1
    if count < 1:
        raise VideoError("no_frames", path, "no frame of it can be decoded")
    return count


def frame_rate(path: Path) -> float:
    """Frames a second, 25 where the video does not say or says something absurd. Raises VideoError as count_frames."""
    with _open_video(path) as capture:
        rate = capture.get(cv2.CAP_PROP_FPS)
    return rate if 0.1 <= rate <= 1000 else 25.0


def frame_indices(count: int, wanted: int | None) -> Sequence[int]:
    """The frames to take from ``count``: ``wanted`` of them evenly from first to last, duplicates once; None = all."""
    if wanted is None:
        return range(count)  # the container may promise 10**9 of them
    return evenly_spaced_indices(count, wanted)


def read_frames(path: Path, indices: Iterable[int]) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (index, frame [H, W, 3] uint8 RGB) for the wanted frame numbers, in rising order.

    Frames are decoded one after the other (no seeking, which is inexact for many files) up to the last wanted one.
    A wanted frame that cannot be decoded or lies behind the end is left out. Raises VideoError when the video cannot
    be opened.
    """
    wanted = indices if isinstance(indices, range) else set(indices)
    if not wanted:
        return
    with _open_video(path) as capture:
        for index in range(max(wanted) + 1):
            if not capture.grab():
                return
            if index in wanted:
                decoded, frame = capture.retrieve()
                if decoded:
                    yield index, cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)


def find_videos(paths: Iterable[Path]) -> dict[str, Path]:
    """Name -> file of all videos in folders (subfolders too), given as files, or named in .txt files, sorted by name.

    A name is the path below the folder, without its ending; for files and lines of .txt files the path below the
    deepest folder they share. Hidden files and folders are left out. Lines are relative to the current folder, and what
    they name need not be there. Raises UserError for a path that is not there, a file that is no text, and two videos
    of one name.
    """
    found: list[tuple[str, Path]] = []
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += [
                (file.relative_to(path).with_suffix("").as_posix(), file) for file in files_below(path, VIDEO_SUFFIXES)
            ]
        elif path.suffix.lower() == ".txt":
            listed = listed_files(path)
            if odd := next((line for line in listed if not _may_be_a_video(line)), None):
                raise UserError(f"{path} names {str(odd)[:200]!r}, which is no file; mend or remove the line")
            files += listed
        elif _is_file(path):
            files.append(path)
        else:
            raise UserError(f"there is no file or folder {str(path)[:200]}; check the path")
    if files:
        absolute = [Path(os.path.abspath(path)) for path in files]  # noqa: PTH100 - takes .. out of names, keeps links
        shared = os.path.commonpath([path.parent for path in absolute])
        found += [(path.relative_to(shared).with_suffix("").as_posix(), path) for path in absolute]
    videos: dict[str, Path] = {}
    for name, path in sorted(found):
        name = name.encode("utf-8", "backslashreplace").decode()  # the manifest is UTF-8
        if videos.setdefault(name, path) != path:
            raise UserError(f"{videos[name]} and {path} would share the crop folder {name}; rename one of them")
    return videos


def files_below(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """The files of a folder and its subfolders with these endings (lower case), hidden ones left out; links are
    followed, but no folder is entered twice."""
    files, entered = [], set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        place = os.path.realpath(parent)
        if place in entered:
            folders.clear()
            continue
        entered.add(place)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        paths = (Path(parent) / name for name in names if not name.startswith("."))
        # A link that leads nowhere counts: its file is missing.
        files += [path for path in paths if path.suffix.lower() in suffixes and not path.is_dir()]
    return files


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that no file system takes
        return False


def _may_be_a_video(path: Path) -> bool:
    """Whether it is a file, or is missing and could be one."""
    if os.path.exists(path):  # noqa: PTH110 - False for what no file system takes
        return _is_file(path)
    parts = path.parts
    return path.name != "" and "\0" not in str(path) and max(len(part.encode()) for part in parts) <= _LONGEST_NAME


def listed_files(path: Path) -> list[Path]:
    """The paths in a text file, one a line. UserError for a file that is no text."""
    try:
        return [Path(line) for line in text_file(path).read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the list {path} ({error})") from error
