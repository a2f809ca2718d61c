"""Check lists, crops and splits before training. Every finding names its place and its fix.

Lists: every line is checked. unknown_code is a line without a code, a code of another length than most lines (10
digits: FF++, 12: FFSC), or a code that is no state of the tree. A list needs both classes (one_class), and two lists
must be two files (one_file). Training, validation and test (lists, and the test splits of data sets) must not share an
image (overlap_path: one file; overlap_content: two files with the same bytes) or a video (overlap_video: one folder of
crops or, in FF++, one source video under any method). Data sets: the videos with crops are compared with the official
numbers; csv, json and folder have none and are read as a test reads them. Videos whose extraction did not end
(unfinished) and swapped labels (label_orientation) are found. The extraction's manifest tells why crops are missing.
Only --deep decodes images. Nothing is changed. Exit code 0: nothing found; 2: findings, or bad arguments.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from datasets.test_sets import TEST_SETS
from utils.cli import ArgumentParser, UserError, positive_int, processes, script
from utils.terminal import say

DATA_SETS = [name for name in TEST_SETS if name != "list"]  # --txt_path_test checks lists line by line


def get_args_parser() -> ArgumentParser:
    """The command line."""
    instead = {"list": "--txt_path_test checks a list"}
    parser = ArgumentParser(instead, description=" ".join(__doc__.split("\n\n")))
    data = parser.add_argument_group("what is checked")
    data.add_argument("--txt_path_train", type=Path, metavar="FILE", help="training list")
    data.add_argument("--txt_path_val", type=Path, metavar="FILE", help="validation list")
    help_of_test = "test lists, of codes or labels; they must share nothing with the other lists"
    data.add_argument("--txt_path_test", type=Path, nargs="+", metavar="FILE", help=help_of_test)
    help_of_sets = "data sets to count; their test videos must not be in the training or validation list"
    data.add_argument("--dataset", nargs="+", choices=DATA_SETS, help=help_of_sets)
    data.add_argument("--data_root", type=Path, default=Path("data"), help="folder that holds FF++, CDF, FSh ...")
    data.add_argument(
        "--datapath",
        type=Path,
        help="place of the one --dataset: its root or faces folder; FSh, Deeper: that of the fakes; DiFF, "
        "DiffusionFace: the list; FFSC: the folder or a list; csv, json: the file; folder: that of the class folders",
    )
    data.add_argument("--compression", choices=("c23", "c40", "raw"), default="c23", help="of FFpp, DFD, FSh and json")
    how = parser.add_argument_group("how it is checked")
    help_of_subset = (
        "a part of the data sets is missing on purpose, whole splits and classes too: do not compare with the official "
        "numbers"
    )
    how.add_argument("--subset", action="store_true", help=help_of_subset)
    how.add_argument("--n_frames", type=positive_int, help="report videos with fewer crops than this")
    how.add_argument("--deep", action="store_true", help="decode every image")
    how.add_argument("--workers", type=processes, help="processes of --deep (default: one per core, at most 8)")
    how.add_argument("--json", action="store_true", help="print findings and counts as JSON")
    how.add_argument(
        "--fix",
        type=Path,
        metavar="OUT",
        help="write a corrected copy of the one list that has lines to fix: bad lines are dropped, paths of moved "
        "images and swapped labels are corrected. The list itself is not changed; OUT must be a new file",
    )
    return parser


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the options. Exits with code 2 if they contradict each other."""
    parser = get_args_parser()
    args = parser.parse_args(argv)
    args.txt_path_test, args.dataset = args.txt_path_test or [], args.dataset or []
    if not (args.txt_path_train or args.txt_path_val or args.txt_path_test or args.dataset):
        parser.error("nothing to check; give --txt_path_train, --txt_path_val, --txt_path_test or --dataset")
    if args.datapath and len(set(args.dataset)) != 1:
        parser.error("--datapath is the place of one data set; give one --dataset, or use --data_root")
    for name in args.dataset:
        needed = TEST_SETS[name].needs_datapath
        if needed and not args.datapath:
            parser.error(f"--dataset {name} needs --datapath {needed}, and to be the only data set")
    if args.subset and not args.dataset:
        parser.error("--subset goes with --dataset")
    if args.workers and not args.deep:
        parser.error("--workers goes with --deep")
    return args


@script
def main(argv: Sequence[str] | None = None) -> None:
    """Check data; see --help."""
    args = parse_args(argv)
    from datasets.checks.corrected_list import write_corrected_list
    from datasets.checks.data_check import as_json, check_data, report_lines, summary

    findings, counts = check_data(args)
    if args.json:
        print(as_json(findings, counts))
    else:
        say(*report_lines(findings, counts))
    if args.fix:
        say(write_corrected_list(findings, args.fix), file=sys.stderr if args.json else sys.stdout)
    if findings:
        raise UserError(summary(findings))


if __name__ == "__main__":
    sys.exit(main())
