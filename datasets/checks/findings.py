"""The findings of a data check."""

import re
import shlex
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import NamedTuple

from utils.cli import UserError

KINDS = (
    ("missing_file", "unreadable_image", "unknown_code", "empty", "duplicate", "label_conflict")
    + ("one_class", "one_file")
    + ("overlap_path", "overlap_video", "overlap_content")  # between training, validation and test
    + ("count_mismatch", "unfinished", "label_orientation", "short_video")
)
DROP_LINE = "drop this line; --fix OUT.txt does that"


class Edit(NamedTuple):
    """What --fix does to a list.

    change: Line without its end -> the corrected line; None drops the line.
    every_line: Change all lines, not only the finding's.
    """

    change: Callable[[str], str | None]
    every_line: bool = False


DROP = Edit(lambda _line: None)


class Finding(NamedTuple):
    """One thing that is wrong.

    kind: One of KINDS.
    path: The list, image or folder.
    line: Of a list, from 1; else None.
    fix: What the user can do, in words or as a command.
    edit: What --fix does, if anything. Not in the JSON.
    """

    kind: str
    path: str
    line: int | None
    message: str
    fix: str
    edit: Edit | None = None


def repeated_line(path: Path, line: int, what: str, earlier: int) -> Finding:
    """The finding that a line repeats an earlier one. what: The image or video."""
    return Finding("duplicate", str(path), line, f"{what} is on line {earlier} too", DROP_LINE, DROP)


def error_finding(kind: str, path: object, error: UserError) -> Finding:
    """A reader's error as a finding. Its text is `what is wrong; how to fix it`, perhaps after `path:line: `."""
    message, _, fix = str(error).partition("; ")
    place = re.match(rf"{re.escape(str(path))}:(\d+): ", message)
    line, message = (int(place[1]), message[place.end() :]) if place else (None, message)
    return Finding(kind, str(path), line, message, fix or "correct it in the file")


def one_class(path: object, labels: Collection[int]) -> list[Finding]:
    """The finding that a list or data set holds one class only. labels: 0 real, 1 fake, of each image."""
    if len(set(labels)) != 1:
        return []
    message = f"holds one class only: all {len(labels)} images are {'fake' if 1 in labels else 'real'}"
    fix = "list reals and fakes (training and AUC need both), into a new file or with preprocessing/make_lists.py"
    if 0 in labels:
        fix += "; only training with --self_blend --real_only needs no fakes"
    return [Finding("one_class", str(path), None, message, fix)]


def correction_command(data_set: str, path: Path) -> str:
    """The command that writes a corrected copy of a data set's official list, wherever it is."""
    words = ["python", "SJEDD_check_data.py", "--dataset", data_set, "--datapath", str(path.parent), "--fix"]
    return f"{shlex.join(words)} OUT{path.suffix}"


def refuse_wrong_lines(findings: Sequence[Finding]) -> None:
    """Raise UserError for the first wrong line of a list; repeated lines are accepted."""
    wrong = [finding for finding in findings if finding.kind != "duplicate"]
    if wrong:
        first = min(wrong, key=lambda finding: finding.line or 0)
        raise UserError(f"{first.path}:{first.line}: {first.message}; {first.fix}")


def count_findings(path: Path, what: str, there: int, official: int, fix: str) -> list[Finding]:
    """The finding that ``path`` does not have the official number of videos, if so."""
    message = f"{there} {what}, officially {official}"
    return [] if there == official else [Finding("count_mismatch", str(path), None, message, fix)]


def label_findings(
    path: Path, wrong: Sequence[tuple[int | None, str]], n_lines: int, fix: str, edit: Edit | None, fix_of_one: str = ""
) -> list[Finding]:
    """label_orientation for each wrong label of a list, or one finding for all if most labels are wrong.

    Args:
        wrong: (line number, message) of each wrong label; None for entries without a line.
        n_lines: Number of labels that could be judged.
        fix, edit: Of the whole list.
        fix_of_one: Of a single label, without an edit; "" for ``fix`` and ``edit``.
    """
    if 2 * len(wrong) > n_lines:
        number, message = wrong[0]
        message = f"{len(wrong)} of {n_lines} labels: {message}"
        return [Finding("label_orientation", str(path), number, message, fix, edit and edit._replace(every_line=True))]
    one = None if fix_of_one else edit
    return [Finding("label_orientation", str(path), n, message, fix_of_one or fix, one) for n, message in wrong]
