"""What a check of data finds, how findings are shown, and which files of two sets hold the same bytes."""

import json
import shlex
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from utils.cli import UserError
from utils.files import file_sha256
from utils.progress import progress_bar

KINDS = (
    ("missing_file", "unreadable_image", "unknown_code", "empty", "duplicate", "label_conflict")
    + ("overlap_path", "overlap_video", "overlap_content")  # between the training and the validation list
    + ("count_mismatch", "label_orientation", "short_video")
)
_SAMPLE = 64  # bytes from the middle of a file, compared before whole files are
_EXAMPLES = 10  # findings of a kind that a person is shown
_MENDS = 3


class Finding(NamedTuple):
    """One thing that is wrong. path: the list (with a line), image or folder it is in. line: from 1, or None.
    fix: a command where there is one, else what to do."""

    kind: str
    path: str
    line: int | None
    message: str
    fix: str


def finding_of_error(kind: str, path: object, error: UserError) -> Finding:
    """A reader's error as a finding: such a message says what is wrong; how to mend it."""
    message, _, fix = str(error).partition("; ")
    return Finding(kind, str(path), None, message, fix)


def sed(path: object, *expressions: str) -> str:
    """The command that edits a text file in place."""
    return f"sed -i -E {shlex.quote(';'.join(expressions))} {shlex.quote(str(path))}"


def same_content(left: Mapping[str, int], right: Mapping[str, int]) -> dict[str, str]:
    """File of ``right`` -> a file of ``left`` with another path and the same bytes. Both map files to their sizes.

    Only files whose size is in both are opened; a few bytes of each, and all bytes (SHA-256) where these agree too.
    A file that cannot be read equals none.
    """
    shared = set(left.values()) & set(right.values())
    both = {file: size for files in (left, right) for file, size in files.items() if size in shared}
    samples: dict[tuple[int, bytes], list[str]] = defaultdict(list)
    for file, size in progress_bar(both.items(), desc="comparing", unit="file", leave=False, delay=1):
        sample = _middle(file, size)
        if sample is not None:
            samples[size, sample].append(file)
    same = {}
    alike = [files for files in samples.values() if any(f in left for f in files) and any(f in right for f in files)]
    for files in progress_bar(alike, desc="hashing", unit="group", leave=False, delay=1):
        if len(files) == 1:  # the same path in both
            continue
        digests = {file: _digest(file) for file in files}
        for file in files:
            twins = (f for f in files if f in left and f != file and digests[f] == digests[file] is not None)
            if file in right and (twin := next(twins, None)):
                same[file] = twin
    return same


def _middle(file: str, size: int) -> bytes | None:
    try:
        with open(file, "rb", buffering=0) as opened:  # noqa: PTH123 - 100,000s of files, and Path doubles the time
            opened.seek(size // 2)
            return opened.read(_SAMPLE)
    except OSError:
        return None


def _digest(file: str) -> str | None:
    try:
        return file_sha256(Path(file))
    except OSError:
        return None


def as_json(findings: Sequence[Finding], counts: Mapping) -> str:
    return json.dumps({"findings": [finding._asdict() for finding in findings], "counts": counts}, indent=2)


def summary(findings: Sequence[Finding]) -> str:
    """One line: how many findings of which kinds."""
    numbers = Counter(finding.kind for finding in findings)
    told = ", ".join(f"{numbers[kind]} {kind}" for kind in KINDS if numbers[kind])
    return f"{len(findings)} finding{'s' * (len(findings) > 1)}: {told}"


def table(rows: Sequence[Mapping[str, object]]) -> list[str]:
    """Rows with equal keys -> aligned lines, the keys as header. Numbers stand to the right, None is a dash."""
    cells = [list(rows[0])] + [["-" if value is None else str(value) for value in row.values()] for row in rows]
    right = [all(isinstance(row[key], int | None) for row in rows) for key in rows[0]]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = []
    for row in cells:
        padded = [c.rjust(w) if r else c.ljust(w) for c, w, r in zip(row, widths, right, strict=True)]
        lines.append("  ".join(padded).rstrip())
    return lines


def finding_lines(findings: Iterable[Finding]) -> list[str]:
    """Findings for a person: by kind, the first of each kind and how to mend them."""
    groups = defaultdict(list)
    for finding in findings:
        groups[finding.kind].append(finding)
    lines = []
    for kind in (kind for kind in KINDS if kind in groups):
        group = groups[kind]
        lines += ["", f"{kind} ({len(group)})"]
        for finding in group[:_EXAMPLES]:
            where = finding.path if finding.line is None else f"{finding.path}:{finding.line}"
            lines.append(f"  {where}: {finding.message}")
        if len(group) > _EXAMPLES:
            lines.append(f"  ... and {len(group) - _EXAMPLES} more; --json lists all")
        fixes = list(dict.fromkeys(finding.fix for finding in group))
        lines += [f"  mend: {fix}" for fix in fixes[:_MENDS]]
        if len(fixes) > _MENDS:
            lines.append(f"  ... and {len(fixes) - _MENDS} more ways to mend; --json lists all")
    return [line.encode(errors="backslashreplace").decode() for line in lines]
