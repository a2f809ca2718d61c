"""Train SJEDD on FF++ lists: CLIP joint embedding, label tree, fidelity losses, auto-lambda task weighting."""

import sys
from collections.abc import Sequence

<<<<<<< HEAD
from training.options import get_args_parser, parse_args
from utils.cli import UserError, answer_first, script

answer_first(__name__, partial(get_args_parser, __doc__))

import numpy as np
import torch

from datasets.crop_cache import image_source
from datasets.crop_settings import crop_settings, differences
from datasets.device_augmentation import augmented
from datasets.frames import EpochBatches, Frames, batches_per_epoch, node_labels, scoring_loader, training_loader
from datasets.raw_frames import RawFrames
from datasets.readers.txt_list import read_txt_list
from datasets.records import DataSet, as_images, node_vector
from datasets.transforms import MEAN, STD, normalise
from models import checkpoint
from models.choices import TASKS
from models.label_tree import FFPP, FFSC, LabelTree
from training.engine import Progress, TrainingBatch, epoch_row, train_epoch, validate
from training.memory import keep_freed_memory
from training.metrics_log import MetricsLog
from training.model_setup import prepare_model
from training.provenance import fingerprint, git_revision, versions
from training.trainer import Trainer, TrainerSettings, epoch_learning_rates
from utils.devices import choose_device, describe, deterministic
from utils.distributed import copy_from_main, on_main, process_group
from utils.files import atomic_path, write_json
from utils.locks import exclusive_folder
from utils.ranks import is_main, share, world_size
from utils.run_log import close_log, open_log
from utils.stopping import StopRequest


def read_lists(args: argparse.Namespace, tree: LabelTree) -> tuple[DataSet, DataSet]:
    """The training and validation sets. FFSC's images are of no videos, whatever their folders."""
    train_set = read_txt_list(args.txt_path_train, tree, "train", labels_allowed=False)
    val_set = read_txt_list(args.txt_path_val, tree, "val", labels_allowed=False)
    if tree in (FFSC, FFSC.root_only):
        train_set, val_set = as_images(train_set, "train"), as_images(val_set, "val")
    if len({record.label for record in val_set.records}) < 2:
        raise UserError(f"{args.txt_path_val} holds one class only, so no AUC exists; list reals and fakes")
    return train_set, val_set


def data_hash(data: DataSet) -> str:
    """Fingerprint of a list that does not change when its folder moves."""
    return fingerprint(f"{'' if data.image_level else r.video} {r.frame} {r.code}" for r in data.records)


@contextlib.contextmanager
def run_folder(args: argparse.Namespace) -> Iterator[Path]:
    """The run's folder, made, writable and without another run in it. A run that is there is never overwritten; one
    that is resumed elsewhere takes its best checkpoint and its log of epochs along."""
    with exclusive_folder(Path(args.output) / args.name / args.tag) as folder:
        source = Path(args.resume).resolve().parent if args.resume else None
        if source != folder.resolve():
            if (folder / "ckpt_last.pth").exists():
                raise UserError(f"{folder} holds a run already; --resume its ckpt_last.pth or give another --tag")
            for name in ("ckpt_best.pth", "metrics.jsonl"):
                if source and (source / name).is_file():
                    with atomic_path(folder / name) as temporary:
                        shutil.copyfile(source / name, temporary)
        yield folder


class Run:
    """One training run: settings, data, trainer, folder and progress. held: the folder is ours until it is closed."""

    def __init__(
        self,
        args: argparse.Namespace,
        content: dict | None,
        tree: LabelTree,
        device: torch.device,
        held: contextlib.ExitStack,
    ) -> None:
        self.args, self.device = args, device
        self.train_set, self.val_set = read_lists(args, tree)
        self.data_hash = [data_hash(self.train_set), data_hash(self.val_set)]
        if content is not None and content["data_hash"] != self.data_hash:
            lists = f"{args.txt_path_train} and {args.txt_path_val}"
            raise UserError(f"{lists} are not the lists the run was started with; use --init_from instead")
        self.steps = batches_per_epoch(len(self.train_set.records), args.batch_size)
        if min(args.batch_size, len(self.train_set.records)) % world_size():
            raise UserError(f"a batch of {args.batch_size} images cannot be shared by {world_size()} processes; give a "
                            f"--batch_size that {world_size()} divides (and as many images)")  # fmt: skip
        self.folder = on_main(lambda: held.enter_context(run_folder(args)))
        self.train_images = image_source(self.train_set, args.crop_cache)
        self.val_images = image_source(self.val_set, args.crop_cache)
        crops = crop_settings(self.train_set.records)
        self.made_with = {"versions": versions(), "revision": git_revision(), "data_hash": self.data_hash}
        self.made_with["crops"] = None if differences(crops) else next(iter(crops.values()), None)
        if self.device.type == "cpu":
            keep_freed_memory()
        settings = {key: getattr(args, key) for key in TrainerSettings.__dataclass_fields__}
        self.trainer = Trainer(prepare_model(args, content, tree, self.device), TrainerSettings(**settings))
        self.progress, self.saved = Progress(), time.perf_counter()
        if content is not None:
            try:
                self.trainer.load_state_dict(content["trainer"])
                self.progress = Progress(**content["progress"])
                if self.progress.step > self.steps:
                    raise ValueError(f"step {self.progress.step} of an epoch of {self.steps}")
                checkpoint.set_rng_state(content["rng"])
            except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
                raise UserError(f"{args.resume} is damaged and cannot be resumed ({error}); use --init_from") from error
        copy_from_main([*self.trainer.model.parameters(), *self.trainer.model.buffers()])

    def batches(self, stream: int, every: int) -> Iterator[TrainingBatch]:
        """The batches of the epoch from the present step on, ready on the device; see EpochBatches."""
        args, progress, records = self.args, self.progress, self.train_set.records
        size, probability = self.trainer.model.image_size, args.aug_probs if args.aug else 0.0
        if args.augment_on == "device":
            frames = RawFrames(records, probability, self.train_images)
            to_device = partial(augmented, size=size, device=self.device)
        else:
            frames = Frames(records, size, probability, images=self.train_images)
            to_device = partial(torch.Tensor.to, device=self.device, non_blocking=True)
        order = EpochBatches(len(records), args.batch_size, args.seed, progress.epoch, stream, progress.step)
        order.keep_every(every, progress.epoch * self.steps)
        for images, indices, unreadable in training_loader(
            frames, order, args.num_workers, pin_memory=self.device.type == "cuda"
        ):
            refuse_unreadable(unreadable, self.train_set, args.txt_path_train)
            labels = node_labels(records, indices)
            if self.device.type == "cuda":
                labels = labels.pin_memory()
            ready = normalise(to_device(images))
            yield ready, labels.to(self.device, non_blocking=True), [records[i].path for i in indices.tolist()]

    def validate(self) -> dict:
        """The validation figures of metrics.jsonl; no video AUC for a list without videos."""
        records = self.val_set.records
        figures = validate(
            self.trainer,
            scoring_loader(
                Frames(records, self.trainer.model.image_size, images=self.val_images),
                self.args.batch_size,
                self.args.num_workers,
                indices=share(len(records)),
            ),
            torch.from_numpy(np.stack([node_vector(record.code) for record in records])),
            [record.video for record in records],
            lambda unreadable: refuse_unreadable(unreadable, self.val_set, self.args.txt_path_val),
        )
        return figures | ({"val_video_auc": None} if self.val_set.image_level else {})

    def save(self, name: str, **extra: object) -> None:
        """Write a checkpoint: the model, how it was made, and ``extra``."""
        model, best = self.trainer.model, self.progress.best
        preprocessing = {"image_size": model.image_size, "resize": "PIL bicubic", "mean": MEAN, "std": STD}
        made = self.made_with | {"args": vars(self.args), "preprocessing": preprocessing}
        made |= {"epoch": best.get("epoch", self.progress.epoch), "threshold": best.get("threshold")} | extra
        path = self.folder / name
        on_main(lambda: checkpoint.save_checkpoint(path, model, **made))

    def save_last(self) -> None:
        """Write ckpt_last.pth, from which --resume goes on exactly."""
        state = {"trainer": self.trainer.state_dict(), "progress": self.progress.to_dict()}
        self.save("ckpt_last.pth", rng=checkpoint.rng_state(), **state)
        self.saved = time.perf_counter()

    def flags(self, stop: StopRequest) -> list[bool]:
        """Whether to stop, and whether --save_minutes have passed since ckpt_last.pth was written."""
        return [stop.signum is not None, time.perf_counter() - self.saved >= 60 * self.args.save_minutes]

    def after_step(self, stop: StopRequest, flags: Sequence[bool]) -> bool:
        """Whether to end the epoch here; ``flags`` as set in any process. Writes ckpt_last.pth when it is due."""
        asked, due = flags
        if asked:
            stop.join()
            return True
        if due and self.progress.step < self.steps:
            self.save_last()
        return False

    def keep_epoch(self) -> None:
        """Write the weights of the finished epoch, and remove those of more than --keep epochs before."""
        self.save(f"ckpt_epoch{self.progress.epoch:03d}.pth")
        if is_main():
            for old in sorted(self.folder.glob("ckpt_epoch*.pth"))[: -self.args.keep]:
                old.unlink()


def refuse_unreadable(unreadable: list[tuple[int, str]], data: DataSet, list_path: str) -> None:
    """UserError for the first image of a training or validation list that cannot be read: a list is a promise."""
    for index, reason in unreadable[:1]:
        raise UserError(f"{data.records[index].path} (in {list_path}): {reason}; mend the image or remove its line")


def finish_epoch(run: Run, started: float, log: logging.Logger, metrics: MetricsLog | None) -> None:
    """Validate, log the epoch's row, and write ckpt_best.pth (when it is) and ckpt_last.pth."""
    progress, figures = run.progress, run.validate()
    score = figures["val_frame_auc"] if run.val_set.image_level else figures["val_video_auc"]
    row = {"epoch": progress.epoch, "lr": run.trainer.learning_rate} | epoch_row(run.trainer, progress) | figures
    row["seconds"] = round(time.perf_counter() - started, 2)
    best = progress.best
    better = not best or (score, -figures["val_loss"]) > (best["score"], -best["val_loss"])
    progress.epochs_without_better = 0 if better else progress.epochs_without_better + 1
    if better:
        progress.best = {"score": score, "epoch": progress.epoch} | figures
        run.save("ckpt_best.pth")
    if run.args.keep:
        run.keep_epoch()
    run.trainer.weighting.after_epoch([row[f"loss_{task}"] for task in TASKS])
    if metrics:
        metrics.add(row)
    losses = " ".join(f"{row[f'loss_{task}']:.4f}" for task in TASKS)
    weights = " ".join(f"{weight:.4f}" for weight in row["lambdas"])
    aucs = f"frame AUC {100 * figures['val_frame_auc']:.2f}"
    aucs += "" if run.val_set.image_level else f", video AUC {100 * figures['val_video_auc']:.2f}"
    log.info(f"epoch {progress.epoch}: losses {losses}; lambda {weights}; validation {aucs}; {row['seconds']:.0f} s")
    progress.next_epoch()
    run.save_last()


def train(argv: Sequence[str] | None, tree: LabelTree, description: str) -> None:
    """The whole of a training script, for one label tree."""
    args, content = parse_args(argv, description)
    device = choose_device(args.gpu, args.precision)
    if args.cuda_graph and device.type != "cuda":
        raise UserError("--cuda_graph needs a CUDA device; run without it")
    with deterministic(args.deterministic), process_group(device), contextlib.ExitStack() as held:
        run = Run(args, content, tree.root_only if args.no_tree else tree, device, held)
        del content  # gigabytes when a run is resumed
        settings = vars(args) | run.made_with | {"tree": run.trainer.model.tree.to_dict()}
        on_main(lambda: write_json(run.folder / "args.json", settings))
        log = open_log(run.folder / "log.txt")
        metrics = MetricsLog(run.folder, run.progress.epoch) if is_main() else None
        try:
            run_epochs(run, log, metrics)
        finally:
            if metrics:
                metrics.close()
            close_log(log)


def run_epochs(run: Run, log: logging.Logger, metrics: MetricsLog | None) -> None:
    """Train from the present step to the last epoch, or until the run is stopped or gets no better."""
    args, progress = run.args, run.progress
    rates = epoch_learning_rates(args.initial_lr, args.num_epoch, args.t_max)
    many = f" and {world_size() - 1} more processes" if world_size() > 1 else ""
    log.info(f"{run.folder}: {args.VM}, {args.weight}, {args.precision}, on {describe(run.device)}{many}")
    images = f"{len(run.train_set.records)} training images, {len(run.val_set.records)} of validation"
    log.info(f"{images}, {run.steps} steps an epoch")
    log.info(f"learning rates {' '.join(f'{rate:.3g}' for rate in rates)}")
    if args.augment_on == "device" and run.device.type == "cpu":
        log.info("a CPU perturbs and resizes faster with --augment_on cpu")
    with StopRequest() as stop:
        while progress.epoch < args.num_epoch and progress.epochs_without_better < (args.patience or np.inf):
            started = time.perf_counter()
            run.trainer.set_learning_rate(rates[progress.epoch])
            every = args.lambda_every if args.weight == "autol" else 0
            batches, second_batches = run.batches(0, 1), run.batches(1, every)
            flags, after_step = partial(run.flags, stop), partial(run.after_step, stop)
            train_epoch(run.trainer, progress, run.steps, batches, second_batches, flags, after_step, log)
            run.save_last()  # before the validation pass, so that a run killed in it loses no step
            if not stop.asked():
                finish_epoch(run, started, log, metrics)
            if stop.asked():
                log.info(f"stopped; go on with --resume {run.folder / 'ckpt_last.pth'}")
                stop.raise_stop()
    log.info(f"best epoch {progress.best['epoch']}: {run.folder / 'ckpt_best.pth'}")
=======
from training.options import parse_args
from utils.cli import script
>>>>>>> w-training


@script
def main(argv: Sequence[str] | None = None) -> None:
    """Train on FF++ lists; see --help."""
    args = parse_args(argv, __doc__)
    from models.label_tree import FFPP
    from training.run import train

    train(args, FFPP)


if __name__ == "__main__":
    sys.exit(main())
