"""Score data sets with a checkpoint: predictions.csv with every frame's P(fake), metrics.json with frame and video AUC.

Labels are 0 real, 1 fake; p_fake is the probability of fake; a video's score is the mean of its frames'.
"""

import argparse
import contextlib
import logging
import math
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from datasets.perturbations import SUITE, Perturbation, compression_unavailable, parse_perturbation, whole_suite
from datasets.readers.ffpp import SPLITS
from datasets.test_sets import PROTOCOLS, TEST_SETS, ReadOptions, frames_per_video
from models.choices import PRECISIONS
from models.label_tree import TREES
from utils.cli import (
    INSTEAD,
    ArgumentParser,
    ToldError,
    UserError,
    answer_first,
    boolean,
    folder_name,
    non_negative_int,
    positive_int,
    script,
)
from utils.cli import seed as seed_type
from utils.cpu import default_workers

_FORWARD = 64  # frames that go through the model at once, at least
_BACKWARDS = 0.3  # a frame AUC below which labels are more likely wrong than the model


# Options and values of the reference's script that this one does without.
_INSTEAD = INSTEAD | {
    "--VM": "the checkpoint knows its model",
    "diffusion": "give DiffusionFace or DiFF",
}


def get_args_parser() -> ArgumentParser:
    """The command line."""
    parser = ArgumentParser(description=__doc__, instead=_INSTEAD)
    data = parser.add_argument_group("what is tested")
    data.add_argument("--dataset", nargs="+", choices=tuple(TEST_SETS), required=True, help="data sets to test on")
    data.add_argument("--protocol", choices=PROTOCOLS, default="ours", help="Deeper: fakes of test targets, or the "
                      "reference's draw of fakes; DFDC: all videos, or those with n_frames crops")  # fmt: skip
    data.add_argument("--seed", type=seed_type, default=0, help="of the draw of --protocol reference and of the "
                      "perturbations")  # fmt: skip
    data.add_argument("--perturb", type=parse_perturbation, metavar="NAME:LEVEL", help="perturb every crop: "
                      f"{', '.join(SUITE)}, each at level 1 to 5")  # fmt: skip
    data.add_argument("--robustness", action="store_true", help="after the test, the same frames under all seven "
                      "perturbations at all five levels; a table and a plot of the AUC")  # fmt: skip
    data.add_argument("--data_root", default="data", help="folder that holds CDF/, FF++/ and the other data sets")
    data.add_argument("--datapath", help="place of the one --dataset: its root or faces folder (of FSh and Deeper: of "
                      "the fakes); for list, json, csv the file; for folder the folder")  # fmt: skip
    data.add_argument("--split", choices=SPLITS, help="of FFpp, FSh, Deeper, json (default: test)")
    data.add_argument("--compression", choices=("c23", "c40", "raw"), help="of the same (default: c23)")
    data.add_argument("--n_frames", type=positive_int, help="frames per video (default: 64, FFSC model 32; list and "
                      "csv: all that are listed)")  # fmt: skip
    model = parser.add_argument_group("the model")
    model.add_argument("--resume", metavar="CKPT", required=True, help="checkpoint, ours or a published one")
    model.add_argument("--train_dataset", choices=tuple(TREES), help="tree of a checkpoint that does not say (ffpp)")
    model.add_argument("--calibration", metavar="FILE", help="calibration.json of SJEDD_report.py --calibrate: "
                       "adds the column p_fake_calibrated, changes no other figure")  # fmt: skip
    machine = parser.add_argument_group("the machine")
    machine.add_argument("--batch_size", type=positive_int, default=1, help="videos of n_frames frames that go through "
                         "the model at once; of image sets, and of lists without --n_frames, images; in each case at "
                         f"least {_FORWARD} frames do")  # fmt: skip
    machine.add_argument(
        "--num_workers", type=non_negative_int, default=default_workers(), help="image reading processes"
    )
    machine.add_argument("--crop_cache", type=folder_name, metavar="DIR", help="keep the decoded crops in "
                         "DIR, for this test's perturbations and later ones; SSD, 0.3 MB a crop")  # fmt: skip
    machine.add_argument("--gpu", type=non_negative_int, help="number of the CUDA device (0); without CUDA, the CPU")
    machine.add_argument("--precision", choices=PRECISIONS, default="float32", help="of the image tower; tf32: "
                         "CUDA only; float16: the reference's, for --protocol reference on CUDA")  # fmt: skip
    output = parser.add_argument_group("results")
    output.add_argument("--output", default="output", help="folder for all runs")
    output.add_argument("--name", default="SJEDD_test", help="folder of this test under --output")
    output.add_argument("--auc", action="store_true", help="print the video AUC (frame AUC of image sets) in percent")
    output.add_argument("--test_log", type=boolean, nargs="?", const=True, default=False, help="append to test_log.txt")
    return parser


answer_first(__name__, get_args_parser)

import numpy as np
import torch

from datasets.crop_cache import image_source
from datasets.crop_settings import crop_settings, differences
from datasets.frames import Frames, own_videos, scoring_loader
from datasets.image_sources import ImageSource
from datasets.records import DataSet, Dropped
from evaluation.calibration import (
    apply_temperature,
    calibrated_checkpoint,
    expected_calibration_error,
    read_calibration,
)
from evaluation.metrics import evaluate
from evaluation.predictions import Scores, refuse_other_source, write_predictions
from evaluation.robustness import plot_robustness, remove_robustness, robustness_table, write_robustness
from evaluation.scoring import score_loader
from models.checkpoint import build_model, threshold_of
from models.checkpoint_file import read_checkpoint
from models.joint_embedding import JointEmbedding
from models.scoring import REFERENCE, encode_text
from utils.devices import choose_device, describe
from utils.distributed import gather, on_main, process_group
from utils.files import append_text, output_dir, remove_leftovers, write_json
from utils.locks import exclusive_folder
from utils.progress import progress_bar
from utils.ranks import is_main, world_size
from utils.run_log import close_log, open_log


def check_arguments(parser: ArgumentParser, args: argparse.Namespace) -> None:
    """Refuse combinations that are surely a mistake."""
    names = args.dataset = list(dict.fromkeys(args.dataset))
    if args.datapath and len(names) > 1:
        parser.error("--datapath is the place of one data set; give one --dataset, or use --data_root")
    for name in names:
        needed = TEST_SETS[name].needs_datapath
        if needed and not args.datapath:
            parser.error(f"--dataset {name} needs --datapath {needed}, and to be the only data set")
    if args.precision == "float16" and args.protocol != "reference":
        parser.error("--precision float16 is the reference's arithmetic; give --protocol reference, or use bfloat16")
    if args.robustness and args.perturb:
        parser.error("--robustness takes all perturbations; drop --perturb")
    for option in ("split", "compression"):
        if getattr(args, option) and not any(TEST_SETS[name].has_splits for name in names):
            parser.error(f"--{option} changes nothing for {', '.join(names)}; drop it")


class Setup(NamedTuple):
    """What all tests of a run share. text: the encoded prompts. threshold, temperature: from validation, if known.
    crops: how the training's crops were made, where the checkpoint tells. arithmetic: the precision, as models.scoring
    has it."""

    model: JointEmbedding
    text: torch.Tensor
    threshold: float | None
    crops: dict | None
    temperature: float | None
    arithmetic: str
    args: argparse.Namespace


def wanted_data(name: str, args: argparse.Namespace, model: JointEmbedding) -> ReadOptions:
    """The arguments as the readers take them."""
    return ReadOptions(
        data_root=Path(args.data_root),
        datapath=Path(args.datapath) if args.datapath else None,
        compression=args.compression or "c23",
        split=args.split or "test",
        protocol=args.protocol,
        seed=args.seed,
        n_frames=args.n_frames,
        tree=model.tree,
    )


Scored = tuple[Sequence[int], np.ndarray, np.ndarray]  # record indices [B], marginals [B, nodes], log-odds of fake [B]


def scored_batches(
    setup: Setup,
    data: DataSet,
    images: ImageSource,
    batch_size: int,
    perturbation: Perturbation | None,
    dropped: list[Dropped],
) -> Iterator[Scored]:
    """The data set's batches in order (under torchrun this process's share of them); images that cannot be read go to
    ``dropped``, nothing takes their place."""
    model, args = setup.model, setup.args
    device = next(model.parameters()).device
    frames = Frames(data.records, model.image_size, perturbation=perturbation, seed=args.seed, images=images)
    own = own_videos(data.records)
    loader = scoring_loader(frames, batch_size, args.num_workers, pin_memory=device.type == "cuda", indices=own)
    what = f"{data.name} {perturbation}" if perturbation else data.name
    with progress_bar(total=len(own), desc=what, unit="frame", leave=False) as bar:
        for batch in score_loader(model, loader, setup.arithmetic, setup.text):
            for index, reason in batch.unreadable:
                record = data.records[index]
                dropped.append(Dropped(record.video, record.path, record.label, reason))
            yield batch.indices, batch.marginals, batch.logit_fake
            bar.update(len(batch.indices) + len(batch.unreadable))


def from_all_processes(batches: Iterator[Scored], dropped: list[Dropped]) -> Iterator[Scored]:
    """In the main process the batches of all processes, in the records' order, and their dropped images in
    ``dropped``; in the others nothing is left to do."""
    if world_size() == 1:
        return batches
    before = len(dropped)
    shares = gather((list(batches), dropped[before:])) or []
    for other, (_, lost) in enumerate(shares):
        dropped += lost if other else []
    return (batch for share, _ in shares for batch in share)


def calibration_metrics(scores: Scores, temperature: float, args: argparse.Namespace) -> dict:
    """The temperature and where it is from, and the calibration error of the frames without and with it."""
    labels, logits = np.array([record.label for record in scores.records]), scores.values[:, 1]
    before, after = (expected_calibration_error(labels, apply_temperature(logits, t)) for t in (1, temperature))
    fitted_on = calibrated_checkpoint(args.calibration)
    foreign = fitted_on is not None and Path(fitted_on).resolve() != Path(args.resume).resolve()
    origin = {"file": args.calibration, "checkpoint": fitted_on, "of_another_checkpoint": foreign}
    return origin | {"temperature": temperature, "ece_before": before, "ece_after": after}


def class_coverage(scores: Scores, dropped: Sequence[Dropped]) -> dict:
    """Videos scored / videos listed, of each class."""
    scored = {record.video: record.label for record in scores.records}
    listed = list((scored | {drop.video: drop.label for drop in dropped}).values())
    shares = {}
    for label, name in enumerate(("real", "fake")):
        found = list(scored.values()).count(label)
        shares[f"coverage_{name}"] = found / listed.count(label) if label in listed else None
    return shares


def test_one(
    setup: Setup,
    data: DataSet,
    images: ImageSource,
    n_frames: int | None,
    folder: Path,
    perturbation: Perturbation | None = None,
) -> dict:
    """Score one data set and write predictions.csv and metrics.json into ``folder``; returns the metrics. images: the
    data set's."""
    dropped = list(data.dropped)
    batch_size = max(_FORWARD, setup.args.batch_size * (n_frames or 1))
    batches = scored_batches(setup, data, images, batch_size, perturbation, dropped)
    batches = from_all_processes(batches, dropped)
    return on_main(lambda: write_results(setup, data, n_frames, folder, perturbation, batches, dropped))


def protocol_differences(args: argparse.Namespace, data: DataSet, crops: Iterable[dict | None]) -> list[str]:
    """What a test of --protocol reference does not do as the reference, a line each: it chooses a video's frames among
    crops of all its frames, and computes in float16."""
    if args.protocol == "ours":
        return []
    lines = []
    if not data.image_level and not all(made and made.get("protocol") == "reference" for made in crops):
        lines = ["the reference's frames are chosen among crops of every frame; extract with --protocol reference"]
    if args.precision != "float16":
        lines += [
            "the reference computes in float16, which moves P(fake) by a few 1e-3; so does --precision float16, on CUDA"
        ]
    return lines


def _where_to_look(data: DataSet, dropped: Sequence[Dropped]) -> str:
    """How to mend it when no image of a list is there."""
    if not dropped or any(drop.reason != "missing_file" for drop in dropped):
        return ""
    if data.name == "json":
        return "; set --data_root to the folder that the paths of the file start from"
    return "; SJEDD_check_data.py --txt_path_test LIST finds where they are" if data.name == "list" else ""


def write_results(
    setup: Setup,
    data: DataSet,
    n_frames: int | None,
    folder: Path,
    perturbation: Perturbation | None,
    batches: Iterator[Scored],
    dropped: list[Dropped],
) -> dict:
    """predictions.csv while ``batches`` come in, then metrics.json; returns the metrics."""
    model, args = setup.model, setup.args
    settings = crop_settings(data.records)
    alike = not differences(settings)
    trained_on = {"the training's crops": setup.crops} if setup.crops else {}
    remove_leftovers(folder)
    (folder / "metrics.json").unlink(missing_ok=True)  # never beside predictions it does not belong to
    nodes = [node.replace(" ", "_") for node in model.tree.nodes[1:]]
    try:
        scores = write_predictions(folder / "predictions.csv", data, nodes, batches, setup.temperature)
    except UserError as error:
        last = f", {len(data.records)} were tried ({dropped[-1].path}: {dropped[-1].reason})" if dropped else ""
        raise UserError(f"{data.name}: {error}{last}{_where_to_look(data, dropped)}") from error
    metrics = {
        "dataset": data.name,
        "source": data.source,
        "image_level": data.image_level,
        "tree": model.tree.name,
        "checkpoint": str(args.resume),
        "protocol": args.protocol,
        "precision": args.precision,
        "perturbation": str(perturbation) if perturbation else None,
        "threshold": setup.threshold,
        "crops": next(iter(settings.values()), None) if alike else settings,
        "crops_unlike": differences(trained_on | settings) if any(settings.values()) else [],
        "protocol_differs": protocol_differences(args, data, settings.values()),
        "n_frames_per_video": n_frames,
    }
    metrics |= evaluate(scores, model.tree.nodes[1:], setup.threshold, data.videos_listed)
    metrics |= class_coverage(scores, dropped)
    if setup.temperature:
        metrics["calibration"] = calibration_metrics(scores, setup.temperature, args)
    metrics["dropped_by_reason"] = dict(Counter(drop.reason.partition(":")[0] for drop in dropped).most_common())
    metrics["dropped"] = [{"video": d.video, "path": d.path, "label": d.label, "reason": d.reason} for d in dropped]
    write_json(folder / "metrics.json", metrics)
    return metrics


def test_robustness(
    setup: Setup,
    data: DataSet,
    images: ImageSource,
    n_frames: int | None,
    folder: Path,
    clean: Mapping,
    log: logging.Logger,
) -> None:
    """The whole suite on the frames of a test that is done; its results go below ``folder``/robustness."""
    suite = whole_suite()
    if reason := compression_unavailable():
        log.info(f"  compression is left out: {reason}")
        suite = [perturbation for perturbation in suite if perturbation.name != "compression"]
    key, results = headline(data), {}
    for perturbation in suite:
        place = output_dir(folder / "robustness" / f"{perturbation.name}_{perturbation.level}")
        results[perturbation.name, perturbation.level] = test_one(setup, data, images, n_frames, place, perturbation)
        on_main(lambda: write_robustness(folder, clean, results))
    on_main(lambda: plot_robustness(folder, clean, results, key))
    log.info(f"  {key.replace('_', ' ').replace('auc', 'AUC')} by level\n{robustness_table(clean, results, key)}")


def headline(data: DataSet) -> str:
    """The AUC that counts: of the videos, or of the frames of an image set."""
    return "frame_auc" if data.image_level else "video_auc"


def percent(value: float | None, undefined: str = "undefined") -> str:
    """A fraction as percent with three digits."""
    return undefined if value is None else f"{100 * value:.3f}"


def report(metrics: Mapping, auc: float | None, args: argparse.Namespace, log: logging.Logger) -> None:
    """The lines a person reads after one data set."""
    real, fake = metrics["videos_real"], metrics["videos_fake"]
    by_class = ", ".join(
        f"{name} {metrics[f'coverage_{name}']:.4f}"
        for name in ("real", "fake")
        if metrics[f"coverage_{name}"] is not None
    )
    reasons = ", ".join(f"{count} {reason}" for reason, count in metrics["dropped_by_reason"].items())
    reasons = f" ({reasons})" if reasons else ""
    perturbed = f" {metrics['perturbation']}" if metrics["perturbation"] else ""
    units, frames = ("images", "") if metrics["image_level"] else ("videos", f", {metrics['frames']} frames")
    log.info(
        f"{metrics['dataset']}{perturbed}: {metrics['videos']} {units} ({real} real, {fake} fake){frames}, "
        f"coverage {metrics['coverage']:.4f} ({by_class}), "
        f"dropped {len(metrics['dropped'])}{reasons}, protocol {metrics['protocol']}, from {metrics['source']}"
    )
    for drop in metrics["dropped"][:5]:
        log.info(f"  dropped {drop['path'] or drop['video']}: {drop['reason']}")
    for difference in metrics["crops_unlike"]:
        log.info(f"  warning: crops that were not made alike cannot be compared; extract them again: {difference}")
    calibration = metrics.get("calibration", {})
    if calibration.get("of_another_checkpoint"):
        log.info(f"  warning: {calibration['file']} was fitted on scores of {calibration['checkpoint']}")
    for difference in metrics["protocol_differs"]:
        log.info(f"  warning: not the reference's protocol: {difference}")
    log.info(f"  frame AUC {percent(metrics['frame_auc'])}, video AUC {percent(metrics['video_auc'])}")
    if metrics["frame_auc"] is None:
        log.info("  one class only, so AUC, EER and AP are undefined")
    elif metrics["dataset"] == "list" and metrics["videos"] < metrics["frames"] and 1 in (real, fake):
        log.info("  a class is one folder, so one video: if its images are no video, look at the frame AUC only")
    if metrics["frame_auc"] is not None and metrics["frame_auc"] < _BACKWARDS:
        log.info("  warning: reals score higher than fakes; 0 is real and 1 is fake: are the labels swapped?")
    if args.auc:
        log.info(f" * AUC {percent(auc)}{perturbed}")


def table(results: Mapping[str, dict | str]) -> str:
    """One line per data set: its figures from its metrics, or why it failed."""
    form = "{:20}{:>8}{:>9}{:>11}{:>11}{:>9}{:>10}{:>9}"
    lines = [form.format("data set", "videos", "frames", "frame AUC", "video AUC", "EER", "coverage", "dropped")]
    for name, metrics in results.items():
        if isinstance(metrics, str):
            lines.append(f"{name:20}failed: {metrics}")
            continue
        aucs = [percent(metrics[key], "-") for key in ("frame_auc", "video_auc", "video_eer")]
        counts = metrics["videos"], metrics["frames"], f"{metrics['coverage']:.4f}", len(metrics["dropped"])
        named = f"{name} {metrics['perturbation']}" if metrics["perturbation"] else name
        lines.append(form.format(named, *counts[:2], *aucs, *counts[2:]))
    return "\n".join(lines)


def test_data_set(name: str, setup: Setup, folder: Path, log: logging.Logger) -> dict:
    """Read, score and report one data set, with all that the command line asks for; returns its metrics."""
    args, started = setup.args, time.perf_counter()
    wanted = wanted_data(name, args, setup.model)
    data = TEST_SETS[name].read(wanted)
    if TEST_SETS[name].needs_datapath:
        on_main(lambda: refuse_other_source(folder, data.source))
    n_frames = frames_per_video(name, data, wanted)
    place = folder
    if args.perturb:
        log.info(f"  every crop perturbed by {args.perturb}")
        place = output_dir(folder / f"{args.perturb.name}_{args.perturb.level}")
    else:
        on_main(lambda: remove_robustness(folder))
    images = image_source(data, args.crop_cache)
    metrics = test_one(setup, data, images, n_frames, place, args.perturb)
    auc = metrics[headline(data)]
    report(metrics, auc, args, log)
    extracted = not data.image_level and not TEST_SETS[name].needs_datapath
    if extracted and setup.crops and not metrics["crops"]:
        log.info("  no manifest.json lies beside these crops: whether they are like the training's is not known")
    seconds = time.perf_counter() - started
    log.info(f"  {seconds:.1f} s, {metrics['frames'] / seconds:.1f} frames/s; {place / 'predictions.csv'}")
    if args.robustness:
        test_robustness(setup, data, images, n_frames, folder, metrics, log)
    if args.test_log and is_main():
        tested = f"{name} {args.perturb}" if args.perturb else name
        line = f"{args.resume} {tested} AUC {math.nan if auc is None else 100 * auc:.3f}\n"
        append_text(place / "test_log.txt", line)
    return metrics


@script
def main(argv: Sequence[str] | None = None) -> None:
    """Test a checkpoint; see --help."""
    parser = get_args_parser()
    args = parser.parse_args(argv)
    check_arguments(parser, args)
    temperature = read_calibration(args.calibration) if args.calibration else None
    if args.perturb and args.perturb.name == "compression" and (reason := compression_unavailable()):
        raise UserError(reason)
    content = read_checkpoint(args.resume)
    threshold = threshold_of(content, args.resume)
    crops = content.get("crops") if isinstance(content.get("crops"), dict) else None
    device = choose_device(args.gpu, args.precision)
    model = build_model(content, args.resume, TREES[args.train_dataset] if args.train_dataset else None).to(device)
    del content  # its optimizer state is larger than the model
    results: dict[str, dict | str] = {}
    with process_group(device):
        arithmetic = REFERENCE if args.precision == "float16" else args.precision
        setup = Setup(model, encode_text(model, arithmetic), threshold, crops, temperature, arithmetic, args)
        for name in args.dataset:
            folder = Path(args.output) / args.name / name
            with contextlib.ExitStack() as held:
                on_main(partial(held.enter_context, exclusive_folder(folder)))
                log = open_log(folder / "log.txt")
                held.callback(close_log, log)
                try:
                    log.info(f"{args.resume} ({model.tree.name} tree, {args.precision}) on {describe(device)}")
                    results[name] = test_data_set(name, setup, folder, log)
                except UserError as error:
                    if len(args.dataset) == 1:
                        raise
                    results[name] = " ".join(str(error).split()).removeprefix(f"{name}: ")
                    log.info(f"{name} failed: {results[name]}")
    if len(results) > 1 and is_main():
        print(table(results))
    if failed := [f"{name}: {metrics}" for name, metrics in results.items() if isinstance(metrics, str)]:
        told = UserError if is_main() else ToldError
        raise told(f"{len(failed)} of {len(results)} data sets failed; {'; '.join(failed)}")


if __name__ == "__main__":
    sys.exit(main())
