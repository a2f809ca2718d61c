"""The two loops of a training run: one epoch of steps, and the validation pass."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
import torch

from evaluation.metrics import auc, best_threshold, video_scores
from evaluation.scoring import score_loader
from models.choices import TASKS
from models.losses import fidelity_losses
from training.trainer import Trainer
from utils.cli import UserError
from utils.distributed import sum_over_ranks
from utils.progress import progress_bar

# images float [B, 3, S, S] and labels float [B, nodes] on the model's device, paths [B]
TrainingBatch = tuple[torch.Tensor, torch.Tensor, list[str]]

_FULL = (
    "the GPU's memory is full; give --accum 2 or more (the same steps in parts), --grad_checkpointing (ViT), or a "
    "smaller --batch_size"
)


@dataclass
class Progress:
    """Where a run stands: epoch and step to do next, sums over the epoch so far, and the best epoch yet."""

    epoch: int = 0
    step: int = 0
    losses: list[float] = field(default_factory=lambda: [0.0] * len(TASKS))
    hypergradient: list[float] = field(default_factory=lambda: [0.0] * len(TASKS))
    lambda_updates: int = 0
    negative_weight_seen: bool = False
    best: dict = field(default_factory=dict)
    epochs_without_better: int = 0

    def __post_init__(self) -> None:
        """ValueError for what no run has written."""
        counts = (self.epoch, self.step, self.lambda_updates, self.epochs_without_better)
        sums = [*self.losses, *self.hypergradient]
        best = [self.best[name] for name in ("score", "val_loss", "epoch")] if self.best else []
        if not (
            all(type(count) is int and count >= 0 for count in counts)
            and len(self.losses) == len(self.hypergradient) == len(TASKS)
            and all(isinstance(number, int | float) for number in sums + best)
        ):
            raise ValueError(f"no progress of a run: {counts}, {sums}, {best}")

    def to_dict(self) -> dict:
        """Plain types, for the checkpoint; ``Progress(**d)`` turns it back."""
        return asdict(self)

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
    after_step: Callable[[Sequence[bool]], bool],
    log: logging.Logger,
) -> None:
    """Make the steps of ``progress.epoch`` that are left (``steps`` an epoch), counting them in ``progress``.

    batches yields the batches left; second_batches those of the steps that update lambda. flags: asked in every step;
    ``after_step`` gets for each whether it is set in any process. Returns early, after a whole step, when it says so.
    Raises UserError naming epoch, step, losses and images when a loss is not finite.
    """
    bar = progress_bar(
        batches, desc=f"epoch {progress.epoch}", total=steps, initial=progress.step, unit="step", leave=False
    )
    started, images_done = time.perf_counter(), 0
    try:
        for images, labels, paths in bar:
            run_step = progress.epoch * steps + progress.step
            if run_step == 0:
                _log_health(trainer, images, labels, log)
            second = next(second_batches)[:2] if trainer.needs_second_batch(run_step) else None
            where = f"epoch {progress.epoch}, step {progress.step}"
            try:
                result = trainer.step((images, labels), second, run_step, flags)
            except torch.OutOfMemoryError as error:
                raise UserError(f"{where}: {_FULL}") from error
            except UserError as error:
                raise UserError(f"{where}: {error}; images {', '.join(paths[:3])}, ...") from error
            progress.step += 1
            if result.skipped:
                log.info(f"step {run_step}: a float16 gradient overflowed; step left out, loss scale halved")
            progress.losses = [a + b for a, b in zip(progress.losses, result.task_losses, strict=True)]
            if result.hypergradient is not None:
                progress.lambda_updates += 1
                pairs = zip(progress.hypergradient, result.hypergradient, strict=True)
                progress.hypergradient = [a + b for a, b in pairs]
            if min(result.weights) < 0 and not progress.negative_weight_seen:
                progress.negative_weight_seen = True
                log.info(f"step {run_step}: a task weight is negative, {result.weights}; weights are not clamped")
            images_done += len(images)
            speed = images_done / (time.perf_counter() - started)
            weights = "/".join(f"{weight:.3f}" for weight in result.weights)
            state = f"loss {sum(result.task_losses):.3f}, lambda {weights}, {speed:.1f} images/s"
            bar.set_postfix_str(state, refresh=False)
            if after_step(result.flags):
                return
    finally:
        bar.close()


def _log_health(trainer: Trainer, images: torch.Tensor, labels: torch.Tensor, log: logging.Logger) -> None:
    for name, (count, p_real, norm) in trainer.health((images, labels)).items():
        log.info(f"start: {count} {name} images, mean P(real) {p_real:.3g}, gradient norm {norm:.3g}")


def epoch_row(trainer: Trainer, progress: Progress) -> dict:
    """Mean task losses and hypergradient of the finished epoch and the task weights, named as in metrics.jsonl."""
    weights = trainer.weights
    row = {f"loss_{task}": value / progress.step for task, value in zip(TASKS, progress.losses, strict=True)}
    row |= {"lambdas": weights, "lambda_ratios": [weight / sum(weights) for weight in weights]}
    return row | {"hypergradient": [value / max(progress.lambda_updates, 1) for value in progress.hypergradient]}


def validate(
    trainer: Trainer,
    loader: Iterable,
    vectors: torch.Tensor,
    videos: list[str],
    on_unreadable: Callable[[list[tuple[int, str]]], None],
) -> dict:
    """Score the validation set: frame and video AUC, fidelity loss (sum of the tasks, whatever loss is trained),
    threshold of best balanced accuracy.

    loader: as ``score_loader`` takes it; under torchrun each process's loader gives its share of the images.
    vectors: node labels float [N, nodes]. videos: video id of each image [N]. on_unreadable gets the (index, reason)
    pairs of images that could not be read.
    """
    marginals = np.zeros(vectors.shape, dtype=np.float32)
    logits = np.zeros(len(vectors))
    batches = score_loader(trainer.model, loader, trainer.settings.precision)
    for batch in progress_bar(batches, desc="validating", total=len(loader), leave=False):
        if batch.unreadable:
            on_unreadable(batch.unreadable)
        marginals[batch.indices], logits[batch.indices] = batch.marginals, batch.logit_fake
    for shares in (marginals, logits):  # each image is scored in one process and 0 in the others
        sum_over_ranks(torch.from_numpy(shares))
    if not np.isfinite(logits).all():
        raise UserError("the model's scores on the validation set are not finite; lower --initial_lr")
    losses = fidelity_losses(torch.from_numpy(marginals), vectors, trainer.model.tree, trainer.settings.unknown)
    labels = vectors[:, 0].numpy().astype(int)
    rows = [
        {"video": video, "label": label, "p_fake": p}
        for video, label, p in zip(videos, labels, marginals[:, 0].astype(float), strict=True)
    ]
    _, video_labels, video_p = video_scores(rows)
    return {
        "val_frame_auc": auc(labels, logits),
        "val_video_auc": auc(video_labels, video_p),
        "val_loss": float(losses.sum()),
        "threshold": best_threshold(video_labels, video_p),
    }
