"""Train SJEDD on FF++ lists: CLIP joint embedding, label tree, fidelity losses, auto-lambda task weighting."""

import argparse
import logging
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import open_clip
import torch

from datasets.frames import EpochBatches, Frames, batches_per_epoch, node_labels, scoring_loader, training_loader
from datasets.records import DataSet, node_vector
from datasets.transforms import MEAN, STD, normalise
from datasets.txt_list import read_txt_list
from models import checkpoint
from models.engine import Progress, TrainingBatch, epoch_row, train_epoch, validate
from models.joint_embedding import MODEL_NAMES, JointEmbedding, architecture
from models.label_tree import FFPP, LabelTree
from models.losses import TASKS
from models.trainer import WEIGHTINGS, Trainer, TrainerSettings, epoch_learning_rates
from utils.cli import ArgumentParser, UserError, non_negative_int, positive_float, positive_int, probability, script
from utils.devices import choose_device, default_workers, describe
from utils.files import output_dir, write_json
from utils.run_log import MetricsLog, close_log, fingerprint, open_log
from utils.stopping import StopRequest

# What --resume may change: where files are, how fast the run goes and how long, not what it computes.
_FREE_ON_RESUME = {"resume", "num_epoch", "num_workers", "gpu", "output", "name", "tag", "patience", "auc"}
_FREE_ON_RESUME |= {"txt_path_train", "txt_path_val"}


def get_args_parser() -> ArgumentParser:
    """The command line of the training scripts."""
    parser = ArgumentParser(description=__doc__)
    run = parser.add_argument_group("run")
    run.add_argument("--name", default="SJEDD", help="name of the experiment, a folder under --output")
    run.add_argument("--tag", help="folder of this run under the name; made from the settings when not given")
    run.add_argument("--output", default="output", help="folder for all runs")
    run.add_argument("--seed", type=non_negative_int, default=0, help="seed of weights, shuffles and augmentation")
    run.add_argument("--gpu", type=non_negative_int, default=0, help="number of the CUDA device; without CUDA, the CPU")
    run.add_argument("--resume", metavar="CKPT", help="go on exactly from a ckpt_last.pth, with its settings")
    run.add_argument("--init_from", metavar="CKPT", help="start from this checkpoint's weights alone")
    data = parser.add_argument_group("data")
    data.add_argument("--txt_path_train", metavar="FILE", help="training list, lines `path code`")
    data.add_argument("--txt_path_val", metavar="FILE", help="validation list, lines `path code`")
    data.add_argument("--batch_size", type=positive_int, default=32, help="images per step, over all devices")
    data.add_argument("--num_workers", type=non_negative_int, default=default_workers(), help="image reading processes")
    data.add_argument("--aug", action="store_true", help="perturb training images")
    data.add_argument("--aug_probs", type=probability, default=0.3, help="share of training images --aug perturbs")
    data.add_argument("--unknown", choices=("zero", "mask"), default="zero", help="digit 2: train as off, or leave out")
    model = parser.add_argument_group("model")
    model.add_argument("--VM", choices=MODEL_NAMES, default="ViT-B/32", help="CLIP model; demo: small, from scratch")
    model.add_argument("--clip_weights", metavar="FILE", help="local OpenAI or open_clip weights of --VM")
    model.add_argument("--precision", choices=("float32", "bfloat16"), default="float32", help="of the towers")
    optim = parser.add_argument_group("optimisation")
    optim.add_argument("--num_epoch", type=positive_int, default=20, help="epochs")
    optim.add_argument("--initial_lr", type=positive_float, default=6e-7, help="AdamW's learning rate in epoch 0")
    optim.add_argument("--t_max", type=positive_int, default=5, help="epochs in which the cosine falls to 0")
    optim.add_argument("--weight_decay", type=float, default=1e-3, help="AdamW's weight decay")
    optim.add_argument(
        "--patience", type=positive_int, help="stop after so many epochs without a better validation AUC"
    )
    optim.add_argument("--auc", action="store_true", help="validation AUC: always on, accepted for older commands")
    tasks = parser.add_argument_group("task weighting")
    tasks.add_argument("--weight", choices=WEIGHTINGS, help="weighting of the three tasks (default: autol)")
    tasks.add_argument("--weighting_method", choices=("none", "auto-l"), default="none", help="auto-l: --weight autol")
    tasks.add_argument("--grad_method", choices=("none",), default="none", help="combination of the task gradients")
    tasks.add_argument("--task", nargs="+", choices=TASKS, default=["binary"], help="primary task(s) of auto-lambda")
    tasks.add_argument("--autol_init", type=float, default=1.0, help="initial weight of each task")
    tasks.add_argument("--autol_lr", type=positive_float, default=1e-3, help="Adam's learning rate of the weights")
    tasks.add_argument("--hypergrad", choices=("exact", "fd"), default="exact", help="fd: central finite difference")
    tasks.add_argument("--lambda_every", type=positive_int, default=1, help="steps from one lambda update to the next")
    return parser


def parse_args(argv: Sequence[str] | None) -> tuple[argparse.Namespace, dict | None]:
    """The run's settings, and the content of the checkpoint it resumes (whose settings then hold), else None."""
    parser = get_args_parser()
    args = parser.parse_args(argv)
    if args.resume and args.init_from:
        parser.error("--resume goes on with a run, --init_from starts a new one; give one of them")
    if args.resume:
        return _resumed(args.resume, argv)
    if args.weighting_method == "auto-l" and args.weight not in (None, "autol"):
        parser.error(f"--weighting_method auto-l contradicts --weight {args.weight}; drop one of them")
    args.weight = args.weight or "autol"
    for key in ("txt_path_train", "txt_path_val"):
        if getattr(args, key) is None:
            parser.error(f"--{key} is needed: a list file with lines `path code`")
    if args.clip_weights and (args.init_from or args.VM == "demo"):
        parser.error("--clip_weights goes neither with --VM demo (trained from scratch) nor with --init_from")
    if args.tag is None:
        aug = f"aug{args.aug_probs:g}" if args.aug else "noaug"
        settings = (args.VM.replace("/", "-"), args.weight, f"lr{args.initial_lr:g}", f"bz{args.batch_size}", aug)
        args.tag = "_".join((*settings, f"seed{args.seed}"))
    return args, None


def _resumed(path: str, argv: Sequence[str] | None) -> tuple[argparse.Namespace, dict]:
    content = checkpoint.read_checkpoint(path)
    if content.get("format") != checkpoint.FORMAT or "trainer" not in content:
        raise UserError(f"{path} cannot be resumed, only our ckpt_last.pth can; use --init_from for its weights")
    parser = get_args_parser()
    for action in parser._actions:
        action.default = argparse.SUPPRESS
    given = vars(parser.parse_args(argv))
    for key in sorted(given.keys() - _FREE_ON_RESUME):
        if given[key] != content["args"][key]:
            raise UserError(f"{path} was trained with --{key} {content['args'][key]} and goes on so; drop --{key}")
    folder = Path(path).resolve().parent
    places = {"output": str(folder.parent.parent), "name": folder.parent.name, "tag": folder.name}
    return argparse.Namespace(**(content["args"] | places | given)), content


def build_model(args: argparse.Namespace, content: dict | None, tree: LabelTree) -> JointEmbedding:
    """The model: of the resumed run, of --init_from, with CLIP's weights, or with random ones (demo)."""
    torch.manual_seed(args.seed)
    if content is not None:
        return checkpoint.build_model(content, args.resume, tree)
    if args.init_from:
        return checkpoint.load_model(args.init_from, tree=tree)
    model = JointEmbedding(architecture(args.VM), tree)
    if args.VM != "demo":
        weights = checkpoint.clip_state_dict(args.VM, args.clip_weights)
        checkpoint.load_weights(model, weights, args.clip_weights or f"the weights file of {args.VM}")
    return model


def read_lists(args: argparse.Namespace, tree: LabelTree) -> tuple[DataSet, DataSet]:
    """The training and validation sets."""
    train_set = read_txt_list(args.txt_path_train, tree, "train", labels_allowed=False)
    val_set = read_txt_list(args.txt_path_val, tree, "val", labels_allowed=False)
    if len({record.label for record in val_set.records}) < 2:
        raise UserError(f"{args.txt_path_val} holds one class only, so no AUC exists; list reals and fakes")
    return train_set, val_set


class Run:
    """One training run: settings, data, trainer, folder and progress."""

    def __init__(self, args: argparse.Namespace, content: dict | None, tree: LabelTree) -> None:
        self.args = args
        self.train_set, self.val_set = read_lists(args, tree)
        records = self.train_set.records
        self.data_hash = fingerprint(f"{record.video} {record.frame} {record.code}" for record in records)
        if content is not None and content["data_hash"] != self.data_hash:
            raise UserError(f"{args.txt_path_train} is not the list the run was started with; use --init_from instead")
        self.steps = batches_per_epoch(len(records), args.batch_size)
        self.folder = output_dir(Path(args.output) / args.name / args.tag)
        if content is None and (self.folder / "ckpt_last.pth").exists():
            raise UserError(f"{self.folder} holds a run already; --resume its ckpt_last.pth or give another --tag")
        self.device = choose_device(args.gpu)
        settings = {key: getattr(args, key) for key in TrainerSettings.__dataclass_fields__}
        self.trainer = Trainer(build_model(args, content, tree).to(self.device), TrainerSettings(**settings))
        self.progress = Progress()
        if content is not None:
            self.trainer.load_state_dict(content["trainer"])
            self.progress = Progress(**content["progress"])
            checkpoint.set_rng_state(content["rng"])

    def batches(self, stream: int, every: int) -> Iterator[TrainingBatch]:
        """The batches of the epoch from the present step on, ready on the device; see EpochBatches."""
        args, progress, records = self.args, self.progress, self.train_set.records
        frames = Frames(records, self.trainer.model.image_size, args.aug_probs if args.aug else 0.0)
        order = EpochBatches(len(records), args.batch_size, args.seed, progress.epoch, stream, progress.step)
        order.keep_every(every, progress.epoch * self.steps)
        for images, indices, unreadable in training_loader(
            frames, order, args.num_workers, pin_memory=self.device.type == "cuda"
        ):
            refuse_unreadable(unreadable, self.train_set, args.txt_path_train)
            ready = normalise(images.to(self.device, non_blocking=True))
            yield ready, node_labels(records, indices).to(self.device), [records[i].path for i in indices.tolist()]

    def validate(self) -> dict:
        """The validation figures of metrics.jsonl; no video AUC for a list without videos."""
        records = self.val_set.records
        figures = validate(
            self.trainer,
            scoring_loader(Frames(records, self.trainer.model.image_size), self.args.batch_size, self.args.num_workers),
            normalise,
            torch.from_numpy(np.stack([node_vector(record.code) for record in records])),
            [record.video for record in records],
            lambda unreadable: refuse_unreadable(unreadable, self.val_set, self.args.txt_path_val),
        )
        return figures | ({"val_video_auc": None} if self.val_set.image_level else {})

    def save(self, name: str, **extra: object) -> None:
        """Write a checkpoint: the model, how it was made, and ``extra``."""
        versions = {
            "python": platform.python_version(),
            "torch": str(torch.__version__),
            "open_clip": open_clip.__version__,
        }
        checkpoint.save_checkpoint(
            self.folder / name,
            self.trainer.model,
            preprocessing={
                "image_size": self.trainer.model.image_size,
                "resize": "PIL bicubic",
                "mean": MEAN,
                "std": STD,
            },
            versions=versions,
            args=vars(self.args),
            epoch=self.progress.best.get("epoch", self.progress.epoch),
            threshold=self.progress.best.get("threshold"),
            **extra,
        )

    def save_last(self) -> None:
        """Write ckpt_last.pth, from which --resume goes on exactly."""
        state = {"trainer": self.trainer.state_dict(), "progress": self.progress.to_dict()}
        self.save("ckpt_last.pth", rng=checkpoint.rng_state(), data_hash=self.data_hash, **state)


def refuse_unreadable(unreadable: list[tuple[int, str]], data: DataSet, list_path: str) -> None:
    """UserError for the first image of a training or validation list that cannot be read: a list is a promise."""
    for index, reason in unreadable[:1]:
        raise UserError(f"{data.records[index].path} (in {list_path}): {reason}; mend the image or remove its line")


def finish_epoch(run: Run, started: float, log: logging.Logger, metrics: MetricsLog) -> None:
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
    metrics.add(row)
    losses = " ".join(f"{row[f'loss_{task}']:.4f}" for task in TASKS)
    weights = " ".join(f"{weight:.4f}" for weight in row["lambdas"])
    aucs = f"frame AUC {100 * figures['val_frame_auc']:.2f}"
    aucs += "" if run.val_set.image_level else f", video AUC {100 * figures['val_video_auc']:.2f}"
    log.info(f"epoch {progress.epoch}: losses {losses}; lambda {weights}; validation {aucs}; {row['seconds']:.0f} s")
    progress.next_epoch()
    run.save_last()


def train(argv: Sequence[str] | None, tree: LabelTree) -> None:
    """The whole of a training script, for one label tree."""
    args, content = parse_args(argv)
    run = Run(args, content, tree)
    write_json(run.folder / "args.json", vars(args))
    log = open_log(run.folder / "log.txt")
    rates = epoch_learning_rates(args.initial_lr, args.num_epoch, args.t_max)
    log.info(f"{run.folder}: {args.VM}, {args.weight}, {args.precision}, on {describe(run.device)}")
    images = f"{len(run.train_set.records)} training images, {len(run.val_set.records)} of validation"
    log.info(f"{images}, {run.steps} steps an epoch")
    log.info(f"learning rates {' '.join(f'{rate:.3g}' for rate in rates)}")
    metrics = MetricsLog(run.folder, run.progress.epoch)
    try:
        with StopRequest() as stop:
            while run.progress.epoch < args.num_epoch and run.progress.epochs_without_better < (
                args.patience or np.inf
            ):
                started = time.perf_counter()
                run.trainer.set_learning_rate(rates[run.progress.epoch])
                every = args.lambda_every if args.weight == "autol" else 0
                train_epoch(run.trainer, run.progress, run.steps, run.batches(0, 1), run.batches(1, every), stop, log)
                if run.progress.step == run.steps:
                    finish_epoch(run, started, log, metrics)
                else:
                    run.save_last()
                if stop.signum is not None:
                    log.info(f"stopped; go on with --resume {run.folder / 'ckpt_last.pth'}")
                    stop.raise_stop()
        log.info(f"best epoch {run.progress.best['epoch']}: {run.folder / 'ckpt_best.pth'}")
    finally:
        metrics.close()
        close_log(log)


@script
def main(argv: Sequence[str] | None = None) -> None:
    """Train on FF++ lists; see --help."""
    train(argv, FFPP)


if __name__ == "__main__":
    sys.exit(main())
