"""The record of the files that scripts wrote into a folder: only they are ever replaced or removed.

The hidden file RECORD of a folder lists them. While a run works there, it also has the patterns of the run's files:
after a kill, what matches them is the run's.
"""

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from utils.cli import UserError
from utils.files import read_json, write_json

RECORD = ".sjedd_files.json"


class Record(NamedTuple):
    """The content of a RECORD: names and patterns relative to its folder."""

    files: list[str]  # some may be gone
    unfinished: list[str]  # patterns of a run that has not ended


def read_record(folder: Path) -> Record:
    """The record of a folder, which may be somebody else's; without one nothing is recorded.

    Raises UserError if it is damaged.
    """
    path = folder / RECORD
    if not path.is_file():
        return Record([], [])
    content = read_json(path)
    lists = [content.get(field) for field in Record._fields] if isinstance(content, dict) else [None]
    if not all(isinstance(names, list) and all(map(_stays_inside, names)) for names in lists):
        raise UserError(f"{path} is damaged; remove it, and move what you want to keep out of {folder}")
    return Record(*lists)


def _stays_inside(name: object) -> bool:
    """Whether it is a relative name or pattern that leads neither out of its folder nor deep into it."""
    return isinstance(name, str) and bool(name) and not (name.startswith("/") or ".." in name or "**" in name)


def own_files(folder: Path) -> set[str]:
    """The files that earlier runs wrote into ``folder``, relative to it; some may be gone.

    Raises UserError if the record is damaged.
    """
    record = read_record(folder)
    return {*record.files, *_matches(folder, record.unfinished)}


def foreign_files(folder: Path, patterns: Sequence[str]) -> list[str]:
    """The names in ``folder`` that match a pattern and that no earlier run wrote. patterns: as for Path.glob."""
    return sorted(_matches(folder, patterns) - own_files(folder))


def refuse_foreign_files(folder: Path, patterns: Sequence[str]) -> None:
    """Raises UserError if ``foreign_files`` finds any."""
    if foreign := foreign_files(folder, patterns):
        more = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
        raise UserError(
            f"{folder / foreign[0]}{more} would be replaced, but no record of an earlier run names it; move it, or "
            "choose another output folder"
        )


@contextlib.contextmanager
def recorded(folder: Path, patterns: Sequence[str]) -> Iterator[None]:
    """Record the files that the block writes. patterns: of all of them. None of them may be foreign."""
    if not patterns:
        yield
        return
    earlier = own_files(folder)
    write_json(folder / RECORD, {"files": sorted(earlier), "unfinished": sorted(patterns)})
    try:
        yield
    finally:
        files = {name for name in earlier | _matches(folder, patterns) if os.path.lexists(folder / name)}
        with contextlib.suppress(UserError):  # the disk is full or the folder is gone: the record stays unfinished
            if files:
                write_json(folder / RECORD, {"files": sorted(files), "unfinished": []})
            else:
                (folder / RECORD).unlink(missing_ok=True)


def _matches(folder: Path, patterns: Sequence[str]) -> set[str]:
    found = set()
    for pattern in patterns:
        if any(letter in pattern for letter in "*?["):
            found |= {path.relative_to(folder).as_posix() for path in folder.glob(pattern)}
        elif os.path.lexists(folder / pattern):
            found.add(pattern)
    return found
