"""Headings of the report's figures, on the page and on the console, and how a few of them are written."""

from collections.abc import Mapping

from evaluation.number_text import percent

LABELS = "Labels: 0 real, 1 fake; fake is the positive class. P(fake) is the probability of fake."
# Metric -> heading. A phone shows the first two or three columns.
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


def spread_text(entry: Mapping) -> str:
    """Mean ± standard deviation in percent."""
    return f"{percent(entry['mean'])} ± {percent(entry['sd'])}" if entry["mean"] is not None else "n/a"


def p_text(p: float | None) -> str:
    """A p value."""
    return "n/a" if p is None else f"{p:.3f}"
