"""Texts in the tables that we write, so that no spreadsheet runs them.

A spreadsheet takes a cell that begins with = + - @, a tab or an end of a line for a formula, and a formula can start
programs. Such a text, perhaps the name of somebody else's file, gets an apostrophe in front: then it is text. One that
begins with apostrophes before such a character gets one more, so each text can be read back exactly. Numbers and other
texts are written as they are.

Readers take the apostrophe off in our own tables only. Programs of others that read our tables see it.
"""

import re
from collections.abc import Sequence

# The first columns of predictions.csv of SJEDD_test.py: they tell our tables from others.
RESULT_COLUMNS = ("dataset", "video", "frame", "path", "label", "method", "code", "p_fake", "logit_fake")
_FORMULA = re.compile(r"'*[=+\-@\t\r\n]")


def safe_cell(text: str) -> str:
    """A text as it is written."""
    return f"'{text}" if _FORMULA.match(text) else text


def plain_cell(cell: str) -> str:
    """The text of a cell that ``safe_cell`` made."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def is_ours(header: Sequence[str]) -> bool:
    """Whether a table with this header is a predictions.csv of SJEDD_test.py."""
    return tuple(header[: len(RESULT_COLUMNS)]) == RESULT_COLUMNS
