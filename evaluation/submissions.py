"""The scores of a test in the files of other benchmarks: --submission.

- deepfakebench: metric_dict_best.pickle, as its trainer writes it for a test set and its analysis/curve_draw.py reads
  it: a dictionary of frame metrics, of every frame's P(fake) and label, and of the video AUC. Plain lists and numbers,
  so that any NumPy can read it.
- deepsafe: deepsafe_predictions.csv.gz, a prediction matrix of deepsafe-bench with the column prob_sjedd: a row for
  each video, or for each image of an image set.
"""

import csv
import gzip
import io
import pickle
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from evaluation.metrics import video_scores
from evaluation.predictions_writer import Scores
from utils.files import read_json, write_bytes

# Their name -> ours, in metrics.json. They take the EER at the threshold where both error rates are nearest.
_DEEPFAKEBENCH = {
    "acc": "frame_acc",
    "auc": "frame_auc",
    "eer": "frame_eer_nearest",
    "ap": "frame_ap",
    "video_auc": "video_auc",
}


def deepfakebench(scores: Scores, metrics: Mapping) -> bytes:
    """The content of metric_dict_best.pickle. metrics: of metrics.json."""
    content = {theirs: metrics[ours] for theirs, ours in _DEEPFAKEBENCH.items()}
    content |= {"pred": scores.values[:, 0].tolist(), "label": [record.label for record in scores.records]}
    return pickle.dumps(content, protocol=4)


def deepsafe(scores: Scores, metrics: Mapping) -> bytes:
    """The content of deepsafe_predictions.csv.gz. Names are as they are: deepsafe-bench finds videos by them."""
    methods = {record.video: record.method for record in scores.records}
    videos, labels, p_fake = video_scores(list(scores))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["id", "modality", "label", "generator", "prob_sjedd"])
    modality = "images" if scores.data.image_level else "video"
    for video, label, p in zip(videos, labels.tolist(), p_fake.tolist(), strict=True):
        generator = methods[video] or ("unknown" if label else "real")
        writer.writerow([video, modality, "fake" if label else "real", generator, f"{p:.9g}"])
    return gzip.compress(text.getvalue().encode("utf-8", "surrogateescape"), mtime=0)


_FILES: dict[str, tuple[str, Callable[[Scores, Mapping], bytes]]] = {
    "deepfakebench": ("metric_dict_best.pickle", deepfakebench),
    "deepsafe": ("deepsafe_predictions.csv.gz", deepsafe),
}


def submission_files(kinds: Sequence[str]) -> list[str]:
    """The names of the files of ``kinds``, of SUBMISSIONS."""
    return [_FILES[kind][0] for kind in kinds]


def write_submissions(folder: Path, kinds: Sequence[str], scores: Scores, metrics: Mapping) -> list[str]:
    """Write the files of ``kinds``, of SUBMISSIONS, into ``folder``; returns their names."""
    for kind in kinds:
        name, content = _FILES[kind]
        write_bytes(folder / name, content(scores, metrics))
    return submission_files(kinds)


def remove_submissions(folder: Path) -> None:
    """Remove the files that the metrics.json of an earlier test in ``folder`` names."""
    path = folder / "metrics.json"
    metrics = read_json(path) if path.is_file() else None
    earlier = metrics.get("submission") if isinstance(metrics, dict) else None
    for name, _ in _FILES.values():
        if isinstance(earlier, list) and name in earlier:
            (folder / name).unlink(missing_ok=True)
