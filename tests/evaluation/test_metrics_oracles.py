"""EER, AP, TPR at FPR and the bootstraps against slow versions, with ties and without."""

import itertools

import numpy as np
import pytest

from evaluation.metrics import (
    auc,
    auc_difference,
    auc_interval,
    average_precision,
    equal_error_rate,
    first_rows,
    tpr_at_fpr,
    video_means,
)

pytestmark = pytest.mark.numeric


@pytest.fixture(params=[1, 8], ids=["ties", "no ties"])
def scored(request):
    rng = np.random.default_rng(request.param)
    labels = rng.integers(0, 2, 120)
    return labels, np.round(rng.normal(size=120) + 1.2 * labels, request.param)


def operating_points(labels, scores):
    """(FPR, TPR) of calling fake what reaches each threshold, from none to all."""
    points = [(0.0, 0.0)]
    for threshold in sorted(set(scores), reverse=True):
        called = scores >= threshold
        points.append((called[labels == 0].mean(), called[labels == 1].mean()))
    return points


def slow_eer(points):
    """Where the straight lines between the points cross FPR = 1 - TPR."""
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        before, after = x0 + y0 - 1, x1 + y1 - 1
        if before <= 0 <= after:
            share = 0 if after == before else -before / (after - before)
            return x0 + share * (x1 - x0)
    raise AssertionError


def test_eer_and_tpr_at_fpr(scored):
    points = operating_points(*scored)
    interpolated, nearest = equal_error_rate(*scored)
    assert interpolated == pytest.approx(slow_eer(points), abs=1e-12)
    gap = min(abs(x + y - 1) for x, y in points)
    assert any(nearest == pytest.approx(x) for x, y in points if abs(x + y - 1) == pytest.approx(gap))
    for limit in (0.0, 0.01, 0.05, 0.3, 1.0):
        assert tpr_at_fpr(*scored, limit) == pytest.approx(max(y for x, y in points if x <= limit))


def test_average_precision(scored):
    labels, scores = scored
    total = sum((labels[scores >= s]).mean() for s in scores[labels == 1])
    assert average_precision(labels, scores) == pytest.approx(total / labels.sum(), abs=1e-12)


def brute_bootstrap(labels, *scores, draws=300, seed=0):
    rng = np.random.default_rng(seed)
    values = []
    for _ in range(draws):
        rows = rng.integers(len(labels), size=len(labels))
        if 0 < labels[rows].sum() < len(rows):
            values.append([auc(labels[rows], score[rows]) for score in scores])
    return np.array(values)


def test_interval_is_that_of_a_loop_over_the_same_draws(scored):
    values = brute_bootstrap(*scored)[:, 0]
    assert auc_interval(*scored, draws=300) == pytest.approx(np.quantile(values, [0.025, 0.975]), abs=1e-12)


def test_paired_difference_is_that_of_a_loop_over_the_same_draws(scored):
    labels, a = scored
    b = a + np.random.default_rng(5).normal(size=len(a))
    values = brute_bootstrap(labels, a, b)
    difference = values[:, 1] - values[:, 0]
    result = auc_difference(labels, a, b, draws=300)
    assert result["difference"] == pytest.approx(auc(labels, b) - auc(labels, a))
    assert result["ci95"] == pytest.approx(np.quantile(difference, [0.025, 0.975]), abs=1e-12)
    assert result["p"] == pytest.approx(2 * (1 + min((difference <= 0).sum(), (difference >= 0).sum())) / 301)
    assert result == auc_difference(labels, a, b, draws=300), "seeded"
    assert result["p"] < 0.05, "noise of the scores' own size costs AUC"


def test_paired_difference_at_its_ends():
    labels, scores = np.array([0, 0, 1, 1]), np.array([0.1, 0.6, 0.5, 0.9])
    same = auc_difference(labels, scores, scores)
    assert (same["difference"], same["ci95"], same["p"]) == (0.0, [0.0, 0.0], 1.0)
    assert auc_difference(np.ones(4, int), scores, scores) is None


def test_tiny_sets_skip_draws_of_one_class():
    low, high = auc_interval(np.array([0, 1]), np.array([0.2, 0.8]))
    assert (low, high) == (1.0, 1.0)


def test_corners_leave_out_points_between():
    labels, scores = np.array([1, 0, 0, 0, 1, 1]), np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4])
    assert equal_error_rate(labels, scores)[1] == pytest.approx(2 / 3)
    assert equal_error_rate(labels, scores, corners=True)[1] in (0.0, 1.0)


def test_video_means_are_loops():
    rng = np.random.default_rng(0)
    video, values = np.array([0, 1, 0, 2, 2, 2, 1, 3]), rng.random(8)
    assert video_means(video, values) == pytest.approx([values[video == v].mean() for v in range(4)])
    assert first_rows(video).tolist() == [0, 1, 3, 7]
