"""What SJEDD_report.py prints."""

from collections.abc import Mapping, Sequence

from evaluation.comparison import MATCHED_BY, SEED_METRICS
from evaluation.conventions import CONVENTIONS
from evaluation.number_text import figure_text, p_text, percent, spread_text
from evaluation.report.runs import AT_THRESHOLD, COLUMNS, CROSS_AUC, LABELS, TESTS, Run, cross_means
from utils.terminal import say
from utils.text_table import text_table

_SHOWN = ("videos", "video_auc", "video_auc_ci95", "video_eer", "frame_auc", "video_acc", "coverage")


def print_report(runs: Sequence[Run], comparison: Mapping) -> None:
    say(f"{LABELS} Figures in percent.")
    for name, rule in CONVENTIONS.items():
        say(f"  {name}: {rule}")
    for run in runs:
        _print_run(run)
    for pair in comparison.get("pairs", ()):
        _print_pair(pair, runs[0].predictions.units)
    if "pairs" in comparison:
        say(TESTS)
    if "cross_auc" in comparison:
        _print_cross_auc(comparison["cross_auc"], "")
    if "note" in comparison:
        say(comparison["note"])
    for convention, spread in comparison.get("seeds", {}).items():
        text = ", ".join(f"{COLUMNS[name]} {spread_text(spread[name])}" for name in SEED_METRICS)
        say(f"seeds, {convention}: {text}")


def _print_run(run: Run) -> None:
    ours, p = run.metrics["ours"], run.predictions
    dropped = "dropped not known" if p.dropped is None else f"{len(p.dropped)} dropped"
    videos = f"{ours['videos_real']} real and {ours['videos_fake']} fake {p.units}"
    frames = "" if p.units == "images" else f", {ours['frames']} frames"
    say(f"{p.source}: {videos}{frames}, {dropped}")
    rows = [[name, *(figure_text(metrics[key]) for key in _SHOWN)] for name, metrics in run.metrics.items()]
    for line in (*run.notes, *text_table(["convention", *(COLUMNS[key] for key in _SHOWN)], rows)):
        say(f"  {line}")
    if run.threshold is not None:
        at = ", ".join(f"{heading} {percent(ours[key])}" for key, heading in AT_THRESHOLD.items())
        say(f"  videos, threshold {run.threshold:g} from validation: {at}")
    for name, entry in ours.get("datasets", {}).items():
        say(f"  {name}: video AUC {percent(entry['video_auc'])}, frame AUC {percent(entry['frame_auc'])}")
    if "cross_auc" in ours:
        _print_cross_auc(ours["cross_auc"], "  ")
    say("  " + "; ".join(f"{name}: {effect}" for name, effect in run.effects.items()))


def _print_cross_auc(cross: Mapping, indent: str) -> None:
    rows = [[name or "unnamed", *map(figure_text, row.values())] for name, row in cross["aucs"].items()]
    header = ["reals of", *(name or "unnamed" for name in cross["aucs"])]
    for line in (CROSS_AUC, *text_table(header, rows), cross_means(cross)):
        say(f"{indent}{line}")


def _print_pair(pair: Mapping, units: str) -> None:
    where = f"{pair['b']} against {pair['a']}, {pair['videos']} common {units}"
    if pair["matched_by"] != MATCHED_BY[0]:
        where += f" by their {pair['matched_by']}"
    if pair["labelled_differently"]:
        where += f" ({pair['labelled_differently']} more are labelled differently and left out)"
    if pair["difference"] is None:
        say(f"{where}: not compared, no common {units} of both classes")
    else:
        difference, interval = percent(pair["difference"]), figure_text(pair["ci95"])
        delong = f"DeLong p {p_text(pair['delong_p'])} ({figure_text(pair['delong_ci95'])})"
        say(f"{where}: video AUC {difference} (95% interval {interval}), p {p_text(pair['p'])}; {delong}")
