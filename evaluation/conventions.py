"""The metrics of one predictions file under the conventions of several systems.

They differ in what a video is, how it is scored, and what happens to failed videos (those without any scored frame).
"""

from pathlib import PurePosixPath

import numpy as np

from datasets.video_ids import folder_of
from evaluation.calibration import expected_calibration_error
from evaluation.metrics import (
    Level,
    auc,
    auc_interval,
    cross_aucs,
    dense_ranks,
    equal_error_rate,
    first_rows,
    frame_and_video_metrics,
    method_metrics,
    node_aucs,
    number_keys,
    video_means,
)
from evaluation.predictions_reader import Predictions

CONVENTIONS = {
    "ours": "a video is its id, its score the mean of its frames; failed videos are left out and show in the coverage",
    "benchmark": "folders of the same name are one video; its score is the mean of its frames, its label the "
    "integer part of their mean label; EER is the FPR at the nearest corner of the ROC",
    "sbi": "the largest score among the faces of a frame, the mean over a video's frames; a failed video scores 0.5",
    "strict": "as ours, but a failed video counts as wrong: its score is 1 - label",
}


def convention_metrics(predictions: Predictions, threshold: float | None = None) -> dict[str, dict]:
    """{convention: {metric: value}}, named as in metrics.json.

    Only ``ours`` has frame_ece and figures per method, per node and, if there are several, per data set
    and between data sets (cross_auc). threshold: for
    the figures _at_threshold.
    """
    p, n_failed = predictions, len(predictions.failed)
    coverage = None if p.dropped is None else len(p.video_ids) / (len(p.video_ids) + n_failed)
    intervals: dict[bytes, list] = {}  # conventions often agree, and the bootstrap is the slow part
    results = {}
    for name, (frames, video_labels, video_scores) in _by_convention(p).items():
        ranks = dense_ranks(video_scores)  # the scores may be infinite
        key = video_labels.tobytes() + ranks.tobytes()
        if key not in intervals:
            intervals[key] = auc_interval(video_labels, ranks)
        videos = (video_labels, video_scores if p.probabilities else None, ranks)
        more = {"video_auc_ci95": intervals[key], "coverage": coverage}
        results[name] = frame_and_video_metrics(frames, videos, threshold) | more
    for level, labels_and_scores in {"frame": (p.labels, p.scores), "video": benchmark_videos(p)}.items():
        corner = equal_error_rate(*labels_and_scores, corners=True)[1]
        results["benchmark"] |= {f"{level}_eer": corner, f"{level}_eer_nearest": corner}
    if n_failed and not p.probabilities:  # 0.5 means nothing among these scores
        results["sbi"] |= {name: None for name in results["sbi"] if name.startswith("video_")}
        results["sbi"]["video_auc_ci95"] = [None, None]
    results["ours"] |= {
        "methods": method_metrics(p.methods, p.labels, p.scores, p.ranks, p.video),
        "nodes": node_aucs(p.codes, p.nodes),
        "frame_ece": expected_calibration_error(p.labels, p.scores) if p.probabilities else None,
    }
    if len(p.datasets) > 1:
        results["ours"]["datasets"] = _dataset_metrics(p)
        results["ours"]["cross_auc"] = cross_aucs(p.video_labels, p.video_scores, [name for name, _ in p.video_ids])
    return results


def _by_convention(p: Predictions) -> dict[str, tuple[Level, np.ndarray, np.ndarray]]:
    """{convention: (frames, labels of the videos, scores of the videos)}."""
    p_fake = p.scores if p.probabilities else None
    failed = np.array(list(p.failed.values()), dtype=p.video_labels.dtype)
    with_failed = np.concatenate([p.video_labels, failed])
    lowest, highest = (0.0, 1.0) if p.probabilities else (-np.inf, np.inf)
    wrong = np.where(failed == 1, lowest, highest)
    largest, sbi_scores = _largest_per_frame(p)
    return {
        "ours": ((p.labels, p_fake, p.ranks), p.video_labels, p.video_scores),
        "benchmark": ((p.labels, p_fake, p.scores), *benchmark_videos(p)),
        "sbi": (largest, with_failed, np.concatenate([sbi_scores, np.full(len(failed), 0.5)])),
        "strict": ((p.labels, p_fake, p.ranks), with_failed, np.concatenate([p.video_scores, wrong])),
    }


def _dataset_metrics(p: Predictions) -> dict[str, dict]:
    """{data set: {videos_real, videos_fake, frame_auc, video_auc}}."""
    report = {}
    for dataset in p.datasets:
        videos = np.array([name == dataset for name, _ in p.video_ids])
        frames, labels = videos[p.video], p.video_labels[videos]
        report[dataset] = {
            "videos_real": int((labels == 0).sum()),
            "videos_fake": int((labels == 1).sum()),
            "frame_auc": auc(p.labels[frames], p.ranks[frames]),
            "video_auc": auc(labels, p.video_scores[videos]),
        }
    return report


def benchmark_videos(p: Predictions) -> tuple[np.ndarray, np.ndarray]:
    """(labels [K], scores [K]) of the benchmark's videos: all frames of a data set in folders of the same name."""
    datasets = (p.video_ids[v][0] for v in p.video.tolist())
    group, _ = number_keys(zip(datasets, _folder_names(p), strict=True))
    sizes = np.bincount(group)
    return np.bincount(group, weights=p.labels).astype(int) // sizes, video_means(group, p.scores)


def _folder_names(p: Predictions) -> list[str]:
    """[N] name of the frame's folder; without a folder the last part of the video id."""
    videos = [PurePosixPath(video.replace("\\", "/")).name or video for _, video in p.video_ids]
    names = {folder: folder.rpartition("/")[2] for folder in set(map(folder_of, p.paths))}
    return [names[folder_of(path)] or videos[v] for path, v in zip(p.paths, p.video.tolist(), strict=True)]


def _largest_per_frame(p: Predictions) -> tuple[Level, np.ndarray]:
    """(frames with the largest score of their faces, mean of these scores per video [V]).

    Rows of a video with the same frame name are faces of one frame. A row without a frame name is a frame of its own.
    """
    names = (name or row for row, name in enumerate(p.frame_names))
    frame, _ = number_keys(zip(p.video.tolist(), names, strict=True))
    first = first_rows(frame)
    scores, ranks = np.full((2, len(first)), -np.inf)
    np.maximum.at(scores, frame, p.scores)
    np.maximum.at(ranks, frame, p.ranks)
    return (p.labels[first], scores if p.probabilities else None, ranks), video_means(p.video[first], scores)


def convention_effects(predictions: Predictions, metrics: dict[str, dict]) -> dict[str, str]:
    """{convention: its effect on this file, in words}."""
    ours, benchmark, failed = metrics["ours"], metrics["benchmark"], len(predictions.failed)
    merged = f"{ours['videos']} videos become {benchmark['videos']}, {benchmark['videos_fake']} of them fake"
    faces = f"{ours['frames']} rows are {metrics['sbi']['frames']} frames"
    known = f"{failed} failed" if predictions.dropped is not None else "failed videos not known"
    if failed and not predictions.probabilities:
        faces += "; 0.5 means nothing for these scores, so no video figures"
    return {"ours": known, "benchmark": merged, "sbi": f"{faces}; {known}", "strict": known}
