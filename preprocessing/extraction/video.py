"""Read chosen frames of videos by their exact numbers, and find videos in folders and lists."""

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from datasets.records import evenly_spaced_indices
from utils.cli import UserError
from utils.files import text_file

os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # silences libav; read when a video is opened
# Only containers: playlists (HLS, concat) would open other files or addresses.
_FORMATS = (
    "mov,matroska,webm,avi,flv,mpeg,mpegts,mpegvideo,m4v,asf,gif,ogg,h264,hevc,mjpeg,ivf,mxf,dv,nut,rm,yuv4mpegpipe"
)
os.environ.setdefault("OPENCV_FFMPEG_CAPTURE_OPTIONS", f"format_whitelist;{_FORMATS}")
cv2.utils.logging.setLogLevel(0)  # silent

_LONGEST_NAME = 200  # bytes; file systems take 255, and the row file of a video is named after it
VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv", ".ts", ".3gp")
# Containers that store the number of frames; for the others OpenCV guesses it from duration and frame rate.
COUNTED_SUFFIXES = (".mp4", ".avi", ".mov", ".m4v")
MAX_PIXELS = 40_000_000  # of a frame; 8K has 33 million, and a batch of 16 frames of 40 million takes 2 GB


class VideoError(Exception):
    """A video that gives no frames. ``code``: missing | unreadable | no_frames. The message has path and reason."""

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
        # OpenCV scales all frames to this size.
        width, height = (round(capture.get(side)) for side in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        if width * height > MAX_PIXELS:
            raise VideoError("unreadable", path, f"frames of {width}x{height} px, more than {MAX_PIXELS:,} pixels")
        yield capture
    finally:
        capture.release()


def count_frames(path: Path, decode: bool = False) -> int:
    """Number of frames of a video: the one that the container stores, or the one that can be decoded.

    Args:
        path: The video.
        decode: Decode all frames to count them, as is done anyway if the container stores no number.

    Raises:
        VideoError: The video cannot be opened or holds no frame.
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
    """Frames per second; 25 if the video gives no plausible number. Raises VideoError as count_frames."""
    with _open_video(path) as capture:
        rate = capture.get(cv2.CAP_PROP_FPS)
    return rate if 0.1 <= rate <= 1000 else 25.0


def frame_indices(count: int, wanted: int | None) -> Sequence[int]:
    """Numbers of ``wanted`` frames of ``count``, evenly spaced from first to last, duplicates once; None = all."""
    if wanted is None:
        return range(count)  # a damaged container may claim 10**9 frames
    return evenly_spaced_indices(count, wanted)


def read_frames(path: Path, indices: Iterable[int]) -> Iterator[tuple[int, np.ndarray]]:
    """Read frames by their numbers.

    Frames are decoded one after the other up to the last wanted one, because seeking is inexact for many files.

    Args:
        path: The video.
        indices: Numbers of the wanted frames, from 0.

    Yields:
        (number, frame [H, W, 3] uint8 RGB) in rising order, except frames that do not exist or cannot be decoded.

    Raises:
        VideoError: The video cannot be opened.
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
    """Find the videos that the paths name.

    Args:
        paths: Folders (searched with their subfolders; hidden files and folders are skipped), video files, and .txt
            files with one path per line, relative to the current folder. Listed videos may be missing.

    Returns:
        Name -> file, sorted by name. A name is the path without its suffix, below the searched folder or, for single
        and listed files, below the deepest folder that they share.

    Raises:
        UserError: A path is missing, a list cannot be read, or two videos get the same name.
    """
    found: list[tuple[Path, Path]] = []  # name with suffix, file
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += [(file.relative_to(path), file) for file in files_below(path, VIDEO_SUFFIXES)]
        elif path.suffix.lower() == ".txt":
            listed = listed_files(path)
            if odd := next((line for line in listed if not _may_be_a_video(line)), None):
                raise UserError(f"{path} names {str(odd)[:200]!r}, which is no file; fix or remove the line")
            files += listed
        elif os.path.isfile(path):  # noqa: PTH113 - False for names that no file system takes
            files.append(path)
        else:
            raise UserError(f"there is no file or folder {str(path)[:200]}; check the path")
    if files:
        absolute = [Path(os.path.abspath(path)) for path in files]  # noqa: PTH100 - takes .. out of names, keeps links
        shared = os.path.commonpath([path.parent for path in absolute])
        found += [(path.relative_to(shared), path) for path in absolute]
    videos: dict[str, Path] = {}
    for name, path in sorted((place.with_suffix("").as_posix(), path) for place, path in found):
        name = name.encode("utf-8", "backslashreplace").decode()  # the manifest is UTF-8
        if videos.setdefault(name, path) != path:
            raise UserError(f"{videos[name]} and {path} would share the crop folder {name}; rename one of them")
    return videos


def files_below(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """Find files in a folder and its subfolders, without hidden ones. Links are followed; no folder is searched twice.

    suffixes: Allowed suffixes, in lower case.
    """
    files, entered = [], set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        place = os.path.realpath(parent)
        if place in entered:
            folders.clear()
            continue
        entered.add(place)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        paths = (Path(parent) / name for name in names if not name.startswith("."))
        # A broken link counts: its file is missing.
        files += [path for path in paths if path.suffix.lower() in suffixes and not path.is_dir()]
    return files


def _may_be_a_video(path: Path) -> bool:
    """Whether the path is a file, or missing and could be the name of a file."""
    if os.path.exists(path):  # noqa: PTH110 - False for names that no file system takes
        return path.is_file()
    return "\0" not in str(path) and max(len(part.encode()) for part in path.parts) <= _LONGEST_NAME


def listed_files(path: Path) -> list[Path]:
    """The paths in a text file, one per line. Raises UserError if it cannot be read as text."""
    try:
        return [Path(line) for line in text_file(path).read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the list {path} ({error})") from error
