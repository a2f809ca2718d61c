import numpy as np
import pytest

from evaluation.comparison import (
    SEED_METRICS,
    common_videos,
    compare,
    different_videos,
    hold_other_data_sets,
    run_names,
    seed_spread,
)
from evaluation.metrics import auc, auc_difference, delong_test
from evaluation.predictions_reader import read_predictions

pytestmark = pytest.mark.numeric


@pytest.fixture
def write(tmp_path):
    def call(name, rows):
        lines = [f"{dataset},{video},{label},{p}" for dataset, video, label, p in rows]
        (tmp_path / name).write_text("\n".join(["dataset,video,label,p_fake", *lines]) + "\n")
        return read_predictions(str(tmp_path / name))

    return call


def test_videos_are_paired_by_id_not_by_position(write):
    rng = np.random.default_rng(0)
    rows = [("D", f"v{i}", i % 2, round(0.3 * (i % 2) + 0.7 * rng.random(), 6)) for i in range(60)]
    other = [(d, v, y, round(1 - p if int(v[1:]) % 7 == 0 else p, 6)) for d, v, y, p in rows]
    a = write("a.csv", rows[:50])
    b = write("b.csv", [other[i] for i in rng.permutation(range(5, 60))])
    result = compare(a, b)
    labels, p, q = (np.array([row[k] for row in table[5:50]]) for table, k in ((rows, 2), (rows, 3), (other, 3)))
    assert result["videos"] == 45
    assert result["auc_a"] == auc(labels, p)
    assert result["auc_b"] == auc(labels, q)
    assert {key: result[key] for key in ("difference", "ci95", "p")} == auc_difference(labels, p, q)
    delong = delong_test(labels, p, q)
    assert {key: result[key] for key in delong} == delong


def test_other_data_sets_and_labels_are_not_paired(write):
    a = write("a.csv", [("D", "v", 0, 0.1), ("D", "w", 1, 0.9), ("D", "x", 1, 0.9)])
    b = write("b.csv", [("E", "v", 0, 0.1), ("D", "w", 0, 0.9), ("D", "x", 1, 0.8)])
    unnamed = write("c.csv", [("", "v", 0, 0.3), ("", "w", 1, 0.7)])
    left, right, opposite, matched_by = common_videos(a, b)
    assert (left.tolist(), right.tolist(), opposite, matched_by) == ([2], [2], 1, "id")
    assert compare(a, b)["difference"] is None, "one class only"
    assert compare(a, unnamed)["videos"] == 2, "without a data set's name the video's counts"
    assert compare(b, write("d.csv", [("D", "y", 1, 0.3)]))["p"] is None


def test_ids_that_differ_in_folder_and_ending_alone_are_matched_where_they_are_unique(write):
    ours = [("CDF", "Real/a", 0, 0.1), ("CDF", "Real/b", 0, 0.2), ("CDF", "Fake/c", 1, 0.9), ("CDF", "Fake/d", 1, 0.7)]
    a = write("a.csv", ours)
    b = write("b.csv", [("", "d.mp4", 1, 0.8), ("", "y\\b.MP4", 0, 0.3), ("", "x/a", 0, 0.1), ("", "c.v2", 1, 0.2)])
    left, right, opposite, matched_by = common_videos(a, b)
    assert (left.tolist(), right.tolist(), opposite) == ([0, 1, 3], [2, 1, 0], 0)
    assert compare(a, b)["matched_by"] == matched_by == "id without folder and ending"
    both = write("c.csv", [("", "x/a", 0, 0.1), ("", "a", 0, 0.4), ("", "b", 1, 0.3), ("", "c", 1, 0.8)])
    left, right, opposite, _ = common_videos(a, both)
    assert (left.tolist(), right.tolist(), opposite) == ([2], [3], 1), "a is two videos, b is labelled differently"
    some = write("d.csv", [("", "Real/a", 0, 0.1), ("", "b", 0, 0.2), ("", "c", 1, 0.9)])
    assert compare(a, some)["matched_by"] == "id" and compare(a, some)["videos"] == 1, "some ids agree as they are"


def test_seeds_must_hold_the_same_videos(write):
    rows = [("D", "v", 0, 0.1), ("D", "w", 1, 0.9)]
    a, b = write("a.csv", rows), write("b.csv", [("D", "w", 1, 0.7), ("D", "v", 0, 0.2), ("D", "v", 0, 0.3)])
    assert different_videos([a, b]) == ""
    assert different_videos([a, b, write("c.csv", [("", "v", 0, 0.1), ("", "w", 1, 0.9)])]) == "", (
        "one names no data set"
    )
    fewer, other = write("d.csv", rows[:1]), write("e.csv", [("E", "v", 0, 0.1), ("D", "w", 1, 0.9)])
    flipped = write("f.csv", [("D", "v", 1, 0.1), ("D", "w", 1, 0.9)])
    assert "(2, 1; 1 in all)" in different_videos([a, fewer])
    assert all("(2, 2; 1 in all)" in different_videos([a, run]) for run in (other, flipped))


def test_files_of_other_data_sets_are_known_by_the_names(write):
    d, e = write("d.csv", [("D", "v", 0, 0.1), ("D", "w", 1, 0.9)]), write("e.csv", [("E", "v", 0, 0.1)])
    both, unnamed = write("b.csv", [("D", "x", 0, 0.1), ("F", "y", 1, 0.2)]), write("u.csv", [("", "z", 1, 0.2)])
    assert hold_other_data_sets([d, e])
    assert not any(map(hold_other_data_sets, ([d, e, both], [d, e, unnamed])))


def test_large_scores_are_compared(write):
    a = write("a.csv", [("D", "v", 0, -1e20), ("D", "w", 1, 1e20)])
    b = write("b.csv", [("D", "v", 0, 1.7e20), ("D", "w", 1, -1e20)])
    assert compare(a, b)["difference"] == -1


def test_names_are_what_differs():
    assert run_names(["out/s1/FFpp/predictions.csv", "out/s2/FFpp/predictions.csv"]) == ["s1", "s2"]
    assert run_names(["a/b/c/predictions.csv"]) == ["c/predictions.csv"]
    assert run_names(["x.csv", "./y.csv"]) == ["x.csv", "y.csv"]
    assert run_names(["a/p.csv", "a/b/p.csv"]) == ["a/p.csv", "a/b/p.csv"]


def test_seed_spread_is_mean_and_sample_deviation():
    runs = [{"ours": dict.fromkeys(SEED_METRICS, value)} for value in (0.8, 0.9, 1.0)]
    assert seed_spread(runs)["ours"]["video_auc"] == {"mean": pytest.approx(0.9), "sd": pytest.approx(0.1), "n": 3}
    runs[0]["ours"]["video_auc"] = None
    assert seed_spread(runs)["ours"]["video_auc"] == {"mean": None, "sd": None, "n": 3}
