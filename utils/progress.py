"""Progress bars: live on a terminal, a line now and then in a log file."""

import sys
from collections.abc import Iterable

from tqdm import tqdm

from utils.ranks import is_main

SECONDS_BETWEEN_LINES = 30.0


class _Lines:
    """Standard error as a file for tqdm: a bar as a line, instead of again and again over the last one."""

    def write(self, text: str) -> None:
        if text.strip():
            sys.stderr.write(f"{text.strip()}\n")

    def flush(self) -> None:
        sys.stderr.flush()


def progress_bar(items: Iterable | None = None, **options: object) -> tqdm:
    """``tqdm(items, **options)``; where stderr is no terminal it is a line every 30 s, and none for what takes less.
    Under torchrun the main process alone shows it."""
    if not is_main():
        options = options | {"disable": True}
    if not sys.stderr.isatty():
        seconds = dict.fromkeys(("delay", "mininterval"), SECONDS_BETWEEN_LINES)
        options = options | seconds | {"miniters": 1, "position": 0, "file": _Lines()}
    return tqdm(items, **options)
