"""What a check of data finds."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from utils.cli import UserError

KINDS = (
    ("missing_file", "unreadable_image", "unknown_code", "empty", "duplicate", "label_conflict")
    + ("overlap_path", "overlap_video", "overlap_content")  # between training, validation and test
    + ("count_mismatch", "unfinished", "label_orientation", "short_video")
)
DROP_LINE = "drop this line; --fix OUT.txt does that"


class Edit(NamedTuple):
    """What --fix does to a list.

    change: Line without its end -> the corrected line; None drops it.
    every_line: Whether all lines are changed, not the finding's own alone.
    """

    change: Callable[[str], str | None]
    every_line: bool = False


DROP = Edit(lambda _line: None)


class Finding(NamedTuple):
    """One thing that is wrong.

    kind: One of KINDS.
    path: The list (with a line), image or folder it is in.
    line: From 1, or None.
    fix: What the user can do, in words or as a command.
    edit: What --fix does to a list; None if it does nothing. Not part of the JSON.
    """

    kind: str
    path: str
    line: int | None
    message: str
    fix: str
    edit: Edit | None = None


def repeated_line(path: Path, line: int, what: str, earlier: int) -> Finding:
    """The duplicate finding of a line that says the same as an earlier one. what: the image or video."""
    return Finding("duplicate", str(path), line, f"{what} is on line {earlier} too", DROP_LINE, DROP)


def error_finding(kind: str, path: object, error: UserError) -> Finding:
    """A reader's error as a finding. Its message says what is wrong; how to fix it."""
    message, _, fix = str(error).partition("; ")
    return Finding(kind, str(path), None, message, fix)


def refuse_wrong_lines(findings: Sequence[Finding]) -> None:
    """Raise UserError for the first finding of a list that a reader must not accept; repeated lines are fine."""
    wrong = [finding for finding in findings if finding.kind != "duplicate"]
    if wrong:
        first = min(wrong, key=lambda finding: finding.line or 0)
        raise UserError(f"{first.path}:{first.line}: {first.message}; {first.fix}")


def count_findings(path: Path, what: str, there: int, official: int, fix: str) -> list[Finding]:
    """The finding that ``path`` has another number of videos than the official one, if so."""
    message = f"{there} {what}, officially {official}"
    return [] if there == official else [Finding("count_mismatch", str(path), None, message, fix)]


def label_findings(
    path: Path, wrong: Sequence[tuple[int, str]], n_lines: int, fix: str, edit: Edit | None, fix_of_one: str = ""
) -> list[Finding]:
    """label_orientation: one for each wrong label of a list, or one for all if most labels are wrong.

    Args:
        path: The list.
        wrong: (line number, message) of each wrong label.
        n_lines: How many labels could be judged.
        fix: How the whole list is fixed.
        edit: The same for --fix, of every line.
        fix_of_one: How a single label is fixed; "" for ``fix`` and ``edit`` of its line.
    """
    if 2 * len(wrong) > n_lines:
        number, message = wrong[0]
        message = f"{len(wrong)} of {n_lines} labels: {message}"
        return [Finding("label_orientation", str(path), number, message, fix, edit and edit._replace(every_line=True))]
    one = None if fix_of_one else edit
    return [Finding("label_orientation", str(path), n, message, fix_of_one or fix, one) for n, message in wrong]
