import os
import signal
import subprocess
import sys

import cv2
import numpy as np
import pytest

from tests.conftest import ROOT
from tests.platforms import linux_only, posix_only
from utils.video_writer import write_video


def frames(count=5, height=33, width=47):
    for number in range(count):
        yield np.full((height, width, 3), (40 * number, 100, 200 - 40 * number), np.uint8)


def test_a_video_comes_back_as_it_was(tmp_path):
    write_video(tmp_path / "v.mp4", frames(), 10)
    capture = cv2.VideoCapture(str(tmp_path / "v.mp4"))
    assert round(capture.get(cv2.CAP_PROP_FPS)) == 10
    for expected in frames():
        read, frame = capture.read()
        assert read
        assert np.abs(frame[:33, :47, ::-1].astype(int) - expected).max() < 12
    assert not capture.read()[0]
    assert [path.name for path in tmp_path.iterdir()] == ["v.mp4"]


def test_a_failure_leaves_nothing(tmp_path):
    def broken():
        yield from frames()
        raise RuntimeError("the input ended")

    with pytest.raises(RuntimeError, match="the input ended"):
        write_video(tmp_path / "v.mp4", broken(), 10)
    with pytest.raises(OSError, match="FFmpeg cannot write it"):
        write_video(tmp_path / "v.mp4", frames(), -1.0)
    assert not list(tmp_path.iterdir())


WRITE = """
import signal, sys
from pathlib import Path
import numpy as np
from utils.cli import script
from utils.video_writer import write_video

def frames():
    for number in range(10**6):
        yield np.random.default_rng(number).integers(0, 256, (64, 64, 3), np.uint8)
        if number == 9:
            print("begun", flush=True)
        if number == 199 and "finite" in sys.argv:
            return

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs, and their children, ignore it
sys.exit(script(lambda argv: write_video(Path(sys.argv[1]) / "v.mp4", frames(), 10))())
"""


def start(folder, *arguments, **options):
    command = [sys.executable, "-c", WRITE, str(folder), *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


@linux_only
@pytest.mark.parametrize("lacking", ["most of the space", "one byte"])
def test_a_disk_that_is_full_leaves_nothing(tmp_path, lacking):
    import resource

    with start(tmp_path, "finite") as process:
        assert process.communicate()[1] == ""
    limit = 5000 if lacking == "most of the space" else (tmp_path / "v.mp4").stat().st_size - 1
    (tmp_path / "v.mp4").unlink()
    with start(
        tmp_path, "finite", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    ) as process:
        _, told = process.communicate()
    assert process.returncode == 2
    assert told.startswith(f"error: cannot write {tmp_path}/v.mp4 (FFmpeg cannot write it: File too large)")
    assert told.count("\n") == 1
    assert not list(tmp_path.iterdir())


@posix_only
def test_ctrl_c_is_one_line_and_leaves_nothing(tmp_path):
    with start(tmp_path, start_new_session=True) as process:
        assert process.stdout.readline() == "begun\n"
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        _, told = process.communicate()
    assert (process.returncode, told) == (130, "stopped by Ctrl-C\n")
    assert not list(tmp_path.iterdir())
