"""The corrected copy of a list that SJEDD_check_data.py --fix writes."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from datasets.checks.findings import Finding
from datasets.list_rules import split_line
from utils.cli import UserError
from utils.files import text_file, write_bytes


def write_corrected_list(findings: Sequence[Finding], out: Path) -> str:
    """Write a corrected copy of the one list that has findings with an ``edit``; returns a line about what was done.

    Line ends are kept, a byte order mark is not.

    Raises:
        UserError: Several lists have such findings, no line would be left, ``out`` exists or cannot be written, or
            images are relative to the folder of the list and ``out`` is in another folder.
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
        if finding.edit and finding.line:
            for i in range(len(lines)) if finding.edit.every_line else [finding.line - 1]:
                if (line := fixed[i]) is not None:
                    fixed[i] = finding.edit.change(line)
    kept = [line for line in fixed if line is not None]
    if not any(line.strip() for line in kept):
        raise UserError(f"--fix would drop all lines of {path}; see the findings, and fix their cause")
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
    """The lines of a text file, without a byte order mark. Bytes that are not UTF-8 become surrogates.

    Lines end in LF, in CR LF (and keep the CR) or in CR.
    """
    return re.split(r"\r(?!\n|\Z)|\n", text_file(path).read_bytes().decode("utf-8-sig", errors="surrogateescape"))


def _refuse_other_folder(path: Path, lines: Sequence[str], out: Path) -> None:
    """Raise UserError if images are relative to the folder of the list and ``out`` is in another folder."""
    if out.absolute().parent.resolve() == path.absolute().parent.resolve():
        return
    for line in lines:
        image, _ = split_line(line)
        if image and not os.path.isfile(image) and os.path.isfile(os.path.join(path.parent, image)):  # noqa: PTH113, PTH118
            raise UserError(f"{image[:200]} is named from the folder of {path}; give --fix a file in {path.parent}")
