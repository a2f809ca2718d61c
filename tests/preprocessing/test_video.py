import av
import numpy as np
import pytest

from preprocessing.demo.videos import write_video
from preprocessing.extraction.video import (
    BT601,
    VideoError,
    count_frames,
    frame_indices,
    read_frames,
    read_pictures,
    yuv_planes,
)

LEVELS = np.arange(40) * 6  # grey level of each frame


@pytest.fixture(scope="module", params=[".mp4", ".mkv"])
def grey_video(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("video") / f"-grey {request.param}"
    frames = np.broadcast_to(LEVELS[:, None, None, None], (40, 48, 64, 3)).astype(np.uint8)
    write_video(path, frames, crf=10)
    return path


def test_frames_are_exactly_the_ones_asked_for(grey_video):
    assert count_frames(grey_video) == count_frames(grey_video, decode=True) == 40
    wanted = [39, 3, 0, 17, 18]
    frames = list(read_frames(grey_video, wanted))
    assert [index for index, _ in frames] == sorted(wanted)
    for index, frame in frames:
        assert frame.shape == (48, 64, 3)
        assert frame.dtype == np.uint8
        assert abs(frame.mean() - LEVELS[index]) < 2.5


def test_frames_behind_the_end_are_left_out(grey_video):
    assert [index for index, _ in read_frames(grey_video, [38, 39, 40, 100])] == [38, 39]
    assert list(read_frames(grey_video, [])) == []


def test_colours_come_as_rgb(tmp_path):
    red = np.zeros((2, 32, 32, 3), np.uint8)
    red[..., 0] = 200
    write_video(tmp_path / "red.mp4", red, crf=10)
    ((_, frame),) = read_frames(tmp_path / "red.mp4", [1])
    assert frame[..., 0].mean() > 180
    assert frame[..., 2].mean() < 20


def test_frame_indices_are_numpy_linspace_with_duplicates_once():
    assert frame_indices(300, 4) == [0, 99, 199, 299]
    assert frame_indices(3, 32) == [0, 1, 2]
    assert frame_indices(10, 1) == [0]
    assert frame_indices(1, 32) == [0]
    assert list(frame_indices(5, None)) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(("content", "code"), [(None, "missing"), (b"", "unreadable"), (b"no video\n", "unreadable")])
def test_what_is_no_video_has_a_reason_and_no_noise(tmp_path, capfd, content, code):
    path = tmp_path / "x.mp4"
    if content is not None:
        path.write_bytes(content)
    for read in (count_frames, lambda path: list(read_frames(path, [0]))):
        with pytest.raises(VideoError, match=r"x\.mp4") as caught:
            read(path)
        assert caught.value.code == code
    assert capfd.readouterr() == ("", "")


def test_planes_are_those_that_the_video_stores(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (3, 12, 16, 3), dtype=np.uint8)
    write_video(tmp_path / "v.mp4", noise.repeat(4, axis=1).repeat(4, axis=2), crf=10)
    with av.open(tmp_path / "v.mp4") as container:
        stored = [frame.to_ndarray(format="yuv420p") for frame in container.decode(video=0)]
    for number, picture in read_pictures(tmp_path / "v.mp4", range(3)):
        planes = picture.planes()
        assert [plane.shape for plane in planes] == [(48, 64), (24, 32), (24, 32)]
        assert np.array_equal(np.concatenate([plane.ravel() for plane in planes]), stored[number].ravel())


def test_planes_of_rgb_have_the_wanted_matrix():
    for matrix, luma in ((BT601, 0.114), (1, 0.0722)):  # the weight of blue, ITU-R BT.601 and BT.709
        y, u, v = yuv_planes(np.full((3, 5, 3), (0, 0, 255), np.uint8), matrix)
        assert y.shape == (4, 6) and u.shape == v.shape == (2, 3)
        assert np.abs(y.astype(int) - round(16 + 219 * luma)).max() <= 1 and np.abs(u.astype(int) - 240).max() <= 1
