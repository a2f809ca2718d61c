"""The four conventions against slow versions written from their definitions."""

import csv
import json

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from evaluation.conventions import CONVENTIONS, convention_effects, convention_metrics
from evaluation.metrics import evaluate
from evaluation.predictions_reader import read_predictions

pytestmark = pytest.mark.numeric

DROPPED = [
    {"video": "A/90", "path": "", "label": 1, "reason": "no_crops"},
    {"video": "real/91", "path": "d/real/91/0.png", "label": 0, "reason": "damaged"},
    {"video": "real/00", "path": "d/real/00/9.png", "label": 0, "reason": "damaged"},
]


@pytest.fixture
def file(tmp_path):
    """Two methods whose videos share folder names with each other and some with the reals; up to two faces a frame."""
    rng = np.random.default_rng(3)
    rows = []
    for method, n in (("real", 30), ("A", 40), ("B", 40)):
        for video in range(n):
            folder = f"{video:02d}" if method == "real" or video < 10 else f"{video:02d}_x"
            base = rng.normal() + 0.9 * (method != "real")
            for frame in range(rng.integers(1, 5)):
                for face in range(rng.integers(1, 3)):
                    z = base + 0.5 * rng.normal()
                    rows.append(
                        {
                            "dataset": "D",
                            "video": f"{method}/{folder}",
                            "frame": str(frame),
                            "path": f"d/{method}/{folder}/{frame}_{face}.png",
                            "label": int(method != "real"),
                            "method": method,
                            "code": {"real": "00", "A": "11", "B": "12"}[method],
                            "p_fake": f"{1 / (1 + np.exp(-z)):.9g}",
                            "logit_fake": f"{z:.9g}",
                            "a_node": f"{rng.random():.9g}",
                        }
                    )
    with (tmp_path / "predictions.csv").open("w", newline="") as out:
        writer = csv.DictWriter(out, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    write_metrics(tmp_path, len(rows), len({row["video"] for row in rows}), DROPPED)
    return str(tmp_path / "predictions.csv"), rows


def write_metrics(folder, frames, videos, dropped):
    (folder / "metrics.json").write_text(json.dumps({"frames": frames, "videos": videos, "dropped": dropped}))


def grouped(rows, key):
    groups = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return groups.values()


def test_ours_is_metrics_json_to_the_last_digit(file):
    path, rows = file
    ours = convention_metrics(read_predictions(path), threshold=0.4)["ours"]
    expected = evaluate(rows, ["a node"], 0.4, len({row["video"] for row in rows}) + 2)
    assert ours.pop("frame_ece") > 0
    assert ours == expected


def test_benchmark(file):
    path, rows = file
    result = convention_metrics(read_predictions(path))["benchmark"]
    labels, scores = [], []
    for group in grouped(rows, lambda row: row["path"].split("/")[-2]):
        labels.append(int(sum(row["label"] for row in group) / len(group)))
        scores.append(np.mean([float(row["p_fake"]) for row in group]))
    assert result["videos"] == len(labels) < len({row["video"] for row in rows})
    assert result["video_auc"] == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    y, p = [row["label"] for row in rows], [float(row["p_fake"]) for row in rows]
    for level, truth, score in (("video", labels, scores), ("frame", y, p)):
        fpr, tpr, _ = roc_curve(truth, score)
        nearest = fpr[np.nanargmin(np.abs(1 - tpr - fpr))]
        assert result[f"{level}_eer"] == result[f"{level}_eer_nearest"] == pytest.approx(nearest, abs=1e-12)
    assert result["videos_fake"] == sum(labels)


def test_sbi_and_strict(file):
    path, rows = file
    metrics = convention_metrics(read_predictions(path))
    labels, largest, means = [], [], []
    for video in grouped(rows, lambda row: row["video"]):
        labels.append(video[0]["label"])
        means.append(np.mean([float(row["p_fake"]) for row in video]))
        frames = grouped(video, lambda row: row["frame"])
        largest.append(np.mean([max(float(row["p_fake"]) for row in frame) for frame in frames]))
    with_failed = [*labels, 1, 0]
    assert metrics["sbi"]["video_auc"] == pytest.approx(roc_auc_score(with_failed, [*largest, 0.5, 0.5]), abs=1e-12)
    assert metrics["strict"]["video_auc"] == pytest.approx(roc_auc_score(with_failed, [*means, 0.0, 1.0]), abs=1e-12)
    assert metrics["sbi"]["frames"] == len({(row["video"], row["frame"]) for row in rows}) < len(rows)
    assert metrics["sbi"]["videos"] == metrics["strict"]["videos"] == metrics["ours"]["videos"] + 2
    assert metrics["ours"]["coverage"] == metrics["strict"]["coverage"] == len(labels) / (len(labels) + 2)
    effects = convention_effects(read_predictions(path), metrics)
    assert list(effects) == list(CONVENTIONS)
    assert effects["strict"] == "2 failed"


def test_unbounded_scores_have_no_accuracy_and_strict_still_counts_failures_as_wrong(tmp_path):
    (tmp_path / "p.csv").write_text("video,label,p_fake\na,0,-5\nb,0,1\nc,1,3\nd,1,9\n")
    write_metrics(tmp_path, 4, 4, DROPPED[:2])
    metrics = convention_metrics(read_predictions(str(tmp_path / "p.csv")))
    assert metrics["ours"]["video_auc"] == 1.0
    assert metrics["ours"]["video_acc"] is None
    assert metrics["ours"]["frame_ece"] is None
    assert metrics["strict"]["video_auc"] == pytest.approx(4 / 9), (
        "the failed real beats every fake, the failed fake loses to all"
    )
    assert metrics["sbi"]["video_auc"] is None
    assert metrics["sbi"]["video_auc_ci95"] == [None, None]


@pytest.mark.parametrize("size", [1e20, 10])
def test_strict_puts_failures_beyond_all_scores(tmp_path, size):
    rows = [("a", 0, -size), ("b", 0, 0.25), ("c", 1, 0.5), ("d", 1, size), ("d", 1, size)]
    text = "".join(f"{video},{label},{score!r},{'swap' if label else 'real'}\n" for video, label, score in rows)
    (tmp_path / "p.csv").write_text("video,label,p_fake,method\n" + text)
    write_metrics(tmp_path, 5, 4, DROPPED[:2])
    metrics = convention_metrics(read_predictions(str(tmp_path / "p.csv")))
    assert metrics["ours"]["video_auc"] == metrics["ours"]["frame_auc"] == 1.0
    assert metrics["ours"]["methods"]["swap"] == {"videos": 2, "frame_auc": 1.0, "video_auc": 1.0}
    assert metrics["strict"]["video_auc"] == pytest.approx(4 / 9)
    assert metrics["strict"]["video_tpr_at_fpr05"] == 0, "the failed real is above the highest fake"


def test_small_scores_keep_their_order(tmp_path):
    (tmp_path / "p.csv").write_text("video,label,p_fake\na,0,-3e-9\nb,0,-2e-9\nc,1,-1e-9\nd,1,2e-9\n")
    for result in convention_metrics(read_predictions(str(tmp_path / "p.csv"))).values():
        assert result["video_auc"] == result["frame_auc"] == 1.0


def test_every_data_set_of_a_file_has_its_figures(tmp_path):
    """Each is separated without a mistake, but on other scales; the benchmark's names do not merge across them."""
    rows = "X,0,0,0.1\nX,1,1,0.2\nY,0,0,0.8\nY,1,1,0.9\n"
    (tmp_path / "p.csv").write_text("dataset,video,label,p_fake\n" + rows)
    metrics = convention_metrics(read_predictions(str(tmp_path / "p.csv")))
    assert metrics["ours"]["video_auc"] == 0.75
    alone = {"videos_real": 1, "videos_fake": 1, "frame_auc": 1.0, "video_auc": 1.0}
    assert metrics["ours"]["datasets"] == {"X": alone, "Y": alone}
    assert metrics["benchmark"]["videos"] == 4


def test_without_a_folder_the_key_is_the_end_of_the_video_id(tmp_path):
    (tmp_path / "p.csv").write_text("video,label,p_fake\nreal/000,0,0.1\nA/000,1,0.9\nA/1,1,0.9\nreal/2,0,0.3\n")
    result = convention_metrics(read_predictions(str(tmp_path / "p.csv")))["benchmark"]
    assert (result["videos"], result["videos_fake"]) == (3, 1)


def test_one_class_has_no_auc(tmp_path):
    (tmp_path / "p.csv").write_text("video,label,p_fake\na,1,0.1\nb,1,0.9\n")
    for result in convention_metrics(read_predictions(str(tmp_path / "p.csv"))).values():
        assert result["video_auc"] is None
        assert result["video_eer"] is None
        assert result["video_acc"] == 0.5
