"""Ctrl-C and SIGTERM as a request to stop that a loop checks between two steps."""

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from types import TracebackType

from utils.cli import Stopped
from utils.ranks import world_size

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)  # terminals and schedulers send them to the whole process group


@contextlib.contextmanager
def stop_signals_wait() -> Iterator[None]:
    """Delay Ctrl-C and SIGTERM until the block ends; no effect on Windows."""
    _mask("SIG_BLOCK")
    try:
        yield
    finally:
        _mask("SIG_UNBLOCK")


def ignore_stop_signals() -> None:
    """For worker processes, which their parent stops."""
    for signum in STOP_SIGNALS:
        signal.signal(signum, signal.SIG_IGN)
    _mask("SIG_UNBLOCK")  # a parent inside stop_signals_wait passes its mask on


def _mask(how: str) -> None:
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(getattr(signal, how), STOP_SIGNALS)


class StopRequest:
    """Inside the ``with`` block the first Ctrl-C or SIGTERM only sets ``signum``.

    A second Ctrl-C stops at once. A second SIGTERM is ignored for ``grace`` seconds, because batch systems send several
    while the step ends and is saved. Under torchrun a second Ctrl-C is ignored too: each process gets one from the
    terminal and one from torchrun.
    """

    grace = 30.0  # seconds

    def __init__(self) -> None:
        self.signum: int | None = None
        self._since = 0.0
        self._previous: dict = {}

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            for signum in STOP_SIGNALS:
                self._previous[signum] = signal.signal(signum, self._note)
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for signum, handler in self._previous.items():
            signal.signal(signum, handler)

    def _note(self, signum: int, _frame: object) -> None:
        if self.signum is None:
            self.signum, self._since = signum, time.monotonic()
        elif time.monotonic() - self._since > self.grace or (signum == signal.SIGINT and world_size() == 1):
            self.raise_stop()

    def asked(self) -> bool:
        """Whether any process was told to stop. All processes must call it together."""
        from utils.distributed import any_over_ranks  # imports torch, which worker processes do not need

        if any_over_ranks(self.signum is not None):
            self.also_stop()
        return self.signum is not None

    def also_stop(self) -> None:
        """Stop too, because another process was told to."""
        if self.signum is None:
            self._note(signal.SIGTERM, None)

    def raise_stop(self) -> None:
        """Raise KeyboardInterrupt for Ctrl-C, else Stopped."""
        if self.signum == signal.SIGINT:
            raise KeyboardInterrupt
        raise Stopped(self.signum or signal.SIGTERM)
