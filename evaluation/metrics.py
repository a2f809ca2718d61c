"""Metrics of frame and video scores. Fake is the positive class; a video's score is the mean of its frames' P(fake).

Everywhere: labels [N] 0 real, 1 fake; scores [N], higher means more fake; results are fractions 0..1, None if one of
the classes is missing.
"""

from array import array
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve


def both_classes(labels: np.ndarray) -> bool:
    """Whether there are reals and fakes."""
    return bool(0 < labels.sum() < len(labels))


def auc(labels: np.ndarray, scores: np.ndarray) -> float | None:
    """Area under the ROC curve: the share of pairs (real, fake) in which the fake scores higher, ties counted half
    (Hanley and McNeil, Radiology 1982)."""
    return float(roc_auc_score(labels, scores)) if both_classes(labels) else None


def average_precision(labels: np.ndarray, scores: np.ndarray) -> float | None:
    """Sum over the thresholds of (gain in recall) * precision, without interpolation (as scikit-learn)."""
    return float(average_precision_score(labels, scores)) if both_classes(labels) else None


def equal_error_rate(
    labels: np.ndarray, scores: np.ndarray, corners: bool = False
) -> tuple[float | None, float | None]:
    """The error rate at which FPR = FNR = 1 - TPR.

    Args:
        labels, scores: See above.
        corners: Use only the ROC points at which it turns (scikit-learn's default), not one per threshold.

    Returns:
        (EER interpolated between two ROC points, FPR of the nearest ROC point).
    """
    if not both_classes(labels):
        return None, None
    fpr, tpr, _ = roc_curve(labels, scores, drop_intermediate=corners)
    gap = fpr - (1 - tpr)  # rises from -1 to 1
    nearest = float(fpr[np.argmin(np.abs(gap))])
    after = int(np.argmax(gap >= 0))
    if gap[after] == 0:
        return float(fpr[after]), nearest
    share = gap[after - 1] / (gap[after - 1] - gap[after])
    return float(fpr[after - 1] + share * (fpr[after] - fpr[after - 1])), nearest


def accuracy(labels: np.ndarray, p_fake: np.ndarray, threshold: float) -> tuple[float, float | None]:
    """(accuracy, balanced accuracy = mean recall of the two classes) of the decision p_fake >= threshold."""
    right = (p_fake >= threshold) == (labels == 1)
    recalls = [right[labels == c].mean() for c in (0, 1) if (labels == c).any()]
    return float(right.mean()), float(np.mean(recalls)) if len(recalls) == 2 else None


def best_threshold(labels: np.ndarray, p_fake: np.ndarray) -> float:
    """The threshold of highest balanced accuracy, i.e. of the largest TPR - FPR (Youden, Cancer 1950), half way between
    the two scores that it separates."""
    fpr, tpr, thresholds = roc_curve(labels, p_fake, drop_intermediate=False)
    best = int(np.argmax(tpr - fpr))
    if best == 0:
        return 0.5
    below = p_fake[p_fake < thresholds[best]]
    return float((thresholds[best] + below.max()) / 2) if len(below) else float(thresholds[best] / 2)


def tpr_at_fpr(labels: np.ndarray, scores: np.ndarray, limit: float) -> float | None:
    """Highest true positive rate among the ROC points of false positive rate <= limit."""
    if not both_classes(labels):
        return None
    fpr, tpr, _ = roc_curve(labels, scores, drop_intermediate=False)
    return float(tpr[fpr <= limit].max())


def auc_interval(labels: np.ndarray, scores: np.ndarray, draws: int = 1000, seed: int = 0) -> list[float | None]:
    """95% percentile bootstrap interval [low, high] of the AUC (Efron and Tibshirani 1993, section 13.3)."""
    if not both_classes(labels):
        return [None, None]
    values = _resampled_aucs(labels, [scores], draws, seed)[:, 0]
    return [float(value) for value in np.quantile(values, [0.025, 0.975])]


def auc_difference(
    labels: np.ndarray, scores_a: np.ndarray, scores_b: np.ndarray, draws: int = 1000, seed: int = 0
) -> dict | None:
    """Paired bootstrap of AUC(b) - AUC(a): in every draw both are computed on the same rows.

    Returns:
        {"difference", "ci95": [low, high], "p"}. p is two-sided, 2 (1 + k) / (1 + draws), with k the number of draws on
        the rarer side of 0.
    """
    if not both_classes(labels):
        return None
    values = _resampled_aucs(labels, [scores_a, scores_b], draws, seed)
    difference = values[:, 1] - values[:, 0]
    low, high = np.quantile(difference, [0.025, 0.975])
    tail = 1 + min((difference <= 0).sum(), (difference >= 0).sum())
    return {
        "difference": float(roc_auc_score(labels, scores_b) - roc_auc_score(labels, scores_a)),
        "ci95": [float(low), float(high)],
        "p": min(1.0, float(2 * tail / (len(difference) + 1))),
    }


def _resampled_aucs(labels: np.ndarray, scores: Sequence[np.ndarray], draws: int, seed: int) -> np.ndarray:
    """AUC of every score vector in every draw of N rows with replacement: [draws, len(scores)]. Draws of one class are
    skipped."""
    rng = np.random.default_rng(seed)
    rankings = [_ranking(labels, values) for values in scores]
    aucs = []
    for _ in range(draws):
        times = np.bincount(rng.integers(len(labels), size=len(labels)), minlength=len(labels))
        n_fakes = times[rankings[0][1]].sum()
        if pairs := n_fakes * (len(labels) - n_fakes):
            aucs.append([_won_pairs(times, *ranking) / pairs for ranking in rankings])
    return np.array(aucs)


def _ranking(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, ...]:
    """(rows of the reals by score, rows of the fakes by score, per fake: reals below it, reals not above it)."""
    order = np.argsort(scores, kind="stable")
    reals, fakes = order[labels[order] == 0], order[labels[order] == 1]
    below, not_above = (np.searchsorted(scores[reals], scores[fakes], side) for side in ("left", "right"))
    return reals, fakes, below, not_above


def _won_pairs(
    times: np.ndarray, reals: np.ndarray, fakes: np.ndarray, below: np.ndarray, not_above: np.ndarray
) -> float:
    """Pairs in which the fake scores higher, ties counted half, if row i was drawn ``times[i]`` times."""
    passed = np.concatenate([[0], np.cumsum(times[reals])])
    return float(times[fakes] @ (passed[below] + passed[not_above])) / 2


def dense_ranks(values: np.ndarray) -> np.ndarray:
    """[N] integers: 0 for the smallest value, 1 for the next and so on, ties together; takes infinite values."""
    return np.unique(values, return_inverse=True)[1]


def video_means(video: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Mean of the frames' values per video [V]; video: [N] integers 0..V-1, each of which occurs.

    The means are rounded so that equal videos tie: the last digit of a mean depends on the number of frames.
    """
    return np.round(np.bincount(video, weights=values) / np.bincount(video), 12)


def first_rows(video: np.ndarray) -> np.ndarray:
    """Index of the first frame of each video [V]."""
    return np.unique(video, return_index=True)[1]


def video_scores(rows: Sequence[Mapping]) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Rows with video, label, p_fake -> (video ids in order of first appearance, labels [V], mean P(fake) [V])."""
    index: dict[str, int] = {}
    video = np.array([index.setdefault(row["video"], len(index)) for row in rows])
    labels = np.array([int(row["label"]) for row in rows])
    return list(index), labels[first_rows(video)], video_means(video, np.array([float(row["p_fake"]) for row in rows]))


def evaluate(
    rows: Iterable[Mapping],
    node_names: Sequence[str] = (),
    threshold: float | None = None,
    videos_listed: int | None = None,
) -> dict:
    """The metric entries of metrics.json from rows of predictions.csv.

    Args:
        rows: Mappings with video, label, p_fake, and where known logit_fake, method, code and one column per name in
            ``node_names``, spaces as underscores. Each row is read once.
        node_names: Nodes of the label tree without the root, in the order of the code's digits.
        threshold: The checkpoint's decision threshold, for the figures _at_threshold.
        videos_listed: Videos of the data set, for the coverage.
    """
    columns = [name.replace(" ", "_") for name in node_names]
    index: dict[str, int] = {}
    found, videos, numbers = array("b"), array("q"), array("d")  # 8 bytes a number, where a list takes 32
    methods, codes = [], []
    for row in rows:
        found.append(int(row["label"]))
        videos.append(index.setdefault(row["video"], len(index)))
        methods.append(row.get("method", ""))
        codes.append(row.get("code", ""))
        # P(fake) rounds to 1 above log-odds of about 14: frames are ranked by their log-odds.
        scores = (row["p_fake"], row.get("logit_fake", row["p_fake"]), *(row.get(name, "nan") for name in columns))
        numbers.extend(float(value) for value in scores)
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


# labels, P(fake) or None if the scores are no probabilities (then there is no accuracy), scores to rank by: each [N]
Level = tuple[np.ndarray, np.ndarray | None, np.ndarray]


def frame_and_video_metrics(frames: Level, videos: Level, threshold: float | None) -> dict:
    """Counts, ranking metrics and accuracies of both levels, as metrics.json names them."""
    video_labels, _, video_ranks = videos
    fakes = int((video_labels == 1).sum())
    result: dict = {"videos": len(video_labels), "frames": len(frames[0])}
    result |= {"videos_real": len(video_labels) - fakes, "videos_fake": fakes}
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
    """Every method's fakes against all reals: {name: {videos, frame_auc, video_auc}}. All arguments are of the frames,
    [N]; fakes without a method are skipped."""
    numbered = {method: number for number, method in enumerate(dict.fromkeys(methods))}
    of_row = np.fromiter((numbered[method] for method in methods), dtype=np.int64, count=len(labels))
    report = {}
    for method in (name for name, number in numbered.items() if name and (labels[of_row == number] == 1).any()):
        chosen = (labels == 0) | (of_row == numbered[method])
        _, index = np.unique(video[chosen], return_inverse=True)
        video_labels = labels[chosen][first_rows(index)]
        report[method] = {
            "videos": int((video_labels == 1).sum()),
            "frame_auc": auc(labels[chosen], ranks[chosen]),
            "video_auc": auc(video_labels, video_means(index, p_fake[chosen])),
        }
    return report


def node_aucs(codes: Sequence[str], nodes: Mapping[str, np.ndarray]) -> dict:
    """Frame AUC of every node among the frames whose code tells its state (0 or 1).

    Args:
        codes: [N], "" where not known; digit 0 is the root's.
        nodes: Name -> probabilities [N], in the order of the digits 1, 2, ...
    """
    report = {}
    for position, (name, p) in enumerate(nodes.items(), start=1):
        states = {code: int(code[position]) if code else 2 for code in set(codes)}
        state = np.fromiter((states[code] for code in codes), dtype=np.int64, count=len(p))
        report[name] = auc(state[state < 2], p[state < 2])
    return report
