"""Kinds of videos and pictures that decoders get wrong. The truth is the photograph that they were made of."""

import csv
import struct
import subprocess
import zlib

import av
import cv2
import imageio_ffmpeg
import numpy as np
import pytest
import skimage.data
from PIL import Image

from preprocessing.extract_faces import main
from preprocessing.extraction.find_files import find_inputs, find_videos
from preprocessing.extraction.photos import PhotoError, read_photo
from preprocessing.extraction.video import VideoError, count_frames, frame_rate, frame_times, read_frames
from tests.conftest import DATA, ROOT

HEIGHT, WIDTH, COUNT = 192, 256, 24
PHOTOGRAPH = np.ascontiguousarray(cv2.resize(skimage.data.astronaut()[:384], (WIDTH, HEIGHT)))


def ffmpeg(*arguments, **options):
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, **options).stdout


def encode(path, frames, *options):
    """frames: each [H, W, 3] uint8 RGB."""
    height, width = frames[0].shape[:2]
    source = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", "25", "-i", "-")
    codec = () if "-c:v" in options else ("-c:v", "libx264", "-crf", "15", "-pix_fmt", "yuv420p")
    ffmpeg(*source, *codec, *options, path, input=b"".join(frame.tobytes() for frame in frames))
    return path


def still(path, *options):
    return encode(path, [PHOTOGRAPH] * COUNT, *options)


def frames_of(path):
    return dict(read_frames(path, range(count_frames(path))))


def assert_shows(picture, expected=PHOTOGRAPH, most=4.0):
    assert picture.shape == expected.shape
    assert picture.dtype == np.uint8
    assert np.abs(picture.astype(int) - expected).mean() < most


def test_interlaced_fields_become_whole_frames(tmp_path):
    """The photograph moves 4 px a field: woven fields show combs, deinterlaced frames none."""
    fields = [np.roll(PHOTOGRAPH, 4 * number, axis=1) for number in range(2 * COUNT)]
    woven = []
    for one, other in zip(fields[::2], fields[1::2], strict=True):
        frame = one.copy()
        frame[1::2] = other[1::2]
        woven.append(frame)
    interlaced = ("-flags", "+ilme+ildct", "-x264-params", "tff=1")
    path = encode(tmp_path / "i.mp4", woven, "-c:v", "libx264", "-crf", "12", *interlaced, "-pix_fmt", "yuv420p")
    frames = frames_of(path)
    assert sorted(frames) == list(range(COUNT))

    def combs(frame):
        return np.abs(np.diff(frame.astype(int), axis=0)).mean()

    assert combs(woven[10]) > 1.5 * combs(fields[20])
    assert combs(frames[10]) < 1.15 * combs(fields[20])
    nearest = min((20, 21), key=lambda n: np.abs(frames[10].astype(int) - fields[n]).mean())
    assert_shows(frames[10], fields[nearest], 7.0)


def test_fragments_after_the_first_are_read(tmp_path):
    frames = [PHOTOGRAPH] * 12 + [PHOTOGRAPH[::-1]] * 12
    path = encode(tmp_path / "f.mp4", frames, "-g", "6", "-bf", "0", "-movflags", "frag_keyframe")
    assert count_frames(path) == 24
    assert_shows(frames_of(path)[23], PHOTOGRAPH[::-1])


@pytest.mark.parametrize("intra", [True, False])
def test_a_damaged_packet_costs_its_own_frames_and_no_more(tmp_path, intra):
    """What is lost keeps its number; the frames after the next key frame are there."""
    frames = [PHOTOGRAPH] * 24 + [np.ascontiguousarray(PHOTOGRAPH[::-1])] * 24
    path = encode(tmp_path / "d.mp4", frames, "-g", "1" if intra else "12", "-bf", "0", "-sc_threshold", "0")
    with av.open(str(path)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][12]
        content = bytearray(path.read_bytes())
        content[packet.pos + 4 : packet.pos + packet.size] = b"\xff" * (packet.size - 4)
    path.write_bytes(content)
    assert count_frames(path) == 48
    there = frames_of(path)
    assert set(range(48)) - set(there) == ({12} if intra else set(range(12, 24)))
    assert_shows(there[11])
    assert_shows(there[47], frames[47])


def test_pixels_that_are_not_square(tmp_path):
    narrow = np.ascontiguousarray(cv2.resize(PHOTOGRAPH, (WIDTH // 2, HEIGHT), interpolation=cv2.INTER_AREA))
    path = encode(tmp_path / "s.mp4", [narrow] * 3, "-vf", "setsar=2")
    assert_shows(frames_of(path)[2], most=8.0)
    flat = np.ascontiguousarray(cv2.resize(PHOTOGRAPH, (WIDTH, HEIGHT // 2), interpolation=cv2.INTER_AREA))
    assert_shows(frames_of(encode(tmp_path / "t.mp4", [flat] * 3, "-vf", "setsar=1/2"))[2], most=8.0)


def test_a_change_of_size_stretches_nothing(tmp_path):
    half = np.ascontiguousarray(cv2.resize(PHOTOGRAPH[:, 64:192], (128, 192)))
    parts = encode(tmp_path / "a.ts", [PHOTOGRAPH] * 5), encode(tmp_path / "b.ts", [half] * 5)
    path = tmp_path / "ab.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    frames = frames_of(path)
    assert sorted(frames) == list(range(10))
    assert_shows(frames[4])
    assert_shows(frames[9][:, 64:192], half)
    assert frames[9][:, :60].max() == 0
    assert frames[9][:, 196:].max() == 0


@pytest.mark.parametrize(
    ("options", "turned"),
    [
        (("-display_hflip",), PHOTOGRAPH[:, ::-1]),
        (("-display_vflip",), PHOTOGRAPH[::-1]),
        (("-display_rotation", "90"), np.rot90(PHOTOGRAPH)),
        (("-display_rotation", "180"), PHOTOGRAPH[::-1, ::-1]),
        (("-display_rotation", "270"), np.rot90(PHOTOGRAPH, -1)),
        (("-display_rotation", "90", "-display_hflip"), np.rot90(PHOTOGRAPH)[:, ::-1]),
    ],
)
def test_the_whole_display_matrix(tmp_path, options, turned):
    plain = still(tmp_path / "plain.mp4")
    ffmpeg(*options, "-i", plain, "-c", "copy", tmp_path / "m.mp4")
    assert_shows(frames_of(tmp_path / "m.mp4")[5], np.ascontiguousarray(turned))


def test_av1(tmp_path):
    with av.open(str(tmp_path / "a.webm"), "w") as container:
        stream = container.add_stream("libsvtav1", rate=25, options={"preset": "12", "crf": "20"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for _ in range(5):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(PHOTOGRAPH, format="rgb24")))
        container.mux(stream.encode())
    frames = frames_of(tmp_path / "a.webm")
    assert sorted(frames) == list(range(5))
    assert_shows(frames[4], most=6.0)


def test_frames_have_their_own_times(tmp_path):
    path = still(tmp_path / "v.mp4", "-vf", "setpts='(N+N*N/3)/25/TB'", "-fps_mode", "vfr")
    times = frame_times(path, COUNT)
    assert np.allclose(times, [(n + n * n / 3) / 25 for n in range(COUNT)], atol=0.021)
    assert frame_rate(path) < 25


@pytest.mark.parametrize(("transfer", "peak"), [("arib-std-b67", 0.75), ("smpte2084", 0.58)])
def test_hdr_is_shown_as_standard_range(tmp_path, transfer, peak):
    """A grey ramp up to white (203 cd/m^2: 75% of HLG's signal, 58% of PQ's) is as bright as a standard one."""
    ramp = np.repeat(np.tile(np.linspace(0, 255 * peak, WIDTH).astype(np.uint8), (HEIGHT, 1))[..., None], 3, axis=2)
    tags = f"setparams=color_primaries=bt2020:color_trc={transfer}:colorspace=bt2020nc"
    path = encode(tmp_path / "h.mp4", [ramp] * 2, "-vf", f"scale=out_color_matrix=bt2020,{tags}")
    shown = frames_of(path)[1]
    assert 205 <= shown[:, -4:].mean() <= 255
    assert shown[:, -4:].mean() > 1.15 * ramp[:, -4:].mean()
    means = shown.mean(axis=(0, 2))
    assert (np.diff(means[::16]) > 0).all()
    assert np.abs(shown.astype(int) - shown[..., :1]).max() <= 6, "grey stays grey"


def test_what_is_no_video_is_not_read_as_one(tmp_path):
    Image.fromarray(PHOTOGRAPH).save(tmp_path / "cover.jpg")
    sound = ("-f", "lavfi", "-i", "sine=d=1", "-i", tmp_path / "cover.jpg", "-map", "0", "-map", "1", "-c:v", "copy")
    ffmpeg(*sound, "-disposition:v:0", "attached_pic", tmp_path / "sound.m4a")
    Image.fromarray(PHOTOGRAPH).save(tmp_path / "still.avif")
    for name in ("sound.m4a", "still.avif"):
        with pytest.raises(VideoError, match="no moving picture"):
            count_frames(tmp_path / name)
    with pytest.raises(VideoError, match="no moving picture"):
        count_frames(DATA / "grid.heic")


def test_heic_avif_and_single_gif_are_photographs(tmp_path):
    grid = read_photo(DATA / "grid.heic")
    assert grid.shape == (384, 512, 3)
    assert np.abs(grid.astype(int) - skimage.data.astronaut()[:384]).mean() < 6, "all tiles"
    for name in ("p.avif", "p.gif"):
        Image.fromarray(PHOTOGRAPH).save(tmp_path / name)
        assert_shows(read_photo(tmp_path / name), most=12.0)


@pytest.mark.parametrize("suffix", [".dng", ".NEF", ".tif"])
def test_raw_photographs_are_refused_by_name(tmp_path, suffix):
    info = {50706: (1, 4, 0, 0)} if suffix == ".tif" else {}
    Image.fromarray(PHOTOGRAPH).save(tmp_path / f"x{suffix}", format="TIFF", tiffinfo=info)
    with pytest.raises(PhotoError, match=r"raw file.*export it as JPEG"):
        read_photo(tmp_path / f"x{suffix}")


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png"])
def test_animations_are_videos(tmp_path, suffix):
    frames = [np.zeros_like(PHOTOGRAPH), *[PHOTOGRAPH] * 3]
    first, *others = map(Image.fromarray, frames)
    first.save(tmp_path / f"a{suffix}", save_all=True, append_images=others, duration=[100, 200, 300, 400])
    path = tmp_path / f"a{suffix}"
    assert read_photo(path) is None
    shown = frames_of(path)
    assert len(shown) == count_frames(path, decode=True)
    assert shown[0].max() == 0
    assert_shows(shown[max(shown)], most=12.0)
    assert frame_times(path, len(shown))[:2] == [0, 0.1]


def test_endings_of_folders(tmp_path):
    for name in (
        "a.MTS",
        "b.m2ts",
        "c.ogv",
        "d.vob",
        "e.3g2",
        "f.heic",
        "g.heif",
        "h.avif",
        "i.gif",
        "j.webp",
        "k.txt",
        "l",
    ):
        (tmp_path / name).touch()
    found, left_out = find_inputs([tmp_path])
    assert [path.name for path in found] == [
        "a.MTS", "b.m2ts", "c.ogv", "d.vob", "e.3g2", "f.heic", "g.heif", "h.avif", "i.gif", "j.webp"]  # fmt: skip
    assert [path.name for path in left_out.files] == ["k.txt", "l"]
    frames = [Image.fromarray(frame) for frame in (PHOTOGRAPH, PHOTOGRAPH[::-1])]
    frames[0].save(tmp_path / "i.gif", save_all=True, append_images=frames[1:])
    videos, left_out = find_videos([tmp_path], tmp_path / "out")
    assert list(videos) == ["a", "b", "c", "d", "e", "i"]
    assert [path.name for path in left_out.files] == ["f.heic", "g.heif", "h.avif", "j.webp", "k.txt", "l"]


def test_photographs_are_cropped_with_a_manifest(tmp_path, capsys):
    (tmp_path / "in/deep").mkdir(parents=True)
    Image.fromarray(skimage.data.astronaut()[:384]).save(tmp_path / "in/deep/a.jpg")
    (tmp_path / "in/face.heic").write_bytes((DATA / "grid.heic").read_bytes())
    (tmp_path / "in/broken.png").write_bytes(b"no picture")
    (tmp_path / "in/notes.txt").write_text("")
    argv = ["--dataset", "images", "--image_path", str(tmp_path / "in"), "--save_path", str(tmp_path / "out")]
    assert main([*argv, "--workers", "1"]) == 0
    assert "left out of the folders, by their endings: 1 files (1 .txt)" in capsys.readouterr().out
    with (tmp_path / "out/manifest.csv").open(newline="") as file:
        rows = {row["video"]: (row["frame"], row["status"]) for row in csv.DictReader(file)}
    assert rows == {"broken": ("", "video_unreadable"), "deep/a": ("0", "ok"), "face": ("0", "ok")}
    for name in ("deep/a", "face"):
        assert cv2.imread(str(tmp_path / "out" / name / "0000.png")).shape == (317, 317, 3)


def test_nothing_else_opens_videos():
    rooms = ("utils", "models", "datasets", "preprocessing", "evaluation", "training", "prediction", "examples")
    for room in rooms:
        for path in (ROOT / room).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            assert "VideoCapture" not in text, path
            assert "av.open" not in text or path.name in ("video.py", "video_writer.py"), path


@pytest.mark.parametrize("suffix", [".png", ".gif", ".webp"])
def test_a_picture_that_promises_too_many_pixels_is_refused(tmp_path, suffix):
    path = tmp_path / f"bomb{suffix}"
    Image.new("RGB", (8, 8)).save(path)
    content = bytearray(path.read_bytes())
    if suffix == ".png":
        content[16:24] = struct.pack(">II", 30_000, 30_000)
        content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    elif suffix == ".gif":
        content[6:10] = struct.pack("<HH", 30_000, 30_000)
    else:
        content[26:30] = struct.pack("<HH", 16_383, 16_383)
    path.write_bytes(content)
    with pytest.raises(PhotoError, match="damaged or unsuitable photograph"):
        read_photo(path)
