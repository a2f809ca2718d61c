"""One predictions file under the conventions of several systems.

They differ in what a video is, in how it is scored, and in what happens to videos of which nothing could be scored.
"""

from pathlib import PurePosixPath
from typing import NamedTuple

import numpy as np

from datasets.video_ids import folder_of
from evaluation.calibration import expected_calibration_error
from evaluation.metrics import (
    auc,
    auc_interval,
    counts,
    dense_ranks,
    equal_error_rate,
    first_rows,
    level_metrics,
    method_metrics,
    node_aucs,
    operating_points,
    video_means,
)
from evaluation.prediction_table import Predictions

CONVENTIONS = {
    "ours": "a video is its id, its score the mean of its frames; failed videos are left out and show in the coverage",
    "benchmark": "a video is the name of its images' folder alone, so equal names merge; its score is the mean of its "
    "frames, its label the integer part of their mean label; EER is the FPR at the nearest corner of the ROC",
    "sbi": "the largest score among the faces of a frame, the mean over a video's frames; a failed video scores 0.5",
    "strict": "as ours, but a failed video counts as wrong: its score is 1 - label",
}


class _View(NamedTuple):
    """What a convention makes of a file: labels, scores and ranking scores of its frames, and of its videos."""

    labels: np.ndarray
    scores: np.ndarray
    ranks: np.ndarray
    video_labels: np.ndarray
    video_scores: np.ndarray


def convention_metrics(predictions: Predictions, threshold: float | None = None) -> dict[str, dict]:
    """The metrics of a file under every convention.

    Args:
        predictions: Of one file.
        threshold: The decision threshold of the figures _at_threshold.

    Returns:
        {convention: {metric: value}}, named as in metrics.json; fractions 0..1, None where undefined. Only ``ours`` has
        figures per method, per node, per data set (if there are several) and frame_ece.
    """
    p, failed = predictions, predictions.failed
    coverage = None if p.dropped is None else len(p.video_ids) / (len(p.video_ids) + len(failed))
    views = _views(p)
    intervals: dict[bytes, list] = {}  # conventions often agree, and the bootstrap is the slow part
    results = {}
    for name, view in views.items():
        frame_p, video_p = (view.scores, view.video_scores) if p.probabilities else (None, None)
        video_ranks = dense_ranks(view.video_scores)  # the scores may be infinite
        key = view.video_labels.tobytes() + video_ranks.tobytes()
        if key not in intervals:
            intervals[key] = auc_interval(view.video_labels, video_ranks)
        results[name] = (
            counts(view.video_labels, len(view.labels))
            | level_metrics("frame", view.labels, frame_p, view.ranks, threshold)
            | level_metrics("video", view.video_labels, video_p, video_ranks, threshold)
            | operating_points(view.video_labels, video_ranks)
            | {"video_auc_ci95": intervals[key], "coverage": coverage}
        )
    benchmark = views["benchmark"]
    frame_eer = equal_error_rate(benchmark.labels, benchmark.scores, corners=True)[1]
    video_eer = equal_error_rate(benchmark.video_labels, benchmark.video_scores, corners=True)[1]
    results["benchmark"] |= {"frame_eer": frame_eer, "frame_eer_nearest": frame_eer}
    results["benchmark"] |= {"video_eer": video_eer, "video_eer_nearest": video_eer}
    if failed and not p.probabilities:  # 0.5 means nothing among these scores
        results["sbi"] |= {name: None for name in results["sbi"] if name.startswith("video_")}
        results["sbi"]["video_auc_ci95"] = [None, None]
    results["ours"] |= {
        "methods": method_metrics(p.methods, p.labels, p.scores, p.ranks, p.video),
        "nodes": node_aucs(p.codes, p.nodes),
        "frame_ece": expected_calibration_error(p.labels, p.scores) if p.probabilities else None,
    }
    if len(p.datasets) > 1:
        results["ours"]["datasets"] = _dataset_metrics(p)
    return results


def _views(p: Predictions) -> dict[str, _View]:
    frames = p.labels, p.scores, p.ranks
    failed = np.array(list(p.failed.values()), dtype=p.video_labels.dtype)
    with_failed = np.concatenate([p.video_labels, failed])
    lowest, highest = (0.0, 1.0) if p.probabilities else (-np.inf, np.inf)
    wrong = np.where(failed == 1, lowest, highest)
    largest, video_means_of_largest = _largest_per_frame(p)
    return {
        "ours": _View(*frames, p.video_labels, p.video_scores),
        "benchmark": _View(p.labels, p.scores, p.scores, *benchmark_videos(p)),
        "sbi": _View(*largest, with_failed, np.concatenate([video_means_of_largest, np.full(len(failed), 0.5)])),
        "strict": _View(*frames, with_failed, np.concatenate([p.video_scores, wrong])),
    }


def _dataset_metrics(p: Predictions) -> dict[str, dict]:
    """{data set: {videos_real, videos_fake, frame_auc, video_auc}}, each on its own."""
    of_video, labels, scores = np.array([dataset for dataset, _ in p.video_ids]), p.video_labels, p.video_scores
    report = {}
    for dataset in p.datasets:
        videos = of_video == dataset
        frames = videos[p.video]
        report[dataset] = {
            "videos_real": int((labels[videos] == 0).sum()),
            "videos_fake": int((labels[videos] == 1).sum()),
            "frame_auc": auc(p.labels[frames], p.ranks[frames]),
            "video_auc": auc(labels[videos], scores[videos]),
        }
    return report


def benchmark_videos(p: Predictions) -> tuple[np.ndarray, np.ndarray]:
    """(labels [K], scores [K]) of the benchmark's videos: frames of a data set whose folder has the same name."""
    index: dict[tuple[str, str], int] = {}
    keys = zip((p.video_ids[v][0] for v in p.video.tolist()), _folder_names(p), strict=True)
    group = np.array([index.setdefault(key, len(index)) for key in keys])
    sizes = np.bincount(group)
    return np.bincount(group, weights=p.labels).astype(int) // sizes, video_means(group, p.scores)


def _folder_names(p: Predictions) -> list[str]:
    """Per frame the name of its folder; without a folder the last part of the video id."""
    videos = [PurePosixPath(video.replace("\\", "/")).name or video for _, video in p.video_ids]
    names = {folder: folder.rpartition("/")[2] for folder in set(map(folder_of, p.paths))}
    return [names[folder_of(path)] or videos[v] for path, v in zip(p.paths, p.video.tolist(), strict=True)]


def _largest_per_frame(p: Predictions) -> tuple[tuple[np.ndarray, np.ndarray, np.ndarray], np.ndarray]:
    """((labels, scores, ranks) of the frames, each the largest of its faces; mean of these scores per video [V]).

    Rows of a video with the same frame name are the faces of one frame; a row without a name is a frame of its own.
    """
    index: dict[tuple, int] = {}
    names = [name or row for row, name in enumerate(p.frame_names)]
    frame = np.array([index.setdefault(key, len(index)) for key in zip(p.video.tolist(), names, strict=True)])
    first = first_rows(frame)
    largest = []
    for values in (p.scores, p.ranks):
        best = np.full(len(first), -np.inf)
        np.maximum.at(best, frame, values)
        largest.append(best)
    return (p.labels[first], *largest), video_means(p.video[first], largest[0])


def convention_effects(predictions: Predictions, metrics: dict[str, dict]) -> dict[str, str]:
    """{convention: what it changes in this file, in words}."""
    ours, failed = metrics["ours"], len(predictions.failed)
    groups = metrics["benchmark"]
    merged = f"{ours['videos']} videos become {groups['videos']} groups, {groups['videos_fake']} of them fake"
    faces = f"{ours['frames']} rows are {metrics['sbi']['frames']} frames"
    known = f"{failed} failed" if predictions.dropped is not None else "failed videos not known"
    if failed and not predictions.probabilities:
        faces += "; 0.5 means nothing for these scores, so no video figures"
    return {"ours": known, "benchmark": merged, "sbi": f"{faces}; {known}", "strict": known}
