"""A run of SJEDD_report.py: a report, a summary, or a calibration."""

import argparse
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from evaluation.calibration import calibration_report
from evaluation.number_text import percent
from evaluation.predictions_reader import Columns, Predictions, read_predictions
from evaluation.report import plots
from evaluation.report.console import print_report
from evaluation.report.page import report_page
from evaluation.report.runs import Run, compare_runs, read_runs
from evaluation.report.summary import summarise
from evaluation.report.theme import DARK, LIGHT
from utils.cli import UserError
from utils.files import file_sha256, write_bytes, write_json, write_text
from utils.locks import exclusive_folder
from utils.terminal import say

_FILES = ("report.html", "report.json", "comparison.json")
# Name of the PNG -> (figure, caption)
_FIGURES = {
    "roc": (plots.roc_figure, "ROC: share of fakes found over share of reals called fake; dotted: chance."),
    "precision_recall": (plots.precision_recall_figure, "Precision over recall of the fakes."),
    "calibration": (
        plots.calibration_figure,
        "Share of fakes over mean P(fake), in 15 bins of frames; dotted: perfect calibration.",
    ),
    "methods": (plots.method_figure, "Fakes of one method against all reals."),
    "scores": (plots.score_figure, "Scores of the videos, in percent of each class. Reals are hatched and dashed."),
}


def run(args: argparse.Namespace) -> None:
    """Do what the command line asks for."""
    if args.summary:
        place = Path(args.files[0])
        say(*summarise(place if place.is_dir() else place.parent, args.images))
        return
    args.files = [str(Path(file) / "predictions.csv") if Path(file).is_dir() else file for file in args.files]
    columns = Columns(args.score_column, args.label_column, args.path_column or "", args.video_column or "")
    if args.calibrate:
        predictions = read_predictions(args.files[0], columns)
        with exclusive_folder(args.output, ["calibration.json"]) as folder:
            say(*calibrate(args.calibrate_by, predictions, folder / "calibration.json"))
        return
    runs = read_runs(args, columns)
    comparison = compare_runs(runs, args.seeds)
    with exclusive_folder(args.output, [*_FILES, *(f"{name}.png" for name in _FIGURES)]) as folder:
        write_report(runs, comparison, folder, args.images)
    print_report(runs, comparison)
    say(f"{folder / 'report.html'}, {folder / 'report.json'}")


def calibrate(method: str, predictions: Predictions, path: Path) -> list[str]:
    """Fit a calibration on all frames and write it with its errors to ``path``; returns the lines to print.

    Raises:
        UserError: The predictions have no log-odds, or no such calibration is best.
    """
    if predictions.logits is None:
        raise UserError(f"{predictions.source} has no columns p_fake and logit_fake; calibration needs the log-odds")
    try:
        report = calibration_report(method, predictions.labels, predictions.logits)
    except UserError as error:
        raise UserError(f"{predictions.source}: {error}") from error
    report |= {"frames": len(predictions.labels), "videos": len(predictions.video_ids)}
    report |= {"source": predictions.source, "sha256": file_sha256(Path(predictions.source))}
    report["checkpoint"] = predictions.checkpoint
    write_json(path, report)
    if method == "isotonic":
        found = f"isotonic with {len(report['logits'])} corners"
    else:
        numbers = ("temperature",) if method == "temperature" else ("slope", "intercept")
        found = ", ".join(f"{name} {report[name]:.4f}" for name in numbers)
    counted = "images" if predictions.units == "images" else f"frames of {report['videos']} videos"
    lines = [
        f"{found} from {report['frames']} {counted}: "
        f"ECE {percent(report['ece_before'])} -> {percent(report['ece_after'])}%, "
        f"NLL {report['nll_before']:.4f} -> {report['nll_after']:.4f}; {path}"
    ]
    if method == "isotonic":
        before, after = (percent(report[f"auc_{name}"]) for name in ("before", "after"))
        lines.append(
            f"Isotonic regression makes ties: different log-odds become one p_fake_calibrated. Frame AUC {before} -> "
            f"{after}. On few frames it overfits, so check the calibration error of a test."
        )
    if report["ece_after"] - report["ece_before"] >= 5e-5:  # 0.01 in the line above
        why = f"{method} does not correct these scores"
        if method == "temperature":
            why = "no temperature corrects these scores (all may be too high or too low: try --calibrate_by platt)"
        lines.append(f"The ECE rises although the NLL falls: {why}. Do not use p_fake_calibrated as a probability.")
    return lines


def write_report(runs: Sequence[Run], comparison: Mapping, folder: Path, images: Path) -> None:
    """Write the plots, report.json, comparison.json and report.html; remove those of an earlier report.

    images: Folder of the images that may be shown.
    """
    drawn = draw_plots(runs, folder)
    write_json(folder / "report.json", {run.predictions.source: run.metrics for run in runs})
    if comparison:
        write_json(folder / "comparison.json", comparison)
    else:
        (folder / "comparison.json").unlink(missing_ok=True)
    write_text(folder / "report.html", report_page(runs, drawn, comparison, images))


def draw_plots(runs: Sequence[Run], folder: Path) -> list[tuple[bytes, bytes, str]]:
    """Write the PNGs; returns (PNG for a light page, for a dark page, caption) of each that can be drawn."""
    drawn = []
    for name, (figure, caption) in _FIGURES.items():
        path = folder / f"{name}.png"
        light, dark = (plots.png(partial(figure, runs), theme) for theme in (LIGHT, DARK))
        if light:
            write_bytes(path, light)
            drawn.append((light, dark, caption))
        else:
            path.unlink(missing_ok=True)  # of an earlier report
    return drawn
