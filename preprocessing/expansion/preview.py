"""The preview of an expansion: a contact sheet with real, fake, mask and result of some images."""

import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from datasets.readers.ffpp import METHOD_CODES, REGION_CODES
from preprocessing.expansion.compose import CropError, compose
from preprocessing.expansion.planning import Job
from preprocessing.lists.choosing import in_turn
from utils.cli import UserError
from utils.files import write_bytes
from utils.terminal import say

MAX_BYTES = 1_900_000  # of the file
CELL = 240  # px, side of a picture; smaller if the file would be too large
_TEXT_HEIGHT, _GAP = 22, 4  # px
SheetRow = tuple[str, Sequence[np.ndarray]]  # caption, one picture [S, S, 3] uint8 BGR for each column


def draw_preview(path: Path, jobs: Sequence[Job], number: int, seed: int) -> None:
    """Write a PNG that shows at most ``number`` of the images, a seeded choice.

    Images whose crops can no longer be read are left out with a warning. Raises UserError if none is left.
    """
    rows = []
    for job in choose_samples(jobs, number, np.random.default_rng(seed)):
        try:
            real, fake, mask, result = compose(job)
        except CropError as error:
            say(f"warning: left out of the preview: {error}", file=sys.stderr)
            continue
        caption = "{method} {video}, frame {frame}, {region}".format(**job.row)
        rows.append((caption, (real, fake, tinted(real, mask), result)))
    if not rows:
        raise UserError(
            f"{path} is not written: none of the crops can be read; move them away and run extract_faces.py again"
        )
    how = jobs[0].row["blend"] + (", colours matched" if jobs[0].row["color_transfer"] == "1" else "")
    write_sheet(path, ("real", "fake", "mask", f"result ({how})"), rows)
    say(f"preview: {path}")


def choose_samples(jobs: Sequence[Job], number: int, rng: np.random.Generator) -> list[Job]:
    """Draw at most ``number`` jobs, spread over the regions, then over the methods of each region."""
    drawn = in_turn((jobs[index] for index in rng.permutation(len(jobs))), lambda job: job.row["region"])
    chosen = in_turn(drawn, lambda job: (job.row["region"], job.row["method"]))[:number]
    order = [*REGION_CODES, *METHOD_CODES]
    return sorted(chosen, key=lambda job: (order.index(job.row["region"]), order.index(job.row["method"]), job.path))


def tinted(picture: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Paint a mask [H, W] in 0..1 green over a greyed picture [H, W, 3] uint8 BGR. Returns [H, W, 3] uint8 BGR."""
    grey = np.repeat(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)[..., None], 3, axis=2)
    weight = 0.6 * mask[..., None]
    return np.rint(grey * (1 - weight) + np.array([60, 220, 60]) * weight).astype(np.uint8)


def contact_sheet(headings: Sequence[str], rows: Sequence[SheetRow], cell: int) -> np.ndarray:
    """Draw a sheet on white with pictures of ``cell`` px a side. Returns [H, W, 3] uint8 BGR."""
    lefts = [_GAP + column * (cell + _GAP) for column in range(len(headings))]
    row_height = _TEXT_HEIGHT + cell + _GAP
    sheet = np.full((_TEXT_HEIGHT + len(rows) * row_height, lefts[-1] + cell + _GAP, 3), 255, np.uint8)
    for left, heading in zip(lefts, headings, strict=True):
        _write(sheet, heading, left, 0, 2)
    for number, (caption, pictures) in enumerate(rows):
        top = _TEXT_HEIGHT + number * row_height
        _write(sheet, caption, _GAP, top, 1)
        for left, picture in zip(lefts, pictures, strict=True):
            place = sheet[top + _TEXT_HEIGHT : top + _TEXT_HEIGHT + cell, left : left + cell]
            place[:] = cv2.resize(picture, (cell, cell), interpolation=cv2.INTER_AREA)
    return sheet


def write_sheet(path: Path, headings: Sequence[str], rows: Sequence[SheetRow]) -> None:
    """Write a sheet as PNG; its pictures are made smaller until the file has at most MAX_BYTES."""
    cell = CELL
    while True:
        data = cv2.imencode(".png", contact_sheet(headings, rows, cell), [cv2.IMWRITE_PNG_COMPRESSION, 6])[1]
        if data.nbytes <= MAX_BYTES or cell <= 32:
            return write_bytes(path, data.tobytes())
        cell = max(32, min(round(cell * (MAX_BYTES / data.nbytes) ** 0.5), cell - 8))


def _write(sheet: np.ndarray, text: str, left: int, top: int, thickness: int) -> None:
    place = (left, top + _TEXT_HEIGHT - 7)
    cv2.putText(sheet, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), thickness, cv2.LINE_AA)
