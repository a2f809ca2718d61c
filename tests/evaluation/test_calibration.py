import json

import numpy as np
import pytest

from evaluation.calibration import (
    apply_temperature,
    calibrated_checkpoint,
    calibration_report,
    expected_calibration_error,
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
    assert negative_log_likelihood(labels, logits, 2.0) == pytest.approx(-np.log([1 - p[0], p[1], p[2]]).mean())
    assert negative_log_likelihood(np.array([0]), np.array([1e5])) == 1e5


def test_the_temperature_is_found_and_is_the_best_of_a_grid(frames):
    labels, logits = frames
    temperature = fit_temperature(labels, logits)
    assert temperature == pytest.approx(3, rel=0.05)
    best = negative_log_likelihood(labels, logits, temperature)
    assert all(best <= negative_log_likelihood(labels, logits, t) for t in np.geomspace(0.1, 100, 301))
    report = calibration_report(labels, logits)
    assert report["nll_after"] < report["nll_before"]
    assert report["ece_after"] < 0.02 < report["ece_before"]


@pytest.mark.parametrize("scale", [1e-4, 1e4])
def test_the_temperature_scales_with_the_log_odds(frames, scale):
    labels, logits = frames
    assert fit_temperature(labels, logits * scale) == pytest.approx(scale * fit_temperature(labels, logits), rel=1e-6)


def test_calibration_leaves_the_auc(frames):
    labels, logits = frames
    p = apply_temperature(logits, 7.3)
    assert auc(labels, p) == auc(labels, logits)
    assert apply_temperature(0.0, 2.0) == 0.5


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
        fit_temperature(np.array(labels), np.array(logits))


def test_read_calibration(tmp_path):
    path = tmp_path / "calibration.json"
    path.write_text(json.dumps({"temperature": 2}))
    assert read_calibration(path) == 2.0
    for content in ("{}", "[]", '{"temperature": 0}', '{"temperature": true}', '{"temperature": "2"}', "{", "1e999"):
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
