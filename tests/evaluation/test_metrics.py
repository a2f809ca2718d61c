import tracemalloc

import numpy as np
import pytest

from evaluation.metrics import (
    accuracy,
    auc,
    auc_interval,
    best_threshold,
    equal_error_rate,
    evaluate,
    tpr_at_fpr,
    video_scores,
)

pytestmark = pytest.mark.numeric


def pair_count(labels, scores):
    reals, fakes = scores[labels == 0], scores[labels == 1]
    wins = (fakes[:, None] > reals).sum() + 0.5 * (fakes[:, None] == reals).sum()
    return wins / (len(reals) * len(fakes))


@pytest.mark.parametrize("decimals", [1, 6])
def test_auc_equals_pair_counting_also_with_ties(decimals):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 200)
    scores = np.round(rng.random(200) + 0.3 * labels, decimals)
    assert auc(labels, scores) == pytest.approx(pair_count(labels, scores), abs=1e-12)


def test_one_class_has_no_auc():
    ones, scores = np.ones(4, int), np.random.default_rng(0).random(4)
    assert auc(ones, scores) is None
    assert equal_error_rate(ones, scores) == (None, None)
    assert tpr_at_fpr(ones, scores, 0.05) is None
    assert auc_interval(ones, scores) == [None, None]
    assert accuracy(ones, scores, 0.0) == (1.0, None)


def test_equal_error_rate_by_hand():
    labels = np.array([0, 0, 1, 1])
    assert equal_error_rate(labels, np.array([0.1, 0.2, 0.8, 0.9])) == (0.0, 0.0)
    assert equal_error_rate(labels, np.array([0.1, 0.8, 0.2, 0.9])) == (0.5, 0.5)
    # ROC (0,0) (0,1/2) (1/3,1/2) (1/3,1): the line FPR = FNR is crossed on the rise from 1/2 to 1 at FPR 1/3.
    interpolated, nearest = equal_error_rate(np.array([0, 0, 0, 1, 1]), np.array([0.1, 0.2, 0.8, 0.5, 0.9]))
    assert interpolated == pytest.approx(1 / 3)
    assert nearest == pytest.approx(1 / 3)


def test_tpr_at_fpr_and_accuracy_by_hand():
    labels = np.array([0] * 10 + [1] * 4)
    scores = np.array([0.05 * i for i in range(10)] + [0.44, 0.46, 0.2, 0.9])
    assert tpr_at_fpr(labels, scores, 0.0) == 0.5
    assert tpr_at_fpr(labels, scores, 0.1) == 0.75
    assert accuracy(labels, scores, 0.5) == (11 / 14, (1.0 + 0.25) / 2)


def test_best_threshold_separates():
    labels = np.array([0, 0, 0, 1, 1])
    threshold = best_threshold(labels, np.array([0.1, 0.2, 0.95, 0.97, 0.99]))
    assert 0.95 < threshold < 0.97


def test_bootstrap_interval_contains_the_auc_and_is_seeded():
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, 100)
    scores = rng.random(100) + 0.5 * labels
    low, high = auc_interval(labels, scores, draws=200)
    assert low < auc(labels, scores) < high
    assert [low, high] == auc_interval(labels, scores, draws=200)


def rows():
    table = [
        ("a", 0, 0.1, "real"),
        ("a", 0, 0.3, "real"),
        ("b", 0, 0.4, "real"),
        ("c", 1, 0.9, "X"),
        ("c", 1, 0.2, "X"),
    ]
    table += [("d", 1, 0.35, "Y")]
    codes = {"real": "000", "X": "110", "Y": "112"}
    return [
        {"video": v, "label": y, "p_fake": p, "method": m, "code": codes[m], "a_1": p, "b": 1 - p}
        for v, y, p, m in table
    ]


def test_video_scores_are_means():
    videos, labels, scores = video_scores(rows())
    assert videos == ["a", "b", "c", "d"]
    assert labels.tolist() == [0, 0, 1, 1]
    assert scores == pytest.approx([0.2, 0.4, 0.55, 0.35])


def test_evaluate_by_hand():
    result = evaluate(rows(), ["a 1", "b"], threshold=0.45, videos_listed=5)
    assert (result["videos"], result["frames"], result["videos_real"], result["videos_fake"]) == (4, 6, 2, 2)
    assert result["frame_auc"] == pytest.approx(
        pair_count(np.array([0, 0, 0, 1, 1, 1]), np.array([0.1, 0.3, 0.4, 0.9, 0.2, 0.35]))
    )
    assert result["video_auc"] == pytest.approx(3 / 4)
    assert result["video_acc"] == pytest.approx(3 / 4)
    assert result["video_acc_at_threshold"] == pytest.approx(3 / 4)
    assert result["methods"]["X"] == {"videos": 1, "frame_auc": pytest.approx(4 / 6), "video_auc": 1.0}
    assert result["methods"]["Y"]["video_auc"] == 0.5
    assert result["nodes"]["a 1"] == result["frame_auc"]
    assert result["nodes"]["b"] is None, "among the frames whose state is known the node is never on"
    assert result["coverage"] == 0.8


def test_frames_are_ranked_by_log_odds_where_p_saturates():
    table = [(0, 1.0, 20.0), (0, 0.2, -1.4), (1, 1.0, 30.0), (1, 1.0, 25.0)]
    saturated = [{"video": str(i), "label": y, "p_fake": p, "logit_fake": z} for i, (y, p, z) in enumerate(table)]
    assert evaluate(saturated)["frame_auc"] == 1.0
    assert evaluate(saturated)["video_auc"] == 0.75


@pytest.mark.parametrize("p", [250 / 251, 0.1, 0.3, 0.7, 0.999999999])
def test_a_constant_scorer_has_an_auc_of_one_half(p):
    """Means of equal scores differ in their last digits with the number of frames; that must break no tie."""
    rows = [
        {"video": f"{label}/{n}", "label": label, "p_fake": p}
        for label in (0, 1)
        for n in range(1, 65)
        for _ in range(n)
    ]
    rows += [{"video": f"one/{n}", "label": 0, "p_fake": p} for n in range(20)]
    assert evaluate(rows)["video_auc"] == 0.5


class Made:
    """Rows that are made when they are asked for: 32 frames of every video, nine nodes."""

    def __init__(self, n):
        self.n = n

    def __len__(self):
        return self.n

    def __iter__(self):
        scores = np.random.default_rng(0).random(self.n)
        for i, p in enumerate(scores.tolist()):
            label = i // 32 % 2
            row = {"video": f"{i // 32}", "label": label, "method": ("real", "X")[label]}
            yield (
                row
                | {"code": ("0" * 10, "1" * 10)[label], "p_fake": p, "logit_fake": p}
                | {f"n{k}": p for k in range(9)}
            )


def test_memory_is_that_of_the_scores():
    tracemalloc.start()
    evaluate(Made(64_000), [f"n{k}" for k in range(9)])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak / 64_000 < 300, "11 scores, label and video take 104 bytes a frame"
