import csv
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from datasets.readers.ffpp import compression_dir
from preprocessing.demo.videos import write_video
from preprocessing.detection.align import similarity_matrix, template
from preprocessing.extract_faces import main
from preprocessing.extraction import crop_folder, face_crops
from preprocessing.extraction.manifest import COLUMNS, landmarks_of
from tests.platforms import posix_only

REPOSITORY = Path(__file__).parents[2]


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def snapshot(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def videos(raw_demo, tmp_path):
    """A folder with two good videos in a subfolder, a grey one without a face, an empty one and a text file."""
    folder = tmp_path / "in"
    (folder / "a b").mkdir(parents=True)
    source = compression_dir(raw_demo, "real", "c23") / "videos"
    for name in ("000", "001"):
        shutil.copy(source / f"{name}.mp4", folder / "a b" / f"{name}.mp4")
    write_video(folder / "grey.mp4", np.full((3, 64, 64, 3), 90, np.uint8), 20)
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("not a video")
    (folder / "notes.txt").write_text("no video at all")
    return folder


def run(videos, out, *more):
    common = ["--dataset", "videos", "--video_path", str(videos), "--save_path", str(out), "--n_frames", "2"]
    return main([*common, "--workers", "1", *more])


def test_ffpp_crops_and_manifest(demo):
    root = compression_dir(demo, "Deepfakes", "c23")
    rows = read(root / "manifest.csv")
    assert tuple(rows[0]) == COLUMNS
    assert [(row["video"], row["frame"]) for row in rows] == sorted((row["video"], row["frame"]) for row in rows)
    assert len(rows) == 6 * 2
    for row in rows:
        assert row["status"] == "ok"
        assert row["frame"] in ("0", "3")  # first and last of 4 frames
        assert row["path"] == f"faces/{row['video']}/{int(row['frame']):04d}.png"
        assert float(row["score"]) >= 0.8
        assert row["faces_in_frame"] == "1"
        assert cv2.imread(str(root / row["path"])).shape == (317, 317, 3)
        # the crop's landmarks lie near the template's
        matrix, points = similarity_matrix(landmarks_of(row)), landmarks_of(row)
        assert np.abs(points @ matrix[:, :2].T + matrix[:, 2] - template()).max() < 20
    assert len(list((root / "faces").rglob("*.png"))) == len(rows)
    note = json.loads((root / "manifest.json").read_text())
    assert (note["detector"], note["size"], note["scale"]) == ("mtcnn", 317, 1.3)
    assert {row["n_frames"] for row in rows} == {"2"}


def test_every_video_is_accounted_for(videos, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(videos, out) == 0
    rows = read(out / "manifest.csv")
    status = [(row["video"], row["frame"], row["status"]) for row in rows]
    assert status == [
        ("a b/000", "0", "ok"), ("a b/000", "3", "ok"), ("a b/001", "0", "ok"), ("a b/001", "3", "ok"),
        ("empty", "", "video_unreadable"), ("grey", "0", "no_face"), ("grey", "2", "no_face"),
        ("text", "", "video_unreadable"),
    ]  # fmt: skip
    assert (out / "a b" / "000" / "0003.png").is_file()
    printed = capsys.readouterr().out
    assert "2 no_face, 2 video_unreadable" in printed
    assert "40.0%" in printed  # an unreadable video counts with the frames that were wanted of it


def test_a_second_run_does_what_is_missing_and_clears_leftovers(videos, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(videos, out) == 0
    before = snapshot(out)
    # what kill -9 leaves: a video without rows, with a crop, a temporary file and a half-written row file
    (out / ".manifest" / "a b" / "000.csv").rename(out / ".manifest" / "a b" / "000.new")
    (out / "a b" / "000" / "0003.png").unlink()
    (out / "a b" / "000" / ".sjedd-tmp-abc.png").write_bytes(b"half")
    (out / "a b" / "000" / "0001.png").write_bytes(b"of another run")
    (out / ".manifest" / ".sjedd-tmp-abc.csv").write_text("video,fra")
    (out / ".manifest" / "a b" / "001.new").touch()
    untouched = (out / "a b" / "001" / "0000.png").stat().st_mtime_ns
    capsys.readouterr()
    assert run(videos, out) == 0
    assert "3 videos and 2 frames" in capsys.readouterr().out  # the unreadable ones are tried again
    assert snapshot(out) == before
    assert (out / "a b" / "001" / "0000.png").stat().st_mtime_ns == untouched


def test_crops_that_no_extraction_made_are_not_removed(videos, tmp_path, capsys):
    out = tmp_path / "out"
    for name in ("manifest.json", "manifest.csv"):
        out.mkdir(exist_ok=True)
        (out / name).write_text("mine")
        for more in ((), ("--overwrite",)):
            assert run(videos, out, *more) == 2
            assert (
                f"{out / name} would be replaced, but no record of an earlier run names it" in capsys.readouterr().err
            )
        assert [(path.name, path.read_text()) for path in out.iterdir()] == [(name, "mine")]
        (out / name).unlink()
    assert run(videos, out) == 0
    mine = out / "a b" / "000" / "0002.png"
    mine.write_text("mine")
    (out / ".manifest" / "folder.csv").mkdir()  # of a video "folder.csv/x"; it is no table
    assert run(videos, out) == 0, "nothing is cropped again"
    (out / ".manifest" / "folder.csv").rmdir()
    for arguments in (("--n_frames", "3", "--overwrite"), ("--size", "112", "--overwrite")):
        before = snapshot(out)
        assert run(videos, out, *arguments) == 2
        assert f"{mine} would be removed, but no extraction made it" in capsys.readouterr().err
        assert snapshot(out) == before
    (out / "a b" / "000" / "0000.png").unlink()
    assert run(videos, out) == 2, "a missing crop is made again"
    assert mine.read_text() == "mine"
    mine.unlink()
    assert run(videos, out) == 0


def test_other_settings_are_refused_unless_overwritten(videos, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(videos, out) == 0
    before = snapshot(out)
    assert run(videos, out, "--size", "112") == 2
    error = capsys.readouterr().err
    assert "size 317 there, 112 now" in error
    assert "--overwrite" in error
    assert snapshot(out) == before
    assert run(videos, out, "--size", "112", "--limit", "1", "--overwrite") == 2
    assert "crops of 4 videos that are not in this run" in capsys.readouterr().err
    assert snapshot(out) == before
    assert run(videos, out, "--size", "112", "--overwrite") == 0
    assert sorted(snapshot(out)) == sorted(before)
    assert cv2.imread(str(out / "a b" / "000" / "0000.png")).shape == (112, 112, 3)


def test_another_number_of_frames_concerns_the_videos_of_the_run_alone(videos, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(videos, out) == 0
    before = snapshot(out)
    assert run(videos, out, "--limit", "1", "--n_frames", "1") == 2
    assert "video a b/000 has crops with --n_frames 2" in capsys.readouterr().err
    assert snapshot(out) == before
    assert run(videos, out, "--limit", "1", "--n_frames", "1", "--overwrite") == 0
    rows = [(row["video"], row["n_frames"]) for row in read(out / "manifest.csv") if row["status"] == "ok"]
    assert rows == [("a b/000", "1"), ("a b/001", "2"), ("a b/001", "2")]


def test_crops_of_videos_that_are_gone_are_kept(raw_demo, tmp_path, capsys):
    root = tmp_path / "data" / "CDF"
    (root / "Celeb-real").mkdir(parents=True)
    for name in ("000", "001"):
        source = compression_dir(raw_demo, "real", "c23") / "videos" / f"{name}.mp4"
        shutil.copy(source, root / "Celeb-real" / f"{name}.mp4")
    (root / "List_of_testing_videos.txt").write_text("1 Celeb-real/000.mp4\n1 Celeb-real/001.mp4\n")
    command = ["--dataset", "CDF", "--data_root", str(tmp_path / "data"), "--n_frames", "2", "--workers", "1"]
    assert main(command) == 0
    gone, faces = root / "Celeb-real" / "000.mp4", root / "faces"
    gone.rename(tmp_path / "000.mp4")
    first = faces / "RealCDF" / "000"
    lost = sorted(first.iterdir())[0]
    lost.unlink()  # the run makes this one again, but cannot
    before = snapshot(faces)
    for more in ([], ["--overwrite"]):
        assert main([*command, *more]) == 0
        assert f"{gone} is gone; its crops in {first} are kept as they are" in capsys.readouterr().err
        assert snapshot(faces) == before
    assert main([*command, "--size", "112", "--overwrite"]) == 2
    assert f"crops of 1 videos whose files are gone, such as {gone}" in capsys.readouterr().err
    assert snapshot(faces) == before
    (tmp_path / "000.mp4").rename(gone)
    assert main([*command]) == 0
    assert lost.is_file()
    gone.unlink()
    assert main([*command, "--overwrite"]) == 0
    assert capsys.readouterr().err.count(f"{gone} is gone; its crops in {first} are kept as they are") == 1
    assert lost.is_file()


def test_lost_crops_and_replaced_videos_are_made_again(videos, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(videos, out) == 0
    before = snapshot(out)
    (out / "a b" / "000" / "0003.png").unlink()
    assert run(videos, out) == 0
    assert snapshot(out) == before
    shutil.copy(videos / "grey.mp4", videos / "a b" / "001.mp4")
    capsys.readouterr()
    assert run(videos, out) == 0
    assert "3 videos and 2 frames" in capsys.readouterr().out
    assert {row["status"] for row in read(out / "manifest.csv") if row["video"] == "a b/001"} == {"no_face"}
    assert not list((out / "a b" / "001").iterdir())


def test_files_of_the_user_beside_finished_videos_are_kept(videos, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(videos, out) == 0
    shutil.copy(videos / "a b" / "000.mp4", videos / "later.mp4")
    (out / "later").mkdir()
    (out / "later" / "0099.png").write_bytes(b"mine")
    assert run(videos, out) == 2
    assert "no extraction made" in capsys.readouterr().err
    assert (out / "later" / "0099.png").read_bytes() == b"mine"


def test_a_damaged_row_is_one_clear_line(videos, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(videos, out) == 0
    path = out / ".manifest" / "a b" / "000.csv"
    path.write_text(path.read_text() + "000,3\n")
    capsys.readouterr()
    assert run(videos, out) == 2
    assert "damaged in row 3" in capsys.readouterr().err


def test_missing_ffpp_videos_are_rows_unless_all_are_missing(raw_demo, tmp_path, capsys):
    root = tmp_path / "data"
    (root / "FF++").mkdir(parents=True)
    common = ["--dataset", "FFpp", "--data_root", str(root), "--split", "test", "--n_frames", "1", "--workers", "1"]
    assert main(common) == 2
    assert "test.json" in capsys.readouterr().err
    shutil.copy(raw_demo / "FF++" / "test.json", root / "FF++")
    assert main(common) == 2
    assert "none of 10 videos is there" in capsys.readouterr().err
    source, target = (compression_dir(folder, "real", "c23") / "videos" for folder in (raw_demo, root))
    target.mkdir(parents=True)
    shutil.copy(source / "004.mp4", target)
    assert main(common) == 0
    rows = read(target.parent / "manifest.csv")
    assert [(row["video"], row["status"]) for row in rows] == [("004", "ok"), ("005", "video_missing")]


def test_a_folder_in_which_nothing_can_be_read_is_an_error(tmp_path, capsys):
    (tmp_path / "in").mkdir()
    assert run(tmp_path / "in", tmp_path / "out") == 2
    assert "no video" in capsys.readouterr().err
    (tmp_path / "in" / "x.mp4").write_text("text")
    assert run(tmp_path / "in", tmp_path / "out") == 2
    assert "none of 1 videos could be read" in capsys.readouterr().err


@pytest.mark.parametrize(
    "options",
    [
        ["--dataset", "UADFV"],
        ["--dataset", "CDF", "--compression", "c23"],
        ["--dataset", "CDF", "--split", "train"],
        ["--dataset", "DFDC", "--split", "test"],
        ["--dataset", "FFpp", "--quality", "90"],
        ["--dataset", "FFpp", "--format", "jpg", "--quality", "101"],
        ["--dataset", "FFpp", "--shard", "3"],
        ["--dataset", "FFpp", "--shard", "5/4"],
        ["--dataset", "FFpp", "--protocol", "reference", "--detector", "mtcnn"],
        ["--dataset", "FFpp", "--protocol", "reference", "--n_frames", "32"],
        ["--dataset", "videos"],
        ["--dataset", "FFpp", "--save_path", "x"],
        ["--dataset", "FFpp", "--n_frames", "0"],
        ["--dataset", "FFpp", "--detector", "haar"],
    ],
)
def test_options_that_do_not_fit_are_refused(options):
    with pytest.raises(SystemExit) as caught:
        main(options)
    assert caught.value.code == 2


def test_weights_that_are_refused_leave_no_folder(videos, tmp_path, capsys):
    weights = tmp_path / "weights.pth"
    weights.write_text("<html>not found</html>\n")
    assert run(videos, tmp_path / "out", "--detector", "retinaface", "--detector_weights", str(weights)) == 2
    assert f"error: the weights of retinaface: checkpoint {weights}" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@posix_only
def test_two_processes_give_the_same_files_and_stop_cleanly(videos, tmp_path):
    assert run(videos, tmp_path / "one") == 0
    script = [sys.executable, "preprocessing/extract_faces.py", "--dataset", "videos", "--video_path", str(videos)]
    script += ["--n_frames", "2", "--workers", "2", "--save_path"]
    process = subprocess.Popen([*script, str(tmp_path / "two")], cwd=REPOSITORY, stderr=subprocess.DEVNULL)
    while not list((tmp_path / "two").rglob("*.new")):  # a video is begun
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 143
    locks = [path.name for path in (tmp_path / "two").rglob("*.lock")]
    assert locks == [".turn.lock"], "no run and no claim is left"
    subprocess.run([*script, str(tmp_path / "two")], cwd=REPOSITORY, check=True, capture_output=True)
    assert snapshot(tmp_path / "two") == snapshot(tmp_path / "one")


def test_pictures_of_the_user_are_never_replaced(raw_demo, tmp_path, capsys):
    video = next((raw_demo / "FF++").rglob("*.mp4"))
    folder = tmp_path / "videos"
    (folder / "clip").mkdir(parents=True)
    shutil.copy(video, folder / "clip.mp4")
    for name in ("0001.png", "0002_notes.png"):
        (folder / "clip" / name).write_bytes(b"mine")
    argv = ["--dataset", "videos", "--video_path", str(folder), "--save_path", str(folder), "--workers", "1"]
    assert main(argv) == 2
    assert "no extraction made" in capsys.readouterr().err
    assert sorted(path.name for path in (folder / "clip").iterdir()) == ["0001.png", "0002_notes.png"]


def test_name_that_is_not_utf8_is_a_row_not_a_crash(tmp_path):
    import os

    from preprocessing.extraction.video import VideoError, count_frames

    path = os.fsdecode(os.fsencode(tmp_path) + b"/\xff.mp4")
    with open(path, "wb") as file:  # noqa: PTH123
        file.write(b"x")
    with pytest.raises(VideoError, match="FFmpeg can open"):
        count_frames(path)


@pytest.mark.parametrize("moment", ["at the start", "at work"])
def test_a_folder_that_is_removed_meanwhile_is_one_line(videos, tmp_path, monkeypatch, capsys, moment):
    out, crop = tmp_path / "out", face_crops.crop_video

    def remove_and_crop(job):
        if job.name == "a b/001":
            shutil.rmtree(out)
        crop(job)

    if moment == "at work":
        monkeypatch.setattr(crop_folder, "crop_video", remove_and_crop)
    else:
        monkeypatch.setattr(crop_folder, "remove_leftovers", shutil.rmtree)
    assert run(videos, out) == 2
    error = [line for line in capsys.readouterr().err.splitlines() if "error: " in line]
    assert len(error) == 1 and "removed" in error[0]
