"""The loop over the steps of an epoch, and the progress of a run."""

import logging
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import torch

from models.choices import TASKS
from training.data import TrainingBatch
from training.trainer import StepResult, Trainer
from utils.cli import UserError
from utils.progress import progress_bar

_OUT_OF_MEMORY = (
    "the GPU's memory is full; give --accum 2 or more (the same steps in parts), --grad_checkpointing (ViT), "
    "--no-cuda_graph, or a smaller --batch_size"
)


@dataclass
class Progress:
    """How far a run is. epoch, step: the next ones; losses, hypergradient: sums over the epoch so far."""

    epoch: int = 0
    step: int = 0
    losses: list[float] = field(default_factory=lambda: [0.0] * len(TASKS))
    hypergradient: list[float] = field(default_factory=lambda: [0.0] * len(TASKS))
    lambda_updates: int = 0
    negative_weight_seen: bool = False
    best: dict = field(default_factory=dict)  # figures of the best epoch so far
    best_ema: dict = field(default_factory=dict)  # the same of the running mean of the weights
    epochs_without_better: int = 0

    def __post_init__(self) -> None:
        """Raises ValueError for values that no run writes."""
        counts = (self.epoch, self.step, self.lambda_updates, self.epochs_without_better)
        sums = [*self.losses, *self.hypergradient]
        found = [best for best in (self.best, self.best_ema) if best]
        numbers = [best[name] for best in found for name in ("score", "val_loss", "epoch")]
        if not (
            all(type(count) is int and count >= 0 for count in counts)
            and len(self.losses) == len(self.hypergradient) == len(TASKS)
            and all(isinstance(number, int | float) for number in sums + numbers)
        ):
            raise ValueError(f"no progress of a run: {counts}, {sums}, {numbers}")

    def add(self, result: StepResult) -> None:
        """Count a step."""
        self.step += 1
        self.losses = [a + b for a, b in zip(self.losses, result.task_losses, strict=True)]
        if result.hypergradient is not None:
            self.lambda_updates += 1
            self.hypergradient = [a + b for a, b in zip(self.hypergradient, result.hypergradient, strict=True)]

    def next_epoch(self) -> None:
        """Move to step 0 of the next epoch."""
        self.epoch, self.step, self.lambda_updates = self.epoch + 1, 0, 0
        self.losses, self.hypergradient = [0.0] * len(TASKS), [0.0] * len(TASKS)


def train_epoch(
    trainer: Trainer,
    progress: Progress,
    steps: int,
    batches: Iterable[TrainingBatch],
    second_batches: Iterator[TrainingBatch],
    flags: Callable[[], Sequence[bool]],
    log: logging.Logger,
) -> Generator[StepResult, None, None]:
    """Make the remaining steps of ``progress.epoch``, one for each result that the caller takes.

    Args:
        progress: updated after each step.
        steps: number of steps in a whole epoch.
        batches: one for each remaining step.
        second_batches: one for each remaining step that updates lambda.
        flags: see ``Trainer.step``.

    Raises:
        UserError: a loss is not finite (the message names epoch, step, losses and images), or the GPU's memory is full.
    """
    bar = progress_bar(
        batches, desc=f"epoch {progress.epoch}", total=steps, initial=progress.step, unit="step", leave=False
    )
    started, images_done = time.perf_counter(), 0
    try:
        for images, labels, paths in bar:
            run_step = progress.epoch * steps + progress.step
            if run_step == 0:
                for name, (count, p_real, norm) in trainer.health((images, labels)).items():
                    log.info(f"start: {count} {name} images, mean P(real) {p_real:.3g}, gradient norm {norm:.3g}")
            second = next(second_batches)[:2] if trainer.needs_second_batch(run_step) else None
            where = f"epoch {progress.epoch}, step {progress.step}"
            try:
                result = trainer.step((images, labels), second, run_step, flags)
            except torch.OutOfMemoryError as error:
                raise UserError(f"{where}: {_OUT_OF_MEMORY}") from error
            except UserError as error:
                raise UserError(f"{where}: {error}; images {', '.join(paths[:3])}, ...") from error
            progress.add(result)
            if result.skipped:
                log.info(f"step {run_step}: a float16 gradient overflowed; step skipped, loss scale halved")
            if min(result.weights) < 0 and not progress.negative_weight_seen:
                progress.negative_weight_seen = True
                log.info(f"step {run_step}: a task weight is negative, {result.weights}; weights are not clamped")
            images_done += len(images)
            speed = images_done / (time.perf_counter() - started)
            weights = "/".join(f"{weight:.3f}" for weight in result.weights)
            state = f"loss {sum(result.task_losses):.3f}, lambda {weights}, {speed:.1f} images/s"
            bar.set_postfix_str(state, refresh=False)
            yield result
    finally:
        bar.close()


def epoch_row(weights: Sequence[float], progress: Progress) -> dict:
    """Task weights, mean task losses and mean hypergradient of a finished epoch, named as in metrics.jsonl."""
    row: dict = {f"loss_{task}": value / progress.step for task, value in zip(TASKS, progress.losses, strict=True)}
    row |= {"lambdas": weights, "lambda_ratios": [weight / sum(weights) for weight in weights]}
    return row | {"hypergradient": [value / max(progress.lambda_updates, 1) for value in progress.hypergradient]}
