"""Score data sets with a checkpoint: predictions.csv with every frame's P(fake), metrics.json with frame and video AUC.

Labels are 0 real, 1 fake; p_fake is the probability of fake; a video's score is the mean of its frames'.
"""

import argparse
import csv
import logging
import math
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from datasets.celeb_df import read_celeb_df
from datasets.ffpp import read_ffpp
from datasets.frames import Frames, scoring_loader
from datasets.records import DataSet, Dropped, Record
from datasets.transforms import normalise
from datasets.txt_list import read_txt_list
from models.checkpoint import build_model, read_checkpoint
from models.joint_embedding import JointEmbedding
from models.label_tree import FFPP, TREES, LabelTree
from models.scoring import score_loader
from utils.cli import ArgumentParser, UserError, boolean, non_negative_int, positive_int, script
from utils.devices import choose_device, default_workers, describe
from utils.files import atomic_path, output_dir, read_json, write_json
from utils.metrics import evaluate
from utils.progress import progress_bar
from utils.run_log import close_log, open_log

DATASETS = ("FFpp", "CDF", "list")
_COLUMNS = ["dataset", "video", "frame", "path", "label", "method", "code", "p_fake", "logit_fake"]


def get_args_parser() -> ArgumentParser:
    """The command line."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", nargs="+", choices=DATASETS, required=True, help="data sets to test on")
    parser.add_argument("--resume", metavar="CKPT", required=True, help="checkpoint, ours or a published one")
    parser.add_argument("--train_dataset", choices=tuple(TREES), help="tree of a checkpoint that does not say (ffpp)")
    parser.add_argument("--data_root", default="data", help="folder that holds CDF/, FF++/ and the other data sets")
    parser.add_argument("--datapath", help="place of the one --dataset: its root or faces folder; for list, the file")
    parser.add_argument("--compression", choices=("c23", "c40", "raw"), default="c23", help="of the FF++ videos")
    parser.add_argument("--n_frames", type=positive_int, help="frames per video (default: 64, FFSC model: 32)")
    parser.add_argument(
        "--batch_size", type=positive_int, default=1, help="per forward: videos of n_frames frames; for list, images"
    )
    parser.add_argument(
        "--num_workers", type=non_negative_int, default=default_workers(), help="image reading processes"
    )
    parser.add_argument(
        "--gpu", type=non_negative_int, default=0, help="number of the CUDA device; without CUDA, the CPU"
    )
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32", help="of the towers")
    parser.add_argument("--output", default="output", help="folder for all runs")
    parser.add_argument("--name", default="SJEDD_test", help="folder of this test under --output")
    parser.add_argument("--auc", action="store_true", help="print the video AUC (frame AUC of image sets) in percent")
    parser.add_argument("--test_log", type=boolean, nargs="?", const=True, default=False, help="append to test_log.txt")
    return parser


def read_dataset(name: str, args: argparse.Namespace, tree: LabelTree, n_frames: int) -> DataSet:
    """The records of a data set; every frame in it is scored."""
    if name == "CDF":
        return read_celeb_df(Path(args.datapath or Path(args.data_root) / "CDF"), n_frames)
    if name == "FFpp":
        codes_of = tree if tree is FFPP else None
        return read_ffpp(Path(args.datapath or args.data_root), codes_of, n_frames, args.compression)
    if args.datapath is None:
        raise UserError("--dataset list needs --datapath FILE, a list with lines `path code` or `path label`")
    return read_txt_list(args.datapath, tree)


def prediction_rows(
    model: JointEmbedding, data: DataSet, args: argparse.Namespace, batch_size: int, dropped: list[Dropped]
) -> Iterator[dict]:
    """A row of predictions.csv per scored frame, in the data set's order; unreadable images go to ``dropped``."""
    device = next(model.parameters()).device
    frames = Frames(data.records, model.image_size)
    loader = scoring_loader(frames, batch_size, args.num_workers, pin_memory=device.type == "cuda")
    columns = _node_columns(model.tree)
    with progress_bar(total=len(frames), desc=data.name, unit="frame", leave=False) as bar:
        for batch in score_loader(model, loader, normalise, args.precision):
            for index, reason in batch.unreadable:
                record = data.records[index]
                dropped.append(Dropped(record.video, record.path, record.label, reason))
            for index, p, logit in zip(batch.indices, batch.marginals, batch.logit_fake, strict=True):
                nodes = {name: f"{value:.9g}" for name, value in zip(columns, p[1:], strict=True)}
                yield _row(data.name, data.records[index], float(p[0]), float(logit)) | nodes
            bar.update(len(batch.indices) + len(batch.unreadable))


def _node_columns(tree: LabelTree) -> list[str]:
    return [name.replace(" ", "_") for name in tree.nodes[1:]]


def _row(dataset: str, record: Record, p_fake: float, logit: float) -> dict:
    where = {"dataset": dataset, "video": record.video, "frame": record.frame, "path": record.path}
    what = {"label": record.label, "method": record.method, "code": record.code}
    return where | what | {"p_fake": f"{p_fake:.9g}", "logit_fake": f"{logit:.9g}"}


def write_predictions(path: Path, columns: list[str], rows: Iterator[dict]) -> list[dict]:
    """Stream rows into a CSV file that appears when it is whole, and only if there are rows; returns them."""
    kept = []
    with (
        atomic_path(path) as temporary,
        temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
    ):
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        for row in rows:
            writer.writerow(row)
            kept.append(row)
        if not kept:
            raise UserError("none of the images could be read")
    return kept


def crops_of(data: DataSet) -> dict | None:
    """The detector and parameters the crops were made with (manifest.json beside the first faces folder), if known."""
    for parent in list(Path(data.records[0].path).parents)[:4]:
        if (parent / "manifest.json").is_file():
            content = read_json(parent / "manifest.json")
            return content if isinstance(content, dict) and "detector" in content else None
    return None


def threshold_of(content: Mapping, path: str) -> float | None:
    """The decision threshold from validation that a checkpoint of ours holds; None in a published one."""
    threshold = content.get("threshold")
    if threshold is not None and not (isinstance(threshold, float) and 0 <= threshold <= 1):
        raise UserError(f"{path} holds a damaged decision threshold ({threshold!r}); use another checkpoint")
    return threshold


def test_one(
    name: str, model: JointEmbedding, threshold: float | None, args: argparse.Namespace, folder: Path
) -> tuple[dict, float | None]:
    """Score one data set and write predictions.csv and metrics.json into ``folder``.

    Returns the metrics and the AUC that --auc prints: of the videos, or of the frames of an image set.
    """
    n_frames = args.n_frames or (64 if model.tree is FFPP else 32)
    data = read_dataset(name, args, model.tree, n_frames)
    batch_size = args.batch_size if name == "list" else args.batch_size * n_frames
    dropped = list(data.dropped)
    columns = _COLUMNS + _node_columns(model.tree)
    crops = crops_of(data)
    (folder / "metrics.json").unlink(missing_ok=True)  # never beside predictions it does not belong to
    try:
        scored = prediction_rows(model, data, args, batch_size, dropped)
        rows = write_predictions(folder / "predictions.csv", columns, scored)
    except UserError as error:
        first = f"{dropped[-1].path}: {dropped[-1].reason}" if dropped else ""
        raise UserError(f"{name}: {error}, {len(data.records)} were tried ({first})") from error
    metrics = {
        "dataset": name,
        "tree": model.tree.name,
        "checkpoint": str(args.resume),
        "protocol": "ours",
        "precision": args.precision,
        "crops": crops,
        "n_frames_per_video": None if name == "list" else n_frames,
    }
    metrics |= evaluate(rows, model.tree.nodes[1:], threshold, data.videos_listed)
    metrics["dropped"] = [{"video": d.video, "path": d.path, "label": d.label, "reason": d.reason} for d in dropped]
    write_json(folder / "metrics.json", metrics)
    return metrics, metrics["frame_auc" if data.image_level else "video_auc"]


def report(metrics: Mapping, auc: float | None, args: argparse.Namespace, log: logging.Logger) -> None:
    """The lines a person reads after one data set."""

    def percent(value: float | None) -> str:
        return "undefined" if value is None else f"{100 * value:.3f}"

    log.info(
        f"{metrics['dataset']}: {metrics['videos']} videos ({metrics['videos_real']} real, "
        f"{metrics['videos_fake']} fake), {metrics['frames']} frames, coverage {metrics['coverage']:.4f}, "
        f"dropped {len(metrics['dropped'])}"
    )
    for drop in metrics["dropped"][:5]:
        log.info(f"  dropped {drop['path'] or drop['video']}: {drop['reason']}")
    log.info(f"  frame AUC {percent(metrics['frame_auc'])}, video AUC {percent(metrics['video_auc'])}")
    if metrics["frame_auc"] is None:
        log.info("  one class only, so AUC, EER and AP are undefined")
    if args.auc:
        log.info(f" * AUC {percent(auc)}")


@script
def main(argv: Sequence[str] | None = None) -> None:
    """Test a checkpoint; see --help."""
    parser = get_args_parser()
    args = parser.parse_args(argv)
    if args.datapath and len(args.dataset) > 1:
        parser.error("--datapath is the place of one data set; give one --dataset, or use --data_root")
    content = read_checkpoint(args.resume)
    threshold = threshold_of(content, args.resume)
    device = choose_device(args.gpu)
    model = build_model(content, args.resume, TREES[args.train_dataset] if args.train_dataset else None).to(device)
    del content  # its optimizer state is larger than the model
    for name in args.dataset:
        folder = output_dir(Path(args.output) / args.name / name)
        log = open_log(folder / "log.txt")
        try:
            log.info(f"{args.resume} ({model.tree.name} tree, {args.precision}) on {describe(device)}")
            started = time.perf_counter()
            metrics, auc = test_one(name, model, threshold, args, folder)
            report(metrics, auc, args, log)
            seconds = time.perf_counter() - started
            log.info(f"  {seconds:.1f} s, {metrics['frames'] / seconds:.1f} frames/s; {folder / 'predictions.csv'}")
            if args.test_log:
                line = f"{args.resume} {name} AUC {math.nan if auc is None else 100 * auc:.3f}\n"
                with (folder / "test_log.txt").open("a", encoding="utf-8") as file:
                    file.write(line)
        finally:
            close_log(log)


if __name__ == "__main__":
    sys.exit(main())
