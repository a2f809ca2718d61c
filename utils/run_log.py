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


class _TqdmHandler(logging.Handler):
    """Prints above a running progress bar instead of through it."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(self.format(record), file=sys.stdout)


def open_log(path: Path | None) -> logging.Logger:
    """A logger that prints plain lines and appends them with the time to ``path``."""
    logger = logging.getLogger("sjedd")
    close_log(logger)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(_TqdmHandler())
    if path is not None:
        to_file = logging.FileHandler(path, encoding="utf-8")
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
        kept = [line for line in self._lines() if json.loads(line)["epoch"] < first_epoch]
        self.path.write_text("".join(line + "\n" for line in kept), encoding="utf-8")
        self._board = SummaryWriter(str(folder), purge_step=first_epoch or None)

    def _lines(self) -> list[str]:
        if not self.path.exists():
            return []
        lines = self.path.read_text(encoding="utf-8").splitlines()
        try:
            for line in lines:
                json.loads(line)["epoch"]
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{self.path} holds a line that is no epoch record; remove the line or the file") from error
        return lines

    def add(self, row: dict) -> None:
        """Append an epoch's row; lists become one scalar per item."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
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
