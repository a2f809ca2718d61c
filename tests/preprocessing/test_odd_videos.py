"""What users' folders hold: broken, rotated, silent, tiny and oddly named files. Each is a right crop or a reason."""

import csv
import subprocess

import cv2
import imageio_ffmpeg
import numpy as np
import pytest
import skimage.data

from preprocessing.demo.videos import write_video
from preprocessing.detection.align import similarity_matrix, template
from preprocessing.extract_faces import main
from preprocessing.extraction.manifest import landmarks_of, read_rows
from preprocessing.extraction.video import VideoError, count_frames

EYES = np.array([[206, 102], [249, 105]])  # of the astronaut, 512 x 512, measured by hand


def ffmpeg(*arguments):
    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *map(str, arguments)], check=True)


@pytest.fixture(scope="module")
def astronaut(tmp_path_factory):
    """Six frames, 512 x 384: the head and shoulders, upright."""
    path = tmp_path_factory.mktemp("source") / "astronaut.mp4"
    frames = np.repeat(np.ascontiguousarray(skimage.data.astronaut()[:384])[None], 6, axis=0)
    write_video(path, frames, 15)
    return path


@pytest.fixture
def extract(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()

    def run(*options, code=0):
        argv = ["--dataset", "videos", "--video_path", str(folder), "--save_path", str(tmp_path / "out")]
        assert main([*argv, "--n_frames", "3", "--workers", "1", *options]) == code
        with (tmp_path / "out" / "manifest.csv").open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    run.folder, run.out = folder, tmp_path / "out"
    return run


def assert_eyes_in_place(row, eyes=EYES):
    """The true eyes, in pixels of the upright frame, lie where a crop has them."""
    matrix = similarity_matrix(landmarks_of(row))
    assert np.abs(eyes @ matrix[:, :2].T + matrix[:, 2] - template()[:2]).max() < 0.04 * 317


def test_broken_files_are_rows_among_good_ones(extract, astronaut, capsys):
    content = astronaut.read_bytes()
    (extract.folder / "good.mp4").write_bytes(content)
    (extract.folder / "cut.mp4").write_bytes(content[: len(content) // 2])
    (extract.folder / "zero.mp4").touch()
    (extract.folder / "text.mp4").write_text("not a video\n" * 100)
    ffmpeg("-f", "lavfi", "-i", "sine=d=1", extract.folder / "sound.mp4")
    ffmpeg("-f", "lavfi", "-i", "testsrc=size=320x240:d=1:r=6", extract.folder / "no face.mp4")
    rows = extract()
    status = {row["video"]: row["status"] for row in rows}
    assert status == {"good": "ok", "cut": "video_unreadable", "zero": "video_unreadable", "text": "video_unreadable",
                      "sound": "video_unreadable", "no face": "no_face"}  # fmt: skip
    assert [row["frame"] for row in rows if row["video"] == "no face"] == ["0", "2", "5"]
    printed = capsys.readouterr().out
    assert "16.7%  3 no_face, 4 video_unreadable" in printed


@pytest.mark.parametrize("suffix", [".mkv", ".ts"])
def test_a_file_cut_off_gives_the_frames_that_are_there(extract, astronaut, suffix):
    """These play up to the cut; their frames are counted, so the wanted ones are spread over what is there."""
    whole = extract.folder / f"cut{suffix}"
    ffmpeg("-i", astronaut, "-c:v", "libx264", "-g", "1", "-bf", "0", whole)
    content = whole.read_bytes()
    whole.write_bytes(content[: int(len(content) * 0.7)])
    rows = extract()
    assert [row["status"] for row in rows] == ["ok", "ok", "ok"]
    assert 2 <= int(rows[-1]["frame"]) < 5
    for row in rows:
        assert_eyes_in_place(row)


def test_a_container_that_promises_more_frames_than_it_holds(extract, astronaut):
    """An mp4 whose index comes first and whose end is missing: the count says 6, fewer decode."""
    whole = extract.folder / "front.mp4"
    ffmpeg("-i", astronaut, "-c:v", "libx264", "-g", "1", "-bf", "0", "-movflags", "+faststart", whole)
    content = whole.read_bytes()
    whole.write_bytes(content[: int(len(content) * 0.7)])
    rows = extract()
    assert {row["status"] for row in rows} == {"ok"}
    assert int(rows[-1]["frame"]) < 5
    assert int(rows[-1]["wanted_frame"]) == int(rows[-1]["frame"])


@pytest.mark.parametrize("angle", [90, 180, 270])
def test_a_phone_video_is_turned_upright(extract, astronaut, angle):
    turned = extract.folder / "turned.mp4"
    turns = {90: "transpose=1", 180: "transpose=1,transpose=1", 270: "transpose=2"}[angle]
    ffmpeg("-i", astronaut, "-vf", turns, "-crf", "15", extract.folder / "pixels.avi")
    ffmpeg("-display_rotation", angle, "-i", extract.folder / "pixels.avi", "-c", "copy", turned)
    (extract.folder / "pixels.avi").unlink()
    rows = extract()
    assert [row["status"] for row in rows] == ["ok"] * 3
    for row in rows:
        assert_eyes_in_place(row)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_variable_frame_rate_keeps_frame_numbers(extract, tmp_path, suffix):
    """Frame numbers count frames, not time: a grey patch on the shoulder tells which frames were taken."""
    frames = np.repeat(np.ascontiguousarray(skimage.data.astronaut()[:384])[None], 40, axis=0)
    for number, frame in enumerate(frames):
        frame[146:177, 152:183] = 20 + 5 * number
    write_video(tmp_path / "even.mp4", frames, 15)
    ffmpeg("-i", tmp_path / "even.mp4", "-vf", "setpts='(N+N*N/3)/25/TB'", "-fps_mode", "vfr", "-crf", "15",
           "-g", "8", extract.folder / f"vfr{suffix}")  # fmt: skip
    rows = extract("--n_frames", "5")
    assert [row["status"] for row in rows] == ["ok"] * 5
    assert [row["frame"] for row in rows] == ["0", "9", "19", "29", "39"]
    for row in rows:
        matrix = similarity_matrix(landmarks_of(row))
        x, y = np.rint(matrix @ [167, 161, 1]).astype(int)
        grey = cv2.imread(str(extract.out / row["path"]))[y - 5 : y + 6, x - 5 : x + 6].mean()
        assert abs(grey - (20 + 5 * int(row["frame"]))) < 2.5


def test_odd_sizes_and_one_frame(extract, astronaut):
    ffmpeg("-i", astronaut, "-vf", "crop=333:301:90:0", "-c:v", "mpeg4", "-q:v", "2", extract.folder / "odd.avi")
    ffmpeg("-i", astronaut, "-frames:v", "1", extract.folder / "single.mp4")
    rows = extract()
    assert [(row["video"], row["frame"], row["status"]) for row in rows] == [
        ("odd", "0", "ok"), ("odd", "2", "ok"), ("odd", "5", "ok"), ("single", "0", "ok"),
    ]  # fmt: skip
    assert_eyes_in_place(rows[0], EYES - [90, 0])


NAMES = (
    "two  blanks",
    "-dash",
    "--n_frames",
    "日本 é",
    "a:b",
    "50%d",
    "quote'\"s",
    "line\nbreak",
    "a\rb",
    "x" * 245,
    "x,y",
    "v1.2",
)


@pytest.mark.parametrize("name", NAMES)
def test_any_file_name(extract, astronaut, monkeypatch, name):
    (extract.folder / f"{name}.mp4").write_bytes(astronaut.read_bytes())
    monkeypatch.chdir(extract.folder)
    argv = ["--dataset", "videos", "--save_path", "../out", "--n_frames", "1", "--workers", "1", "--video_path", "."]
    assert main(argv) == 0
    (row,) = read_rows(extract.out / "manifest.csv")
    assert (row["video"], row["status"]) == (name, "ok")
    with (extract.out / "manifest.csv").open(newline="", encoding="utf-8") as file:
        _, cells = csv.reader(file)
    assert cells[0] == (f"'{name}" if name.startswith("-") else name), "no spreadsheet runs it"
    assert cv2.imdecode(np.fromfile(extract.out / row["path"], np.uint8), cv2.IMREAD_COLOR).shape == (317, 317, 3)


def test_a_name_that_is_not_utf8(extract, astronaut):
    (extract.folder / "good.mp4").write_bytes(astronaut.read_bytes())
    with open(bytes(extract.folder) + b"/\xff.mp4", "wb") as file:  # noqa: PTH123
        file.write(astronaut.read_bytes())
    rows = extract()
    assert {row["video"]: row["status"] for row in rows} == {"good": "ok", "\\udcff": "ok"}


def test_files_and_lists_of_files(extract, astronaut, tmp_path, capsys):
    for name in ("a/x.mp4", "b/x.mp4", "b/.hidden.mp4", ".git/y.mp4"):
        (extract.folder / name).parent.mkdir(exist_ok=True)
        (extract.folder / name).write_bytes(astronaut.read_bytes())
    wanted = tmp_path / "list.txt"
    wanted.write_text(f"{extract.folder}/a/x.mp4\n\n{extract.folder}/b/x.mp4\n")
    argv = ["--dataset", "videos", "--n_frames", "1", "--workers", "1", "--save_path", str(extract.out), "--video_path"]
    assert main([*argv, str(wanted)]) == 0
    assert sorted(path.name for path in extract.out.iterdir() if path.is_dir() and path.name[0] != ".") == ["a", "b"]
    assert main([*argv, str(extract.folder / "a" / "x.mp4"), "--overwrite"]) == 0
    assert (extract.out / "x" / "0000.png").is_file()
    assert main([*argv, str(extract.folder)]) == 0
    capsys.readouterr()
    assert main([*argv, str(extract.folder / "a"), str(extract.folder / "b")]) == 0
    assert (extract.out / "x_2" / "0000.png").is_file(), "a second video of one name gets a number"
    capsys.readouterr()
    for path, error in ((tmp_path / "no.mp4", "no file or folder"), (tmp_path / "no.txt", "cannot read the list")):
        assert main([*argv, str(path)]) == 2
        assert error in capsys.readouterr().err


def test_a_listed_video_that_is_not_there_is_a_row(extract, astronaut, tmp_path, capsys):
    (extract.folder / "x.mp4").write_bytes(astronaut.read_bytes())
    wanted = tmp_path / "list.txt"
    wanted.write_text(f"{extract.folder}/x.mp4\n{extract.folder}/gone.mp4\n")
    argv = ["--dataset", "videos", "--n_frames", "1", "--workers", "1", "--save_path", str(extract.out)]
    assert main([*argv, "--video_path", str(wanted)]) == 0
    with (extract.out / "manifest.csv").open(newline="") as file:
        assert {row["video"]: row["status"] for row in csv.DictReader(file)} == {"gone": "video_missing", "x": "ok"}
    capsys.readouterr()
    for odd in ("/", str(tmp_path), "/dev/null", "y" * 300 + ".mp4"):
        wanted.write_text(f"{extract.folder}/x.mp4\n{odd}\n")
        assert main([*argv, "--video_path", str(wanted)]) == 2
        assert "which is no file; fix or remove the line" in capsys.readouterr().err


@pytest.mark.parametrize("folder", [".runs", ".claim-"])
def test_a_folder_of_videos_named_like_the_locks(extract, astronaut, tmp_path, folder):
    video = extract.folder / folder / "x.mp4"
    video.parent.mkdir()
    video.write_bytes(astronaut.read_bytes())
    wanted = tmp_path / "list.txt"  # a folder that is searched would leave hidden ones out
    wanted.write_text(f"{extract.folder}/{folder}/x.mp4\n{extract.folder}/gone.mp4\n")
    argv = ["--dataset", "videos", "--n_frames", "1", "--workers", "1", "--save_path", str(extract.out)]
    for _ in range(2):  # the second run finds the first one's rows
        assert main([*argv, "--video_path", str(wanted)]) == 0
    assert (extract.out / folder / "x" / "0000.png").is_file()


def test_frames_too_large_to_be_held(extract, astronaut):
    (extract.folder / "good.mp4").write_bytes(astronaut.read_bytes())
    giant = ("-f", "lavfi", "-i", "color=black:size=8000x6000:d=0.2:r=5", "-c:v", "mjpeg")
    ffmpeg(*giant, extract.folder / "giant.avi")
    status = {row["video"]: row["status"] for row in extract()}
    assert status == {"good": "ok", "giant": "video_unreadable"}


@pytest.mark.slow
def test_a_container_that_promises_a_billion_frames(extract, astronaut):
    """All of them are asked for, and those that are there are taken."""
    ffmpeg("-i", astronaut, "-c:v", "mjpeg", extract.folder / "a.avi")
    content = bytearray((extract.folder / "a.avi").read_bytes())
    for place in (content.find(b"avih") + 24, content.find(b"strh") + 40):
        content[place : place + 4] = (10**9).to_bytes(4, "little")
    (extract.folder / "a.avi").write_bytes(content)
    assert [row["status"] for row in extract("--n_frames", "all")] == ["ok"] * 6


@pytest.mark.parametrize("suffix", [".m3u8", ".mp4"])
@pytest.mark.parametrize("address", ["{}", "file://{}"])
def test_a_playlist_plays_no_other_file(astronaut, tmp_path, suffix, address):
    ffmpeg("-i", astronaut, "-c", "copy", tmp_path / "secret.ts")
    assert count_frames(tmp_path / "secret.ts") > 0
    entry = address.format(tmp_path / "secret.ts")
    hls = f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{entry}\n#EXT-X-ENDLIST\n"
    for playlist in (hls, f"ffconcat version 1.0\nfile {entry}\n"):
        (tmp_path / "list").with_suffix(suffix).write_text(playlist)
        with pytest.raises(VideoError):
            count_frames((tmp_path / "list").with_suffix(suffix))
