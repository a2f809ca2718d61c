"""The figures of a report: ROC, precision-recall, score histograms, bars per method, reliability curve.

Every function takes the runs as (name, Predictions) and the colours of a theme and returns a figure.
"""

import io
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import precision_recall_curve, roc_curve

from evaluation.calibration import expected_calibration_error, reliability_bins
from evaluation.metrics import auc, average_precision
from evaluation.prediction_table import Predictions, dense_ranks

Run = tuple[str, Predictions]


@dataclass(frozen=True)
class Theme:
    """Colours on a light or a dark page: Okabe and Ito's set, which colour-blind people tell apart."""

    background: str
    text: str
    grid: str
    real: str
    fake: str
    series: tuple[str, ...]


LIGHT = Theme(
    "#ffffff", "#1d2129", "#d9dce1", "#0072B2", "#D55E00", ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000")
)
DARK = Theme(
    "#1c2027", "#e6e8eb", "#3a404a", "#56B4E9", "#E69F00", ("#56B4E9", "#E69F00", "#2fbf95", "#CC79A7", "#F0E442")
)
_DASHES = ("-", "--", "-.", ":")
_BINS = 40


def draw(figure_of: Callable, runs: Sequence[Run], theme: Theme) -> bytes | None:
    """The figure as PNG; None where ``figure_of`` finds nothing to draw."""
    colours = {
        **dict.fromkeys(("figure.facecolor", "axes.facecolor", "legend.facecolor"), theme.background),
        **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), theme.text),
        "grid.color": theme.grid,
        "legend.edgecolor": theme.grid,
    }
    plain = {"text.parse_math": False, "font.size": 11, "axes.grid": True, "axes.axisbelow": True}
    spines = {"axes.spines.top": False, "axes.spines.right": False}
    buffer = io.BytesIO()
    with plt.rc_context({**plt.rcParamsDefault, "backend": "agg", **colours, **plain, **spines}):
        figure = figure_of(runs, theme)
        if figure is None:
            return None
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing")  # names in any script
            figure.savefig(buffer, format="png", dpi=130, metadata={"Software": None})
        plt.close(figure)
    return buffer.getvalue()


def roc_figure(runs: Sequence[Run], theme: Theme) -> Figure | None:
    """ROC of the videos of every run; of one run the frames' too. None where no run has both classes."""
    return _curves(runs, theme, roc_curve, auc, ("false positive rate", "true positive rate"), "ROC, fake is positive")


def precision_recall_figure(runs: Sequence[Run], theme: Theme) -> Figure | None:
    """Precision over recall, as roc_figure."""

    def curve(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        precision, recall, thresholds = precision_recall_curve(labels, scores, drop_intermediate=True)
        return recall, precision, thresholds

    return _curves(runs, theme, curve, average_precision, ("recall", "precision"), "Precision and recall of fakes")


def _curves(
    runs: Sequence[Run], theme: Theme, curve: Callable, area: Callable, axis_labels: tuple[str, str], title: str
) -> Figure | None:
    lines, word = [], "AUC" if area is auc else "AP"
    for name, p in runs:
        shown = [("", p.video_labels, p.video_scores)] if len(runs) > 1 else [
            ("videos", p.video_labels, p.video_scores), ("frames", p.labels, p.ranks)]  # fmt: skip
        for level, labels, scores in shown:
            ranks = dense_ranks(scores)
            if (value := area(labels, ranks)) is not None:
                lines.append((f"{level or _short(name)}, {word} {100 * value:.1f}%", *curve(labels, ranks)[:2]))
    if not lines:
        return None
    figure, axis = _square(len(lines))
    for i, (label, x, y) in enumerate(lines):
        steps = "steps-post" if curve is not roc_curve else "default"
        axis.plot(x, y, label=label, clip_on=False, drawstyle=steps, **_line_style(i, theme))
    if curve is roc_curve:
        axis.plot([0, 1], [0, 1], color=theme.text, lw=0.8, ls=(0, (1, 3)))
    axis.set(xlabel=axis_labels[0], ylabel=axis_labels[1], xlim=(0, 1), ylim=(0, 1.005), title=title)
    figure.legend(loc="outside lower center", frameon=False)
    return figure


def _square(lines: int) -> tuple[Figure, Axes]:
    """Square axes with room for a legend of so many lines below."""
    figure, axis = plt.subplots(figsize=(4.8, 5.1 + 0.24 * lines), layout="constrained")
    axis.set_box_aspect(1)
    return figure, axis


def _line_style(i: int, theme: Theme) -> dict:
    return {
        "color": theme.series[i % len(theme.series)],
        "ls": _DASHES[(i + i // len(theme.series)) % len(_DASHES)],
        "lw": 2,
    }


def score_figure(runs: Sequence[Run], theme: Theme) -> Figure:
    """Histograms of the video scores of reals and fakes, a panel per run."""
    figure, axes = plt.subplots(len(runs), 1, figsize=(4.8, 1.2 + 2.4 * len(runs)), layout="constrained", squeeze=False)
    for axis, (name, p) in zip(axes[:, 0], runs, strict=True):
        labels = p.video_labels
        scores, low, high, axis_label = _score_axis(p)
        edges = np.linspace(low, high, _BINS + 1)
        for label, word, colour, hatch in ((0, "real", theme.real, "//"), (1, "fake", theme.fake, None)):
            shares = np.histogram(scores[labels == label], edges)[0] / max(1, (labels == label).sum())
            axis.stairs(100 * shares, edges, fill=True, alpha=0.45, color=colour, hatch=hatch, lw=0)
            axis.stairs(100 * shares, edges, color=colour, lw=1.8, label=word, ls="--" if label == 0 else "-")
        counts = f"{(labels == 0).sum()} real and {(labels == 1).sum()} fake {p.units}"
        axis.set(xlabel=f"{axis_label} of {counts}", ylabel="% of the class", xlim=(edges[0], edges[-1]))
        axis.set_title(_short(name) if len(runs) > 1 else f"Scores of the {p.units}")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    return figure


def _score_axis(p: Predictions) -> tuple[np.ndarray, float, float, str]:
    """(video scores, lowest and highest on the axis, its label); extreme scores in units of a power of ten."""
    scores, label = p.video_scores, "score"
    if p.probabilities:
        return scores, 0.0, 1.0, "P(fake)"
    largest = np.abs(scores).max()
    if largest and not 1e-3 < largest < 1e6:
        power = max(math.floor(math.log10(largest)), -300)
        scores, label = scores / 10.0**power, f"score / 1e{power}"
    low, high = float(scores.min()), float(scores.max())
    margin = 0.5 if high - low < 1e-6 else 0.0
    return scores, low - margin, high + margin, label


def method_figure(runs: Sequence[Run], theme: Theme, methods: Mapping[str, Mapping[str, Mapping]]) -> Figure | None:
    """Video AUC of every method against all reals, a bar per run. methods: {run name: {method: metrics}}."""
    names = list(dict.fromkeys(name for run, _ in runs for name in methods[run]))
    if not any(methods[run][name]["video_auc"] is not None for run, _ in runs for name in methods[run]):
        return None
    height = 0.8 / len(runs)
    figure, axis = plt.subplots(
        figsize=(4.8, 1.2 + len(names) * max(0.4, 0.24 * len(runs)) + 0.22 * len(runs)), layout="constrained"
    )
    for i, (run, _) in enumerate(runs):
        values = [methods[run].get(name, {}).get("video_auc") for name in names]
        places = np.arange(len(names)) - 0.4 + height * (i + 0.5)
        widths = [0 if value is None else 100 * value for value in values]
        colour = theme.series[i % len(theme.series)]
        axis.barh(places, widths, height * 0.9, color=colour, label=_short(run))
        for y, value in zip(places, values, strict=True):
            text = "n/a" if value is None else f"{100 * value:.1f}"
            axis.text(101 if value is not None else 1, y, text, va="center", fontsize=9)
    axis.set_yticks(range(len(names)), [_short(name) for name in names])
    axis.set(xlim=(0, 114), xticks=range(0, 101, 25), xlabel="video AUC in %, against all reals", title="Methods")
    axis.axvline(50, color=theme.text, lw=0.8, ls=(0, (1, 3)))
    axis.grid(visible=False, axis="y")
    axis.invert_yaxis()
    if len(runs) > 1:
        figure.legend(loc="outside lower center", frameon=False)
    return figure


def calibration_figure(runs: Sequence[Run], theme: Theme) -> Figure | None:
    """Share of fakes over the mean P(fake) of the frames, 15 bins; None where no run has probabilities."""
    known = [(name, p) for name, p in runs if p.probabilities]
    if not known:
        return None
    figure, axis = _square(len(known))
    axis.plot([0, 1], [0, 1], color=theme.text, lw=0.8, ls=(0, (1, 3)))
    for i, (name, p) in enumerate(known):
        _, fakes, means, sizes = reliability_bins(p.labels, p.scores)
        label = f"{_short(name) if len(runs) > 1 else 'frames'}, ECE {100 * expected_calibration_error(p.labels, p.scores):.1f}%"  # noqa: E501
        axis.plot(means, fakes, label=label, clip_on=False, **_line_style(i, theme))
        _points(axis, means, fakes, sizes, theme.series[i % len(theme.series)])
    axis.set(xlabel="mean P(fake) of the bin", ylabel="share of fakes in the bin", xlim=(0, 1), ylim=(0, 1))
    axis.set_title("Calibration, frames")
    figure.legend(loc="outside lower center", frameon=False)
    return figure


def _points(axis: Axes, x: np.ndarray, y: np.ndarray, sizes: np.ndarray, colour: str) -> None:
    """Points whose area grows with the bin's share of the frames."""
    axis.scatter(x, y, s=16 + 200 * sizes / sizes.sum(), color=colour, clip_on=False, zorder=3)


def _short(name: str, length: int = 36) -> str:
    """A name for a legend: one line, not too long; matplotlib hides labels that start with an underscore."""
    name = "".join(letter if letter.isprintable() else "?" for letter in name)
    name = name if len(name) <= length else f"…{name[1 - length :]}"
    return f" {name}" if name.startswith("_") else name
