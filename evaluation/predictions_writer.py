"""Write predictions.csv while frames are scored. Only the numbers that the metrics need stay in memory."""

import csv
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datasets.csv_cells import RESULT_COLUMNS, safe_cell
from datasets.records import DataSet, Record
from evaluation.calibration import calibrated
from utils.cli import UserError
from utils.files import atomic_path, read_json


@dataclass(frozen=True)
class Scores:
    """N scored frames. Iterating makes the rows for ``evaluation.metrics.evaluate`` one by one."""

    data: DataSet
    nodes: Sequence[str]  # column names of the nodes, without the root
    indices: np.ndarray  # int [N], positions of the scored records in data
    values: np.ndarray  # float64 [N, 2 + nodes]: P(fake), its log-odds, the probability of each node

    @property
    def records(self) -> Iterator[Record]:
        return (self.data.records[i] for i in self.indices)

    def __iter__(self) -> Iterator[dict]:
        for record, (p_fake, logit_fake, *nodes) in zip(self.records, self.values, strict=True):
            row = {"video": record.video, "label": record.label, "method": record.method, "code": record.code}
            row |= {"p_fake": p_fake, "logit_fake": logit_fake}
            yield row | (dict(zip(self.nodes, nodes, strict=True)) if record.code else {})


def refuse_other_source(folder: Path, source: str) -> None:
    """Raise UserError if ``folder`` or a folder in it holds results of another source, a path."""
    for path in sorted(folder.rglob("metrics.json")):
        metrics = read_json(path)
        earlier = metrics.get("source") if isinstance(metrics, dict) else None
        if isinstance(earlier, str) and os.path.abspath(earlier) != os.path.abspath(source):  # noqa: PTH100 - a path that need not exist
            raise UserError(f"{folder} holds the results of {earlier}; give another --name or --output")


def write_predictions(
    path: Path,
    data: DataSet,
    nodes: Sequence[str],
    scored: Iterable[tuple[Sequence[int], np.ndarray, np.ndarray]],
    calibration: Mapping | None = None,
) -> Scores:
    """Write a CSV file, which appears when it is complete; returns the scores, rounded as in it to 9 digits.

    Args:
        path, data: The file, and the data set of the frames. Names are written as datasets/csv_cells.py says.
        nodes: Column names of the nodes, without the root.
        scored: Batches of (record indices [B], probabilities [B, 1 + nodes], log-odds of fake [B]).
        calibration: Adds the last column p_fake_calibrated.

    Raises:
        UserError: No image could be read, or the file cannot be written.
    """
    indices: list[Sequence[int]] = []
    values: list[np.ndarray] = []
    with (
        atomic_path(path) as temporary,
        temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(list(RESULT_COLUMNS) + list(nodes) + (["p_fake_calibrated"] if calibration else []))
        for batch, p, logit in scored:
            columns = [p[:, :1], logit, p[:, 1:]] + ([calibrated(logit, calibration)] if calibration else [])
            texts = [[f"{value:.9g}" for value in row] for row in np.column_stack(columns)]
            for index, numbers in zip(batch, texts, strict=True):
                record = data.records[index]
                where = map(safe_cell, (data.name, record.video, record.frame, record.path))
                writer.writerow([*where, record.label, safe_cell(record.method), record.code, *numbers])
            if texts:
                indices.append(batch)
                values.append(np.array(texts, dtype=np.float64)[:, : 2 + len(nodes)])
        if not indices:
            raise UserError("none of the images could be read")
    return Scores(data, nodes, np.concatenate(indices), np.concatenate(values))
