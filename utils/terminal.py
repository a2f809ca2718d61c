"""What a process prints: nothing in it commands a terminal, and nothing breaks if nobody reads it any more."""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO


def printable(text: str) -> str:
    """A line whose control characters, ends of lines and lone surrogates are question marks."""
    if text.isprintable():
        return text
    shown = text.encode("utf-8", "replace").decode()
    return "".join(letter if letter.isprintable() else "?" for letter in shown)


def say(*lines: str, file: TextIO | None = None) -> None:
    """Print lines, to stdout or to ``file``. None can become two, whatever names are in it; see ``printable``."""
    print(*map(printable, lines), sep="\n", file=file)


class Output:
    """stdout or stderr, with each line as ``printable`` makes it.

    If the reader of a pipe is gone, as in ``| head -1``, the rest is written nowhere and ``closed_early`` is True: the
    work goes on, so that its results are whole.
    """

    def __init__(self, stream: TextIO, lines: bool = True) -> None:
        self.stream, self._lines = stream, lines
        self.closed_early = False

    def write(self, text: str) -> int:
        shown = "\n".join(map(printable, text.split("\n"))) if self._lines else text
        with self._or_nowhere():
            self.stream.write(shown)
        return len(text)

    def flush(self) -> None:
        with self._or_nowhere():
            self.stream.flush()

    @contextlib.contextmanager
    def _or_nowhere(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            nowhere = os.open(os.devnull, os.O_WRONLY)  # else Python tries to write the rest again when it ends
            os.dup2(nowhere, self.stream.fileno())
            os.close(nowhere)
            self.closed_early = isinstance(error, BrokenPipeError)
            if not self.closed_early:
                raise

    def for_bars(self) -> "Output":
        """The same stream for progress bars, which move the cursor."""
        return Output(self.stream, lines=False)

    def __eq__(self, other: object) -> bool:  # tqdm clears a bar before it writes a line to the same stream
        return self.stream is getattr(other, "stream", other)

    def __hash__(self) -> int:
        return hash(self.stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def guarded(stream: TextIO) -> Any:
    """The stream as an ``Output``; None where a program has no terminal."""
    return stream and Output(stream)


@contextlib.contextmanager
def terminal_output() -> Iterator[list[Output]]:
    """Make stdout and stderr an ``Output`` in the block, and write what they hold at its end; yields them."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = outputs = [guarded(stream) for stream in before]
    try:
        yield [output for output in outputs if output]
    finally:
        for output in filter(None, outputs):
            output.flush()
        sys.stdout, sys.stderr = before
