"""A whole run of SJEDD_report.py: a report, a summary, or a calibration."""

import argparse
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from evaluation.prediction_table import Columns, read_predictions
from evaluation.report.calibrate import calibrate
from evaluation.report.console import print_report, say
from evaluation.report.page import report_page
from evaluation.report.palette import DARK, LIGHT
from evaluation.report.plots import (
    calibration_figure,
    method_figure,
    png,
    precision_recall_figure,
    roc_figure,
    score_figure,
)
from evaluation.report.runs import Run, compare_runs, read_runs
from evaluation.report.summary import summarise
from utils.files import write_bytes, write_json, write_text
from utils.locks import exclusive_folder

# Name of the PNG -> (figure, caption)
_FIGURES = {
    "roc": (roc_figure, "ROC: share of fakes found over share of reals accused; dotted is chance."),
    "precision_recall": (precision_recall_figure, "Precision over recall of the fakes."),
    "calibration": (
        calibration_figure,
        "Share of fakes over mean P(fake), 15 bins of frames; on the dotted line probabilities are true.",
    ),
    "methods": (method_figure, "Fakes of one method against all reals."),
    "scores": (score_figure, "Scores of the videos, in percent of each class. Reals are hatched and dashed."),
}


def run(args: argparse.Namespace) -> None:
    """Do what the command line asks for."""
    if args.summary:
        place = Path(args.files[0])
        say(summarise(place if place.is_dir() else place.parent))
        return
    args.files = [str(Path(file) / "predictions.csv") if Path(file).is_dir() else file for file in args.files]
    columns = Columns(args.score_column, args.label_column, args.path_column, args.video_column)
    if args.calibrate:
        predictions = read_predictions(args.files[0], columns)
        with exclusive_folder(args.output) as folder:
            for line in calibrate(predictions, folder):
                say(line)
        return
    runs = read_runs(args, columns)
    comparison = compare_runs(runs, args.seeds)
    with exclusive_folder(args.output) as folder:
        write_report(runs, comparison, folder)
    print_report(runs, comparison)
    say(f"{folder / 'report.html'}, {folder / 'report.json'}")


def write_report(runs: Sequence[Run], comparison: Mapping, folder: Path) -> None:
    """Write the plots, report.json, comparison.json and report.html; nothing of an earlier report stays."""
    plots = draw_plots(runs, folder)
    write_json(folder / "report.json", {run.predictions.source: run.metrics for run in runs})
    if comparison:
        write_json(folder / "comparison.json", comparison)
    else:
        (folder / "comparison.json").unlink(missing_ok=True)
    write_text(folder / "report.html", report_page(runs, plots, comparison))


def draw_plots(runs: Sequence[Run], folder: Path) -> list[tuple[bytes, bytes, str]]:
    """Write the PNGs; returns (PNG for a light page, for a dark page, caption) of each that can be drawn."""
    plots = []
    for name, (figure, caption) in _FIGURES.items():
        path = folder / f"{name}.png"
        light, dark = (png(partial(figure, runs), theme) for theme in (LIGHT, DARK))
        if not light:
            path.unlink(missing_ok=True)  # of an earlier report
            continue
        write_bytes(path, light)
        plots.append((light, dark, caption))
    return plots
