"""Temperature calibration: P(fake) = sigmoid(log-odds / T), with T fitted on validation frames."""

import math
from pathlib import Path

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import expit

from utils.cli import UserError
from utils.files import read_json

ECE_BINS = 15


def apply_temperature(logit: np.ndarray | float, temperature: float) -> np.ndarray:
    """P(fake) = sigmoid(logit / temperature), any shape; temperature > 0. The order stays, and so does every AUC."""
    return expit(np.asarray(logit, dtype=float) / temperature)


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


def negative_log_likelihood(labels: np.ndarray, logits: np.ndarray, temperature: float = 1.0) -> float:
    """Mean of -log P(true class), in nats."""
    margin = np.where(labels == 1, logits, -logits) / temperature
    return float(np.logaddexp(0, -margin).mean())


def fit_temperature(labels: np.ndarray, logits: np.ndarray) -> float:
    """The temperature that minimises the mean negative log likelihood (Guo et al., ICML 2017, section 4.2).

    Args:
        labels: [N] 0 real, 1 fake.
        logits: [N] log-odds of fake.

    Raises:
        UserError: No temperature is best: there is one class only, no frame is on the wrong side of 0.5 (T would go to
            0), or the log-odds mostly point to the wrong class (T would go to infinity).
    """
    if not 0 < labels.sum() < len(labels):
        raise UserError("calibration needs real and fake frames; the file has one class only")
    margin = np.where(labels == 1, logits, -logits)
    if (margin >= 0).all():
        raise UserError("no frame is on the wrong side of 0.5, so no temperature fits best; use more validation videos")
    if margin.mean() <= 0:
        from sklearn.metrics import roc_auc_score  # takes a second to import

        auc = roc_auc_score(labels, logits)
        problem = f"the log-odds mostly point to the wrong class, and the frame AUC is {auc:.1%}"
        if auc < 0.5:
            raise UserError(f"{problem}; are the labels 0 real, 1 fake?")
        raise UserError(
            f"{problem}: scores that are all too low, all too high or near chance. No temperature fixes them; use a "
            "decision threshold instead"
        )
    # The likelihood is convex in 1 / T, so there is one minimum between the bounds.
    scale = math.log(np.abs(logits).max())
    found = minimize_scalar(
        lambda log_t: negative_log_likelihood(labels, logits, math.exp(log_t)),
        bounds=(scale - 14, scale + 14),
        method="bounded",
        options={"xatol": 1e-9},
    )
    return math.exp(found.x)


def calibration_report(labels: np.ndarray, logits: np.ndarray) -> dict:
    """The fitted temperature, and ECE and NLL before and after. Arguments and errors: as ``fit_temperature``."""
    temperature = fit_temperature(labels, logits)
    report: dict = {"temperature": temperature}
    for name, t in (("before", 1.0), ("after", temperature)):
        report[f"ece_{name}"] = expected_calibration_error(labels, apply_temperature(logits, t))
        report[f"nll_{name}"] = negative_log_likelihood(labels, logits, t)
    return report


def read_calibration(path: Path | str) -> float:
    """The temperature of a calibration.json; raises UserError if the file holds none."""
    temperature = _calibration(path).get("temperature")
    if not isinstance(temperature, int | float) or temperature is True or not 0 < temperature < math.inf:
        raise UserError(f"{path} holds no temperature above 0; make it again with SJEDD_report.py VAL.csv --calibrate")
    return float(temperature)


def calibrated_checkpoint(path: Path | str) -> str | None:
    """The checkpoint whose predictions a calibration.json was fitted on; None if it does not say."""
    checkpoint = _calibration(path).get("checkpoint")
    if not isinstance(checkpoint, str | None):
        raise UserError(f"{path} has the checkpoint {checkpoint!r}, not a path; make it again with --calibrate")
    return checkpoint


def _calibration(path: Path | str) -> dict:
    content = read_json(Path(path))
    return content if isinstance(content, dict) else {}
