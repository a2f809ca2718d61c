"""A robustness test: one data set under all perturbations and levels, as a table, a CSV file and a figure."""

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from datasets.perturbations import Perturbation, compression_unavailable, whole_suite
from evaluation.data_set_scorer import DataSetScorer
from evaluation.number_text import percent
from utils.distributed import on_main
from utils.files import output_dir, write_bytes, write_text
from utils.text_table import text_table

_COLUMNS = ("frame_auc", "video_auc", "video_eer", "video_acc")  # of robustness.csv


def run_suite(scorer: DataSetScorer, folder: Path, clean: Mapping, log: logging.Logger) -> None:
    """Test all perturbations at all levels.

    Args:
        scorer: A data set whose unperturbed test is done.
        folder: Holds that test; each perturbed test goes to ``robustness/<name>_<level>`` in it.
        clean: Metrics of the unperturbed test.
        log: For the table.
    """
    suite = whole_suite()
    if reason := compression_unavailable():
        log.info(f"  compression is left out: {reason}")
        suite = [perturbation for perturbation in suite if perturbation.name != "compression"]
    results: dict[str, list[Mapping]] = {}  # perturbation -> metrics at level 1, 2, ...
    for perturbation in suite:
        place = output_dir(folder / _place(perturbation))
        results.setdefault(perturbation.name, []).append(scorer.score(place, perturbation))
        on_main(lambda: write_robustness(folder, clean, results))
    key = scorer.main_auc
    curves = {name: [metrics[key] for metrics in (clean, *by_level)] for name, by_level in results.items()}
    title = key.replace("_", " ").replace("auc", "AUC")
    on_main(lambda: _plot(folder / "robustness.png", curves, title))
    for line in (f"  {title} by level", *robustness_table(curves)):
        log.info(line)


def _place(perturbation: Perturbation) -> str:
    """The folder of a perturbed test, relative to that of the unperturbed one."""
    return f"robustness/{perturbation.folder}"


def robustness_files(of_a_test: Sequence[str]) -> list[str]:
    """All files of a robustness test, relative to the folder of the unperturbed one. of_a_test: those of each test."""
    tests = [f"{_place(perturbation)}/{name}" for perturbation in whole_suite() for name in of_a_test]
    return ["robustness.csv", "robustness.png", *tests]


def robustness_table(curves: Mapping[str, Sequence[float | None]]) -> list[str]:
    """Lines of a table of an AUC in percent: a row per perturbation, with its mean over the levels.

    curves: Perturbation -> AUC without it and at level 1, 2, ...; None where undefined.
    """
    header = ["", "clean", *map(str, range(1, max(map(len, curves.values())))), "mean"]
    rows = []
    for name, (clean, *values) in curves.items():
        known = [value for value in values if value is not None]
        mean = sum(known) / len(known) if len(known) == len(values) else None
        rows.append([name, *(percent(value, undefined="-") for value in (clean, *values, mean))])
    return text_table(header, rows)


def write_robustness(folder: Path, clean: Mapping, results: Mapping[str, Sequence[Mapping]]) -> None:
    """Write robustness.csv: figures as fractions, a row per finished test. results: as in ``run_suite``."""
    tests = [("none", 0, clean)]
    tests += [(name, level, metrics) for name, by_level in results.items() for level, metrics in enumerate(by_level, 1)]
    lines = [",".join(("perturbation", "level", *_COLUMNS))]
    for name, level, metrics in tests:
        figures = ("" if metrics[column] is None else f"{metrics[column]:.6f}" for column in _COLUMNS)
        lines.append(",".join((name, str(level), *figures)))
    write_text(folder / "robustness.csv", "\n".join(lines) + "\n")


def _plot(path: Path, curves: Mapping[str, Sequence[float | None]], title: str) -> None:
    from evaluation.report.plots import png, robustness_figure
    from evaluation.report.theme import LIGHT  # Matplotlib takes a second to import

    write_bytes(path, png(partial(robustness_figure, curves, title), LIGHT))


def remove_robustness(folder: Path) -> None:
    """Remove the results of an earlier robustness test in ``folder``."""
    for name in robustness_files(("metrics.json", "predictions.csv")):
        (folder / name).unlink(missing_ok=True)
