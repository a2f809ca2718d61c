import json

import numpy as np
import pytest

from evaluation.calibration import (
    calibrated,
    calibrated_checkpoint,
    calibrated_logits,
    calibration_report,
    expected_calibration_error,
    fit,
    fit_temperature,
    negative_log_likelihood,
    read_calibration,
    reliability_bins,
)
from evaluation.metrics import auc
from utils.cli import UserError

pytestmark = pytest.mark.numeric


@pytest.fixture
def frames():
    """Log-odds three times too large."""
    rng = np.random.default_rng(0)
    true = 1.5 * rng.normal(size=20_000)
    return (rng.random(len(true)) < 1 / (1 + np.exp(-true))).astype(int), 3 * true


def slow_ece(labels, p, bins=15):
    total = 0.0
    for i in range(bins):
        inside = [j for j in range(len(p)) if i / bins <= p[j] < (i + 1) / bins or (i == bins - 1 and p[j] == 1)]
        if inside:
            gap = abs(np.mean([labels[j] for j in inside]) - np.mean([p[j] for j in inside]))
            total += gap * len(inside) / len(p)
    return total


def test_ece_equals_a_loop():
    rng = np.random.default_rng(1)
    p = np.concatenate([rng.random(300), [0.0, 1.0, 1.0]])
    labels = rng.integers(0, 2, len(p))
    assert expected_calibration_error(labels, p) == pytest.approx(slow_ece(labels, p), abs=1e-12)
    assert expected_calibration_error(np.array([0, 1]), np.array([0.0, 1.0])) == 0.0
    assert reliability_bins(labels, p)[2].sum() == len(p)


def test_nll_equals_a_loop_and_does_not_overflow():
    labels, logits = np.array([0, 1, 1]), np.array([-1.0, 2.0, -0.5])
    p = 1 / (1 + np.exp(-logits / 2))
    assert negative_log_likelihood(labels, logits / 2) == pytest.approx(-np.log([1 - p[0], p[1], p[2]]).mean())
    assert negative_log_likelihood(np.array([0]), np.array([1e5])) == 1e5


def test_the_temperature_is_found_and_is_the_best_of_a_grid(frames):
    labels, logits = frames
    temperature = fit_temperature(labels, logits)
    assert temperature == pytest.approx(3, rel=0.05)
    best = negative_log_likelihood(labels, logits / temperature)
    assert all(best <= negative_log_likelihood(labels, logits / t) for t in np.geomspace(0.1, 100, 301))
    report = calibration_report("temperature", labels, logits)
    assert report["nll_after"] < report["nll_before"]
    assert report["ece_after"] < 0.02 < report["ece_before"]


@pytest.mark.parametrize("scale", [1e-4, 1e4])
def test_the_temperature_scales_with_the_log_odds(frames, scale):
    labels, logits = frames
    assert fit_temperature(labels, logits * scale) == pytest.approx(scale * fit_temperature(labels, logits), rel=1e-6)


def test_calibration_leaves_the_auc(frames):
    labels, logits = frames
    hot = {"method": "temperature", "temperature": 7.3}
    p = calibrated(logits, hot)
    assert auc(labels, p) == auc(labels, logits)
    assert calibrated(0.0, hot) == 0.5


@pytest.mark.parametrize(
    ("labels", "logits", "says"),
    [
        ([1, 1], [1.0, -1.0], "one class"),
        ([0, 1], [-1.0, 1.0], "no frame is on the wrong side"),
        ([0, 1], [1.0, -1.0], "wrong class, and the frame AUC is 0.0%; are the labels 0 real, 1 fake"),
        ([0, 1, 1, 1], [-3.0, -1.0, -2.0, -2.0], r"frame AUC is 100.0%: scores that are all too low, [^?]*instead$"),
    ],
)
def test_no_best_temperature_is_said(labels, logits, says):
    with pytest.raises(UserError, match=says):
        fit("temperature", np.array(labels), np.array(logits))


def test_platt_finds_slope_and_intercept_and_is_the_best_near_them(frames):
    """The frames' log-odds are three times too large; here all are too high by 2 besides."""
    labels, logits = frames
    found = fit("platt", labels, logits + 2)
    assert (found["slope"], found["intercept"]) == pytest.approx((1 / 3, -2 / 3), rel=0.06)
    fakes, reals = labels.sum(), (labels == 0).sum()
    targets = np.where(labels == 1, (fakes + 1) / (fakes + 2), 1 / (reals + 2))

    def loss(slope, intercept):
        z = slope * (logits + 2) + intercept
        return (targets * np.logaddexp(0, -z) + (1 - targets) * np.logaddexp(0, z)).mean()

    best, eps = loss(found["slope"], found["intercept"]), 1e-3
    assert all(
        best < loss(found["slope"] + a, found["intercept"] + b)
        for a, b in ((eps, 0), (-eps, 0), (0, eps), (0, -eps), (eps, -eps), (-eps, eps))
    )
    gradient = np.mean(calibrated(logits + 2, found) - targets)
    assert gradient == pytest.approx(0, abs=1e-9)


def test_platt_leaves_the_auc_and_is_finite_for_scores_without_mistakes(frames):
    labels, logits = frames
    assert auc(labels, calibrated_logits(logits, fit("platt", labels, logits))) == auc(labels, logits)
    without_mistakes = fit("platt", np.array([0, 0, 1, 1]), np.array([-2.0, -1.0, 1.0, 2.0]))
    assert 0 < without_mistakes["slope"] < 5
    assert without_mistakes["intercept"] == pytest.approx(0, abs=1e-9)


def slow_isotonic(labels, logits):
    """{log-odds: value} by pooling adjacent violators: blocks of (sum, size, log-odds) merge until their means rise."""
    blocks = []
    for z in sorted(set(logits.tolist())):
        own = labels[logits == z]
        blocks.append([own.sum(), len(own), [z]])
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] >= blocks[-1][0] / blocks[-1][1]:
            total, size, members = blocks.pop()
            blocks[-1] = [blocks[-1][0] + total, blocks[-1][1] + size, blocks[-1][2] + members]
    return {z: total / size for total, size, members in blocks for z in members}


def test_isotonic_equals_pooling_by_hand_and_by_a_loop():
    found = fit("isotonic", np.array([0, 1, 0, 1]), np.array([-2.0, -1.0, 1.0, 2.0]))
    assert calibrated(np.array([-9, -2, -1, 0, 1, 2, 9]), found) == pytest.approx([0, 0, 0.5, 0.5, 0.5, 1, 1])
    assert calibrated(-1.5, found) == pytest.approx(0.25), "straight between two corners"
    rng = np.random.default_rng(2)
    logits = np.round(rng.normal(size=300), 2)
    labels = (rng.random(300) < 1 / (1 + np.exp(-2 * logits))).astype(int)
    expected, found = slow_isotonic(labels, logits), fit("isotonic", labels, logits)
    assert calibrated(logits, found) == pytest.approx([expected[z] for z in logits.tolist()], abs=1e-9)
    steps = np.diff(calibrated(np.linspace(-5, 5, 1001), found))
    assert (steps >= 0).all() and (steps == 0).any(), "it rises, and it ties"


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_the_report_of_other_methods(frames, method, tmp_path):
    labels, logits = frames
    report = calibration_report(method, labels, logits + 2)
    assert report["nll_after"] < report["nll_before"]
    assert report["ece_after"] < 0.02 < report["ece_before"]
    assert report["auc_before"] == auc(labels, logits)
    assert (report["auc_after"] == report["auc_before"]) == (method == "platt")
    (tmp_path / "calibration.json").write_text(json.dumps(report))
    assert read_calibration(tmp_path / "calibration.json") == fit(method, labels, logits + 2)


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_no_rising_map_is_said(method):
    with pytest.raises(UserError, match="one class"):
        fit(method, np.array([1, 1]), np.array([1.0, -1.0]))
    with pytest.raises(UserError, match=r"frame AUC is 0\.0%.*are the labels 0 real, 1 fake"):
        fit(method, np.array([0, 1]), np.array([1.0, -1.0]))


def test_platt_refuses_a_slope_below_0():
    """AUC 2/3, but one fake lies far below."""
    with pytest.raises(UserError, match="slope is not above 0"):
        fit("platt", np.array([0, 0, 0, 1, 1, 1]), np.array([0.0, 0.0, 0.0, 1.0, 1.0, -90.0]))


def test_read_calibration(tmp_path):
    path = tmp_path / "calibration.json"
    path.write_text(json.dumps({"temperature": 2}))
    assert read_calibration(path) == {"method": "temperature", "temperature": 2}, "an older file names no method"
    for content in ("{}", "[]", '{"temperature": 0}', '{"temperature": true}', '{"temperature": "2"}', "{", "1e999",
                    '{"method": "beta", "temperature": 2}', '{"method": ["platt"]}', '{"method": "platt", "slope": 1}',
                    '{"method": "platt", "slope": -1, "intercept": 0}', '{"temperature": 1' + "0" * 400 + "}",
                    '{"method": "isotonic", "logits": [0, 0], "p_fake": [0, 1]}',
                    '{"method": "isotonic", "logits": [0, 1], "p_fake": [1, 0]}',
                    '{"method": "isotonic", "logits": [0, 1], "p_fake": [0, 2]}',
                    '{"method": "isotonic", "logits": [0, 1], "p_fake": [1]}'):  # fmt: skip
        path.write_text(content)
        with pytest.raises(UserError, match=r"calibration\.json"):
            read_calibration(path)
    with pytest.raises(UserError, match="cannot read"):
        read_calibration(tmp_path / "none.json")


def test_calibrated_checkpoint(tmp_path):
    path = tmp_path / "calibration.json"
    for content, checkpoint in (
        ({"checkpoint": "out/best.pth"}, "out/best.pth"),
        ({"checkpoint": None}, None),
        ({}, None),
    ):
        path.write_text(json.dumps(content))
        assert calibrated_checkpoint(path) == checkpoint
    path.write_text('{"checkpoint": 1}')
    with pytest.raises(UserError, match="checkpoint 1, not a path"):
        calibrated_checkpoint(path)
