"""Metrics of frame and video scores. Fake is the positive class; a video's score is the mean of its frames' P(fake)."""

from collections.abc import Mapping, Sequence

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve


def auc(labels: np.ndarray, scores: np.ndarray) -> float | None:
    """Area under the ROC curve, ties counted half; None with one class only. labels, scores: [N]."""
    return float(roc_auc_score(labels, scores)) if 0 < labels.sum() < len(labels) else None


def equal_error_rate(labels: np.ndarray, scores: np.ndarray) -> tuple[float | None, float | None]:
    """(EER interpolated on the ROC where FPR = FNR, FPR at the ROC point nearest to that); None with one class."""
    if not 0 < labels.sum() < len(labels):
        return None, None
    fpr, tpr, _ = roc_curve(labels, scores, drop_intermediate=False)
    gap = fpr - (1 - tpr)  # rises from -1 to 1
    nearest = float(fpr[np.argmin(np.abs(gap))])
    after = int(np.argmax(gap >= 0))
    if gap[after] == 0:
        return float(fpr[after]), nearest
    share = gap[after - 1] / (gap[after - 1] - gap[after])
    return float(fpr[after - 1] + share * (fpr[after] - fpr[after - 1])), nearest


def accuracy(labels: np.ndarray, p_fake: np.ndarray, threshold: float) -> tuple[float, float | None]:
    """(accuracy, balanced accuracy) of the decision p_fake >= threshold; balanced is None with one class."""
    right = (p_fake >= threshold) == (labels == 1)
    recalls = [right[labels == c].mean() for c in (0, 1) if (labels == c).any()]
    return float(right.mean()), float(np.mean(recalls)) if len(recalls) == 2 else None


def best_threshold(labels: np.ndarray, p_fake: np.ndarray) -> float:
    """The decision threshold of highest balanced accuracy: half way between the scores it separates."""
    fpr, tpr, thresholds = roc_curve(labels, p_fake, drop_intermediate=False)
    best = int(np.argmax(tpr - fpr))
    if best == 0:
        return 0.5
    below = p_fake[p_fake < thresholds[best]]
    return float((thresholds[best] + below.max()) / 2) if len(below) else float(thresholds[best] / 2)


def tpr_at_fpr(labels: np.ndarray, scores: np.ndarray, limit: float) -> float | None:
    """Highest true positive rate among ROC points of false positive rate <= limit; None with one class."""
    if not 0 < labels.sum() < len(labels):
        return None
    fpr, tpr, _ = roc_curve(labels, scores, drop_intermediate=False)
    return float(tpr[fpr <= limit].max())


def auc_interval(labels: np.ndarray, scores: np.ndarray, draws: int = 1000, seed: int = 0) -> list[float | None]:
    """95% bootstrap interval [low, high] of the AUC: rows drawn with replacement; one-class draws skipped."""
    if not 0 < labels.sum() < len(labels):
        return [None, None]
    rng = np.random.default_rng(seed)
    order = np.argsort(scores, kind="stable")
    fake = labels[order] == 1
    groups = np.flatnonzero(np.diff(scores[order], prepend=-np.inf))  # first row of each run of equal scores
    values = []
    for _ in range(draws):
        counts = np.bincount(rng.integers(len(labels), size=len(labels)), minlength=len(labels))[order]
        reals, fakes = np.add.reduceat(counts * ~fake, groups), np.add.reduceat(counts * fake, groups)
        pairs = reals.sum() * fakes.sum()
        if pairs:
            # A fake beats the reals of all lower scores and half of those it ties with.
            values.append((fakes * (np.cumsum(reals) - reals / 2)).sum() / pairs)
    return [float(value) for value in np.quantile(values, [0.025, 0.975])]


def video_scores(rows: Sequence[Mapping]) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Rows with video, label, p_fake -> (video ids in order of first appearance, labels [V], mean P(fake) [V])."""
    scores: dict[str, list[float]] = {}
    labels: dict[str, int] = {}
    for row in rows:
        scores.setdefault(row["video"], []).append(float(row["p_fake"]))
        labels.setdefault(row["video"], int(row["label"]))
    videos = list(scores)
    return videos, np.array([labels[v] for v in videos]), np.array([np.mean(scores[v]) for v in videos])


def evaluate(
    rows: Sequence[Mapping],
    node_names: Sequence[str] = (),
    threshold: float | None = None,
    videos_listed: int | None = None,
) -> dict:
    """The metric entries of metrics.json from rows of predictions.csv.

    rows: mappings with video, label (0 real, 1 fake), p_fake, and where known logit_fake, method, code and one column
    per name in ``node_names`` (nodes 1.. of the code; spaces as underscores). threshold: the checkpoint's, for the
    _at_threshold figures. videos_listed: for the coverage. Fractions 0..1, None where undefined.
    """
    labels = np.array([int(row["label"]) for row in rows])
    p_fake = np.array([float(row["p_fake"]) for row in rows])
    # P(fake) rounds to 1 above log-odds of about 14: frames are ranked by their log-odds.
    ranks = np.array([float(row.get("logit_fake", row["p_fake"])) for row in rows])
    videos, video_labels, video_p = video_scores(rows)
    result: dict = {
        "videos": len(videos),
        "frames": len(rows),
        "videos_real": int((video_labels == 0).sum()),
        "videos_fake": int((video_labels == 1).sum()),
    }
    for level, y, p, score in (("frame", labels, p_fake, ranks), ("video", video_labels, video_p, video_p)):
        result[f"{level}_auc"] = auc(y, score)
        result[f"{level}_eer"], result[f"{level}_eer_nearest"] = equal_error_rate(y, score)
        result[f"{level}_ap"] = float(average_precision_score(y, score)) if 0 < y.sum() < len(y) else None
        result[f"{level}_acc"], result[f"{level}_balanced_acc"] = accuracy(y, p, 0.5)
        at = accuracy(y, p, threshold) if threshold is not None else (None, None)
        result[f"{level}_acc_at_threshold"], result[f"{level}_balanced_acc_at_threshold"] = at
    result["video_tpr_at_fpr01"] = tpr_at_fpr(video_labels, video_p, 0.01)
    result["video_tpr_at_fpr05"] = tpr_at_fpr(video_labels, video_p, 0.05)
    result["video_auc_ci95"] = auc_interval(video_labels, video_p)
    result["methods"] = _per_method(rows, labels, ranks)
    result["nodes"] = _per_node(rows, node_names)
    result["coverage"] = len(videos) / videos_listed if videos_listed else None
    return result


def _per_method(rows: Sequence[Mapping], labels: np.ndarray, ranks: np.ndarray) -> dict:
    methods = np.array([row.get("method", "") for row in rows])
    report = {}
    for method in dict.fromkeys(methods[labels == 1]):
        if not method:
            continue
        chosen = (labels == 0) | (methods == method)
        _, video_labels, video_p = video_scores([row for row, keep in zip(rows, chosen, strict=True) if keep])
        report[str(method)] = {
            "videos": int((video_labels == 1).sum()),
            "frame_auc": auc(labels[chosen], ranks[chosen]),
            "video_auc": auc(video_labels, video_p),
        }
    return report


def _per_node(rows: Sequence[Mapping], node_names: Sequence[str]) -> dict:
    known = [row for row in rows if row.get("code")]
    report = {}
    for position, name in enumerate(node_names, start=1):
        told = [row for row in known if row["code"][position] in "01"]
        truth = np.array([int(row["code"][position]) for row in told])
        report[name] = auc(truth, np.array([float(row[name.replace(" ", "_")]) for row in told])) if told else None
    return report
