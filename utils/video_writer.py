"""Write H.264 videos with imageio-ffmpeg's ffmpeg."""

import contextlib
import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path

import av
import imageio_ffmpeg
import numpy as np

from utils.files import atomic_path

ENCODING = ("-preset", "veryfast", "-crf", "23", "-movflags", "+faststart")


def write_video(path: Path, frames: Iterable[np.ndarray], rate: float, encoding: Sequence[str] = ENCODING) -> None:
    """Write an .mp4 video frame by frame. The file appears when all frames are written.

    Args:
        frames: At least one, [H, W, 3] uint8 RGB, all of one size. Odd sides are padded by a row or a column, because
            yuv420p, the format that all players know, stores colours for 2 x 2 pixels.
        rate: Frames per second.
        encoding: Options of ffmpeg's libx264.

    Raises OSError if ffmpeg cannot write the video. It prints the reason to stderr.
    """
    frames = map(_pad_to_even, frames)
    first = next(frames)
    size, count = first.shape[1::-1], 0
    failure = OSError(f"ffmpeg could not write {path} (its messages are above); is the disk full?")
    options = {"codec": "libx264", "quality": None, "macro_block_size": 2, "ffmpeg_log_level": "error"}
    with atomic_path(path) as temporary:
        writer = imageio_ffmpeg.write_frames(temporary, size, fps=rate, output_params=list(encoding), **options)
        with contextlib.closing(writer):
            writer.send(None)
            for frame in itertools.chain([first], frames):
                count += 1
                try:
                    writer.send(np.ascontiguousarray(frame))
                except OSError as error:
                    raise failure from error
        if _frame_count(temporary) != count:  # write_frames hides ffmpeg's exit code
            raise failure


def _pad_to_even(frame: np.ndarray) -> np.ndarray:
    height, width = frame.shape[:2]
    return np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")


def _frame_count(path: Path) -> int:
    try:
        with av.open(str(path)) as container:
            return sum(packet.size > 0 for packet in container.demux(video=0))
    except av.FFmpegError:
        return 0
