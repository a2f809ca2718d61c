"""One training run, from the parsed command line to the last epoch."""

import argparse
import contextlib
import logging
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, fields
from pathlib import Path

import torch

from datasets.crop_settings import crop_settings, differences
from datasets.self_blending import ATTRIBUTE
from datasets.transforms import preprocessing
from models.checkpoint import save_checkpoint
from models.choices import TASKS
from models.joint_embedding import SCORE_DIVISOR
from models.label_tree import LabelTree
from models.lora import load_unmerged, unmerged
from training.blend_preview import write_preview
from training.data import TrainingBatch, TrainingData
from training.engine import Progress, epoch_row, train_epoch
from training.learning_rates import epoch_learning_rates
from training.memory import keep_freed_memory
from training.metrics_log import MetricsLog
from training.model_setup import check_choice, measured_divisor, measures_divisor, prepare_model, trained_tree
from training.options import uses_cuda_graph
from training.provenance import git_revision, versions
from training.resume import resume_settings, rng_state, set_rng_state
from training.run_folder import run_folder
from training.trackers import check_tracker, open_tracker
from training.trainer import Trainer, TrainerSettings
from training.validation import validate
from utils.cli import UserError
from utils.devices import choose_device, describe, deterministic
from utils.distributed import copy_from_main, on_main, process_group
from utils.files import write_json
from utils.ranks import is_main, world_size
from utils.run_log import close_log, open_log
from utils.stopping import StopRequest


def train(args: argparse.Namespace, tree: LabelTree) -> None:
    """Run a training with the options of ``parse_args``, on lists whose codes ``tree`` reads.

    Raises UserError for bad settings, lists, images or checkpoints.
    """
    args, checkpoint = resume_settings(args) if args.resume else (args, None)
    check_tracker(args.tracker)
    device = choose_device(args.gpu, args.precision)
    args.cuda_graph = uses_cuda_graph(args, device.type)
    if checkpoint is None:
        check_choice(args)
    if device.type == "cpu":
        keep_freed_memory()
    tree = trained_tree(args, checkpoint, tree)
    with deterministic(args.deterministic), process_group(device):
        data = TrainingData(args, tree)
        if checkpoint is not None and checkpoint["data_hash"] != data.hashes:
            lists = f"{args.txt_path_train} and {args.txt_path_val}"
            raise UserError(f"{lists} are not the lists that the run started with; use --init_from instead")
        if args.preview:
            on_main(lambda: write_preview(args.preview, data))
            return
        with run_folder(Path(args.output) / args.name / args.tag, args.resume) as folder:
            data.open_images()
            run = Run(args, checkpoint, tree, device, data, folder)
            del checkpoint  # frees gigabytes
            config = vars(args) | run.made_with | {"tree": tree.to_dict()}
            on_main(lambda: write_json(folder / "args.json", config))
            log = open_log(folder / "log.txt")
            first, metrics = run.progress.epoch, None
            if is_main():
                metrics = MetricsLog(folder, first, open_tracker(args.tracker, folder, config, first))
            try:
                run.train(log, metrics)
            finally:
                if metrics:
                    metrics.close([folder / "args.json", folder / "log.txt"])
                close_log(log)


class Run:
    """A run: its folder, data, trainer, progress and checkpoints."""

    def __init__(
        self,
        args: argparse.Namespace,
        checkpoint: dict | None,
        tree: LabelTree,
        device: torch.device,
        data: TrainingData,
        folder: Path,
    ) -> None:
        self.args, self.device, self.data, self.folder = args, device, data, folder
        crops = crop_settings(data.train_set.records)
        self.made_with = {"versions": versions(), "revision": git_revision(), "data_hash": data.hashes}
        self.made_with["crops"] = None if differences(crops) else next(iter(crops.values()), None)
        model = prepare_model(args, checkpoint, tree, device)
        if checkpoint is None and measures_divisor(args):
            model.divisor = measured_divisor(model, data.sample(model.image_size, device))
        settings = {field.name: getattr(args, field.name) for field in fields(TrainerSettings)}
        self.trainer = Trainer(model, TrainerSettings(**settings))
        self.progress = Progress()
        if checkpoint is not None:
            self._restore(checkpoint)
        ema = self.trainer.ema
        copy_from_main([*model.parameters(), *model.buffers(), *(ema.mean if ema else ())])
        self.saved = time.perf_counter()  # time of the last ckpt_last.pth

    def _restore(self, checkpoint: dict) -> None:
        try:
            load_unmerged(self.trainer.model.clip, checkpoint.get("unmerged", {}), self.args.save == "full")
            self.trainer.load_state_dict(checkpoint["trainer"])
            self.progress = Progress(**checkpoint["progress"])
            if self.progress.step > self.data.steps:
                raise ValueError(f"step {self.progress.step} of an epoch of {self.data.steps}")
            set_rng_state(checkpoint["rng"])
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            path = self.args.resume
            raise UserError(f"{path} is damaged and cannot be resumed ({error}); use --init_from") from error

    def train(self, log: logging.Logger, metrics: MetricsLog | None) -> None:
        """Train until the last epoch, until --patience runs out, or until told to stop."""
        args, progress = self.args, self.progress
        patience = args.patience or math.inf
        rates = epoch_learning_rates(args.initial_lr, args.num_epoch, args.t_max)
        self._log_start(log, rates)
        with StopRequest() as stop:
            while progress.epoch < args.num_epoch and progress.epochs_without_better < patience:
                started = time.perf_counter()
                self.trainer.set_learning_rate(rates[progress.epoch])
                self._train_epoch(stop, log)
                self.save_last()  # a run killed during validation then loses no step
                if not stop.asked():
                    self._finish_epoch(started, log, metrics)
                if stop.asked():
                    log.info(f"stopped; continue with --resume {self.folder / 'ckpt_last.pth'}")
                    stop.raise_stop()
        log.info(f"best epoch {progress.best['epoch']}: {self.folder / 'ckpt_best.pth'}")
        if progress.best_ema:
            log.info(
                f"best of the running mean: epoch {progress.best_ema['epoch']}: {self.folder / 'ckpt_best_ema.pth'}"
            )

    def _log_start(self, log: logging.Logger, rates: list[float]) -> None:
        args, data = self.args, self.data
        others = f" and {world_size() - 1} more processes" if world_size() > 1 else ""
        log.info(f"{self.folder}: {args.VM}, {args.weight}, {args.precision}, on {describe(self.device)}{others}")
        images = f"{len(data.train_set.records)} training images, {len(data.val_set.records)} validation images"
        log.info(f"{images}, {data.steps} steps per epoch")
        if data.blending:
            log.info(f"self-blends: {args.self_blend:.0%} of the real training images, labelled {ATTRIBUTE}")
        for listed in (data.train_set, data.val_set):
            for note in listed.notes:
                log.info(f"{listed.source}: {note}")
            if listed.dropped:
                log.info(f"{listed.source}: {len(listed.dropped)} lines repeat an image and are dropped (duplicate)")
        if (divisor := self.trainer.model.divisor) != SCORE_DIVISOR:
            log.info(f"scores are the products of the embeddings / {divisor:g}")
        for note in data.sampling.notes:
            log.info(note)
        log.info(f"learning rates {' '.join(f'{rate:.3g}' for rate in rates)}")
        if args.augment_on == "device" and self.device.type == "cpu":
            log.info("on a CPU --augment_on cpu is faster")

    def _train_epoch(self, stop: StopRequest, log: logging.Logger) -> None:
        """Make the remaining steps of the epoch, unless told to stop."""

        def flags() -> tuple[bool, bool]:
            return stop.signum is not None, time.perf_counter() - self.saved >= 60 * self.args.save_minutes

        every = self.trainer.settings.lambda_every if self.trainer.settings.weight == "autol" else 0
        batches, second_batches = self._batches(stream=0, every=1), self._batches(stream=1, every=every)
        steps = train_epoch(self.trainer, self.progress, self.data.steps, batches, second_batches, flags, log)
        with contextlib.closing(steps):
            for result in steps:
                asked_to_stop, save_is_due = result.flags
                if asked_to_stop:
                    stop.also_stop()
                    return
                if save_is_due and self.progress.step < self.data.steps:
                    self.save_last()

    def _batches(self, stream: int, every: int) -> Iterator[TrainingBatch]:
        progress, size = self.progress, self.trainer.model.image_size
        return self.data.batches(size, self.device, progress.epoch, progress.step, stream, every)

    def _finish_epoch(self, started: float, log: logging.Logger, metrics: MetricsLog | None) -> None:
        """Validate, write the epoch's checkpoints and log it."""
        progress, figures = self.progress, validate(self.trainer, self.data)
        row: dict = {"epoch": progress.epoch, "lr": self.trainer.learning_rate}
        row |= epoch_row(self.trainer.weights, progress) | figures
        self._save_epoch(figures)
        aucs = _aucs(figures)
        if ema := self.trainer.ema:
            with ema.in_use():
                figures = validate(self.trainer, self.data)
                progress.best_ema = self._save_if_better("ckpt_best_ema.pth", figures, progress.best_ema)
            row |= {f"val_ema_{name.removeprefix('val_')}": figure for name, figure in figures.items()}
            aucs += f"; of the running mean {_aucs(figures)}"
        row["seconds"] = round(time.perf_counter() - started, 2)
        self.trainer.weighting.after_epoch([row[f"loss_{task}"] for task in TASKS])
        if metrics:
            metrics.add(row)
        losses = " ".join(f"{row[f'loss_{task}']:.4f}" for task in TASKS)
        weights = " ".join(f"{weight:.4f}" for weight in row["lambdas"])
        seconds = f"{row['seconds']:.0f} s"
        log.info(f"epoch {progress.epoch}: losses {losses}; lambda {weights}; validation {aucs}; {seconds}")
        progress.next_epoch()
        self.save_last()

    def _save_epoch(self, figures: dict) -> None:
        """Write ckpt_best.pth if the epoch is the best so far, and the checkpoint for --keep."""
        progress, keep = self.progress, self.args.keep
        progress.best = self._save_if_better("ckpt_best.pth", figures, progress.best)
        better = progress.best["epoch"] == progress.epoch
        progress.epochs_without_better = 0 if better else progress.epochs_without_better + 1
        if keep:
            self._save(f"ckpt_epoch{progress.epoch:03d}.pth", progress.best)
            for old in range(progress.epoch - keep + 1) if is_main() else ():
                (self.folder / f"ckpt_epoch{old:03d}.pth").unlink(missing_ok=True)

    def _save_if_better(self, name: str, figures: dict, best: dict) -> dict:
        """Write a checkpoint if the epoch's figures are better than ``best`` (ties: lower loss). Returns the better."""
        score = figures["val_frame_auc"] if figures["val_video_auc"] is None else figures["val_video_auc"]
        if best and (score, -figures["val_loss"]) <= (best["score"], -best["val_loss"]):
            return best
        best = {"score": score, "epoch": self.progress.epoch} | figures
        self._save(name, best)
        return best

    def save_last(self) -> None:
        """Write ckpt_last.pth, from which --resume continues exactly."""
        state = {"trainer": self.trainer.state_dict(), "progress": asdict(self.progress)}
        if lost := unmerged(self.trainer.model.clip, self.args.save == "full"):
            state["unmerged"] = lost
        self._save("ckpt_last.pth", self.progress.best, rng=rng_state(), **state)
        self.saved = time.perf_counter()

    def _save(self, name: str, best: dict, **extra: object) -> None:
        """Write the model, how it was made, epoch, threshold and figures of ``best``, and ``extra``."""
        model = self.trainer.model
        made = self.made_with | {"args": vars(self.args), "preprocessing": preprocessing(model)}
        made["validation"] = {key: value for key, value in best.items() if key.startswith("val_")}
        made |= {"epoch": best.get("epoch", self.progress.epoch), "threshold": best.get("threshold")} | extra
        on_main(lambda: save_checkpoint(self.folder / name, model, self.args.save == "delta", **made))


def _aucs(figures: dict) -> str:
    """The AUCs of ``validate`` in words."""
    aucs = f"frame AUC {100 * figures['val_frame_auc']:.2f}"
    return aucs if figures["val_video_auc"] is None else f"{aucs}, video AUC {100 * figures['val_video_auc']:.2f}"
