"""The figures of a report: ROC, precision-recall, score histograms, bars per method, reliability curve, robustness.

Figures of runs are None if there is nothing to draw.
"""

import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import precision_recall_curve, roc_curve

from evaluation.calibration import expected_calibration_error, reliability_bins
from evaluation.metrics import auc, average_precision, both_classes
from evaluation.number_text import percent
from evaluation.predictions_reader import Predictions
from evaluation.report.runs import Run
from evaluation.report.theme import Theme
from utils.figures import plain_figures

Scored = tuple[str, np.ndarray, np.ndarray]  # name in the legend, labels [N], scores [N]
_DASHES = ("-", "--", "-.", ":")
_CHANCE: dict[str, Any] = {"lw": 0.8, "ls": (0, (1, 3))}
_BINS = 40
_LONGEST_NAME = 36  # characters in a legend


def png(figure_of: Callable[[Theme], Figure | None], theme: Theme) -> bytes:
    """The figure as PNG; b"" if it is None."""
    colours = {
        **dict.fromkeys(("figure.facecolor", "axes.facecolor", "legend.facecolor"), theme.background),
        **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), theme.text),
        "grid.color": theme.grid,
        "legend.edgecolor": theme.grid,
    }
    layout = {"font.size": 11, "axes.grid": True, "axes.axisbelow": True}
    spines = {"axes.spines.top": False, "axes.spines.right": False}
    buffer = io.BytesIO()
    with plain_figures({**colours, **layout, **spines}):
        figure = figure_of(theme)
        if figure is None:
            return b""
        figure.savefig(buffer, format="png", dpi=130, metadata={"Software": None})
        plt.close(figure)
    return buffer.getvalue()


def roc_figure(runs: Sequence[Run], theme: Theme) -> Figure | None:
    """ROC of the videos of every run; also of the frames if there is one run."""
    return _curves(runs, theme, draw_roc)


def draw_roc(axis: Axes, scored: Sequence[Scored], theme: Theme) -> None:
    """Draw ROC curves, with their AUC in the legend, and the line of chance."""
    for i, (name, labels, scores) in enumerate(scored):
        fpr, tpr, _ = roc_curve(labels, scores)
        label = f"{name}, AUC {percent(auc(labels, scores), 1)}%"
        axis.plot(fpr, tpr, label=label, clip_on=False, **_line_style(i, theme))
    axis.plot([0, 1], [0, 1], color=theme.text, **_CHANCE)
    axis.set(xlabel="false positive rate", ylabel="true positive rate", xlim=(0, 1), ylim=(0, 1.005))
    axis.set_title("ROC, fake is positive")


def precision_recall_figure(runs: Sequence[Run], theme: Theme) -> Figure | None:
    """Precision over recall of the fakes, for the same scores as in ``roc_figure``."""
    return _curves(runs, theme, _draw_precision_recall)


def _draw_precision_recall(axis: Axes, scored: Sequence[Scored], theme: Theme) -> None:
    for i, (name, labels, scores) in enumerate(scored):
        precision, recall, _ = precision_recall_curve(labels, scores, drop_intermediate=True)
        label = f"{name}, AP {percent(average_precision(labels, scores), 1)}%"
        axis.plot(recall, precision, label=label, clip_on=False, drawstyle="steps-post", **_line_style(i, theme))
    axis.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.005), title="Precision and recall of fakes")


def videos_and_frames(p: Predictions) -> list[Scored]:
    return [("videos", p.video_labels, p.video_scores), ("frames", p.labels, p.ranks)]


def _curves(runs: Sequence[Run], theme: Theme, draw: Callable[[Axes, Sequence[Scored], Theme], None]) -> Figure | None:
    scored = videos_and_frames(runs[0].predictions)
    if len(runs) > 1:
        scored = [(_short(run.name), run.predictions.video_labels, run.predictions.video_scores) for run in runs]
    scored = [(name, labels, scores) for name, labels, scores in scored if both_classes(labels)]
    if not scored:
        return None
    figure, axis = _square(len(scored))
    draw(axis, scored, theme)
    return _with_legend(figure)


def _square(lines: int) -> tuple[Figure, Axes]:
    """Square axes above a legend of ``lines`` lines."""
    figure, axis = plt.subplots(figsize=(4.8, 5.1 + 0.24 * lines), layout="constrained")
    axis.set_box_aspect(1)
    return figure, axis


def _with_legend(figure: Figure) -> Figure:
    figure.legend(loc="outside lower center", frameon=False)
    return figure


def _line_style(i: int, theme: Theme) -> dict[str, Any]:
    n = len(theme.series)
    return {"color": theme.series[i % n], "ls": _DASHES[(i + i // n) % len(_DASHES)], "lw": 2}


def score_figure(runs: Sequence[Run], theme: Theme) -> Figure:
    """Histograms of the video scores of reals and fakes, a panel per run."""
    figure, axes = plt.subplots(len(runs), 1, figsize=(4.8, 1.2 + 2.4 * len(runs)), layout="constrained", squeeze=False)
    for axis, run in zip(axes[:, 0], runs, strict=True):
        p, labels, scores = run.predictions, run.predictions.video_labels, run.predictions.video_scores
        low, high = (0.0, 1.0) if p.probabilities else (scores.min(), scores.max())
        margin = max(1.0, abs(high)) / 2 if low == high else 0.0
        edges = np.linspace(low - margin, high + margin, _BINS + 1)
        for label, word, colour, hatch in ((0, "real", theme.real, "//"), (1, "fake", theme.fake, None)):
            shares = np.histogram(scores[labels == label], edges)[0] / max(1, (labels == label).sum())
            axis.stairs(100 * shares, edges, fill=True, alpha=0.45, color=colour, hatch=hatch, lw=0)
            axis.stairs(100 * shares, edges, color=colour, lw=1.8, label=word, ls="--" if label == 0 else "-")
        counts = f"{(labels == 0).sum()} real and {(labels == 1).sum()} fake {p.units}"
        score = "P(fake)" if p.probabilities else "score"
        axis.set(xlabel=f"{score} of {counts}", ylabel="% of the class", xlim=(edges[0], edges[-1]))
        axis.set_title(_short(run.name) if len(runs) > 1 else f"Scores of the {p.units}")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    return figure


def method_figure(runs: Sequence[Run], theme: Theme) -> Figure | None:
    """Video AUC of every method against all reals, a bar per run."""
    methods = [run.metrics["ours"]["methods"] for run in runs]
    names = list(dict.fromkeys(name for of_run in methods for name in of_run))
    if all(entry["video_auc"] is None for of_run in methods for entry in of_run.values()):
        return None
    bar = 0.8 / len(runs)
    height = 1.2 + len(names) * max(0.4, 0.24 * len(runs)) + 0.22 * len(runs)
    figure, axis = plt.subplots(figsize=(4.8, height), layout="constrained")
    for i, (run, of_run) in enumerate(zip(runs, methods, strict=True)):
        values = [of_run.get(name, {}).get("video_auc") for name in names]
        places = np.arange(len(names)) - 0.4 + bar * (i + 0.5)
        widths = [0 if value is None else 100 * value for value in values]
        colour = theme.series[i % len(theme.series)]
        axis.barh(places, widths, bar * 0.9, color=colour, label=_short(run.name))
        for y, value in zip(places, values, strict=True):
            axis.text(101 if value is not None else 1, y, percent(value, 1), va="center", fontsize=9)
    axis.set_yticks(range(len(names)), list(map(_short, names)))
    axis.set(xlim=(0, 114), xticks=range(0, 101, 25), xlabel="video AUC in %, against all reals", title="Methods")
    axis.axvline(50, color=theme.text, **_CHANCE)
    axis.grid(visible=False, axis="y")
    axis.invert_yaxis()
    return _with_legend(figure) if len(runs) > 1 else figure


def calibration_figure(runs: Sequence[Run], theme: Theme) -> Figure | None:
    """Share of fakes over mean P(fake), in bins of frames; a larger point stands for more frames."""
    known = [run for run in runs if run.predictions.probabilities]
    if not known:
        return None
    figure, axis = _square(len(known))
    axis.plot([0, 1], [0, 1], color=theme.text, **_CHANCE)
    for i, run in enumerate(known):
        labels, scores = run.predictions.labels, run.predictions.scores
        fakes, means, sizes = reliability_bins(labels, scores)
        name = _short(run.name) if len(runs) > 1 else "frames"
        label = f"{name}, ECE {percent(expected_calibration_error(labels, scores), 1)}%"
        axis.plot(means, fakes, label=label, clip_on=False, **_line_style(i, theme))
        colour = theme.series[i % len(theme.series)]
        axis.scatter(means, fakes, s=16 + 200 * sizes / sizes.sum(), color=colour, clip_on=False, zorder=3)
    axis.set(xlabel="mean P(fake) of the bin", ylabel="share of fakes in the bin", xlim=(0, 1), ylim=(0, 1))
    axis.set_title("Calibration, frames")
    return _with_legend(figure)


def robustness_figure(curves: Mapping[str, Sequence[float | None]], title: str, theme: Theme) -> Figure:
    """An AUC by level, a panel per perturbation.

    Args:
        curves: Perturbation -> fraction at level 0 (clean), 1, ...; None where undefined. At most eight perturbations.
        title: Name of the AUC.
        theme: Colours.
    """
    figure, axes = plt.subplots(2, 4, figsize=(11, 5), sharey=True, layout="constrained")
    for axis, (name, values) in zip(axes.flat, curves.items(), strict=False):
        shown = [float("nan") if value is None else 100 * value for value in values]
        axis.plot(shown, "o-", color=theme.series[0])
        axis.set(title=name, xticks=range(len(shown)))
    for axis in axes.flat[len(curves) :]:
        axis.set_visible(False)
    for axis in axes[:, 0]:
        axis.set_ylabel(f"{title} in %")
    figure.supxlabel("level (0 is clean)")
    return figure


def _short(name: str) -> str:
    """A name as one short line, for a legend; Matplotlib would hide names that start with an underscore."""
    name = "".join(letter if letter.isprintable() else "?" for letter in name)
    name = name if len(name) <= _LONGEST_NAME else f"…{name[1 - _LONGEST_NAME :]}"
    return f" {name}" if name.startswith("_") else name
