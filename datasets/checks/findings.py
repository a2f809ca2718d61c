"""What a check of data finds, and how a list is corrected."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from utils.cli import UserError
from utils.files import text_file, write_bytes

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
    edit: What --fix does; None if it does nothing. Not part of the JSON.
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
        first = min(wrong, key=lambda finding: finding.line)
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


def write_corrected_list(findings: Sequence[Finding], out: Path) -> str:
    """Write a corrected copy of the one list that has findings with an ``edit``; the list itself is not changed.

    Args:
        findings: Of all lists.
        out: New file. A byte order mark is left out, line ends are kept.

    Returns:
        What was done, in one line.

    Raises:
        UserError: Several lists have such findings, ``out`` is there already or cannot be written, or images are named
            relative to the folder of the list and ``out`` is in another one.
    """
    paths = list(dict.fromkeys(finding.path for finding in findings if finding.edit))
    if not paths:
        return f"{out} is not written: there is no line that --fix can correct"
    if len(paths) > 1:
        raise UserError(f"--fix corrects one list, and {' and '.join(paths)} have lines to fix; check one at a time")
    path = Path(paths[0])
    lines = read_list_lines(path)
    fixed: list[str | None] = list(lines)
    for finding in findings:
        if finding.edit:
            for i in range(len(lines)) if finding.edit.every_line else [finding.line - 1]:
                fixed[i] = None if fixed[i] is None else finding.edit.change(fixed[i])
    kept = [line for line in fixed if line is not None]
    _refuse_other_folder(path, kept, out)
    if os.path.lexists(out):
        raise UserError(f"{out} is there already; give --fix a new file")
    try:
        write_bytes(out, "\n".join(kept).encode(errors="surrogateescape"))
    except OSError as error:
        raise UserError(f"cannot write {out} ({error.strerror}); give --fix another file") from error
    n_changed = sum(new not in (None, old) for old, new in zip(lines, fixed, strict=True))
    return f"wrote {out}: {path} with {len(lines) - len(kept)} lines dropped and {n_changed} changed"


def read_list_lines(path: Path) -> list[str]:
    """The lines of a text file without a byte order mark; bytes that are not UTF-8 as surrogates."""
    return text_file(path).read_bytes().decode("utf-8-sig", errors="surrogateescape").split("\n")


def _refuse_other_folder(path: Path, lines: Sequence[str], out: Path) -> None:
    """UserError if images are found from the folder of the list only, and ``out`` is not in it."""
    from datasets.readers.txt_list import split_line

    if out.absolute().parent.resolve() == path.absolute().parent.resolve():
        return
    for line in lines:
        image, _ = split_line(line.strip())
        if image and not os.path.isfile(image) and os.path.isfile(os.path.join(path.parent, image)):  # noqa: PTH113, PTH118
            raise UserError(f"{image[:200]} is named from the folder of {path}; give --fix a file in {path.parent}")
