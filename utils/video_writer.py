"""Write H.264 videos."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from utils.files import atomic_path

ENCODING = {"preset": "veryfast", "crf": "23"}


def write_video(
    path: Path,
    frames: Iterable[np.ndarray | Sequence[np.ndarray]],
    rate: float,
    encoding: Mapping[str, str] = ENCODING,
    exact: bool = False,
    matrix: int | None = None,
) -> None:
    """Write an .mp4 video frame by frame. The file appears when all frames are written.

    Args:
        path: The video.
        frames: At least one, [H, W, 3] uint8 RGB, all of one size. Odd sides are padded by a row or a column, because
            yuv420p, the format that all players know, stores colours for 2 x 2 pixels. Or yuv420p's own planes: Y
            [H, W], U and V [H / 2, W / 2], uint8.
        rate: Frames per second.
        encoding: Options of libx264.
        matrix: FFmpeg's number of the planes' colour matrix, which the file then names.
        exact: The same frames give the same bytes: one thread, and nothing about the encoder's version.

    Raises:
        OSError: The video cannot be written, or FFmpeg cannot encode it.
    """
    pictures = map(_frame, frames)
    first = next(pictures)
    options = {"movflags": "+faststart"} | ({"fflags": "+bitexact"} if exact else {})
    encoding = dict(encoding) | ({"threads": "1", "flags": "+bitexact"} if exact else {})
    with atomic_path(path) as temporary:
        try:
            with av.open(str(temporary), "w", format="mp4", options=options) as container:
                stream = container.add_stream("libx264", rate=Fraction(rate).limit_denominator(10**4), options=encoding)
                stream.height, stream.width = first.height, first.width
                stream.pix_fmt = "yuv420p"
                if matrix is not None:
                    stream.codec_context.colorspace = matrix
                for picture in itertools.chain([first], pictures):
                    container.mux(stream.encode(picture))
                container.mux(stream.encode())
        except (av.FFmpegError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise OSError(getattr(error, "errno", None), f"FFmpeg cannot write it: {reason}", str(path)) from error


def _frame(frame: np.ndarray | Sequence[np.ndarray]) -> av.VideoFrame:
    if not isinstance(frame, np.ndarray):
        values = np.concatenate([plane.ravel() for plane in frame]).reshape(-1, frame[0].shape[1])
        return av.VideoFrame.from_ndarray(values, format="yuv420p")
    return rgb_frame(frame)


def rgb_frame(frame: np.ndarray) -> av.VideoFrame:
    """A picture [H, W, 3] uint8 RGB as PyAV's frame; odd sides are padded by a row or a column."""
    height, width = frame.shape[:2]
    even = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24")
