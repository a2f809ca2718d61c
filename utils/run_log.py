"""What a run leaves behind beside its checkpoints: log.txt, args.json, metrics.jsonl and TensorBoard events."""

import hashlib
import json
import logging
import sys
from collections.abc import Iterable
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from utils.cli import UserError
from utils.files import append_text, text_file, write_text
from utils.ranks import is_main


class _TqdmHandler(logging.Handler):
    """Prints above a running progress bar instead of through it."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(self.format(record).encode("utf-8", "backslashreplace").decode("utf-8"), file=sys.stdout)


class _FileHandler(logging.FileHandler):
    """What cannot be written ends the run instead of printing a traceback for every line."""

    def handleError(self, record: logging.LogRecord) -> None:
        raise


def open_log(path: Path | None) -> logging.Logger:
    """A logger that prints plain lines and appends them with the time to ``path``. Under torchrun only
    the main process has one that does."""
    logger = logging.getLogger("sjedd")
    close_log(logger)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    if not is_main():
        logger.addHandler(logging.NullHandler())
        return logger
    logger.addHandler(_TqdmHandler())
    if path is not None:
        try:
            to_file = _FileHandler(path, encoding="utf-8", errors="backslashreplace")
        except OSError as error:
            raise UserError(f"cannot write {path} ({error.strerror})") from error
        to_file.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
        logger.addHandler(to_file)
    return logger


def close_log(logger: logging.Logger) -> None:
    """Close and remove the logger's handlers."""
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()


class MetricsLog:
    """metrics.jsonl (one line an epoch) and the same numbers as TensorBoard scalars."""

    def __init__(self, folder: Path, first_epoch: int) -> None:
        """Lines of epochs from ``first_epoch`` on, left by a run that is resumed from before them, are removed."""
        self.path = folder / "metrics.jsonl"
        kept = [line for epoch, line in self._rows() if epoch < first_epoch]
        write_text(self.path, "".join(line + "\n" for line in kept))
        self._board = SummaryWriter(str(folder), purge_step=first_epoch or None)

    def _rows(self) -> list[tuple[int, str]]:
        """(epoch, line) of the file; a last line cut short by a kill is left out."""
        if not self.path.exists():
            return []
        rows = []
        try:
            lines = text_file(self.path).read_text(encoding="utf-8").splitlines(keepends=True)
            for line in lines:
                if line.endswith("\n") and line.strip():
                    rows.append((int(json.loads(line)["epoch"]), line.rstrip("\n")))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{self.path} is no log of epochs ({error}); move it away") from error
        return rows

    def add(self, row: dict) -> None:
        """Append an epoch's row; lists become one scalar per item."""
        append_text(self.path, json.dumps(row) + "\n")
        for key, value in row.items():
            values = {f"{key}/{i}": item for i, item in enumerate(value)} if isinstance(value, list) else {key: value}
            for name, number in values.items():
                if isinstance(number, int | float) and key != "epoch":
                    self._board.add_scalar(name, number, row["epoch"])
        self._board.flush()

    def close(self) -> None:
        """Close the TensorBoard file."""
        self._board.close()


def fingerprint(items: Iterable[str]) -> str:
    """SHA-256 of a sequence of strings."""
    digest = hashlib.sha256()
    for item in items:
        digest.update(item.encode("utf-8", "surrogateescape") + b"\n")
    return digest.hexdigest()
