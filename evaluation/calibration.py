"""Temperature calibration: P(fake) = sigmoid(log-odds / T), with the one number T fitted on validation frames."""

import math
from pathlib import Path

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import expit

from utils.cli import UserError
from utils.files import read_json

ECE_BINS = 15


def apply_temperature(logit: np.ndarray | float, temperature: float) -> np.ndarray | float:
    """P(fake) of log-odds at a temperature above 0; any shape. It keeps the order, so no AUC changes."""
    return expit(np.asarray(logit, dtype=float) / temperature)


def expected_calibration_error(labels: np.ndarray, p: np.ndarray, bins: int = ECE_BINS) -> float:
    """Mean over all rows of |share of fakes - mean P(fake)| of the row's bin.

    The bins are of equal width on P(fake), [i / bins, (i + 1) / bins), the last one closed. labels: [N] 0 or 1; p: [N].
    """
    _, fakes, means, sizes = reliability_bins(labels, p, bins)
    return float((sizes * np.abs(fakes - means)).sum() / sizes.sum())


def reliability_bins(
    labels: np.ndarray, p: np.ndarray, bins: int = ECE_BINS
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(number of the bin, share of fakes, mean P(fake), rows) of every bin that has rows."""
    position = np.minimum((np.asarray(p) * bins).astype(int), bins - 1)
    sizes = np.bincount(position, minlength=bins)
    used = np.flatnonzero(sizes)
    fakes, total = (np.bincount(position, weights=values, minlength=bins)[used] for values in (labels, p))
    return used, fakes / sizes[used], total / sizes[used], sizes[used]


def negative_log_likelihood(labels: np.ndarray, logits: np.ndarray, temperature: float = 1.0) -> float:
    """Mean of -log of the probability given to the true class, in nats."""
    margin = np.where(labels == 1, logits, -np.asarray(logits)) / temperature
    return float(np.logaddexp(0, -margin).mean())


def fit_temperature(labels: np.ndarray, logits: np.ndarray) -> float:
    """The temperature of least mean negative log likelihood, every frame weighing the same.

    UserError where there is none: one class only, no frame on the wrong side of 0.5 (the colder the better), log-odds
    that point the wrong way on the whole (the hotter the better), or log-odds of a size that no probability has.
    """
    if not 0 < labels.sum() < len(labels):
        raise UserError("calibration needs real and fake frames; the file has one class only")
    margin = np.where(labels == 1, logits, -logits)
    if (margin >= 0).all():
        raise UserError("no frame is on the wrong side of 0.5, so no temperature fits best; use more validation videos")
    largest = np.abs(logits).max()
    if not 1e-100 < largest < 1e100:
        raise UserError(f"log-odds of up to {largest:g} belong to no probability; logit_fake must be log(p / (1 - p))")
    if margin.mean() <= 0:
        from evaluation.metrics import auc  # scikit-learn takes a second to import

        told = f"on the whole the log-odds point to the wrong class, and the frame AUC is {auc(labels, logits):.1%}"
        if auc(labels, logits) < 0.5:
            raise UserError(f"{told}; are the labels 0 real, 1 fake?")
        raise UserError(f"{told}: scores that are all too low, all too high or near chance; no temperature mends them, "
                        "take a decision threshold instead")  # fmt: skip
    # In 1 / T the likelihood is convex, so between the bounds there is one minimum in log T too.
    scale = math.log(largest)
    found = minimize_scalar(
        lambda log_t: negative_log_likelihood(labels, logits, math.exp(log_t)),
        bounds=(scale - 14, scale + 14),
        method="bounded",
        options={"xatol": 1e-9},
    )
    return math.exp(found.x)


def calibration_report(labels: np.ndarray, logits: np.ndarray) -> dict:
    """The fitted temperature, and ECE and NLL of the frames before and after."""
    temperature = fit_temperature(labels, logits)
    report: dict = {"temperature": temperature}
    for name, t in (("before", 1.0), ("after", temperature)):
        report[f"ece_{name}"] = expected_calibration_error(labels, apply_temperature(logits, t))
        report[f"nll_{name}"] = negative_log_likelihood(labels, logits, t)
    return report


def read_calibration(path: Path | str) -> float:
    """The temperature of a calibration.json; UserError when the file holds none."""
    temperature = _calibration(path).get("temperature")
    if not isinstance(temperature, (int, float)) or isinstance(temperature, bool) or not 0 < temperature < float("inf"):
        raise UserError(f"{path} holds no temperature above 0; make it again with SJEDD_report.py VAL.csv --calibrate")
    return float(temperature)


def calibrated_checkpoint(path: Path | str) -> str | None:
    """The checkpoint whose predictions a calibration.json was fitted on, as it was named then; None where not known."""
    checkpoint = _calibration(path).get("checkpoint")
    if not isinstance(checkpoint, str | None):
        raise UserError(f"{path} has the checkpoint {checkpoint!r}, not a path; make it again with --calibrate")
    return checkpoint


def _calibration(path: Path | str) -> dict:
    content = read_json(Path(path))
    return content if isinstance(content, dict) else {}
