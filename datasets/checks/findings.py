"""What a check of data finds, how findings are shown, and which files of two sets hold the same bytes."""

import codecs
import functools
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
    + ("overlap_path", "overlap_video", "overlap_content")  # between training, validation and test
    + ("count_mismatch", "unfinished", "label_orientation", "short_video")
)
_SAMPLE = 64  # bytes from the middle of a file, compared before whole files are
_EXAMPLES = 10  # findings of a kind that a person is shown
_MENDS = 8
_PER_COMMAND = 5000  # ranges of lines in one argument, of which Linux takes 128 KiB


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


def sed(path: Path, *expressions: str) -> str:
    """The command that edits an existing text file in place; a byte order mark before its first line is removed."""
    with path.open("rb") as file:
        mark = [r"1s/^\xEF\xBB\xBF//"] if file.read(3) == codecs.BOM_UTF8 else []
    return f"sed -i -E {shlex.quote(';'.join([*mark, *expressions]))} {shlex.quote(str(path))}"


_quoted = functools.lru_cache(shlex.quote)  # a list may have a million findings


def drop_lines(path: object, *numbers: int) -> str:
    """The command that empties lines of a text file whose reader skips blank ones. All other lines keep their numbers,
    so such commands may be run in any order, and twice."""
    file = _quoted(str(path))
    if len(numbers) == 1:
        return f"sed -i {numbers[0]}z {file}"
    ranges: list[list[int]] = []
    for number in sorted(set(numbers)):
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    edits = [f"{first}z" if first == last else f"{first},{last}z" for first, last in ranges]
    parts = [";".join(edits[start : start + _PER_COMMAND]) for start in range(0, len(edits), _PER_COMMAND)]
    return " && ".join(f"sed -i {shlex.quote(part)} {file}" for part in parts)


def same_content(sets: Sequence[Mapping[str, int]]) -> list[list[str]]:
    """Groups of files that have the same bytes and other paths, each of files of two sets at least.

    sets: file -> its size in bytes. Only files whose size is in two sets are opened; a few bytes of each, and all bytes
    (SHA-256) where these agree too. A file that cannot be read equals none.
    """
    seen, shared = set(), set()
    for files in sets:
        sizes = set(files.values())
        shared |= seen & sizes
        seen |= sizes
    sized = {file: size for files in sets for file, size in files.items() if size in shared}
    samples: dict[tuple[int, bytes], list[str]] = defaultdict(list)
    for file, size in progress_bar(sized.items(), desc="comparing", unit="file", leave=False, delay=1):
        sample = _middle(file, size)
        if sample is not None:
            samples[size, sample].append(file)
    same = []
    alike = [files for files in samples.values() if _of_two_sets(files, sets)]
    for files in progress_bar(alike, desc="hashing", unit="group", leave=False, delay=1):
        by_digest: dict[str | None, list[str]] = defaultdict(list)
        for file in files:
            by_digest[_digest(file)].append(file)
        by_digest.pop(None, None)
        same += [twins for twins in by_digest.values() if _of_two_sets(twins, sets)]
    return same


def _of_two_sets(files: Sequence[str], sets: Sequence[Mapping[str, int]]) -> bool:
    return len(files) > 1 and sum(any(file in own for file in files) for own in sets) > 1


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


def _joined_fixes(findings: Iterable[Finding]) -> list[str]:
    """The different mends, those that end by dropping a line as one for all such lines of the list."""
    drops: dict[tuple[str, str], list[int]] = {}
    for finding in findings:
        drop = drop_lines(finding.path, finding.line) if finding.line else None
        if drop and finding.fix.endswith(drop):
            drops.setdefault((finding.fix.removesuffix(drop), finding.path), []).append(finding.line)
        else:
            drops.setdefault((finding.fix, ""), [])
    return [fix + drop_lines(path, *numbers) for (fix, path), numbers in drops.items()]


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
        fixes = _joined_fixes(group)
        lines += [f"  mend: {fix}" for fix in fixes[:_MENDS]]
        if len(fixes) > _MENDS:
            lines.append(f"  ... and {len(fixes) - _MENDS} more ways to mend; --json lists all")
    return [line.encode(errors="backslashreplace").decode() for line in lines]
