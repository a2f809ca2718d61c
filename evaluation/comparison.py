"""Compare runs: paired differences on common videos, Cross-AUC between data sets, and the spread over seeds."""

import posixpath
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from datasets.video_ids import bare_id, differing_parts
from evaluation.metrics import auc, auc_difference, cross_aucs, delong_test
from evaluation.predictions_reader import Predictions

SEED_METRICS = ("frame_auc", "video_auc", "video_eer", "video_ap", "video_acc", "video_balanced_acc")
MATCHED_BY = "id", "id without folder and ending"
_NEARLY_NONE = 0.1  # of the videos of the smaller file
Key = tuple[tuple[str, str], int]  # (data set, or "" unless all files name theirs; video id), label


def common_videos(a: Predictions, b: Predictions) -> tuple[np.ndarray, np.ndarray, int, str]:
    """Match the videos of two files by id, and by data set too if both files name it.

    If nearly none match, ids are compared without folder and ending, where that leaves them unique in each file.

    Returns:
        Indices [n] into the videos of a and of b that both have with the same label; how many videos they label
        differently; which of MATCHED_BY was used.
    """
    keys = _video_keys([a, b])
    found = _pairs(*keys)
    if len(found[0]) + found[2] < _NEARLY_NONE * min(map(len, keys)):
        by_bare_id = _pairs(*_bare_keys(keys))
        if len(by_bare_id[0]) > len(found[0]):
            return *by_bare_id, MATCHED_BY[1]
    return *found, MATCHED_BY[0]


def _pairs(keys_a: Sequence[Key], keys_b: Sequence[Key]) -> tuple[np.ndarray, np.ndarray, int]:
    place = {key: i for i, key in enumerate(keys_b)}
    pairs = [(i, place[key]) for i, key in enumerate(keys_a) if key in place]
    # A file may hold a video under both labels. It differs only if b has it under the opposite label alone.
    opposite = sum((name, label) not in place and (name, 1 - label) in place for name, label in keys_a)
    left, right = np.array(pairs, dtype=int).reshape(-1, 2).T
    return left, right, opposite


def _video_keys(runs: Sequence[Predictions]) -> list[list[Key]]:
    named = all(dataset for run in runs for dataset, _ in run.video_ids)
    return [
        [((dataset if named else "", video), label) for (dataset, video), label in zip(*videos, strict=True)]
        for videos in ((run.video_ids, run.video_labels.tolist()) for run in runs)
    ]


def _bare_keys(runs: Sequence[Sequence[Key]]) -> list[list[Key]]:
    """The keys with ids without folder and ending; ids that would then be equal in a run stay whole."""
    bare = {name: (name[0], bare_id(name[1])) for keys in runs for name, _ in keys}
    counts = [Counter(bare[name] for name, _ in keys) for keys in runs]
    unique = {name for name in bare if all(count[bare[name]] < 2 for count in counts)}
    return [[(bare[name] if name in unique else name, label) for name, label in keys] for keys in runs]


def compare(a: Predictions, b: Predictions) -> dict:
    """Video AUC of both files on their common videos, and two tests of b minus a; None where undefined.

    The tests are the paired bootstrap and DeLong's, both on videos: frames of one video are not independent.
    """
    left, right, opposite, matched_by = common_videos(a, b)
    labels, scores_a, scores_b = a.video_labels[left], a.video_scores[left], b.video_scores[right]
    result = {"a": a.source, "b": b.source, "videos": len(left), "matched_by": matched_by}
    result |= {"labelled_differently": opposite, "auc_a": auc(labels, scores_a), "auc_b": auc(labels, scores_b)}
    undefined = {"difference": None, "ci95": [None, None], "p": None}
    result |= auc_difference(labels, scores_a, scores_b) or undefined
    return result | delong_test(labels, scores_a, scores_b)


def hold_other_data_sets(runs: Sequence[Predictions]) -> bool:
    """Whether all files name their data sets, and no two files hold the same one: nothing can be paired."""
    datasets = [set(run.datasets) for run in runs]
    return all(map(all, datasets)) and len(set.union(*datasets)) == sum(map(len, datasets))


def cross_comparison(runs: Sequence[Predictions]) -> dict:
    """{"cross_auc": ``cross_aucs`` of the videos of all files}, or {"note": why there is none}.

    Scores are compared across the files, so all must be of one system: checkpoints that are known must be equal.
    """
    checkpoints = sorted({run.checkpoint for run in runs if run.checkpoint})
    if len(checkpoints) > 1:
        return {"note": f"the files hold other data sets and scores of {', '.join(checkpoints)}: nothing to compare"}
    labels, scores = (np.concatenate([getattr(run, name) for run in runs]) for name in ("video_labels", "video_scores"))
    return {"cross_auc": cross_aucs(labels, scores, [dataset for run in runs for dataset, _ in run.video_ids])}


def run_names(sources: Sequence[str]) -> list[str]:
    """Short names of the files: their paths without the folders that all share."""
    paths = [posixpath.normpath(source.replace("\\", "/")) for source in sources]
    if len(paths) == 1:
        return ["/".join(paths[0].split("/")[-2:])]
    short = differing_parts(paths)
    names = [short[path] for path in paths]
    return names if all(names) and len(set(names)) == len(names) else list(sources)


def different_videos(runs: Sequence[Predictions]) -> str:
    """Why there is no mean over the runs; "" if all hold the same videos with the same labels."""
    videos = [set(keys) for keys in _video_keys(runs)]
    common = len(set.intersection(*videos))
    if all(len(found) == common for found in videos):
        return ""
    counts = ", ".join(str(len(found)) for found in videos)
    return f"the runs hold different videos ({counts}; {common} in all), so there is no mean over them"


def seed_spread(metrics: Sequence[Mapping[str, Mapping]]) -> dict[str, dict[str, dict]]:
    """{convention: {metric: {mean, sd, n}}} over runs of the same videos; sd is the sample deviation (n - 1)."""

    def entry(values: list) -> dict:
        if None in values:
            return {"mean": None, "sd": None, "n": len(values)}
        return {"mean": float(np.mean(values)), "sd": float(np.std(values, ddof=1)), "n": len(values)}

    return {
        convention: {name: entry([run[convention][name] for run in metrics]) for name in SEED_METRICS}
        for convention in metrics[0]
    }
