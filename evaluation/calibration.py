"""Calibration: a rising map from the log-odds of fake to a better P(fake), fitted on validation frames.

A calibration is plain numbers, as calibration.json holds them: ``method``, one of CALIBRATIONS, and
- temperature: ``temperature`` T > 0; P(fake) = sigmoid(log-odds / T). Every AUC stays.
- platt: ``slope`` > 0 and ``intercept``; P(fake) = sigmoid(slope * log-odds + intercept). Every AUC stays.
- isotonic: ``logits`` and ``p_fake``, the corners of a rising line; between them it is straight, outside them constant.
  Where it is level, different log-odds get one P(fake): such ties can change an AUC.
"""

import math
import sys
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import expit, logit

from models.choices import CALIBRATIONS
from utils.cli import UserError
from utils.files import read_json

ECE_BINS = 15
# Method -> its numbers in calibration.json, and what they must be.
_NUMBERS = {
    "temperature": (("temperature",), "temperature above 0"),
    "platt": (("slope", "intercept"), "slope above 0 and intercept"),
    "isotonic": (("logits", "p_fake"), "rising logits and p_fake from 0 to 1"),
}


def calibrated(logits: np.ndarray | float, calibration: Mapping) -> np.ndarray:
    """P(fake) of log-odds, any shape."""
    return expit(calibrated_logits(logits, calibration))


def calibrated_logits(logits: np.ndarray | float, calibration: Mapping) -> np.ndarray:
    """Log-odds of ``calibrated``, which do not round to 0 or 1. Isotonic regression may give infinite ones."""
    logits = np.asarray(logits, dtype=float)
    if calibration["method"] == "isotonic":
        return logit(np.interp(logits, calibration["logits"], calibration["p_fake"]))
    if calibration["method"] == "platt":
        return calibration["slope"] * logits + calibration["intercept"]
    return logits / calibration["temperature"]


def expected_calibration_error(labels: np.ndarray, p: np.ndarray) -> float:
    """Mean over all frames of |share of fakes - mean P(fake)| in the frame's bin.

    Guo et al., ICML 2017, eq. 3, for P(fake) instead of the confidence. labels: [N] 0 real, 1 fake; p: [N] P(fake).
    """
    fakes, means, sizes = reliability_bins(labels, p)
    return float((sizes * np.abs(fakes - means)).sum() / sizes.sum())


def reliability_bins(labels: np.ndarray, p: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(share of fakes, mean P(fake), number of frames) of every bin that is not empty.

    The ECE_BINS bins have equal width, [i / ECE_BINS, (i + 1) / ECE_BINS); the last one includes 1.
    """
    position = np.minimum((p * ECE_BINS).astype(int), ECE_BINS - 1)
    sizes = np.bincount(position)
    fakes, total = (np.bincount(position, weights=values) for values in (labels, p))
    used = sizes > 0
    return fakes[used] / sizes[used], total[used] / sizes[used], sizes[used]


def negative_log_likelihood(labels: np.ndarray, logits: np.ndarray) -> float:
    """Mean of -log P(true class), in nats."""
    return float(np.logaddexp(0, -np.where(labels == 1, logits, -logits)).mean())


def fit(method: str, labels: np.ndarray, logits: np.ndarray) -> dict:
    """The calibration of a method of CALIBRATIONS for frames with labels [N] (0 real, 1 fake) and log-odds [N].

    Raises:
        UserError: No such calibration is best: there is one class only, the scores point to the wrong class, or what
            ``fit_temperature`` says.
    """
    if not 0 < labels.sum() < len(labels):
        raise UserError("calibration needs real and fake frames; the file has one class only")
    if method == "temperature":
        return {"method": method, "temperature": fit_temperature(labels, logits)}
    auc = _auc(labels, logits)
    if auc <= 0.5:
        raise UserError(f"the frame AUC is {auc:.1%}, so no rising map fits; are the labels 0 real, 1 fake?")
    numbers = _fit_platt(labels, logits) if method == "platt" else _fit_isotonic(labels, logits)
    return {"method": method} | numbers


def _auc(labels: np.ndarray, scores: np.ndarray) -> float:
    from sklearn.metrics import roc_auc_score  # takes a second to import

    return float(roc_auc_score(labels, scores))


def _fit_platt(labels: np.ndarray, logits: np.ndarray) -> dict:
    """Logistic regression of smoothed labels, which keep the slope finite (Platt, 1999, section 2.2)."""
    from sklearn.linear_model import LogisticRegression

    fakes = int(labels.sum())
    targets = np.where(labels == 1, (fakes + 1) / (fakes + 2), 1 / (len(labels) - fakes + 2))
    scale = float(np.abs(logits).max())
    # scikit-learn takes no targets between 0 and 1: every frame is one fake and one real, with its target as weights.
    rows = np.concatenate([logits, logits])[:, None] / scale
    model = LogisticRegression(C=math.inf, solver="newton-cholesky", tol=1e-10, max_iter=1000)
    model.fit(rows, np.repeat([1, 0], len(labels)), np.concatenate([targets, 1 - targets]))
    slope, intercept = float(model.coef_[0, 0]) / scale, float(model.intercept_[0])
    if slope <= 0:
        raise UserError("the log-odds of the fakes are the lower ones on average, so Platt's slope is not above 0")
    return {"slope": slope, "intercept": intercept}


def _fit_isotonic(labels: np.ndarray, logits: np.ndarray) -> dict:
    """Isotonic regression, by pool adjacent violators (Zadrozny and Elkan, KDD 2002)."""
    from sklearn.isotonic import IsotonicRegression

    model = IsotonicRegression(y_min=0, y_max=1).fit(logits, labels)
    return {"logits": model.X_thresholds_.tolist(), "p_fake": model.y_thresholds_.tolist()}


def fit_temperature(labels: np.ndarray, logits: np.ndarray) -> float:
    """The temperature that minimises the mean negative log likelihood (Guo et al., ICML 2017, section 4.2).

    Raises:
        UserError: No temperature is best: no frame is on the wrong side of 0.5 (T would go to 0), or the log-odds
            mostly point to the wrong class (T would go to infinity).
    """
    margin = np.where(labels == 1, logits, -logits)
    if (margin >= 0).all():
        raise UserError("no frame is on the wrong side of 0.5, so no temperature fits best; use more validation videos")
    if margin.mean() <= 0:
        auc = _auc(labels, logits)
        problem = f"the log-odds mostly point to the wrong class, and the frame AUC is {auc:.1%}"
        if auc < 0.5:
            raise UserError(f"{problem}; are the labels 0 real, 1 fake?")
        raise UserError(
            f"{problem}: scores that are all too low, all too high or near chance. No temperature fixes them; use "
            "platt or isotonic, or a decision threshold instead"
        )
    # The likelihood is convex in 1 / T, so there is one minimum between the bounds.
    scale = math.log(np.abs(logits).max())
    found = minimize_scalar(
        lambda log_t: negative_log_likelihood(labels, logits / math.exp(log_t)),
        bounds=(scale - 14, scale + 14),
        method="bounded",
        options={"xatol": 1e-9},
    )
    return math.exp(found.x)


def calibration_report(method: str, labels: np.ndarray, logits: np.ndarray) -> dict:
    """The fitted calibration, and ECE, NLL and frame AUC before and after. Arguments and errors: as ``fit``."""
    calibration = fit(method, labels, logits)
    report = dict(calibration)
    for name, values in (("before", logits), ("after", calibrated_logits(logits, calibration))):
        report[f"ece_{name}"] = expected_calibration_error(labels, expit(values))
        report[f"nll_{name}"] = negative_log_likelihood(labels, values)
        report[f"auc_{name}"] = _auc(labels, np.unique(values, return_inverse=True)[1])  # they may be infinite
    return report


def read_calibration(path: Path | str) -> dict:
    """The calibration in a calibration.json; raises UserError if the file holds none."""
    content = {"method": "temperature"} | _content(path)  # older files name no method
    method, again = content["method"], "make it again with SJEDD_report.py VAL.csv --calibrate"
    if method not in CALIBRATIONS:
        raise UserError(f"{path} is calibrated by {method!r}, not by {', '.join(CALIBRATIONS)}; {again}")
    names, wanted = _NUMBERS[method]
    numbers: list[Any] = [content.get(name) for name in names]
    valid = _rise(*numbers) if method == "isotonic" else all(map(_is_finite, numbers)) and numbers[0] > 0
    if not valid:
        raise UserError(f"{path} holds no {wanted}; {again}")
    return {"method": method, **dict(zip(names, numbers, strict=True))}


def _is_finite(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) <= sys.float_info.max


def _rise(logits: object, p_fake: object) -> bool:
    """Whether both are lists of one length, the first strictly rising, the second rising within [0, 1]."""
    if not (isinstance(logits, list) and isinstance(p_fake, list) and len(logits) == len(p_fake) > 0):
        return False
    if not all(map(_is_finite, logits + p_fake)) or not 0 <= p_fake[0] <= p_fake[-1] <= 1:
        return False
    return all(a < b for a, b in pairwise(logits)) and all(a <= b for a, b in pairwise(p_fake))


def calibrated_checkpoint(path: Path | str) -> str | None:
    """The checkpoint whose predictions a calibration.json was fitted on; None if it does not say."""
    checkpoint = _content(path).get("checkpoint")
    if not isinstance(checkpoint, str | None):
        raise UserError(f"{path} has the checkpoint {checkpoint!r}, not a path; make it again with --calibrate")
    return checkpoint


def _content(path: Path | str) -> dict:
    content = read_json(Path(path))
    return content if isinstance(content, dict) else {}
