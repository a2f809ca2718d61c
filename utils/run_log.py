"""log.txt: what a run prints, with the time of each line."""

import logging
import sys
from pathlib import Path

from tqdm import tqdm

from utils.cli import UserError
from utils.files import refuse_link
from utils.ranks import is_main
from utils.terminal import printable


class _Formatter(logging.Formatter):
    """One printable line for each record, also in the file: somebody will show it in a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


class _TqdmHandler(logging.Handler):
    """Prints above a running progress bar instead of through it."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(self.format(record), file=sys.stdout)


class _FileHandler(logging.FileHandler):
    """Raises if a line cannot be written, where logging would print a traceback for every line."""

    def handleError(self, record: logging.LogRecord) -> None:
        raise


def open_log(path: Path | None) -> logging.Logger:
    """A logger that prints lines in the main process and appends them with the time to ``path``.

    Raises UserError if the file cannot be written.
    """
    logger = logging.getLogger("sjedd")
    close_log(logger)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    if not is_main():
        logger.addHandler(logging.NullHandler())
        return logger
    to_terminal = _TqdmHandler()
    to_terminal.setFormatter(_Formatter())
    logger.addHandler(to_terminal)
    if path is not None:
        refuse_link(path)
        try:
            to_file = _FileHandler(path, encoding="utf-8")
        except OSError as error:
            raise UserError(f"cannot write {path} ({error.strerror})") from error
        to_file.setFormatter(_Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
        logger.addHandler(to_file)
    return logger


def close_log(logger: logging.Logger) -> None:
    """Close and remove the logger's handlers."""
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
