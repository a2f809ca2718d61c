"""Metrics of predictions files under four conventions, plots and one HTML page; or a temperature fitted on one.

Reads predictions.csv of SJEDD_test.py and any CSV with path or video, label and a score. Labels are 0 real, 1 fake
(or the words); a higher score means more fake. Several files are compared with the first on the videos they share.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from utils.cli import ArgumentParser, UserError, answer_first, printable, probability, script


def get_args_parser() -> ArgumentParser:
    """The command line."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", metavar="FILE.csv", help="predictions, of ours (or the folder of "
                        "a test) or of another system")  # fmt: skip
    parser.add_argument("--output", required=True, metavar="DIR", help="folder for report.html, report.json and PNGs")
    parser.add_argument(
        "--seeds", action="store_true", help="the files are seeds of one setting: mean and standard deviation"
    )
    parser.add_argument(
        "--threshold",
        type=probability,
        help="decision threshold from validation, beside 0.5 (default: that of each file's metrics.json)",
    )
    parser.add_argument(
        "--calibrate",
        action="store_true",
        help="instead of a report, fit a temperature on the one file's logit_fake and write calibration.json",
    )
    columns = parser.add_argument_group(
        "columns of another system's file", "of several files, one without such a column is read by the usual name"
    )
    columns.add_argument("--score_column", default="p_fake", help="score, higher means more fake")
    columns.add_argument("--label_column", default="label", help="0 or real, 1 or fake")
    columns.add_argument("--path_column", help="image path (default: path, where there is one)")
    columns.add_argument("--video_column", help="video id (default: video, else the image's folder)")
    return parser


answer_first(__name__, get_args_parser)

from evaluation.calibration import calibration_report
from evaluation.comparison import MATCHED_BY, SEED_METRICS, compare, different_videos, run_names, seed_spread
from evaluation.conventions import CONVENTIONS, convention_effects, convention_metrics
from evaluation.prediction_table import Columns, Predictions, read_predictions
from evaluation.report.page import AT_THRESHOLD, COLUMNS, LABELS, Run, figure_text, p_text, report_page, spread_text
from evaluation.report.plots import (
    DARK,
    LIGHT,
    calibration_figure,
    draw,
    method_figure,
    precision_recall_figure,
    roc_figure,
    score_figure,
)
from utils.files import atomic_path, file_sha256, write_json, write_text
from utils.locks import exclusive_folder

_CONSOLE = ("videos", "video_auc", "video_auc_ci95", "video_eer", "frame_auc", "video_acc", "coverage")


def check_arguments(parser: ArgumentParser, args: argparse.Namespace) -> None:
    """Refuse combinations that mean nothing."""
    if len(set(args.files)) < len(args.files):
        parser.error("a file is given twice")
    if args.seeds and len(args.files) < 2:
        parser.error("--seeds needs at least two files")
    if args.calibrate and (len(args.files) > 1 or args.seeds or args.threshold is not None):
        parser.error("--calibrate takes one file and neither --seeds nor --threshold")


def calibrate(predictions: Predictions, folder: Path) -> None:
    """Fit the temperature on all frames, every frame weighing the same, and write calibration.json."""
    if predictions.logits is None:
        raise UserError(f"{predictions.source} has no columns p_fake and logit_fake; calibration needs the log-odds")
    try:
        report = calibration_report(predictions.labels, predictions.logits)
    except UserError as error:
        raise UserError(f"{predictions.source}: {error}") from error
    report |= {"frames": len(predictions.labels), "videos": len(predictions.video_ids)}
    report |= {"source": predictions.source, "sha256": file_sha256(Path(predictions.source))}
    report["checkpoint"] = predictions.checkpoint
    write_json(folder / "calibration.json", report)
    counted = "images" if predictions.units == "images" else f"frames of {report['videos']} videos"
    say(
        f"temperature {report['temperature']:.4f} from {report['frames']} {counted}: "
        f"ECE {figure_text(report['ece_before'])} -> {figure_text(report['ece_after'])}%, "
        f"NLL {report['nll_before']:.4f} -> {report['nll_after']:.4f}; {folder / 'calibration.json'}"
    )
    if report["ece_after"] - report["ece_before"] >= 5e-5:  # 0.01 in the line above
        say(
            "The ECE rises although the NLL falls: these scores err in a way that no temperature mends (for example "
            "all too high or all too low), so do not take p_fake_calibrated for a probability."
        )


def read_runs(args: argparse.Namespace, columns: Columns) -> list[Run]:
    """Read every file and compute its metrics. Of several files each may have the given columns or the usual ones."""
    tables = [read_predictions(source, columns, fall_back=len(args.files) > 1) for source in args.files]
    for option, given in vars(columns).items():
        if all(getattr(predictions.columns, option) != given for predictions in tables):
            raise UserError(f"none of the files has a column {given}; mend --{option}_column")
    runs = []
    for predictions, name in zip(tables, run_names(args.files), strict=True):
        threshold = predictions.threshold if args.threshold is None else args.threshold
        metrics = convention_metrics(predictions, threshold)
        runs.append(Run(name, predictions, metrics, convention_effects(predictions, metrics), threshold))
    return runs


def compare_runs(runs: Sequence[Run], seeds: bool) -> dict:
    """The content of comparison.json: every run against the first, or the spread over seeds; {} for one run."""
    if seeds and (note := different_videos([run.predictions for run in runs])):
        return {"seeds": {}, "note": note}
    if seeds:
        return {"seeds": seed_spread([run.metrics for run in runs])}
    if len(runs) == 1:
        return {}
    return {"pairs": [compare(runs[0].predictions, run.predictions) for run in runs[1:]]}


def draw_plots(runs: Sequence[Run], folder: Path) -> list[tuple[bytes, bytes, str]]:
    """Write the PNGs; returns (PNG for a light page, for a dark page, caption) of each that can be drawn."""
    named = [(run.name, run.predictions) for run in runs]
    methods = {run.name: run.metrics["ours"]["methods"] for run in runs}
    figures = {
        "roc": (roc_figure, "ROC: share of fakes found over share of reals accused; dotted is chance."),
        "precision_recall": (precision_recall_figure, "Precision over recall of the fakes."),
        "calibration": (
            calibration_figure,
            "Share of fakes over mean P(fake), 15 bins of frames; on the dotted line probabilities are true.",
        ),
        "methods": (lambda r, theme: method_figure(r, theme, methods), "Fakes of one method against all reals."),
        "scores": (score_figure, "Scores of the videos, in percent of each class. Reals are hatched and dashed."),
    }
    plots = []
    for name, (figure_of, caption) in figures.items():
        path = folder / f"{name}.png"
        light, dark = (draw(figure_of, named, theme) for theme in (LIGHT, DARK))
        if light is None:
            path.unlink(missing_ok=True)  # of an earlier report
            continue
        with atomic_path(path) as temporary:
            temporary.write_bytes(light)
        plots.append((light, dark, caption))
    return plots


def say(text: str) -> None:
    """Print; what a terminal cannot show becomes a question mark."""
    print(printable(text))


def print_run(run: Run) -> None:
    """The lines a person reads about one file."""
    ours, p = run.metrics["ours"], run.predictions
    dropped = "dropped not known" if p.dropped is None else f"{len(p.dropped)} dropped"
    videos = f"{ours['videos_real']} real and {ours['videos_fake']} fake {p.units}"
    frames = "" if p.units == "images" else f", {ours['frames']} frames"
    say(f"{p.source}: {videos}{frames}, {dropped}")
    for note in p.notes:
        say(f"  {note}")
    header = ["convention", *(COLUMNS[key] for key in _CONSOLE)]
    rows = [[name, *(figure_text(metrics[key]) for key in _CONSOLE)] for name, metrics in run.metrics.items()]
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    for row in (header, *rows):
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        say(f"  {'  '.join(cells)}")
    if run.threshold is not None:
        at = ", ".join(f"{heading} {figure_text(ours[key])}" for key, heading in AT_THRESHOLD.items())
        say(f"  videos, threshold {run.threshold:g} from validation: {at}")
    for name, entry in ours.get("datasets", {}).items():
        say(f"  {name}: video AUC {figure_text(entry['video_auc'])}, frame AUC {figure_text(entry['frame_auc'])}")
    say("  " + "; ".join(f"{name}: {effect}" for name, effect in run.effects.items()))


def print_comparison(comparison: dict, units: str) -> None:
    """Differences of the video AUC, or the spread over seeds."""
    for pair in comparison.get("pairs", ()):
        where = f"{pair['b']} against {pair['a']}, {pair['videos']} common {units}"
        if pair["matched_by"] != MATCHED_BY[0]:
            where += f" by their {pair['matched_by']}"
        if pair["labelled_differently"]:
            where += f" ({pair['labelled_differently']} more are labelled differently and left out)"
        if pair["difference"] is None:
            say(f"{where}: not compared, no common {units} of both classes")
            continue
        interval, p = figure_text(pair["ci95"]), p_text(pair["p"])
        say(f"{where}: video AUC {figure_text(pair['difference'])} (95% interval {interval}), p {p}")
    if "note" in comparison:
        say(comparison["note"])
    for convention, spread in comparison.get("seeds", {}).items():
        text = ", ".join(f"{COLUMNS[name]} {spread_text(spread[name])}" for name in SEED_METRICS)
        say(f"seeds, {convention}: {text}")


def write_report(runs: Sequence[Run], comparison: dict, folder: Path) -> None:
    """Write the plots, report.json, comparison.json and report.html; of an earlier report nothing stays."""
    plots = draw_plots(runs, folder)
    write_json(folder / "report.json", {run.predictions.source: run.metrics for run in runs})
    if comparison:
        write_json(folder / "comparison.json", comparison)
    else:
        (folder / "comparison.json").unlink(missing_ok=True)
    write_text(folder / "report.html", report_page(runs, plots, comparison))


@script
def main(argv: Sequence[str] | None = None) -> None:
    """Make the report, or calibrate; see --help."""
    parser = get_args_parser()
    args = parser.parse_args(argv)
    args.files = [str(Path(file) / "predictions.csv") if Path(file).is_dir() else file for file in args.files]
    check_arguments(parser, args)
    columns = Columns(args.score_column, args.label_column, args.path_column, args.video_column)
    if args.calibrate:
        predictions = read_predictions(args.files[0], columns)
        with exclusive_folder(args.output) as folder:
            calibrate(predictions, folder)
        return
    runs = read_runs(args, columns)
    comparison = compare_runs(runs, args.seeds)
    with exclusive_folder(args.output) as folder:
        write_report(runs, comparison, folder)
    say(f"{LABELS} Figures in percent.")
    for name, rule in CONVENTIONS.items():
        say(f"  {name}: {rule}")
    for run in runs:
        print_run(run)
    print_comparison(comparison, runs[0].predictions.units)
    say(f"{folder / 'report.html'}, {folder / 'report.json'}")


if __name__ == "__main__":
    sys.exit(main())
