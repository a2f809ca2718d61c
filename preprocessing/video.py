"""Read chosen frames of a video: exact frame numbers, sequential decoding, only wanted frames turned into RGB."""

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # libav's own messages; read when a video is opened
import cv2
import numpy as np

from utils.sampling import evenly_spaced_indices

cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)

VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv", ".ts", ".3gp")
# These containers store the number of frames; for the others OpenCV guesses it from duration and frame rate.
COUNTED_SUFFIXES = (".mp4", ".avi", ".mov", ".m4v")


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
    capture = cv2.VideoCapture(os.fspath(path), cv2.CAP_FFMPEG)
    try:
        if not capture.isOpened():
            raise VideoError("unreadable", path, "not a video that ffmpeg can open, or it holds no picture")
        yield capture
    finally:
        capture.release()


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


def frame_indices(count: int, wanted: int | None) -> list[int]:
    """The frames to take from ``count``: ``wanted`` of them evenly from first to last, duplicates once; None = all."""
    if wanted is None:
        return list(range(count))
    return evenly_spaced_indices(count, wanted)


def read_frames(path: Path, indices: Iterable[int]) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (index, frame [H, W, 3] uint8 RGB) for the wanted frame numbers, in rising order.

    Frames are decoded one after the other (no seeking, which is inexact for many files) up to the last wanted one.
    A wanted frame that cannot be decoded or lies behind the end is left out. Raises VideoError when the video cannot
    be opened.
    """
    wanted = set(indices)
    with _open_video(path) as capture:
        for index in range(max(wanted, default=-1) + 1):
            if not capture.grab():
                return
            if index in wanted:
                decoded, frame = capture.retrieve()
                if decoded:
                    yield index, cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
