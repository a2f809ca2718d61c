"""Experiment trackers: where the figures of every epoch go besides metrics.jsonl (--tracker)."""

import importlib
import importlib.util
import json
import re
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType

from utils.cli import UserError
from utils.files import read_json, write_json

_RUN_ID = "wandb_id.json"  # in a run's folder: wandb finds the run by it when training is resumed


class Tracker:
    """Records nothing: --tracker none."""

    def log(self, scalars: Mapping[str, float], epoch: int) -> None:
        """Record the figures of an epoch."""

    def close(self, files: Sequence[Path]) -> None:
        """End the record. files: what the run has written about itself, kept with it where the tracker can."""


class TensorBoard(Tracker):
    """Event files in the run's folder. Events of ``first_epoch`` and later ones are hidden."""

    def __init__(self, folder: Path, config: Mapping, first_epoch: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._board = SummaryWriter(str(folder), purge_step=first_epoch or None)
        if not first_epoch:
            self._board.add_text("config", f"```\n{json.dumps(config, indent=2)}\n```")

    def log(self, scalars: Mapping[str, float], epoch: int) -> None:
        for name, value in scalars.items():
            self._board.add_scalar(name, value, epoch)
        self._board.flush()

    def close(self, files: Sequence[Path]) -> None:
        self._board.close()


class Service(Tracker):
    """Weights & Biases or Trackio, whose Python interfaces agree in what is used here.

    A resumed run goes on in the same record. Raises UserError if wandb has no account to write to.
    """

    def __init__(self, module: ModuleType, folder: Path, config: Mapping, first_epoch: int) -> None:
        self._module, self._report = module, re.sub(r"[^\w.-]", "-", f"{folder.name}-report", flags=re.ASCII)
        options = {"resume": "allow" if first_epoch else "never"}
        if module.__name__ == "wandb":
            options = {"resume": "allow", "id": _run_id(folder), "dir": str(folder)}
        try:
            module.init(project=folder.parent.name, name=folder.name, config=dict(config), **options)
        except getattr(module, "Error", ()) as error:  # of wandb
            raise UserError(
                f"--tracker wandb cannot start ({error}); run `wandb login`, or set WANDB_MODE=offline"
            ) from error

    def log(self, scalars: Mapping[str, float], epoch: int) -> None:
        self._module.log(dict(scalars), step=epoch)

    def close(self, files: Sequence[Path]) -> None:
        report = self._module.Artifact(self._report, "report")
        for path in files:
            report.add_file(str(path))
        self._module.log_artifact(report)
        self._module.finish()


def _run_id(folder: Path) -> str:
    path = folder / _RUN_ID
    if not path.is_file():
        write_json(path, secrets.token_hex(8))
    return str(read_json(path))


def check_tracker(kind: str) -> None:
    """Raises UserError if the package of a tracker is not installed."""
    if kind not in ("none", "tensorboard") and importlib.util.find_spec(kind) is None:
        raise UserError(f"--tracker {kind} needs the package {kind}; pip install {kind}")


def open_tracker(kind: str, folder: Path, config: Mapping, first_epoch: int) -> Tracker:
    """Start the record of a run, or continue it.

    Args:
        kind: one of TRACKERS.
        folder: of the run; its parent's name is the project, its own the name of the run.
        config: the run's settings, what JSON can hold.
        first_epoch: the first epoch that will be recorded; above 0 in a resumed run.
    """
    if kind == "none":
        return Tracker()
    if kind == "tensorboard":
        return TensorBoard(folder, config, first_epoch)
    return Service(importlib.import_module(kind), folder, config, first_epoch)
