"""The files of other benchmarks, read as they read them."""

import csv
import gzip
import json
import pickle

import pytest
from sklearn.metrics import roc_auc_score

import SJEDD_test


@pytest.fixture
def run(published_checkpoint, golden_crops, tmp_path):
    def call(*arguments):
        argv = ["--dataset", "CDF", "--datapath", str(golden_crops), "--resume", str(published_checkpoint)]
        argv += ["--n_frames", "2", "--num_workers", "0", "--output", str(tmp_path), *arguments]
        assert SJEDD_test.main(argv) == 0
        folder = tmp_path / "SJEDD_test" / "CDF"
        with (folder / "predictions.csv").open(newline="") as file:
            return folder, list(csv.DictReader(file)), json.loads((folder / "metrics.json").read_text())

    return call


def test_deepfakebench_gets_every_frame_and_the_metrics_under_its_names(run):
    folder, rows, metrics = run("--submission", "deepfakebench")
    content = pickle.loads((folder / "metric_dict_best.pickle").read_bytes())  # our own file
    assert content["pred"] == pytest.approx([float(row["p_fake"]) for row in rows], rel=1e-8)
    assert content["label"] == [int(row["label"]) for row in rows]
    assert content["auc"] == pytest.approx(roc_auc_score(content["label"], content["pred"]))
    assert content["video_auc"] == metrics["video_auc"]
    assert content["eer"] == metrics["frame_eer_nearest"]
    assert {type(value) for value in content.values()} <= {list, float, int}


def test_deepsafe_gets_a_row_for_each_video(run):
    folder, rows, _ = run("--submission", "deepsafe")
    with gzip.open(folder / "deepsafe_predictions.csv.gz", "rt") as file:  # as its data.load_predictions does
        told = {row["id"]: row for row in csv.DictReader(file)}
    assert list(told) == list(dict.fromkeys(row["video"] for row in rows))
    for video, row in told.items():
        frames = [float(frame["p_fake"]) for frame in rows if frame["video"] == video]
        assert float(row["prob_sjedd"]) == pytest.approx(sum(frames) / len(frames), rel=1e-7)
        assert (row["modality"], row["label"] == "fake") == ("video", video.startswith("Fake"))


def test_files_of_an_earlier_test_go_and_foreign_ones_stay(run):
    folder, _, metrics = run("--submission", "deepsafe")
    assert metrics["submission"] == ["deepsafe_predictions.csv.gz"]
    (folder / "metric_dict_best.pickle").write_bytes(b"the user's")
    _, _, metrics = run()
    assert metrics["submission"] == []
    assert not (folder / "deepsafe_predictions.csv.gz").exists()
    assert (folder / "metric_dict_best.pickle").read_bytes() == b"the user's"
