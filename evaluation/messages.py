"""What SJEDD_test.py says about a data set: log lines, and one table of several data sets.

The question about the label orientation is also asked by SJEDD_report.py.
"""

import logging
from collections.abc import Mapping

from evaluation.number_text import percent
from utils.text_table import text_table

_SWAPPED = 0.3  # a frame AUC below this suggests swapped labels rather than a bad model


def orientation_question(metrics: Mapping) -> str:
    """The question to ask if reals score far above fakes, in all or in some data sets; "" if they do not.

    metrics: ``frame_auc``, None if undefined; and ``datasets`` where there are several, each with its own.
    """
    of_sets = {name: entry["frame_auc"] for name, entry in metrics.get("datasets", {}).items()}
    if all(auc is None for auc in of_sets.values()):
        of_sets = {"": metrics["frame_auc"]}
    found = [name for name, auc in of_sets.items() if auc is not None and auc < _SWAPPED]
    if not found:
        return ""
    where = f" in {', '.join(name or 'unnamed' for name in found)}" if len(of_sets) > 1 else ""
    rule = "0 is real and 1 is fake, and a higher score means more fake"
    return f"warning: reals score higher than fakes{where}; {rule}: are the labels swapped?"


def log_metrics(metrics: Mapping, log: logging.Logger) -> None:
    """Log the main figures and the warnings. metrics: the content of metrics.json."""
    real, fake = metrics["videos_real"], metrics["videos_fake"]
    shares = {name: metrics[f"coverage_{name}"] for name in ("real", "fake")}
    by_class = ", ".join(f"{name} {share:.4f}" for name, share in shares.items() if share is not None)
    reasons = ", ".join(f"{count} {reason}" for reason, count in metrics["dropped_by_reason"].items())
    units, frames = ("images", "") if metrics["image_level"] else ("videos", f", {metrics['frames']} frames")
    log.info(
        f"{_name(metrics)}: {metrics['videos']} {units} ({real} real, {fake} fake){frames}, "
        f"coverage {metrics['coverage']:.4f} ({by_class}), dropped {len(metrics['dropped'])}"
        f"{f' ({reasons})' if reasons else ''}, protocol {metrics['protocol']}, from {metrics['source']}"
    )
    for drop in metrics["dropped"][:5]:
        log.info(f"  dropped {drop['path'] or drop['video']}: {drop['reason']}")
    for difference in metrics["crops_unlike"]:
        log.info(f"  warning: crops that were not made alike cannot be compared; extract them again: {difference}")
    calibration = metrics.get("calibration", {})
    if calibration.get("of_another_checkpoint"):
        log.info(f"  warning: {calibration['file']} was fitted on scores of {calibration['checkpoint']}")
    for difference in metrics["protocol_differs"]:
        log.info(f"  warning: not the reference's protocol: {difference}")
    frame_auc, video_auc = (percent(metrics[key], 3, "undefined") for key in ("frame_auc", "video_auc"))
    log.info(f"  frame AUC {frame_auc}, video AUC {video_auc}")
    if metrics["frame_auc"] is None:
        log.info("  one class only, so AUC, EER and AP are undefined")
        return
    if metrics["dataset"] == "list" and metrics["videos"] < metrics["frames"] and 1 in (real, fake):
        log.info("  all images of a class are in one folder and count as one video; if they are not, use the frame AUC")
    if question := orientation_question(metrics):
        log.info(f"  {question}")


def results_table(results: Mapping[str, dict | str]) -> list[str]:
    """A row per data set. results: name -> its metrics, or why it failed."""
    header = ["data set", "videos", "frames", "frame AUC", "video AUC", "EER", "coverage", "dropped", ""]
    rows: list[list[object]] = []
    for name, metrics in results.items():
        if isinstance(metrics, str):
            rows.append([name, *[None] * 7, f"failed: {metrics}"])
            continue
        aucs = [percent(metrics[key], 3, "-") for key in ("frame_auc", "video_auc", "video_eer")]
        counts = metrics["videos"], metrics["frames"]
        rows.append([_name(metrics), *counts, *aucs, f"{metrics['coverage']:.4f}", len(metrics["dropped"]), ""])
    return text_table(header, rows)


def _name(metrics: Mapping) -> str:
    return f"{metrics['dataset']} {metrics['perturbation']}" if metrics["perturbation"] else metrics["dataset"]
