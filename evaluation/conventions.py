"""One predictions file under the conventions of several systems: what a video is, its score, and who is left out."""

from pathlib import PurePosixPath

import numpy as np

from datasets.video_ids import folder_of
from evaluation.calibration import expected_calibration_error
from evaluation.metrics import (
    auc,
    auc_interval,
    counts,
    equal_error_rate,
    first_rows,
    level_metrics,
    method_metrics,
    node_aucs,
    operating_points,
)
from evaluation.prediction_table import Predictions, dense_ranks

CONVENTIONS = {
    "ours": "a video is its id, its score the mean of its frames; failed videos are left out and show in the coverage",
    "benchmark": "a video is the name of its images' folder alone, so equal names merge; its score is the mean of its "
    "frames, its label the integer part of their mean label; EER is the FPR at the nearest corner of the ROC",
    "sbi": "the largest score among the faces of a frame, the mean over a video's frames; a failed video scores 0.5",
    "strict": "as ours, but a failed video counts as wrong: its score is 1 - label",
}


def convention_metrics(predictions: Predictions, threshold: float | None = None) -> dict[str, dict]:
    """{convention: {metric: value}}, metric names as in metrics.json; fractions 0..1, None where undefined.

    Figures per method, per node and per data set (where there are several) and frame_ece are given under ``ours``
    alone. threshold: for _at_threshold. Ranking metrics see the scores' order only, so scores may have any size.
    """
    p, failed = predictions, predictions.failed
    coverage = None if p.dropped is None else len(p.video_ids) / (len(p.video_ids) + len(failed))
    frames, labels, scores = (p.labels, p.scores, p.ranks), p.video_labels, p.video_scores
    failed_labels = np.array(list(failed.values()), dtype=labels.dtype)
    merged_frames, sbi_scores = _largest_per_frame(p)
    benchmark_labels, benchmark_scores = benchmark_videos(p)
    with_failed = np.concatenate([labels, failed_labels])
    lowest, highest = (0.0, 1.0) if p.probabilities else (-np.inf, np.inf)
    wrong = np.where(failed_labels == 1, lowest, highest)
    tables = {
        "ours": (frames, labels, scores),
        "benchmark": ((p.labels, p.scores, p.scores), benchmark_labels, benchmark_scores),
        "sbi": (merged_frames, with_failed, np.concatenate([sbi_scores, np.full(len(failed), 0.5)])),
        "strict": (frames, with_failed, np.concatenate([scores, wrong])),
    }
    intervals: dict[bytes, list] = {}  # conventions often agree, and the bootstrap is the slow part
    results = {}
    for name, (frame, video_labels, video_scores) in tables.items():
        result = counts(video_labels, len(frame[0]))
        frame_p, video_p = (frame[1], video_scores) if p.probabilities else (None, None)
        ranks = dense_ranks(video_scores)
        result |= level_metrics("frame", frame[0], frame_p, dense_ranks(frame[2]), threshold)
        result |= level_metrics("video", video_labels, video_p, ranks, threshold)
        result |= operating_points(video_labels, ranks)
        key = video_labels.tobytes() + ranks.tobytes()
        if key not in intervals:
            intervals[key] = auc_interval(video_labels, ranks)
        result["video_auc_ci95"] = intervals[key]
        results[name] = result | {"coverage": coverage}
    for level, (y, score) in {"frame": (p.labels, p.scores), "video": (benchmark_labels, benchmark_scores)}.items():
        corner = equal_error_rate(y, dense_ranks(score), corners=True)[1]
        results["benchmark"] |= {f"{level}_eer": corner, f"{level}_eer_nearest": corner}
    if failed and not p.probabilities:
        results["sbi"] |= {name: None for name in results["sbi"] if name.startswith("video_")}
        results["sbi"]["video_auc_ci95"] = [None, None]
    ranks, of_video = dense_ranks(p.ranks), dense_ranks(scores)[p.video]  # a video has one method, so one mean
    results["ours"] |= {
        "methods": method_metrics(p.methods, p.labels, of_video, ranks, p.video),
        "nodes": node_aucs(p.codes, {name: dense_ranks(values) for name, values in p.nodes.items()}),
        "frame_ece": expected_calibration_error(p.labels, p.scores) if p.probabilities else None,
    }
    if len(p.datasets) > 1:
        results["ours"]["datasets"] = _dataset_metrics(p)
    return results


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
            "frame_auc": auc(p.labels[frames], dense_ranks(p.ranks[frames])),
            "video_auc": auc(labels[videos], dense_ranks(scores[videos])),
        }
    return report


def benchmark_videos(p: Predictions) -> tuple[np.ndarray, np.ndarray]:
    """(labels [K], scores [K]) of a data set's frames whose folder has the same name, whatever lies above it."""
    index: dict[tuple[str, str], int] = {}
    keys = zip((p.video_ids[v][0] for v in p.video.tolist()), _folder_names(p), strict=True)
    group = np.array([index.setdefault(key, len(index)) for key in keys])
    sizes = np.bincount(group)
    return np.bincount(group, weights=p.labels).astype(int) // sizes, p.means(group, p.scores)


def _folder_names(p: Predictions) -> list[str]:
    """Per frame the name of its folder; without a folder the last part of the video id."""
    videos = [PurePosixPath(video.replace("\\", "/")).name or video for _, video in p.video_ids]
    names = {folder: folder.rpartition("/")[2] for folder in set(map(folder_of, p.paths))}
    return [names[folder_of(path)] or videos[v] for path, v in zip(p.paths, p.video.tolist(), strict=True)]


def _largest_per_frame(p: Predictions) -> tuple[tuple[np.ndarray, np.ndarray, np.ndarray], np.ndarray]:
    """((labels, scores, ranks) of the frames, largest over their faces; mean score per video [V]).

    Rows of a video with the same frame name are the faces of one frame; rows without a name are frames of their own.
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
    return (p.labels[first], *largest), p.means(p.video[first], largest[0])


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
