"""Frames by number, against ffmpeg's own decoding of the same file."""

import subprocess

import imageio_ffmpeg
import numpy as np
import pytest
import skimage.data

from preprocessing.extraction.video import count_frames, frame_times, read_frames

COUNT, HEIGHT, WIDTH = 50, 120, 160


def ffmpeg(*arguments, **options):
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, **options).stdout


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Fifty frames: a photograph that moves, and a patch whose grey tells the number."""
    photograph = skimage.data.astronaut()[:240, 100:420]
    frames = np.stack([np.roll(photograph, 2 * number, axis=1)[::2, ::2] for number in range(COUNT)])
    for number, frame in enumerate(frames):
        frame[:40, :40] = 16 + 4 * number
    path = tmp_path_factory.mktemp("source") / "source.mkv"
    size = ("-s", f"{WIDTH}x{HEIGHT}", "-r", "25")
    ffmpeg("-f", "rawvideo", "-pix_fmt", "rgb24", *size, "-i", "-", "-c:v", "ffv1", path, input=frames.tobytes())
    return path


def decoded_by_ffmpeg(path):
    raw = ffmpeg("-i", path, "-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "rgb24", "-")
    return np.frombuffer(raw, np.uint8).reshape(-1, HEIGHT, WIDTH, 3)


FILES = {
    "h264.mp4": ("-c:v", "libx264", "-bf", "3"),
    "fragments.mp4": ("-c:v", "libx264", "-bf", "3", "-g", "12", "-movflags", "frag_keyframe+empty_moov"),
    "open_gop.mkv": ("-c:v", "libx264", "-bf", "3", "-g", "10", "-x264-params", "open-gop=1"),
    "intra_refresh.mp4": ("-c:v", "libx264", "-intra-refresh", "1", "-g", "10"),
    "cut_in.mp4": ("-c:v", "libx264", "-bf", "3", "-g", "30"),
    "h264.ts": ("-c:v", "libx264", "-bf", "2"),
    "h264.m2ts": ("-c:v", "libx264", "-bf", "2"),
    "h264.avi": ("-c:v", "libx264", "-bf", "0"),
    "h264.flv": ("-c:v", "libx264", "-bf", "2"),
    "bare.h264": ("-c:v", "libx264", "-bf", "2"),
    "hevc.mp4": ("-c:v", "libx265", "-x265-params", "log-level=none"),
    "hevc.mkv": ("-c:v", "libx265", "-x265-params", "log-level=none:open-gop=1:keyint=10"),
    "mpeg4.avi": ("-c:v", "mpeg4", "-bf", "2", "-q:v", "2"),
    "mpeg4.mp4": ("-c:v", "mpeg4", "-bf", "2", "-q:v", "2"),
    "mpeg2.mpg": ("-c:v", "mpeg2video", "-bf", "2", "-q:v", "2"),
    "mpeg2.vob": ("-c:v", "mpeg2video", "-bf", "2", "-q:v", "2"),
    "mpeg1.mpg": ("-c:v", "mpeg1video", "-q:v", "2"),
    "vp8.webm": ("-c:v", "libvpx", "-b:v", "2M", "-auto-alt-ref", "1", "-lag-in-frames", "10"),
    "vp9.webm": ("-c:v", "libvpx-vp9", "-b:v", "1M", "-auto-alt-ref", "1", "-lag-in-frames", "10"),
    "prores.mov": ("-c:v", "prores_ks",),
    "mjpeg.avi": ("-c:v", "mjpeg", "-q:v", "2"),
    "wmv2.wmv": ("-c:v", "wmv2", "-q:v", "2"),
    "theora.ogv": ("-c:v", "libtheora", "-q:v", "9"),
    "flv1.flv": ("-c:v", "flv1", "-q:v", "2"),
    "h263.3gp": ("-vf", "scale=176:144", "-c:v", "h263", "-q:v", "2"),
    "animation.gif": (),
    "animation.png": ("-f", "apng"),
    "late.mp4": ("-c:v", "libx264", "-bf", "2", "-vf", "setpts=PTS+3/TB"),
    "rate_changes.mkv": ("-c:v", "libx264", "-vf", "setpts='(N+N*N/3)/25/TB'", "-fps_mode", "vfr"),
}  # fmt: skip


@pytest.fixture(params=FILES)
def video(request, source, tmp_path):
    path = tmp_path / request.param
    try:
        ffmpeg("-i", source, "-pix_fmt", "yuv420p", *FILES[request.param], path)
    except subprocess.CalledProcessError:
        ffmpeg("-i", source, *FILES[request.param], path)
    if path.name.startswith("cut_in"):  # an edit list leaves the first pictures out, which are decoded all the same
        ffmpeg("-ss", "0.52", "-i", path, "-c", "copy", tmp_path / "edited.mp4")
        path = tmp_path / "edited.mp4"
    return path


def test_numbers_and_pixels_are_those_of_ffmpeg(video):
    expected = decoded_by_ffmpeg(video) if video.suffix != ".3gp" else None
    count = count_frames(video)
    assert count == count_frames(video, decode=True)
    frames = dict(read_frames(video, range(count)))
    assert sorted(frames) == list(range(count))
    if expected is not None:
        assert count == len(expected)
        worst = max(np.abs(frames[n].astype(int) - expected[n]).mean() for n in frames)
        assert worst < 1.5
    some = dict(read_frames(video, [0, 7, count - 1]))
    assert all(np.array_equal(some[n], frames[n]) for n in some) and len(some) == 3
    times = frame_times(video, count)
    assert times[0] == 0 and all(np.diff(times) > 0)
