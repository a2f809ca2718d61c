"""A run of SJEDD_test.py: load the checkpoint, test every data set in a folder of its own."""

import argparse
import contextlib
import logging
import time
from functools import partial
from pathlib import Path

from datasets.perturbations import compression_unavailable
from datasets.test_sets import TEST_SETS, ReadOptions
from evaluation.calibration import read_calibration
from evaluation.data_set_scorer import RESULTS, DataSetScorer, RunSetup
from evaluation.messages import log_metrics, results_table
from evaluation.number_text import percent
from evaluation.predictions_writer import refuse_other_source
from evaluation.robustness import remove_robustness, robustness_files, run_suite
from evaluation.submissions import submission_files
from models.checkpoint import build_model, threshold_of
from models.checkpoint_file import read_checkpoint
from models.label_tree import TREES
from models.scoring import REFERENCE, encode_text
from utils.cli import PrintedError, UserError
from utils.devices import choose_device, describe
from utils.distributed import on_main, process_group
from utils.files import append_text, output_dir
from utils.locks import exclusive_folder
from utils.ranks import is_main
from utils.run_log import close_log, open_log
from utils.terminal import printable, say


def run(args: argparse.Namespace) -> None:
    """Test the checkpoint on every data set of the command line.

    Raises:
        UserError: Bad arguments or data. If there are several data sets, all of them are tried first.
    """
    calibration = read_calibration(args.calibration) if args.calibration else None
    if args.perturb and args.perturb.name == "compression" and (reason := compression_unavailable()):
        raise UserError(reason)
    content = read_checkpoint(args.resume)
    threshold = threshold_of(content, args.resume)
    crops = content.get("crops") if isinstance(content.get("crops"), dict) else None
    device = choose_device(args.gpu, args.precision)
    model = build_model(content, args.resume, TREES[args.train_dataset] if args.train_dataset else None).to(device)
    del content  # its optimizer state is larger than the model
    precision = REFERENCE if args.precision == "float16" else args.precision
    results: dict[str, dict | str] = {}  # data set -> its metrics, or why it failed
    with process_group(device):
        setup = RunSetup(model, encode_text(model, precision), precision, threshold, crops, calibration, args)
        for name in args.dataset:
            folder = Path(args.output) / args.name / name
            with contextlib.ExitStack() as held:
                log = open_log(None)
                try:
                    on_main(partial(held.enter_context, exclusive_folder(folder, _files(args))))
                    log = open_log(folder / "log.txt")
                    held.callback(close_log, log)
                    log.info(f"{args.resume} ({model.tree.name} tree, {args.precision}) on {describe(device)}")
                    results[name] = _test_data_set(name, setup, folder, log)
                except UserError as error:
                    if len(args.dataset) == 1:
                        raise
                    results[name] = " ".join(str(error).split()).removeprefix(f"{name}: ")
                    log.info(f"{name} failed: {results[name]}")
    if len(results) > 1 and is_main():
        say(*results_table(results))
    if failed := [f"{name}: {reason}" for name, reason in results.items() if isinstance(reason, str)]:
        error_type = UserError if is_main() else PrintedError
        raise error_type(f"{len(failed)} of {len(results)} data sets failed; {'; '.join(failed)}")


def _files(args: argparse.Namespace) -> list[str]:
    """All files that a test may write into its folder or remove there."""
    of_a_test = [*RESULTS, *submission_files(args.submission)]
    perturbed = [f"{args.perturb.folder}/{name}" for name in of_a_test] if args.perturb else []
    return ["log.txt", *of_a_test, *perturbed, *robustness_files(of_a_test)]


def _test_data_set(name: str, setup: RunSetup, folder: Path, log: logging.Logger) -> dict:
    """Read, score and report one data set; returns its metrics."""
    args, started = setup.args, time.perf_counter()
    options = ReadOptions(
        data_root=Path(args.data_root),
        datapath=Path(args.datapath) if args.datapath else None,
        compression=args.compression or "c23",
        split=args.split or "test",
        protocol=args.protocol,
        seed=args.seed,
        n_frames=args.n_frames,
        tree=setup.model.tree,
    )
    data, needs_datapath = TEST_SETS[name].read(options), TEST_SETS[name].needs_datapath
    if needs_datapath:
        on_main(lambda: refuse_other_source(folder, data.source))
    for note in data.notes:
        log.info(f"  {note}")
    results_folder, perturbed = folder, ""
    if args.perturb:
        perturbed = f" {args.perturb}"
        log.info(f"  every crop perturbed by{perturbed}")
        results_folder = output_dir(folder / args.perturb.folder)
    else:
        on_main(lambda: remove_robustness(folder))
    scorer = DataSetScorer(setup, data)
    metrics = scorer.score(results_folder, args.perturb)
    auc = metrics[scorer.main_auc]
    log_metrics(metrics, log)
    if args.auc:
        log.info(f" * AUC {percent(auc, 3, 'undefined')}{perturbed}")
    if setup.crops and not metrics["crops"] and not data.image_level and not needs_datapath:
        log.info("  these crops have no manifest.json, so nobody knows whether they were made like the training crops")
    seconds = time.perf_counter() - started
    log.info(f"  {seconds:.1f} s, {metrics['frames'] / seconds:.1f} frames/s; {results_folder / 'predictions.csv'}")
    if args.robustness:
        run_suite(scorer, folder, metrics, log)
    if args.test_log and is_main():
        line = printable(f"{args.resume} {name}{perturbed} AUC {percent(auc, 3, 'nan')}")
        append_text(results_folder / "test_log.txt", f"{line}\n")
    return metrics
