"""Progress bars on a terminal, and lines of progress in a log file."""

import sys
from collections.abc import Iterable

from tqdm import tqdm

from utils.ranks import is_main

SECONDS_BETWEEN_LINES = 30.0


class _Lines:
    """Standard error for tqdm, which prints each state of the bar on a line of its own."""

    def write(self, text: str) -> None:
        if text.strip():
            sys.stderr.write(f"{text.strip()}\n")

    def flush(self) -> None:
        sys.stderr.flush()


def progress_bar(items: Iterable | None = None, **options: object) -> tqdm:
    """``tqdm(items, **options)`` on rank 0; a line every 30 s if stderr is not a terminal."""
    if not is_main():
        options = options | {"disable": True}
    if not sys.stderr.isatty():
        seconds = dict.fromkeys(("delay", "mininterval"), SECONDS_BETWEEN_LINES)
        options = options | seconds | {"miniters": 1, "position": 0, "file": _Lines()}
    return tqdm(items, **options)
