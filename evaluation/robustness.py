"""A robustness test: a data set under all perturbations and levels, as a table, a CSV file and a figure."""

import csv
import io
import logging
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from datasets.perturbations import compression_unavailable, whole_suite
from evaluation.dataset_test import DatasetTest
from evaluation.number_text import percent
from utils.distributed import on_main
from utils.files import output_dir, write_bytes, write_text
from utils.text_table import text_table

# (name, level) -> metrics of that test, as in metrics.json.
Results = Mapping[tuple[str, int], Mapping]


def run_suite(test: DatasetTest, folder: Path, clean: Mapping, log: logging.Logger) -> None:
    """Test all perturbations at all levels.

    Args:
        test: A data set whose unperturbed test is done.
        folder: Of that test; each perturbed one goes to ``robustness/<name>_<level>`` in it.
        clean: Metrics of the unperturbed test.
        log: For the table.
    """
    suite = whole_suite()
    if reason := compression_unavailable():
        log.info(f"  compression is left out: {reason}")
        suite = [perturbation for perturbation in suite if perturbation.name != "compression"]
    key, results = test.headline, {}
    for perturbation in suite:
        place = output_dir(folder / "robustness" / f"{perturbation.name}_{perturbation.level}")
        results[perturbation.name, perturbation.level] = test.score(place, perturbation)
        on_main(lambda: write_robustness(folder, clean, results))
    on_main(lambda: plot_robustness(folder, clean, results, key))
    log.info(f"  {key.replace('_', ' ').replace('auc', 'AUC')} by level\n{robustness_table(clean, results, key)}")


def robustness_table(clean: Mapping, results: Results, key: str) -> str:
    """The AUC in percent, a row per perturbation, a column per level, then their mean. key: frame_auc | video_auc."""
    rows = []
    for name in _names(results):
        values = [results[name, level][key] for level in _levels(results)]
        mean = None if None in values else sum(values) / len(values)
        rows.append([name, *(percent(value, undefined="-") for value in (clean[key], *values, mean))])
    return "\n".join(text_table(["", "clean", *map(str, _levels(results)), "mean"], rows))


def write_robustness(folder: Path, clean: Mapping, results: Results) -> None:
    """Write robustness.csv: perturbation, level, frame and video figures as fractions; a row per finished test."""
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
    """Draw robustness.png: ``key`` (frame_auc | video_auc) by level, a panel per perturbation."""
    from evaluation.report.palette import LIGHT
    from evaluation.report.plots import png, robustness_figure

    curves = {
        name: [clean[key], *(results[name, level][key] for level in _levels(results))] for name in _names(results)
    }
    write_bytes(folder / "robustness.png", png(partial(robustness_figure, curves, [0, *_levels(results)], key), LIGHT))


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
