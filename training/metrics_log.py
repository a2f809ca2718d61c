"""metrics.jsonl: a line for each epoch, and the same numbers as TensorBoard events."""

import json
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from utils.cli import UserError
from utils.files import append_text, text_file, write_text


class MetricsLog:
    """Writes metrics.jsonl (one line per epoch) and TensorBoard scalars into a run's folder.

    Lines from ``first_epoch`` on, left by a run that was resumed from before them, are removed. Raises UserError if the
    folder's metrics.jsonl is another kind of file.
    """

    def __init__(self, folder: Path, first_epoch: int) -> None:
        self.path = folder / "metrics.jsonl"
        kept = [line for epoch, line in self._rows() if epoch < first_epoch]
        write_text(self.path, "".join(line + "\n" for line in kept))
        self._board = SummaryWriter(str(folder), purge_step=first_epoch or None)

    def _rows(self) -> list[tuple[int, str]]:
        """(epoch, line) of each whole line; a kill may have cut the last one."""
        if not self.path.exists():
            return []
        try:
            lines = text_file(self.path).read_text(encoding="utf-8").splitlines(keepends=True)
            whole = [line.rstrip("\n") for line in lines if line.endswith("\n") and line.strip()]
            return [(int(json.loads(line)["epoch"]), line) for line in whole]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{self.path} is no log of epochs ({error}); move it away") from error

    def add(self, row: dict) -> None:
        """Append an epoch's row; each item of a list becomes a scalar of its own."""
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
