import itertools
import json
import subprocess
import sys

import numpy as np
import pytest

from datasets.readers.ffpp import METHOD_CODES, SPLITS, compression_dir, split_videos
from preprocessing.demo.faces import FRAME, draw_scene, manipulate, play
from preprocessing.demo.people import EYE_DISTANCE, PEOPLE, POINTS, portrait
from preprocessing.demo.videos import N_TRAIN_PEOPLE, Job, make_video, pairs_of_people
from preprocessing.detection.mtcnn import Mtcnn
from preprocessing.extraction.video import read_frames
from preprocessing.make_demo_videos import main
from tests.conftest import ROOT


def test_layout_is_the_official_one(raw_demo):
    for split, first in zip(SPLITS, (0, 2, 4), strict=True):
        assert json.loads((raw_demo / "FF++" / f"{split}.json").read_text()) == [[f"{first:03d}", f"{first + 1:03d}"]]
        for method, video in split_videos(raw_demo, split):
            path = compression_dir(raw_demo, method, "c23") / "videos" / f"{video}.mp4"
            frames = [frame for _, frame in read_frames(path, range(10))]
            assert len(frames) == 4
            assert frames[0].shape == (FRAME, FRAME, 3)


def test_videos_are_the_same_whatever_the_workers(raw_demo, tmp_path):
    numbers = ["--n_train", "2", "--n_val", "2", "--n_test", "2", "--frames", "4", "--seed", "3"]
    folder = compression_dir(tmp_path, "real", "c23") / "videos"
    assert main(["--data_root", str(tmp_path), "--workers", "2", *numbers]) == 0
    videos = sorted(path.relative_to(raw_demo) for path in raw_demo.rglob("*.mp4"))
    assert len(videos) == 6 * 5
    for video in videos:
        assert (tmp_path / video).read_bytes() == (raw_demo / video).read_bytes()
    (folder / "000.mp4").unlink()  # a second run makes what is missing
    assert main(["--data_root", str(tmp_path), "--workers", "1", *numbers]) == 0
    assert (folder / "000.mp4").is_file()


def test_another_seed_gives_another_video(tmp_path):
    for seed in (0, 1):
        make_video(Job(tmp_path / f"{seed}.mp4", "real", "000", 2, seed, (0,)))
    assert (tmp_path / "0.mp4").read_bytes() != (tmp_path / "1.mp4").read_bytes()


def test_foreign_data_and_other_settings_are_not_touched(raw_demo, tmp_path, capsys):
    (tmp_path / "FF++").mkdir()
    (tmp_path / "FF++" / "test.json").write_text("[]")
    assert main(["--data_root", str(tmp_path)]) == 2
    assert "no demo" in capsys.readouterr().err
    assert main(["--data_root", str(raw_demo), "--n_train", "4"]) == 2
    assert "other settings" in capsys.readouterr().err


def test_a_second_run_at_the_same_time_is_refused(tmp_path, capsys):
    arguments = ["--data_root", str(tmp_path), "--workers", "1", "--frames", "1"]
    arguments += ["--n_train", "2", "--n_val", "2", "--n_test", "2"]
    code = "import sys, utils.locks as l\nwith l.exclusive_folder(sys.argv[1]): print(flush=True), input()"
    command = [sys.executable, "-c", code, str(tmp_path / "FF++")]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        other.stdout.readline()
        assert main(arguments) == 2
        assert [path.name for path in (tmp_path / "FF++").iterdir()] == [".sjedd.lock"]
        other.communicate("\n")
    assert capsys.readouterr().err.count("another run is working in") == 1
    for made in ("30", "0"):
        assert main(arguments) == 0
        assert f"30 videos in {tmp_path / 'FF++'}, {made} of them made now" in capsys.readouterr().out
    assert not list(tmp_path.rglob(".*"))


def test_manipulations_change_their_own_region_only():
    scene = draw_scene(np.random.default_rng(0), person=0, frames=1)
    real = play(scene.person, scene.flip, scene.expression, scene.swing[0]).astype(float)
    for method in METHOD_CODES:
        (fake,) = manipulate(np.random.default_rng(1), method, scene, donor=1)
        changed = np.abs(fake - real).mean(axis=2)
        eyes, mouth, rim = changed[140:160, 110:210], changed[205:225, 135:185], changed[:60]
        assert mouth.mean() > 4
        assert rim.max() == 0
        assert (eyes.mean() > 4) == (method in ("Deepfakes", "FaceSwap"))


@pytest.mark.parametrize("split", SPLITS)
def test_every_person_meets_every_other_one_and_the_last_one_is_in_test_only(split):
    assert (N_TRAIN_PEOPLE, len(PEOPLE)) == (5, 6)
    known, everyone = (list(itertools.permutations(range(people), 2)) for people in (5, 6))
    in_turn = known + everyone if split == "test" else known
    assert sorted(pairs_of_people(split, 2 * len(in_turn))) == sorted(2 * in_turn)


def test_everyone_has_a_face_of_their_own_that_is_found_and_aligned():
    left, top = (POINTS.min(axis=0) - EYE_DISTANCE / 2).astype(int)
    right, bottom = (POINTS.max(axis=0) + EYE_DISTANCE / 2).astype(int)
    faces = [portrait(index)[top:bottom, left:right].astype(float) for index in range(len(PEOPLE))]
    for one, other in itertools.combinations(faces, 2):
        assert np.abs(one - other).mean() > 10
    for found in Mtcnn().detect([portrait(index) for index in range(len(PEOPLE))]):
        assert len(found.scores) == 1
        assert np.abs(found.landmarks[0] - POINTS).max() < 0.3 * EYE_DISTANCE
