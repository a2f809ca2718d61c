"""A contact sheet: rows of pictures under column headings, with a caption for each row."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from utils.files import atomic_path

MAX_BYTES = 1_900_000  # of a sheet's file
CELL = 240  # px, side of a picture where the file does not become too large
_TEXT_HEIGHT, _GAP = 22, 4  # px


class SheetRow(NamedTuple):
    """pictures: one [S, S, 3] uint8 BGR for each column."""

    caption: str
    pictures: Sequence[np.ndarray]


def tinted(picture: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """A grey picture with the mask over it in green. picture: [H, W, 3] uint8 BGR; mask: [H, W] in 0..1."""
    grey = np.repeat(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)[..., None], 3, axis=2)
    weight = 0.6 * mask[..., None]
    return np.rint(grey * (1 - weight) + np.array([60, 220, 60]) * weight).astype(np.uint8)


def contact_sheet(headings: Sequence[str], rows: Sequence[SheetRow], cell: int = CELL) -> np.ndarray:
    """Draw a sheet with pictures of ``cell`` px a side. Returns [H, W, 3] uint8 BGR on white."""
    width = len(headings) * (cell + _GAP) + _GAP
    row_height = _TEXT_HEIGHT + cell + _GAP
    sheet = np.full((_TEXT_HEIGHT + len(rows) * row_height, width, 3), 255, np.uint8)
    lefts = [_GAP + column * (cell + _GAP) for column in range(len(headings))]
    for left, heading in zip(lefts, headings, strict=True):
        _write(sheet, heading, left, 0, 2)
    for number, row in enumerate(rows):
        top = _TEXT_HEIGHT + number * row_height
        _write(sheet, row.caption, _GAP, top, 1)
        for left, picture in zip(lefts, row.pictures, strict=True):
            place = sheet[top + _TEXT_HEIGHT : top + _TEXT_HEIGHT + cell, left : left + cell]
            place[:] = cv2.resize(picture, (cell, cell), interpolation=cv2.INTER_AREA)
    return sheet


def write_sheet(path: Path, headings: Sequence[str], rows: Sequence[SheetRow]) -> None:
    """Write a sheet as PNG in one step, its pictures so small that the file keeps to MAX_BYTES."""
    cell = CELL
    while True:
        done, data = cv2.imencode(".png", contact_sheet(headings, rows, cell), [cv2.IMWRITE_PNG_COMPRESSION, 6])
        if not done:
            raise OSError(f"cannot write {path}")
        if data.nbytes <= MAX_BYTES or cell <= 32:
            break
        cell = max(32, min(round(cell * (MAX_BYTES / data.nbytes) ** 0.5), cell - 8))
    with atomic_path(path) as temporary:
        temporary.write_bytes(data.tobytes())


def _write(sheet: np.ndarray, text: str, left: int, top: int, thickness: int) -> None:
    place = (left, top + _TEXT_HEIGHT - 7)
    cv2.putText(sheet, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), thickness, cv2.LINE_AA)
