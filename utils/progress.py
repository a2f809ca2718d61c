"""Progress bars: live on a terminal, a line now and then in a log file."""

import sys
from collections.abc import Iterable

from tqdm import tqdm

from utils.ranks import is_main

_SECONDS_BETWEEN_LINES = 30.0


def progress_bar(items: Iterable | None = None, **options: object) -> tqdm:
    """``tqdm(items, **options)``; where stderr is no terminal it updates every 30 s instead of flooding the log. Under
    torchrun the main process alone shows it."""
    if not is_main():
        options = options | {"disable": True}
    if not sys.stderr.isatty():
        options = {"mininterval": _SECONDS_BETWEEN_LINES, "maxinterval": _SECONDS_BETWEEN_LINES} | options
    return tqdm(items, **options)
