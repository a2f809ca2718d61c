"""The result of a robustness test: AUC of every perturbation and level as a table, a CSV file and a figure."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from utils.files import atomic_path, write_text

# (name, level) -> metrics of that test, as in metrics.json.
Results = Mapping[tuple[str, int], Mapping]


def robustness_table(clean: Mapping, results: Results, key: str) -> str:
    """The AUC in percent, a line per perturbation, levels in columns, then their mean. key: frame_auc | video_auc."""
    lines = [f"{'':14}{'clean':>8}" + "".join(f"{level:>8}" for level in _levels(results)) + f"{'mean':>8}"]
    for name in _names(results):
        values = [results[name, level][key] for level in _levels(results)]
        mean = None if None in values else sum(values) / len(values)
        lines.append(f"{name:14}" + "".join(_percent(value) for value in (clean[key], *values, mean)))
    return "\n".join(lines)


def write_robustness(folder: Path, clean: Mapping, results: Results) -> None:
    """robustness.csv: perturbation, level, frame and video figures as fractions, a row for what is done so far."""
    columns = ("frame_auc", "video_auc", "video_eer", "video_acc")
    rows = [("none", 0, clean), *((name, level, metrics) for (name, level), metrics in results.items())]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("perturbation", "level", *columns))
    for name, level, metrics in rows:
        figures = [metrics[column] for column in columns]
        writer.writerow([name, level, *("" if value is None else f"{value:.6f}" for value in figures)])
    write_text(folder / "robustness.csv", text.getvalue())


def plot_robustness(folder: Path, clean: Mapping, results: Results, key: str) -> None:
    """robustness.png: ``key`` (frame_auc | video_auc) by level, a panel per perturbation."""
    figure, axes = plt.subplots(2, 4, figsize=(11, 5), sharey=True, layout="constrained")
    levels = _levels(results)
    for axis, name in zip(axes.flat, _names(results), strict=False):
        values = [clean[key], *(results[name, level][key] for level in levels)]
        axis.plot([0, *levels], [float("nan") if value is None else 100 * value for value in values], "o-")
        axis.set_title(name)
        axis.set_xticks([0, *levels])
        axis.grid(alpha=0.3)
    for axis in axes.flat[len(_names(results)) :]:
        axis.set_visible(False)
    for axis in axes[:, 0]:
        axis.set_ylabel(f"{key.replace('_auc', '')} AUC in %")
    figure.supxlabel("level (0 is clean)")
    with atomic_path(folder / "robustness.png") as temporary:
        figure.savefig(temporary, dpi=110)
    plt.close(figure)


def remove_robustness(folder: Path) -> None:
    """Remove what an earlier robustness test left in ``folder``: it belongs to another test."""
    for name in ("robustness.csv", "robustness.png"):
        (folder / name).unlink(missing_ok=True)
    for metrics in (folder / "robustness").glob("*/metrics.json"):
        metrics.unlink()
        (metrics.parent / "predictions.csv").unlink(missing_ok=True)


def _names(results: Results) -> Sequence[str]:
    return list(dict.fromkeys(name for name, _ in results))


def _levels(results: Results) -> Sequence[int]:
    return sorted({level for _, level in results})


def _percent(value: float | None) -> str:
    return f"{'-':>8}" if value is None else f"{100 * value:8.2f}"
