"""Write a video frame by frame: H.264 by imageio-ffmpeg's ffmpeg, or OpenCV's mp4v where that is missing."""

import contextlib
import itertools
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np

from utils.files import atomic_path


def ffmpeg_program() -> str | None:
    """The path of imageio-ffmpeg's ffmpeg; None where there is none."""
    try:
        import imageio_ffmpeg

        return imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError):  # RuntimeError: the package without its binary
        return None


def write_video(path: Path, frames: Iterable[np.ndarray], rate: float) -> None:
    """Write frames [H, W, 3] uint8 RGB, at least one, as they come; the .mp4 appears when all are written.

    rate: frames a second. Odd sides get one more row or column: yuv420p, which all players know, has pairs of pixels.
    Browsers play H.264; mp4v needs a player. OSError when the video cannot be written.
    """
    frames = map(_pad_to_even, frames)
    first = next(frames)
    height, width = first.shape[:2]
    program = ffmpeg_program()
    with atomic_path(path) as temporary:
        opened = _ffmpeg(program, temporary, width, height, rate) if program else _mp4v(temporary, width, height, rate)
        with opened as write:
            for frame in itertools.chain([first], frames):
                write(frame)


def _pad_to_even(frame: np.ndarray) -> np.ndarray:
    height, width = frame.shape[:2]
    if height % 2 == width % 2 == 0:
        return frame
    return np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")


@contextlib.contextmanager
def _ffmpeg(program: str, path: Path, width: int, height: int, rate: float) -> Iterator[Callable[[np.ndarray], None]]:
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-video_size", f"{width}x{height}", "-framerate", f"{rate:.6g}"]
    codec = ["-c:v", "libx264", "-preset", "veryfast", "-crf", "23", "-pix_fmt", "yuv420p", "-movflags", "+faststart"]
    command = [program, "-v", "error", "-y", *source, "-i", "-", *codec, str(path)]
    with tempfile.TemporaryFile() as told:
        # A session of its own: Ctrl-C is for the script.
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=told, start_new_session=True)
        try:
            with contextlib.suppress(BrokenPipeError):  # the exit code says why
                yield lambda frame: process.stdin.write(np.ascontiguousarray(frame))
                process.stdin.close()
            process.wait()
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
        if process.returncode:
            told.seek(0)
            lines = told.read().decode(errors="replace").strip().splitlines() or ["no message"]
            raise OSError(f"ffmpeg could not write {path.parent}: {lines[0]}")


@contextlib.contextmanager
def _mp4v(path: Path, width: int, height: int, rate: float) -> Iterator[Callable[[np.ndarray], None]]:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), rate, (width, height))
    try:
        if not writer.isOpened():
            raise OSError(f"OpenCV cannot write a video to {path.parent}")
        yield lambda frame: writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    finally:
        writer.release()
