"""metrics.jsonl, one line per epoch, and the same numbers as TensorBoard events."""

import json
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from utils.cli import UserError
from utils.files import append_text, text_file, write_text


class MetricsLog:
    """Writes metrics.jsonl and TensorBoard scalars into a run's folder.

    The lines of ``first_epoch`` and later ones, which the resumed run computes again, are removed. Raises UserError if
    metrics.jsonl is another kind of file.
    """

    def __init__(self, folder: Path, first_epoch: int) -> None:
        self.path = folder / "metrics.jsonl"
        try:
            lines = text_file(self.path).read_text(encoding="utf-8").splitlines(keepends=True)
            whole = [line for line in lines if line.endswith("\n") and line.strip()]  # a kill may cut the last one
            kept = [line for line in whole if int(json.loads(line)["epoch"]) < first_epoch]
        except FileNotFoundError:
            kept = []
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{self.path} is no log of epochs ({error}); move it away") from error
        write_text(self.path, "".join(kept))
        self._board = SummaryWriter(str(folder), purge_step=first_epoch or None)

    def add(self, row: dict) -> None:
        """Append an epoch's row. In TensorBoard each item of a list is a scalar."""
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
