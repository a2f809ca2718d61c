import cv2
import numpy as np
import pytest

from utils import video_writer
from utils.video_writer import write_video


def frames(count=5, height=33, width=47):
    for number in range(count):
        yield np.full((height, width, 3), (40 * number, 100, 200 - 40 * number), np.uint8)


@pytest.mark.parametrize("program", ["ffmpeg", None])
def test_a_video_comes_back_as_it_was(tmp_path, monkeypatch, program):
    if program is None:
        monkeypatch.setattr(video_writer, "ffmpeg_program", lambda: None)
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
    with pytest.raises(OSError, match="ffmpeg could not write"):
        write_video(tmp_path / "v.mp4", frames(), 0.0)
    assert not list(tmp_path.iterdir())
