"""Ctrl-C and SIGTERM as a request that a loop can honour between two steps."""

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from types import TracebackType

from utils.cli import Stopped
from utils.ranks import world_size

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)  # of a terminal or a scheduler, which reach the whole process group


@contextlib.contextmanager
def stop_signals_wait() -> Iterator[None]:
    """Ctrl-C and SIGTERM arrive after the block only. Windows has no such mask; nothing happens there."""
    _mask("SIG_BLOCK")
    try:
        yield
    finally:
        _mask("SIG_UNBLOCK")


def ignore_stop_signals() -> None:
    """For worker processes, whose parent tells them when to stop, also those started while the signals wait."""
    for signum in STOP_SIGNALS:
        signal.signal(signum, signal.SIG_IGN)
    _mask("SIG_UNBLOCK")


def _mask(how: str) -> None:
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(getattr(signal, how), STOP_SIGNALS)


class StopRequest:
    """Inside the ``with`` block a first Ctrl-C or SIGTERM only sets ``signum``.

    A second Ctrl-C stops at once. Another SIGTERM is ignored for 30 seconds, in which a step ends and is saved: batch
    systems send several. Under torchrun so is another Ctrl-C: the terminal sends it, and torchrun passes its own on.
    """

    grace = 30.0  # seconds

    def __init__(self) -> None:
        self.signum: int | None = None
        self._since = 0.0
        self._previous: dict[int, object] = {}

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
        """Whether to stop; under torchrun, whether any process was asked. All must call this at the same places."""
        from utils.distributed import any_over_ranks  # torch, which those that train have

        if any_over_ranks(self.signum is not None):
            self.join()
        return self.signum is not None

    def join(self) -> None:
        """Take part in a stop that another process was asked for."""
        if self.signum is None:
            self._note(signal.SIGTERM, None)

    def raise_stop(self) -> None:
        """Raise what the signal stands for: KeyboardInterrupt or Stopped."""
        if self.signum == signal.SIGINT:
            raise KeyboardInterrupt
        raise Stopped(self.signum)
