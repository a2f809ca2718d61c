"""Extraction on realistic 720p frames whose faces lie in known places."""

import json

import pytest

from benchmarks import footage, preprocess
from preprocessing import extract_faces

KINDS = ("single", "two", "none")
OPTIONS = ("--n_videos", "3", "--frames", "12", "--workers", "1", "--kinds", *KINDS)


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("footage")
    assert footage.main(["--output", str(folder), *OPTIONS]) == 0
    return folder


def test_right_faces_are_cropped_with_the_eyes_in_place(videos, tmp_path, capsys):
    where = ["--video_path", str(videos / "videos"), "--save_path", str(tmp_path / "crops")]
    options = ["--dataset", "videos", "--detector", "mtcnn", "--n_frames", "4", "--workers", "1"]
    assert extract_faces.main([*options, *where]) == 0
    capsys.readouterr()
    assert preprocess.main(["--quality", str(videos), "--crops", str(tmp_path / "crops")]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["frames"] == 12
    for kind in ("single", "two"):
        assert figures["kinds"][kind]["visible_frames"] == 4
        assert figures["kinds"][kind]["recall"] == 1
        assert figures["kinds"][kind]["eye_error_p95_percent"] < 4
    assert figures["kinds"]["none"]["empty_frames"] == 4
    assert figures["false_crops"] == 0


def test_truth_is_deterministic_and_depends_on_the_seed(videos, tmp_path):
    truth = {}
    for seed in (0, 1):
        jobs = footage.plan_jobs(tmp_path, KINDS, n_videos=3, frames=12, seed=seed)
        truth[seed] = [row for job in jobs for row in footage.truth_rows(job.path.stem, footage.plan_video(job))]
    assert truth[0] == preprocess.read_csv(videos / "truth.csv")
    assert truth[1] != truth[0]


@pytest.mark.parametrize("kind", footage.KINDS)
def test_kinds_hold_what_they_promise(kind, tmp_path):
    for job in footage.plan_jobs(tmp_path, [kind], n_videos=2, frames=50, seed=5):
        plan = footage.plan_video(job)
        rows = footage.truth_rows(job.path.stem, plan)
        main = [row["visible"] == "1" for row in rows if row["main"] == "1"]
        assert len(plan.people) == {"single": 1, "away": 1, "none": 0}.get(kind, 2)
        if kind == "away":
            assert 0.2 < sum(main) / len(main) < 0.8
        else:
            assert all(main)
        if len(plan.people) == 2:
            widths = [[footage.width_in_frame(person, t) for t in range(50)] for person in plan.people]
            larger = sum(other > own for own, other in zip(*widths, strict=True))
            assert (0 < larger < 15) if kind == "approach" else larger == 0
