"""Write training, validation and test lists of FF++, DFD or FFSC: lines `path code`, and a recipe beside each list.

python preprocessing/make_lists.py --data_root data --expansion --output data/lists
python preprocessing/make_lists.py --dataset DFD --data_root data --output data/lists_dfd
python preprocessing/make_lists.py --dataset FFSC --data_root data --output data/lists_ffsc

The same options and files give the same bytes. <list>.recipe.json tells how a list was made, its counts and its
SHA-256. Validation and test lists are never balanced and hold no expansion. Every run checks that the splits share no
video (FF++), no actor (DFD) and no image (FFSC). How images are chosen: preprocessing/lists/ffpp.py and
preprocessing/lists/ffsc.py.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # the repository root instead of this script's folder

import argparse
from collections.abc import Sequence

from datasets.readers.ffpp import SPLITS
from utils.cli import ArgumentParser, non_negative_int, positive_int, probability, script, seed

TRAIN_ONLY = ("balance", "expansion", "shuffle_codes")
# Options that do not go with a data set.
FOREIGN = {"FFSC": ("compression", "n_frames", "expansion", "expansion_share"), "DFD": ("expansion", "expansion_share")}


def get_args_parser() -> ArgumentParser:
    parser = ArgumentParser(description="Write lists of FF++, DFD or FFSC, and a recipe beside each list.")
    add = parser.add_argument
    add("--dataset", choices=("FFpp", "DFD", "FFSC"), default="FFpp", help="data set; DFD: FF++'s DeepFakeDetection")
    add("--data_root", type=Path, default=Path("data"), help="folder that holds FF++ or FFSC")
    add("--split", nargs="+", choices=SPLITS, default=list(SPLITS), help="lists to write")
    help_text = "equal: as many real as fake images in train.txt; none: all images (default: equal; FFSC: none)"
    add("--balance", choices=("equal", "none"), help=help_text)
    add("--seed", type=seed, default=0, help="seed of every choice of images")
    help_text = "control experiment: shuffle the codes of train.txt, so that nothing can be learnt from it"
    add("--shuffle_codes", type=non_negative_int, metavar="SEED", help=help_text)
    add("--output", type=Path, required=True, help="folder for the lists and their recipes")
    add = parser.add_argument_group("FFpp, DFD (without expansion)").add_argument
    add("--compression", choices=("c23", "c40", "raw"), default="c23", help="which crops")
    help_text = "most crops per video, evenly spaced; fake videos give fewer in a balanced train.txt"
    add("--n_frames", type=positive_int, default=32, help=help_text)
    add("--expansion", action="store_true", help="add the images of expand_FFpp.py to train.txt")
    help_text = "largest share of expanded images among the fakes of train.txt; with --balance none, 1 takes them all"
    add("--expansion_share", type=probability, default=0.25, help=help_text)
    return parser


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = get_args_parser()
    args = parser.parse_args(argv)
    given = [name for name in vars(args) if getattr(args, name) != parser.get_default(name)]
    for name in given:
        if name in FOREIGN.get(args.dataset, ()):
            parser.error(f"--{name} does not go with --dataset {args.dataset}")
        if "train" not in args.split and name in TRAIN_ONLY:
            parser.error(f"--{name} is for the train list, which --split leaves out")
    if "expansion_share" in given and not args.expansion:
        parser.error("--expansion_share needs --expansion")
    args.balance = args.balance or ("none" if args.dataset == "FFSC" else "equal")
    args.split = sorted(set(args.split), key=SPLITS.index)
    return args


@script
def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)

    from preprocessing.lists.ffpp import ffpp_lists
    from preprocessing.lists.ffsc import ffsc_lists
    from preprocessing.lists.output import write_lists

    write_lists(args.output, (ffsc_lists if args.dataset == "FFSC" else ffpp_lists)(args), args.shuffle_codes)


if __name__ == "__main__":
    sys.exit(main())
