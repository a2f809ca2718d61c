"""The process that predicts for the page. The page can end it, whatever a file makes it do."""

import argparse
import multiprocessing
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

from models.label_tree import LabelTree
from utils.cli import UserError


class Limits(NamedTuple):
    """What the page takes."""

    max_mb: float  # of a file
    max_seconds: float  # of a video

    @property
    def max_bytes(self) -> int:
        return int(self.max_mb * 2**20)

    @property
    def too_large(self) -> str:
        return f"the file is larger than {self.max_mb:g} MB; cut it, or start the page with another --max_mb"


class Task(NamedTuple):
    path: Path  # of the file
    folder: Path  # for the results
    pictures: bool
    limits: Limits


class Progress(NamedTuple):
    step: str
    share: float  # of the step that is done, 0 to 1


class Refusal(NamedTuple):
    status: int  # of HTTP
    text: str


class Made(NamedTuple):
    prediction: dict  # content of prediction.json


class Worker:
    """A running process with the model. It does one task at a time.

    Attributes:
        tree: label tree of the model.
        settings: those of every prediction.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        """Start the process and wait for its model. args: the options of SJEDD_app.py.

        Raises UserError for bad arguments or a bad checkpoint.
        """
        context = multiprocessing.get_context("spawn")  # threads and CUDA do not survive a fork
        self._connection, other = context.Pipe()
        self._process = context.Process(target=_work, args=(other, args), daemon=True)
        self._process.start()
        other.close()
        try:
            first = self._connection.recv()
        except EOFError:
            raise UserError("the process of the model has ended before it was ready; its messages say why") from None
        if isinstance(first, str):
            raise UserError(first)
        tree, self.settings = first
        self.tree: LabelTree = tree
        self._busy = False

    def submit(self, task: Task) -> None:
        self._busy = True
        self._connection.send(task)

    def messages(self) -> Iterator[Progress | Refusal | Made]:
        """What the process has said since the last call. Refusal and Made end a task."""
        try:
            while self._connection.poll():
                message = self._connection.recv()
                self._busy = isinstance(message, Progress)
                yield message
        except (EOFError, ConnectionError):
            self.kill()

    def stop(self) -> None:
        """Tell the process to end its task; a Refusal follows soon, unless a library is busy with the file."""
        try:
            self._connection.send(None)
        except OSError:
            self.kill()

    def is_alive(self) -> bool:
        return self._process.is_alive()

    def is_busy(self) -> bool:
        return self._busy and self.is_alive()

    def kill(self) -> None:
        self._process.kill()
        self._process.join()


def _work(connection: Connection, args: argparse.Namespace) -> None:
    from prediction.web.worker_process import work  # the page itself needs no PyTorch

    work(connection, args)
