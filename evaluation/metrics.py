"""Metrics of frame and video scores. Fake is the positive class; a video's score is the mean of its frames' P(fake).

In all functions labels [N] are 0 real, 1 fake, and a higher score [N] means more fake. Results are fractions 0..1;
ranking metrics and balanced accuracy are None if there is only one class.
"""

from array import array
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TypeVar

import numpy as np
from scipy.stats import norm, rankdata
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

Key = TypeVar("Key", bound=Hashable)


def both_classes(labels: np.ndarray) -> bool:
    return bool(0 < labels.sum() < len(labels))


def auc(labels: np.ndarray, scores: np.ndarray) -> float | None:
    """Area under the ROC curve: the share of (real, fake) pairs in which the fake scores higher; a tie counts half.

    Hanley and McNeil, Radiology 1982.
    """
    return float(roc_auc_score(labels, scores)) if both_classes(labels) else None


def average_precision(labels: np.ndarray, scores: np.ndarray) -> float | None:
    """Sum over the thresholds of (gain in recall) * precision, without interpolation."""
    return float(average_precision_score(labels, scores)) if both_classes(labels) else None


def equal_error_rate(
    labels: np.ndarray, scores: np.ndarray, corners: bool = False
) -> tuple[float | None, float | None]:
    """The error rate at which FPR = FNR = 1 - TPR: (interpolated between two ROC points, FPR of the nearest ROC point).

    corners: Use only the ROC points at which the curve turns (scikit-learn's default), not one per threshold.
    """
    if not both_classes(labels):
        return None, None
    fpr, tpr, _ = roc_curve(labels, scores, drop_intermediate=corners)
    gap = fpr - (1 - tpr)  # rises from -1 to 1
    return float(np.interp(0, gap, fpr)), float(fpr[np.argmin(np.abs(gap))])


def accuracy(labels: np.ndarray, p_fake: np.ndarray, threshold: float) -> tuple[float, float | None]:
    """(accuracy, balanced accuracy = mean recall of the two classes) of the decision p_fake >= threshold."""
    right = (p_fake >= threshold) == (labels == 1)
    balanced = (right[labels == 0].mean() + right[labels == 1].mean()) / 2 if both_classes(labels) else None
    return float(right.mean()), None if balanced is None else float(balanced)


def best_threshold(labels: np.ndarray, p_fake: np.ndarray) -> float:
    """The threshold with the best balanced accuracy, half way between the two scores that it separates.

    It has the largest TPR - FPR (Youden, Cancer 1950); 0.5 if no threshold is better than chance.
    """
    fpr, tpr, thresholds = roc_curve(labels, p_fake, drop_intermediate=False)
    best = int(np.argmax(tpr - fpr))
    if best == 0:
        return 0.5
    return float((thresholds[best] + p_fake[p_fake < thresholds[best]].max(initial=0)) / 2)


def tpr_at_fpr(labels: np.ndarray, scores: np.ndarray, limit: float) -> float | None:
    """Highest true positive rate at a false positive rate of at most ``limit``."""
    if not both_classes(labels):
        return None
    fpr, tpr, _ = roc_curve(labels, scores, drop_intermediate=False)
    return float(tpr[fpr <= limit].max())


def auc_interval(labels: np.ndarray, scores: np.ndarray, draws: int = 1000) -> list[float | None]:
    """95% percentile bootstrap interval [low, high] of the AUC (Efron and Tibshirani 1993, section 13.3)."""
    if not both_classes(labels):
        return [None, None]
    values = _resampled_aucs(labels, [scores], draws)[:, 0]
    return [float(value) for value in np.quantile(values, [0.025, 0.975])]


def auc_difference(labels: np.ndarray, scores_a: np.ndarray, scores_b: np.ndarray, draws: int = 1000) -> dict | None:
    """Paired bootstrap of AUC(b) - AUC(a), both on the same rows in each draw: {"difference", "ci95", "p"}.

    p is two-sided: 2 (1 + k) / (1 + draws), where k draws lie on the rarer side of 0.
    """
    if not both_classes(labels):
        return None
    values = _resampled_aucs(labels, [scores_a, scores_b], draws)
    difference = values[:, 1] - values[:, 0]
    low, high = np.quantile(difference, [0.025, 0.975])
    tail = 1 + min((difference <= 0).sum(), (difference >= 0).sum())
    return {
        "difference": float(roc_auc_score(labels, scores_b) - roc_auc_score(labels, scores_a)),
        "ci95": [float(low), float(high)],
        "p": min(1.0, float(2 * tail / (len(difference) + 1))),
    }


def delong_test(labels: np.ndarray, scores_a: np.ndarray, scores_b: np.ndarray) -> dict:
    """DeLong's test of AUC(b) - AUC(a) on the same rows: {"delong_ci95", "delong_p"}, two-sided; None where undefined.

    DeLong, DeLong and Clarke-Pearson, Biometrics 1988, computed from midranks as in Sun and Xu, IEEE Signal Processing
    Letters 2014, in O(N log N). Rows must be independent: videos are, frames of one video are not. The variance is that
    of the difference of both systems' placement values, which equals var(a) + var(b) - 2 cov(a, b). There is no test
    with one row of a class, nor where that difference is the same in all rows, as if both rank alike.
    """
    fakes, reals = (b - a for a, b in zip(_placements(labels, scores_a), _placements(labels, scores_b), strict=True))
    if min(len(fakes), len(reals)) < 2:
        return {"delong_ci95": [None, None], "delong_p": None}
    deviation = float(np.sqrt(fakes.var(ddof=1) / len(fakes) + reals.var(ddof=1) / len(reals)))
    if deviation < 1e-12:  # rounding
        return {"delong_ci95": [None, None], "delong_p": None}
    difference = float(fakes.mean())
    margin = float(norm.ppf(0.975)) * deviation
    p = 2 * float(norm.sf(abs(difference) / deviation))
    return {"delong_ci95": [difference - margin, difference + margin], "delong_p": p}


def _placements(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(per fake the share of reals below it, per real the share of fakes above it); ties count half.

    The mean of either is the AUC.
    """
    ranks = rankdata(scores)  # midranks
    fakes, reals = labels == 1, labels == 0
    below = (ranks[fakes] - rankdata(scores[fakes])) / max(reals.sum(), 1)
    return below, 1 - (ranks[reals] - rankdata(scores[reals])) / max(fakes.sum(), 1)


def cross_aucs(labels: np.ndarray, scores: np.ndarray, datasets: Sequence[str]) -> dict:
    """Cross-AUC between data sets: the AUC of the reals of one against the fakes of another.

    Low values beside high AUCs within the data sets mean that their scores lie apart: no one threshold serves both. The
    definition is that of the xAUC between groups (Kallus and Zhou, NeurIPS 2019), with data sets as the groups.

    Args:
        labels, scores: [N].
        datasets: [N] name of the data set of each row.

    Returns:
        {"aucs": {data set of the reals: {data set of the fakes: AUC}}, "within": mean of the AUCs within a data set,
        "cross": mean over the ordered pairs of different data sets}; None where a class is missing, and means are over
        the pairs that have both.
    """
    number, names = number_keys(datasets)
    table = {
        of_reals: {
            of_fakes: auc(labels[chosen], scores[chosen])
            for j, of_fakes in enumerate(names)
            for chosen in [((labels == 0) & (number == i)) | ((labels == 1) & (number == j))]
        }
        for i, of_reals in enumerate(names)
    }

    def mean(within: bool) -> float | None:
        values = [v for r, row in table.items() for f, v in row.items() if (r == f) == within and v is not None]
        return sum(values) / len(values) if values else None

    return {"aucs": table, "within": mean(True), "cross": mean(False)}


def _resampled_aucs(labels: np.ndarray, scores: Sequence[np.ndarray], draws: int) -> np.ndarray:
    """AUCs [draws, len(scores)]; each draw takes N rows with replacement. Draws with one class only are skipped."""
    rng = np.random.default_rng(0)
    rankings = [_ranking(labels, values) for values in scores]
    aucs = []
    for _ in range(draws):
        times = np.bincount(rng.integers(len(labels), size=len(labels)), minlength=len(labels))
        n_fakes = times[rankings[0][1]].sum()
        if pairs := n_fakes * (len(labels) - n_fakes):
            aucs.append([_won_pairs(times, *ranking) / pairs for ranking in rankings])
    return np.array(aucs)


def _ranking(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, ...]:
    """(rows of reals and rows of fakes, both by score; per fake: number of reals below it, and not above it)."""
    order = np.argsort(scores, kind="stable")
    reals, fakes = order[labels[order] == 0], order[labels[order] == 1]
    below, not_above = (np.searchsorted(scores[reals], scores[fakes], side) for side in ("left", "right"))
    return reals, fakes, below, not_above


def _won_pairs(
    times: np.ndarray, reals: np.ndarray, fakes: np.ndarray, below: np.ndarray, not_above: np.ndarray
) -> float:
    """Number of (real, fake) pairs in which the fake scores higher, if row i was drawn ``times[i]`` times."""
    passed = np.concatenate([[0], np.cumsum(times[reals])])
    return float(times[fakes] @ (passed[below] + passed[not_above])) / 2


def dense_ranks(values: np.ndarray) -> np.ndarray:
    """[N] integers: 0 for the smallest value, 1 for the next and so on; equal values tie. Values may be infinite."""
    return np.unique(values, return_inverse=True)[1]


def video_means(video: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Mean per video [V]. video: [N] integers 0..V-1, each of which occurs.

    The means are rounded so that equal scores tie: the last digit of a mean depends on the number of frames.
    """
    return np.round(np.bincount(video, weights=values) / np.bincount(video), 12)


def number_keys(keys: Iterable[Key]) -> tuple[np.ndarray, list[Key]]:
    """(number of every key [N], distinct keys), numbered 0, 1, ... in order of first appearance."""
    index: dict[Key, int] = {}
    return np.array([index.setdefault(key, len(index)) for key in keys], dtype=np.int64), list(index)


def first_rows(video: np.ndarray) -> np.ndarray:
    """Index of the first frame of each video [V]."""
    return np.unique(video, return_index=True)[1]


def video_scores(rows: Sequence[Mapping]) -> tuple[list[str], np.ndarray, np.ndarray]:
    """(video ids in order of first appearance, labels [V], mean P(fake) [V]) of rows with video, label, p_fake."""
    video, ids = number_keys(row["video"] for row in rows)
    labels = np.array([int(row["label"]) for row in rows])
    return ids, labels[first_rows(video)], video_means(video, np.array([float(row["p_fake"]) for row in rows]))


def evaluate(
    rows: Iterable[Mapping],
    node_names: Sequence[str] = (),
    threshold: float | None = None,
    videos_listed: int | None = None,
) -> dict:
    """Compute the metrics of metrics.json from rows of predictions.csv.

    Args:
        rows: Mappings with video, label, p_fake; optional: logit_fake, method, code, and a column per node (spaces as
            underscores). Each row is read once.
        node_names: Nodes of the label tree without the root, in the order of the code's digits.
        threshold: The checkpoint's decision threshold, for the figures _at_threshold.
        videos_listed: Number of videos in the data set, for the coverage.
    """
    columns = [name.replace(" ", "_") for name in node_names]
    index: dict[str, int] = {}
    found, videos, numbers = array("b"), array("q"), array("d")  # 8 bytes per number; a list takes 32
    methods, codes = [], []
    for row in rows:
        found.append(int(row["label"]))
        videos.append(index.setdefault(row["video"], len(index)))
        methods.append(row.get("method", ""))
        codes.append(row.get("code", ""))
        # Rank frames by log-odds: P(fake) rounds to 1 above log-odds of about 14.
        scores = (row["p_fake"], row.get("logit_fake", row["p_fake"]), *(row.get(name, "nan") for name in columns))
        numbers.extend(map(float, scores))
    labels, video = np.array(found, dtype=np.int64), np.frombuffer(videos, dtype=np.int64)
    p_fake, ranks, *nodes = np.frombuffer(numbers).reshape(len(labels), -1).T
    video_labels, video_p = labels[first_rows(video)], video_means(video, p_fake)
    return {
        **frame_and_video_metrics((labels, p_fake, ranks), (video_labels, video_p, video_p), threshold),
        "video_auc_ci95": auc_interval(video_labels, video_p),
        "methods": method_metrics(methods, labels, p_fake, ranks, video),
        "nodes": node_aucs(codes, dict(zip(node_names, nodes, strict=True))),
        "coverage": len(index) / videos_listed if videos_listed else None,
    }


# (labels, P(fake), scores to rank by), each [N]. P(fake) is None if the scores are not probabilities: no accuracy then.
Level = tuple[np.ndarray, np.ndarray | None, np.ndarray]


def frame_and_video_metrics(frames: Level, videos: Level, threshold: float | None) -> dict:
    """Counts, ranking metrics and accuracies, named as in metrics.json."""
    video_labels, _, video_ranks = videos
    result: dict = {"videos": len(video_labels), "frames": len(frames[0])}
    result |= {"videos_real": int((video_labels == 0).sum()), "videos_fake": int((video_labels == 1).sum())}
    for level, (labels, p_fake, ranks) in {"frame": frames, "video": videos}.items():
        result[f"{level}_auc"] = auc(labels, ranks)
        result[f"{level}_eer"], result[f"{level}_eer_nearest"] = equal_error_rate(labels, ranks)
        result[f"{level}_ap"] = average_precision(labels, ranks)
        for suffix, limit in (("", 0.5), ("_at_threshold", threshold)):
            at = (None, None) if p_fake is None or limit is None else accuracy(labels, p_fake, limit)
            result[f"{level}_acc{suffix}"], result[f"{level}_balanced_acc{suffix}"] = at
    result["video_tpr_at_fpr01"] = tpr_at_fpr(video_labels, video_ranks, 0.01)
    result["video_tpr_at_fpr05"] = tpr_at_fpr(video_labels, video_ranks, 0.05)
    return result


def method_metrics(
    methods: Sequence[str], labels: np.ndarray, p_fake: np.ndarray, ranks: np.ndarray, video: np.ndarray
) -> dict:
    """{method: {videos, frame_auc, video_auc}}: the fakes of each method against all reals.

    All arguments are per frame, [N]. Fakes without a method are skipped.
    """
    number, names = number_keys(methods)
    report = {}
    for i, method in enumerate(names):
        if not method or not labels[number == i].any():
            continue
        chosen = (labels == 0) | (number == i)
        _, index = np.unique(video[chosen], return_inverse=True)
        video_labels = labels[chosen][first_rows(index)]
        report[method] = {
            "videos": int((video_labels == 1).sum()),
            "frame_auc": auc(labels[chosen], ranks[chosen]),
            "video_auc": auc(video_labels, video_means(index, p_fake[chosen])),
        }
    return report


def node_aucs(codes: Sequence[str], nodes: Mapping[str, np.ndarray]) -> dict:
    """Frame AUC of every node over the frames whose code gives its state (0 or 1).

    Args:
        codes: [N], "" where not known. The first digit is the root's.
        nodes: Name -> probabilities [N], in the order of the other digits.
    """
    report = {}
    for position, (name, p) in enumerate(nodes.items(), start=1):
        states = {code: int(code[position]) if code else 2 for code in set(codes)}
        state = np.fromiter((states[code] for code in codes), dtype=np.int64, count=len(p))
        report[name] = auc(state[state < 2], p[state < 2])
    return report
