"""Write training, validation and test lists: lines `path code`, and a recipe beside each list.

python preprocessing/make_lists.py --data_root data --expansion --output data/lists
python preprocessing/make_lists.py --dataset DFD --data_root data --output data/lists_dfd
python preprocessing/make_lists.py --dataset FFSC --data_root data --output data/lists_ffsc
python preprocessing/make_lists.py --dataset json --datapath simswap_ff.json --data_root datasets --output data/df40

FFpp, DFD and FFSC are the data sets in their official layouts. json (DeepfakeBench's and DF40's files), csv, folder and
parquet are what other systems and data sets use; their lists are for the FF++ tree.

The same options and files give the same bytes. <list>.recipe.json tells how a list was made, its counts and its
SHA-256. Validation and test lists are never balanced and hold no expansion. Every run checks that the splits share no
video and no image (DFD: no actor; FFSC: no image). How images are chosen: preprocessing/lists/ffpp.py, ffsc.py and
sources.py.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # the repository root instead of this script's folder

import argparse
from collections.abc import Sequence

from datasets.readers.ffpp import SPLITS
from utils.cli import ArgumentParser, non_negative_int, positive_int, probability, script, seed

SOURCES = ("json", "csv", "folder", "parquet")
TRAIN_ONLY = ("balance", "expansion", "shuffle_codes")
# Option -> the data sets that it is for.
ONLY = {
    "compression": ("FFpp", "DFD", "json"),
    "n_frames": ("FFpp", "DFD", *SOURCES),
    "expansion": ("FFpp",),
    "expansion_share": ("FFpp",),
    "datapath": SOURCES,
    "codes": SOURCES,
    "val_share": SOURCES,
    "test_share": SOURCES,
    "resplit": SOURCES,
    "images_to": ("parquet",),
}


def get_args_parser() -> ArgumentParser:
    parser = ArgumentParser(description="Write training, validation and test lists, and a recipe beside each list.")
    add = parser.add_argument
    help_text = "data set (DFD: FF++'s DeepFakeDetection), or form of --datapath (json: of DeepfakeBench and DF40)"
    add("--dataset", choices=("FFpp", "DFD", "FFSC", *SOURCES), default="FFpp", help=help_text)
    help_text = "folder that holds FF++ or FFSC; json: folder that the paths of the frames are relative to"
    add("--data_root", type=Path, default=Path("data"), help=help_text)
    add("--split", nargs="+", choices=SPLITS, default=list(SPLITS), help="lists to write")
    help_text = "equal: as many real as fake images in train.txt; none: all images (default: equal; FFSC: none)"
    add("--balance", choices=("equal", "none"), help=help_text)
    help_text = "most images per video, evenly spaced; fake videos give fewer in a balanced train.txt (not FFSC)"
    add("--n_frames", type=positive_int, default=32, help=help_text)
    add("--compression", choices=("c23", "c40", "raw"), default="c23", help="which crops (FFpp, DFD, json)")
    add("--seed", type=seed, default=0, help="seed of every choice of images")
    help_text = "control experiment: shuffle the codes of train.txt, so that nothing can be learnt from it"
    add("--shuffle_codes", type=non_negative_int, metavar="SEED", help=help_text)
    add("--output", type=Path, required=True, help="folder for the lists and their recipes")
    add = parser.add_argument_group("FFpp only").add_argument
    add("--expansion", action="store_true", help="add the images of expand_FFpp.py to train.txt")
    help_text = "largest share of expanded images among the fakes of train.txt; with --balance none, 1 takes them all"
    add("--expansion_share", type=probability, default=0.25, help=help_text)
    add = parser.add_argument_group("json, csv, folder and parquet").add_argument
    add("--datapath", type=Path, nargs="+", metavar="PATH", help="JSON or CSV files; folders; tables or their folders")
    add("--codes", type=Path, metavar="FILE", help="codes of further methods, lines `method code` (docs/data.md)")
    help_text = "share of the videos in a {} list that is drawn because the source has no such split; 0: no such list"
    add("--val_share", type=probability, default=0.1, help=help_text.format("validation"))
    add("--test_share", type=probability, default=0.1, help=help_text.format("test"))
    add("--resplit", action="store_true", help="ignore the splits of the source and draw new ones")
    add("--images_to", type=Path, metavar="DIR", help="parquet: folder for the images of the tables, written once")
    return parser


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = get_args_parser()
    args = parser.parse_args(argv)
    given = [name for name in vars(args) if getattr(args, name) != parser.get_default(name)]
    for name in given:
        if args.dataset not in ONLY.get(name, (args.dataset,)):
            parser.error(f"--{name} does not go with --dataset {args.dataset}")
        if "train" not in args.split and name in TRAIN_ONLY:
            parser.error(f"--{name} is for the train list, which --split leaves out")
    if "expansion_share" in given and not args.expansion:
        parser.error("--expansion_share needs --expansion")
    if args.dataset in SOURCES and not args.datapath:
        parser.error(f"--dataset {args.dataset} needs --datapath, the files or folders to read")
    if args.dataset == "parquet" and not args.images_to:
        parser.error("--dataset parquet needs --images_to, a folder for the images of the tables")
    if args.val_share + args.test_share >= 1:
        parser.error("--val_share and --test_share leave nothing to train on; their sum must be below 1")
    args.balance = args.balance or ("none" if args.dataset == "FFSC" else "equal")
    args.split = sorted(set(args.split), key=SPLITS.index)
    return args


@script
def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)

    from preprocessing.lists.ffpp import ffpp_lists
    from preprocessing.lists.ffsc import ffsc_lists
    from preprocessing.lists.output import write_lists
    from preprocessing.lists.sources import source_lists

    make = {"FFpp": ffpp_lists, "DFD": ffpp_lists, "FFSC": ffsc_lists}.get(args.dataset, source_lists)
    write_lists(args.output, make(args), args.shuffle_codes)


if __name__ == "__main__":
    sys.exit(main())
