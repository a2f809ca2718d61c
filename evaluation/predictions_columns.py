"""Read the columns of a predictions file as strings and numbers. Every error names the file and the line."""

import csv
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import NamedTuple

import numpy as np

from datasets.csv_cells import is_ours, plain_cell
from datasets.list_rules import label_of
from utils.cli import UserError
from utils.files import text_file

_TEXTS = ("dataset", "video", "frame", "path", "method")  # of our own file
_OPTIONAL = ("dataset", "frame", "method", "code", "logit_fake")


@dataclass(frozen=True)
class Columns:
    """Names of the columns to read. "": the usual name, if the file has such a column."""

    score: str = "p_fake"
    label: str = "label"
    path: str = ""
    video: str = ""


class ColumnTable(NamedTuple):
    """The used columns of a file with N rows."""

    source: str
    header: list[str]
    columns: Columns  # what score, label, path and video are called here
    cells: dict[str, list[str]]  # column -> N strings
    lines: list[int]  # [N] line numbers

    def texts(self, name: str) -> list[str]:
        """[N] cells; "" if there is no such column."""
        return self.cells.get(name) or [""] * len(self.lines)

    def numbers(self, name: str) -> np.ndarray:
        """[N] float64; raises UserError if one is not finite."""
        values = np.array([_number(cell) for cell in self.cells[name]])
        self._refuse_first(name, ~np.isfinite(values), ", not a finite number")
        return values

    def labels(self) -> np.ndarray:
        """[N] 0 real, 1 fake; raises UserError for other words."""
        name, cells = self.columns.label, self.cells[self.columns.label]
        meaning = {cell: label_of(cell) for cell in set(cells)}
        values = np.array([-1 if (label := meaning[cell]) is None else label for cell in cells])
        self._refuse_first(name, values < 0, "; use 0 or real, 1 or fake")
        return values

    def _refuse_first(self, name: str, wrong: np.ndarray, why: str) -> None:
        if wrong.any():
            row = int(wrong.argmax())
            raise UserError(f"{self.source}:{self.lines[row]}: {name} is {self.cells[name][row]!r}{why}")


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def read_columns(source: str, columns: Columns, fall_back: bool) -> ColumnTable:
    """Read a CSV file with a header. Raises UserError if that fails, or if it has no such columns.

    Args:
        source: Path of the file.
        columns: The columns to read, beside optional ones (_OPTIONAL and one per node of the label tree).
        fall_back: Read the usual column instead of a given one that is missing.
    """
    try:
        with text_file(source).open(newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
            first = file.readline()
            if "\0" in first:
                raise UserError(f"{source}:1: no UTF-8 text (UTF-16, or no CSV file at all): save it as CSV in UTF-8")
            return _parse_rows(source, chain([first], file), columns, fall_back)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise UserError(f"cannot read {source} ({getattr(error, 'strerror', error)})") from error


def _parse_rows(source: str, text: Iterable[str], columns: Columns, fall_back: bool) -> ColumnTable:
    reader = csv.reader(text)
    try:
        header = [name.strip() for name in next(reader, [])]
        columns = _find_columns(source, header, columns, fall_back)
        cells: dict[str, list[str]] = {name: [] for name in _used_columns(source, header, columns)}
        targets = [(header.index(name), values.append) for name, values in cells.items()]
        lines: list[int] = []
        for row in reader:
            if not row:
                continue
            if len(row) != len(header):
                raise UserError(f"{source}:{reader.line_num}: {len(row)} fields, the header has {len(header)}")
            for position, append in targets:
                append(row[position])
            lines.append(reader.line_num)
    except csv.Error as error:
        raise UserError(f"{source}:{reader.line_num}: not CSV ({error})") from error
    if not lines:
        raise UserError(f"{source}:1: no rows below the header; nothing was scored")
    if is_ours(header):
        cells |= {name: list(map(plain_cell, cells[name])) for name in _TEXTS if name in cells}
    return ColumnTable(source, header, columns, cells, lines)


def _find_columns(source: str, header: Sequence[str], columns: Columns, fall_back: bool) -> Columns:
    """Replace "" by the usual name, and with ``fall_back`` also the given names that the file does not have."""
    if not any(header):
        raise UserError(f"{source}:1: the file is empty; it needs a header and a row per scored image")
    for mark, word in ((";", ";"), ("\t", "tabs")):
        if len(header) == 1 and mark in header[0]:
            raise UserError(f"{source}:1: the columns are separated by {word}: save it with commas")
    shown = f"(the file has: {', '.join(header[:20])})"
    for option, name in vars(columns).items():
        names = dict.fromkeys([name, getattr(Columns(), option)] if fall_back else [name])
        there = [name for name in names if not name or name in header]
        if not there:
            raise UserError(f"{source}:1: no column {' or '.join(names)}; name it with --{option}_column {shown}")
        columns = replace(columns, **{option: there[0]})
    columns = replace(columns, path=columns.path or "path", video=columns.video or "video")
    if not {columns.path, columns.video} & set(header):
        raise UserError(f"{source}:1: neither a column path nor video; name one with --path_column {shown}")
    return columns


def _used_columns(source: str, header: Sequence[str], columns: Columns) -> list[str]:
    wanted = {*vars(columns).values(), *_OPTIONAL}
    used = [name for name in header if name in wanted] + node_columns(header)
    if repeated := next((name for name in used if name and header.count(name) > 1), ""):
        raise UserError(f"{source}:1: {header.count(repeated)} columns are named {repeated}; keep one of them")
    return used


def node_columns(header: Sequence[str]) -> list[str]:
    """The columns of the nodes of the label tree: those after logit_fake in our files, except p_fake_calibrated."""
    if "code" not in header or "logit_fake" not in header:
        return []
    return [name for name in header[header.index("logit_fake") + 1 :] if name != "p_fake_calibrated"]
