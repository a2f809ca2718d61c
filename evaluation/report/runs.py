"""The runs of a report, one per file: their metrics, and how they compare."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evaluation.comparison import (
    compare,
    cross_comparison,
    different_videos,
    hold_other_data_sets,
    run_names,
    seed_spread,
)
from evaluation.conventions import convention_effects, convention_metrics
from evaluation.messages import orientation_question
from evaluation.number_text import percent
from evaluation.predictions_reader import Columns, Predictions, read_predictions
from utils.cli import UserError

LABELS = "Labels: 0 real, 1 fake; fake is the positive class. P(fake) is the probability of fake."
# Metric -> heading. The most important first: a phone shows two or three columns.
COLUMNS = {
    "video_auc": "video AUC",
    "video_auc_ci95": "95% interval",
    "videos": "videos",
    "coverage": "coverage",
    "video_eer": "video EER",
    "video_ap": "video AP",
    "video_acc": "video ACC",
    "video_balanced_acc": "bal. ACC",
    "video_tpr_at_fpr01": "TPR 1%",
    "video_tpr_at_fpr05": "TPR 5%",
    "frame_auc": "frame AUC",
    "frame_eer": "frame EER",
    "frames": "frames",
}
AT_THRESHOLD = {
    "video_acc_at_threshold": "ACC at threshold",
    "video_balanced_acc_at_threshold": "bal. ACC at threshold",
}

TESTS = (
    "Two tests of the same difference, both on videos, because frames of one video are not independent: a paired "
    "bootstrap (1000 draws) and DeLong's test (n/a where it is undefined). Both p are two-sided."
)
CROSS_AUC = (
    "Cross-AUC: video AUC of the reals of one data set (rows) against the fakes of another (columns). Where it is far "
    "below the AUC within the data sets, their scores lie apart, and no one threshold serves them all."
)


@dataclass(frozen=True)
class Run:
    """One file of the report."""

    name: str  # short, for tables and legends
    predictions: Predictions
    metrics: dict[str, dict]  # {convention: {metric: value}}
    effects: dict[str, str]  # {convention: its effect on this file}
    threshold: float | None = None  # decision threshold from validation

    @property
    def notes(self) -> list[str]:
        """What the reader of the file noted, and a question if the labels look swapped."""
        question = orientation_question(self.metrics["ours"])
        return [*self.predictions.notes, *([question] if question else [])]


def read_runs(args: argparse.Namespace, columns: Columns) -> list[Run]:
    """Read every file and compute its metrics. With several files, some may have the usual columns instead.

    Raises:
        UserError: A file cannot be read, or no file has a given column.
    """
    tables = [read_predictions(source, columns, fall_back=len(args.files) > 1) for source in args.files]
    for option, given in vars(columns).items():
        if given and all(getattr(predictions.columns, option) != given for predictions in tables):
            raise UserError(f"none of the files has a column {given}; correct --{option}_column")
    runs = []
    for predictions, name in zip(tables, run_names(args.files), strict=True):
        threshold = predictions.threshold if args.threshold is None else args.threshold
        metrics = convention_metrics(predictions, threshold)
        runs.append(Run(name, predictions, metrics, convention_effects(predictions, metrics), threshold))
    return runs


def compare_runs(runs: Sequence[Run], seeds: bool) -> dict:
    """The content of comparison.json; {} for one run.

    Every run against the first; the spread over seeds; or Cross-AUC if each run is of other data sets.
    """
    if len(runs) == 1:
        return {}
    if seeds:
        note = different_videos([run.predictions for run in runs])
        return {"seeds": {}, "note": note} if note else {"seeds": seed_spread([run.metrics for run in runs])}
    if hold_other_data_sets([run.predictions for run in runs]):
        return cross_comparison([run.predictions for run in runs])
    return {"pairs": [compare(runs[0].predictions, run.predictions) for run in runs[1:]]}


def cross_means(cross: Mapping) -> str:
    """The two means of ``evaluation.metrics.cross_aucs`` as a line."""
    within, between = percent(cross["within"]), percent(cross["cross"])
    return f"mean over pairs of different data sets {between}, within data sets {within}"
