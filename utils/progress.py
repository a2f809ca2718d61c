"""Progress bars on a terminal, and lines of progress in a log file."""

import sys
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm

from utils.ranks import is_main
from utils.terminal import Output, printable

SECONDS_BETWEEN_LINES = 30.0


class _Lines:
    """Standard error for tqdm, which prints each state of the bar on a line of its own."""

    def write(self, text: str) -> None:
        if text.strip():
            sys.stderr.write(f"{text.strip()}\n")

    def flush(self) -> None:
        sys.stderr.flush()


class _Bar(tqdm):
    """A bar whose description, often a file's name, cannot leave its line."""

    def __init__(self, items: Iterable | None, desc: str | None = None, **options: Any) -> None:
        super().__init__(items, desc and printable(desc), **options)

    def set_description(self, desc: str | None = None, refresh: bool | None = True) -> None:
        super().set_description(desc and printable(desc), refresh)


def progress_bar(items: Iterable | None = None, **options: Any) -> tqdm:
    """``tqdm(items, **options)`` on rank 0; a line every 30 s if stderr is not a terminal."""
    if not is_main():
        options = options | {"disable": True}
    if not sys.stderr.isatty():
        seconds = dict.fromkeys(("delay", "mininterval"), SECONDS_BETWEEN_LINES)
        options = options | seconds | {"miniters": 1, "position": 0, "file": _Lines()}
    elif isinstance(sys.stderr, Output):
        options = options | {"file": sys.stderr.for_bars()}
    return _Bar(items, **options)
