"""Mutated and odd videos through the extraction and the predictor."""

import csv
import json
import os
import random
import struct
import subprocess
from collections import Counter

import imageio_ffmpeg
import numpy as np
import pytest
import skimage.data

from preprocessing.demo.videos import write_video
from tests.stress.scripts import run_script


def ffmpeg(*arguments):
    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *map(str, arguments)], check=True)


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """Ending -> bytes of a video of the astronaut, six frames of 512 x 384."""
    folder = tmp_path_factory.mktemp("sources")
    write_video(folder / "a.mp4", np.repeat(np.ascontiguousarray(skimage.data.astronaut()[:384])[None], 6, axis=0), 15)
    copied = ["-c", "copy"]
    codecs = {"mkv": copied, "avi": ["-c:v", "mjpeg"], "webm": ["-c:v", "libvpx"], "mpg": [], "flv": copied,
              "mov": ["-c:v", "rawvideo", "-pix_fmt", "rgb24"], "ts": copied}  # fmt: skip
    for ending, codec in codecs.items():
        ffmpeg("-i", folder / "a.mp4", *codec, *(["-r", "25"] if ending == "mpg" else []), folder / f"a.{ending}")
    sizes = [("-f", "lavfi", "-i", f"color=black:size={side}:d=0.4:r=5", "-c:v", "libx264", "-preset", "ultrafast")
             for side in ("64x64", "640x480", "8000x8000")]  # fmt: skip
    for i, options in enumerate(sizes):
        ffmpeg(*options, "-f", "h264", folder / f"{i}.h264")
    growing = b"".join((folder / f"{i}.h264").read_bytes() for i in range(2))
    (folder / "growing.h264").write_bytes(growing)
    ffmpeg("-r", "5", "-i", folder / "growing.h264", "-c", "copy", folder / "growing.ts")
    ffmpeg(*sizes[2], folder / "giant.mp4")
    ffmpeg("-f", "lavfi", "-i", "sine=d=1", folder / "sound.mp4")
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".h264"}


def claiming_frames(content):
    """An .mp4 or .mov whose tables promise 10**9 frames of 64 bytes in one chunk."""
    content = bytearray(content)
    sizes, times, chunks = (content.find(name) for name in (b"stsz", b"stts", b"stsc"))
    struct.pack_into(">II", content, sizes + 8, 64, 10**9)
    struct.pack_into(">I", content, times + 12, 10**9)
    struct.pack_into(">I", content, chunks + 16, 10**9)
    return bytes(content)


def avi_claiming(content, frames=None, side=None):
    content = bytearray(content)
    main, stream, form = (content.find(name) + 8 for name in (b"avih", b"strh", b"strf"))
    if frames:
        struct.pack_into("<I", content, main + 16, frames)
        struct.pack_into("<I", content, stream + 32, frames)
    if side:
        struct.pack_into("<II", content, main + 32, side, side)
        struct.pack_into("<II", content, form + 4, side, side)
    return bytes(content)


def odd_videos(sources):
    """Name -> bytes, of what no mutation makes."""
    mp4, avi = sources["a.mp4"], sources["a.avi"]
    return {
        "zero.mp4": b"",
        "text.mp4": b"hello\n" * 99,
        "sound.mp4": sources["sound.mp4"],
        "mp4 named.avi": mp4,
        "avi named.mp4": avi,
        "growing.ts": sources["growing.ts"],
        "giant.mp4": sources["giant.mp4"],
        "frames in mp4.mp4": claiming_frames(mp4),
        "frames in mov.mov": claiming_frames(sources["a.mov"]),
        "frames in avi.avi": avi_claiming(avi, frames=10**9),
        "side.avi": avi_claiming(avi, side=100_000),
        "playlist.mp4": b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n",
        "concat.mp4": b"ffconcat version 1.0\nfile /etc/passwd\n",
    }


def mutated(sources, number, seed=0):
    rng, plain = random.Random(seed), sorted(name for name in sources if name.startswith("a."))
    for i in range(number):
        name = plain[i % len(plain)]
        content, kind = bytearray(sources[name]), ("header", "body", "cut", "many")[i // len(plain) % 4]
        for _ in range({"header": 5, "body": 20, "cut": 0, "many": 500}[kind]):
            content[rng.randrange(min(len(content), 600) if kind == "header" else len(content))] ^= 1 << rng.randrange(
                8
            )
        if kind == "cut":
            del content[rng.randrange(len(content)) :]
        yield f"{kind}{i:02d}.{name[2:]}", bytes(content)


@pytest.fixture(scope="module")
def hostile(sources, tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    for name, content in (*odd_videos(sources).items(), *mutated(sources, 50), ("plain.mp4", sources["a.mp4"])):
        (folder / name).write_bytes(content)
    os.mkfifo(folder / "pipe.mp4")
    (folder / "device.mp4").symlink_to("/dev/zero")
    (folder / "loop").symlink_to(folder)
    return folder


def rows_of(place):
    with (place / "manifest.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("n_frames", [4, "all"])
def test_extraction_accounts_for_each(hostile, tmp_path, account, n_frames):
    run = run_script(tmp_path, "preprocessing/extract_faces.py", "--dataset", "videos", "--video_path", hostile,
                     "--save_path", tmp_path / "out", "--n_frames", n_frames, "--workers", 2, limit=400)  # fmt: skip
    assert run.code == 0, run.err
    assert "Traceback" not in run.err, run.err
    rows = rows_of(tmp_path / "out")
    status = {}
    for row in rows:
        status.setdefault(row["video"], Counter())[row["status"]] += 1
    videos = [path for path in hostile.iterdir() if path.name != "loop"]
    assert len(status) == len({path.stem for path in videos})
    assert status["plain"]["ok"] == (4 if n_frames == 4 else 6)
    for name in ("zero", "text", "sound", "giant", "playlist", "concat", "pipe", "device"):
        assert set(status[name]) <= {"video_unreadable", "video_missing"}, name
    outcomes = ["crops" if counts["ok"] else counts.most_common(1)[0][0] for counts in status.values()]
    account(f"videos, extract_faces.py --n_frames {n_frames}", outcomes, run.megabytes, run.seconds)
    assert run.megabytes < 2500


def test_a_video_that_kills_its_decoder_costs_itself_only(sources, tmp_path, account):
    """No file is known that crashes this decoder: one is told to."""
    folder = tmp_path / "in"
    folder.mkdir()
    for i in range(6):
        (folder / f"{i}.mp4").write_bytes(sources["a.mp4"])
    (folder / "deadly.mp4").write_bytes(sources["a.mp4"])
    (tmp_path / "sitecustomize.py").write_text(
        "import multiprocessing, os, signal, av\nav_open = av.open\n"
        "def deadly(file, *arguments, **named):\n"
        "    if multiprocessing.parent_process() and str(file).endswith('deadly.mp4'):\n"
        "        os.kill(os.getpid(), signal.SIGSEGV)\n"
        "    return av_open(file, *arguments, **named)\nav.open = deadly\n"
    )
    run = run_script(tmp_path, "preprocessing/extract_faces.py", "--dataset", "videos", "--video_path", folder,
                     "--save_path", tmp_path / "out", "--n_frames", 2, "--workers", 2,
                     PYTHONPATH=str(tmp_path))  # fmt: skip
    assert run.code == 0, run.err
    assert "deadly.mp4: decoding it crashed the process twice" in run.err
    status = {(row["video"], row["status"]) for row in rows_of(tmp_path / "out")}
    assert status == {(str(i), "ok") for i in range(6)} | {("deadly", "video_unreadable")}
    assert not list((tmp_path / "out" / ".manifest").glob("*.new"))
    account("a video whose decoder crashes", ["video_unreadable, the other 6 cropped"], run.megabytes, run.seconds)


def test_predict_tells_of_each_what_became_of_it(hostile, published_checkpoint, tmp_path, account):
    files = sorted(path for path in hostile.iterdir() if path.is_file() or path.name == "pipe.mp4")
    run = run_script(tmp_path, "SJEDD_predict.py", "--input", *files, "--resume", published_checkpoint, "--output",
                     tmp_path / "out", "--n_frames", 4, "--json", "-", "--no_pictures", limit=400)  # fmt: skip
    assert run.code == 0, run.err
    assert "Traceback" not in run.err, run.err
    told = [json.loads(line) for line in run.out.splitlines()]
    assert [entry["input"] for entry in told] == list(map(str, files))
    assert all(entry["reason"] for entry in told if not entry["tracks"])
    outcomes = ["judged" if entry["tracks"] else entry["outcome"] for entry in told]
    account("videos, SJEDD_predict.py", outcomes, run.megabytes, run.seconds)
    assert run.megabytes < 2500
