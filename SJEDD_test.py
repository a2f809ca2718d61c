"""Score data sets with a checkpoint; write P(fake) of all frames to predictions.csv, AUC and others to metrics.json.

Labels are 0 real, 1 fake. P(fake) is the probability of fake; that of a video is the mean over its frames.
"""

import argparse
import sys
from collections.abc import Sequence

from datasets.perturbations import SUITE, parse_perturbation
from datasets.readers.ffpp import SPLITS
from datasets.test_sets import PROTOCOLS, TEST_SETS
from models.choices import PRECISIONS, SUBMISSIONS
from models.label_tree import TREES
from utils.cli import (
    INSTEAD,
    ArgumentParser,
    boolean,
    folder_name,
    helpers,
    non_negative_int,
    positive_int,
    script,
)
from utils.cli import seed as seed_type
from utils.cpu import default_workers

# Options and values of the reference's script that do not exist here -> what to use instead.
_INSTEAD = INSTEAD | {"--VM": "the checkpoint knows its model", "diffusion": "give DiffusionFace or DiFF"}
_PROTOCOL = "reference: Deeper's fakes are drawn at random; DFDC's videos with fewer than n_frames crops are dropped"
_BATCH_SIZE = "videos per forward pass; images for image sets and for lists without --n_frames; at least 64 frames"
_PRECISION = "precision of the image tower; tf32 needs CUDA; float16 needs CUDA and --protocol reference"


def get_args_parser() -> ArgumentParser:
    parser = ArgumentParser(description=__doc__, instead=_INSTEAD)
    add = parser.add_argument_group("what is tested").add_argument
    add("--dataset", nargs="+", choices=tuple(TEST_SETS), required=True, help="data sets to test on")
    add("--protocol", choices=PROTOCOLS, default="ours", help=_PROTOCOL)
    add("--seed", type=seed_type, default=0, help="seed of perturbations, and of Deeper under --protocol reference")
    perturbations = f"perturb the crops by {', '.join(SUITE)}; level 1 to 5"
    add("--perturb", type=parse_perturbation, metavar="NAME:LEVEL", help=perturbations)
    add("--robustness", action="store_true", help="also test under all perturbations and levels: a table and a plot")
    add("--data_root", default="data", help="folder that holds CDF/, FF++/ and the other data sets")
    add(
        "--datapath", help="where the one --dataset is: its root or faces folder (FSh, Deeper: of the fakes), or a file"
    )
    add("--split", choices=SPLITS, help="split of FFpp, FSh, Deeper, json (default: test)")
    add("--compression", choices=("c23", "c40", "raw"), help="compression of the same four and DFD (default: c23)")
    add("--n_frames", type=positive_int, help="frames per video (default: 64; FFSC model: 32; list, csv, parquet: all)")
    add = parser.add_argument_group("the model").add_argument
    add("--resume", metavar="CKPT", required=True, help="checkpoint, ours or a published one")
    add(
        "--train_dataset", choices=tuple(TREES), help="label tree of a checkpoint that does not name it (default: ffpp)"
    )
    add("--calibration", metavar="FILE", help="calibration.json of SJEDD_report.py; adds the column p_fake_calibrated")
    add = parser.add_argument_group("the machine").add_argument
    add("--batch_size", type=positive_int, default=1, help=_BATCH_SIZE)
    add("--num_workers", type=helpers, default=default_workers(), help="processes that read images")
    add("--crop_cache", type=folder_name, metavar="DIR", help="keep decoded crops in DIR (SSD; 0.3 MB each) for reuse")
    add("--gpu", type=non_negative_int, help="CUDA device (default: 0; the CPU without CUDA)")
    add("--precision", choices=PRECISIONS, default="float32", help=_PRECISION)
    add = parser.add_argument_group("results").add_argument
    add("--output", default="output", help="folder for all runs")
    add("--name", default="SJEDD_test", help="folder of this test under --output")
    add("--submission", nargs="+", choices=SUBMISSIONS, default=[], help="also write the scores in the format of "
        "DeepfakeBench or deepsafe-bench")  # fmt: skip
    add("--auc", action="store_true", help="print the video AUC (image sets: frame AUC) in percent")
    add("--test_log", type=boolean, nargs="?", const=True, default=False, help="append the AUC to test_log.txt")
    return parser


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line; refuse options that contradict each other or change nothing."""
    parser = get_args_parser()
    args = parser.parse_args(argv)
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
    return args


@script
def main(argv: Sequence[str] | None = None) -> None:
    """Test a checkpoint; see --help."""
    args = parse_args(argv)
    from evaluation.run import run

    run(args)


if __name__ == "__main__":
    sys.exit(main())
