"""Progress bars on a terminal, and lines of progress in a log file."""

import sys
from collections.abc import Iterable

from tqdm import tqdm

from utils.ranks import is_main

SECONDS_BETWEEN_LINES = 30.0


class _Lines:
    """Standard error for tqdm: each state of the bar is a line of its own."""

    def write(self, text: str) -> None:
        if text.strip():
            sys.stderr.write(f"{text.strip()}\n")

    def flush(self) -> None:
        sys.stderr.flush()


def progress_bar(items: Iterable | None = None, **options: object) -> tqdm:
    """``tqdm(items, **options)``. If stderr is not a terminal it prints a line every 30 s. Only rank 0 shows it."""
    if not is_main():
        options = options | {"disable": True}
    if not sys.stderr.isatty():
        seconds = dict.fromkeys(("delay", "mininterval"), SECONDS_BETWEEN_LINES)
        options = options | seconds | {"miniters": 1, "position": 0, "file": _Lines()}
    return tqdm(items, **options)
