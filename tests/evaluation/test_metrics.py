import math
import tracemalloc

import numpy as np
import pytest

from evaluation.metrics import (
    accuracy,
    auc,
    auc_interval,
    best_threshold,
    cross_aucs,
    delong_test,
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


def slow_delong(labels, a, b):
    """The test by the definition: kernels of all pairs, the 2 x 2 covariances S10 and S01 (DeLong et al. 1988)."""
    fakes, reals = np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)
    won = [[[(s[f] > s[r]) + 0.5 * (s[f] == s[r]) for r in reals] for f in fakes] for s in (a, b)]
    v10 = [[sum(row) / len(reals) for row in of] for of in won]
    v01 = [[sum(row[j] for row in of) / len(fakes) for j in range(len(reals))] for of in won]
    aucs = [sum(values) / len(fakes) for values in v10]

    def covariance(values, k, m):
        means = [sum(of) / len(of) for of in values]
        products = zip(values[k], values[m], strict=True)
        return sum((x - means[k]) * (y - means[m]) for x, y in products) / (len(values[0]) - 1)

    def s(k, m):
        return covariance(v10, k, m) / len(fakes) + covariance(v01, k, m) / len(reals)

    z = (aucs[1] - aucs[0]) / math.sqrt(s(0, 0) + s(1, 1) - 2 * s(0, 1))
    return math.erfc(abs(z) / math.sqrt(2))


@pytest.mark.parametrize("digits", [1, 6])  # with many ties, and hardly any
@pytest.mark.parametrize("seed", range(4))
def test_delong_equals_a_direct_computation_of_the_covariance(seed, digits):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(60) < 25).astype(int)
    a = np.round(labels + rng.normal(size=60), digits)
    b = np.round(a + 0.5 * labels * rng.random(60) + rng.normal(size=60), digits)
    result = delong_test(labels, a, b)
    assert result["delong_p"] == pytest.approx(slow_delong(labels, a, b), abs=1e-12)
    assert delong_test(labels, b, a)["delong_p"] == pytest.approx(result["delong_p"], abs=1e-12)
    assert np.mean(result["delong_ci95"]) == pytest.approx(auc(labels, b) - auc(labels, a))


def test_delong_by_hand():
    """AUC 3/4 and 1. Fakes differ by 1/2 and 0, reals by 0 and 1/2: variance 1/8 each, 1/8 / 2 + 1/8 / 2 = 1/8 of the
    difference 1/4, so z = (1/4) / sqrt(1/8) = 0.7071."""
    labels = np.array([0, 0, 1, 1])
    result = delong_test(labels, np.array([1, 3, 2, 4]), np.array([1, 2, 3, 4]))
    assert result["delong_p"] == pytest.approx(0.47950012, abs=1e-8)
    assert result["delong_ci95"] == pytest.approx([0.25 - 0.69295191, 0.25 + 0.69295191], abs=1e-8)


@pytest.mark.parametrize(
    ("labels", "a", "b"),
    [
        ([0, 0, 1, 1], [1, 2, 3, 4], [10, 20, 30, 40]),  # the same ranking
        ([0, 0, 1, 1], [1, 2, 3, 4], [4, 3, 2, 1]),  # a difference of 1 in every row
        ([0, 0, 1], [1, 3, 2], [1, 2, 3]),  # one fake has no variance
        ([1, 1, 1], [1, 3, 2], [1, 2, 3]),
    ],
)
def test_delong_is_undefined_without_variance(labels, a, b):
    undefined = {"delong_ci95": [None, None], "delong_p": None}
    assert delong_test(np.array(labels), np.array(a), np.array(b)) == undefined


def test_cross_auc_by_hand():
    """Scores of X: real 1, 2, fake 3, 4; of Y, which all lie higher: real 5, 6, fake 5, 8."""
    scores = np.array([1, 2, 3, 4, 5, 6, 5, 8])
    labels, sets = np.array([0, 0, 1, 1] * 2), ["X"] * 4 + ["Y"] * 4
    result = cross_aucs(labels, scores, sets)
    assert result["aucs"] == {"X": {"X": 1.0, "Y": 1.0}, "Y": {"X": 0.0, "Y": 2.5 / 4}}
    assert (result["within"], result["cross"]) == ((1 + 2.5 / 4) / 2, 0.5)


def test_cross_auc_leaves_out_what_has_no_reals_or_no_fakes():
    """Y has fakes alone, as a data set that shares the reals of another."""
    result = cross_aucs(np.array([0, 1, 1]), np.array([0.1, 0.9, 0.1]), ["X", "X", "Y"])
    assert result == {"aucs": {"X": {"X": 1.0, "Y": 0.5}, "Y": {"X": None, "Y": None}}, "within": 1.0, "cross": 0.5}
    assert cross_aucs(np.array([1, 1]), np.array([1, 2]), ["X", "Y"])["cross"] is None
