"""metrics.jsonl, one line per epoch, and the same numbers in a tracker."""

import json
from collections.abc import Sequence
from pathlib import Path

from training.trackers import Tracker
from utils.cli import UserError
from utils.files import append_text, text_file, write_text


class MetricsLog:
    """Writes metrics.jsonl into a run's folder, and its numbers into a tracker.

    The lines of ``first_epoch`` and later ones, which the resumed run computes again, are removed. Raises UserError if
    metrics.jsonl is another kind of file.
    """

    def __init__(self, folder: Path, first_epoch: int, tracker: Tracker) -> None:
        self.path = folder / "metrics.jsonl"
        try:
            *whole, _ = text_file(self.path).read_text(encoding="utf-8").split("\n")  # a kill may cut the last line
            lines = [line for line in whole if line.strip()]
            kept = [f"{line}\n" for line in lines if int(json.loads(line)["epoch"]) < first_epoch]
        except FileNotFoundError:
            kept = []
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{self.path} is no log of epochs ({error}); move it away") from error
        write_text(self.path, "".join(kept))
        self._tracker = tracker

    def add(self, row: dict) -> None:
        """Append an epoch's row. In a tracker each item of a list is a scalar."""
        append_text(self.path, json.dumps(row) + "\n")
        scalars = {}
        for key, value in row.items():
            values = {f"{key}/{i}": item for i, item in enumerate(value)} if isinstance(value, list) else {key: value}
            scalars |= {name: item for name, item in values.items() if isinstance(item, int | float) and key != "epoch"}
        self._tracker.log(scalars, row["epoch"])

    def close(self, files: Sequence[Path] = ()) -> None:
        """Close the tracker. files: kept with it, besides metrics.jsonl."""
        self._tracker.close([self.path, *files])
