"""A whole run of SJEDD_test.py: load the checkpoint, test every data set in its own folder."""

import argparse
import contextlib
import logging
import math
import time
from functools import partial
from pathlib import Path

from datasets.perturbations import compression_unavailable
from datasets.test_sets import TEST_SETS, ReadOptions
from evaluation.calibration import read_calibration
from evaluation.dataset_test import DatasetTest, ModelSetup
from evaluation.predictions import refuse_other_source
from evaluation.robustness import remove_robustness, run_suite
from evaluation.test_messages import log_auc, log_metrics, results_table
from models.checkpoint import build_model, threshold_of
from models.checkpoint_file import read_checkpoint
from models.label_tree import TREES
from models.scoring import REFERENCE, encode_text
from utils.cli import ToldError, UserError
from utils.devices import choose_device, describe
from utils.distributed import on_main, process_group
from utils.files import append_text, output_dir
from utils.locks import exclusive_folder
from utils.ranks import is_main
from utils.run_log import close_log, open_log


def run(args: argparse.Namespace) -> None:
    """Test the checkpoint on every data set of the command line.

    Raises:
        UserError: Bad arguments or data; of several data sets only after all of them were tried.
    """
    temperature = read_calibration(args.calibration) if args.calibration else None
    if args.perturb and args.perturb.name == "compression" and (reason := compression_unavailable()):
        raise UserError(reason)
    content = read_checkpoint(args.resume)
    threshold = threshold_of(content, args.resume)
    crops = content.get("crops") if isinstance(content.get("crops"), dict) else None
    device = choose_device(args.gpu, args.precision)
    model = build_model(content, args.resume, TREES[args.train_dataset] if args.train_dataset else None).to(device)
    del content  # its optimizer state is larger than the model
    arithmetic = REFERENCE if args.precision == "float16" else args.precision
    results: dict[str, dict | str] = {}
    with process_group(device):
        setup = ModelSetup(model, encode_text(model, arithmetic), arithmetic, threshold, crops, temperature, args)
        for name in args.dataset:
            folder = Path(args.output) / args.name / name
            with contextlib.ExitStack() as held:
                on_main(partial(held.enter_context, exclusive_folder(folder)))
                log = open_log(folder / "log.txt")
                held.callback(close_log, log)
                try:
                    log.info(f"{args.resume} ({model.tree.name} tree, {args.precision}) on {describe(device)}")
                    results[name] = _test_data_set(name, setup, folder, log)
                except UserError as error:
                    if len(args.dataset) == 1:
                        raise
                    results[name] = " ".join(str(error).split()).removeprefix(f"{name}: ")
                    log.info(f"{name} failed: {results[name]}")
    if len(results) > 1 and is_main():
        print(results_table(results))
    if failed := [f"{name}: {reason}" for name, reason in results.items() if isinstance(reason, str)]:
        error_type = UserError if is_main() else ToldError
        raise error_type(f"{len(failed)} of {len(results)} data sets failed; {'; '.join(failed)}")


def _test_data_set(name: str, setup: ModelSetup, folder: Path, log: logging.Logger) -> dict:
    """Read, score and report one data set, with all that the command line asks for; returns its metrics."""
    args, started = setup.args, time.perf_counter()
    options, needs_datapath = _read_options(setup), TEST_SETS[name].needs_datapath
    data = TEST_SETS[name].read(options)
    if needs_datapath:
        on_main(lambda: refuse_other_source(folder, data.source))
    place = folder
    if args.perturb:
        log.info(f"  every crop perturbed by {args.perturb}")
        place = output_dir(folder / f"{args.perturb.name}_{args.perturb.level}")
    else:
        on_main(lambda: remove_robustness(folder))
    test = DatasetTest(setup, data)
    metrics = test.score(place, args.perturb)
    auc = metrics[test.headline]
    log_metrics(metrics, log)
    if args.auc:
        log_auc(auc, metrics, log)
    if setup.crops and not metrics["crops"] and not data.image_level and not needs_datapath:
        log.info("  no manifest.json lies beside these crops: whether they are like the training's is not known")
    seconds = time.perf_counter() - started
    log.info(f"  {seconds:.1f} s, {metrics['frames'] / seconds:.1f} frames/s; {place / 'predictions.csv'}")
    if args.robustness:
        run_suite(test, folder, metrics, log)
    if args.test_log and is_main():
        tested = f"{name} {args.perturb}" if args.perturb else name
        line = f"{args.resume} {tested} AUC {math.nan if auc is None else 100 * auc:.3f}\n"
        append_text(place / "test_log.txt", line)
    return metrics


def _read_options(setup: ModelSetup) -> ReadOptions:
    """The command line as the readers take it."""
    args = setup.args
    return ReadOptions(
        data_root=Path(args.data_root),
        datapath=Path(args.datapath) if args.datapath else None,
        compression=args.compression or "c23",
        split=args.split or "test",
        protocol=args.protocol,
        seed=args.seed,
        n_frames=args.n_frames,
        tree=setup.model.tree,
    )
