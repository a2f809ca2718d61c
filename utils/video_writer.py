"""Write H.264 videos."""

import itertools
from collections.abc import Iterable, Mapping
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from utils.files import atomic_path

ENCODING = {"preset": "veryfast", "crf": "23"}


def write_video(
    path: Path, frames: Iterable[np.ndarray], rate: float, encoding: Mapping[str, str] = ENCODING, exact: bool = False
) -> None:
    """Write an .mp4 video frame by frame. The file appears when all frames are written.

    Args:
        path: The video.
        frames: At least one, [H, W, 3] uint8 RGB, all of one size. Odd sides are padded by a row or a column, because
            yuv420p, the format that all players know, stores colours for 2 x 2 pixels.
        rate: Frames per second.
        encoding: Options of libx264.
        exact: The same frames give the same bytes: one thread, and nothing about the encoder's version.

    Raises:
        OSError: The video cannot be written, or FFmpeg cannot encode it.
    """
    frames = map(_pad_to_even, frames)
    first = next(frames)
    options = {"movflags": "+faststart"} | ({"fflags": "+bitexact"} if exact else {})
    encoding = dict(encoding) | ({"threads": "1", "flags": "+bitexact"} if exact else {})
    with atomic_path(path) as temporary:
        try:
            with av.open(str(temporary), "w", format="mp4", options=options) as container:
                stream = container.add_stream("libx264", rate=Fraction(rate).limit_denominator(10**4), options=encoding)
                stream.height, stream.width = first.shape[:2]
                stream.pix_fmt = "yuv420p"
                for frame in itertools.chain([first], frames):
                    container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
                container.mux(stream.encode())
        except (av.FFmpegError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise OSError(getattr(error, "errno", None), f"FFmpeg cannot write it: {reason}", str(path)) from error


def _pad_to_even(frame: np.ndarray) -> np.ndarray:
    height, width = frame.shape[:2]
    return np.ascontiguousarray(np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge"))
