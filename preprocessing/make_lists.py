"""Write FF++ training, validation and test lists: lines `path code`.

python preprocessing/make_lists.py --data_root data --n_frames 8 --expansion --output data/lists
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # the repository root instead of this script's folder

import csv
from collections import Counter
from collections.abc import Sequence

import numpy as np

from datasets.ffpp_methods import METHOD_CODES, REAL_CODE, SPLITS, compression_dir, split_videos
from datasets.records import evenly_spaced, list_images
from utils.cli import ArgumentParser, UserError, non_negative_int, positive_int, script
from utils.files import output_dir, write_text


def get_args_parser() -> ArgumentParser:
    parser = ArgumentParser(description="Write FF++ lists from the crops that extract_faces.py made.")
    parser.add_argument("--data_root", type=Path, default=Path("data"), help="folder that holds FF++")
    parser.add_argument("--compression", choices=("c23", "c40", "raw"), default="c23", help="which crops")
    parser.add_argument("--n_frames", type=positive_int, default=32, help="at most so many crops per video, evenly")
    parser.add_argument("--split", nargs="+", choices=SPLITS, default=list(SPLITS), help="lists to write")
    parser.add_argument("--expansion", action="store_true", help="add the images of expand_FFpp.py to train.txt")
    parser.add_argument("--shuffle_codes", type=non_negative_int, metavar="SEED", help="control: deal the codes of "
                        "train.txt out anew, so that nothing can be learnt from it")  # fmt: skip
    parser.add_argument("--output", type=Path, required=True, help="folder for train.txt, val.txt and test.txt")
    return parser


def expansion_lines(data_root: Path, split: str) -> list[str]:
    folder = data_root / "FF++" / "expansion" / split
    try:
        with (folder / "manifest.csv").open(newline="", encoding="utf-8") as file:
            return [f"{folder / row['path']} {row['code']}" for row in csv.DictReader(file)]
    except (KeyError, UnicodeDecodeError) as error:
        raise UserError(f"{folder / 'manifest.csv'} is damaged; run preprocessing/expand_FFpp.py again") from error
    except FileNotFoundError as error:
        raise UserError(f"--expansion: {error.filename} is missing; run preprocessing/expand_FFpp.py") from error


def shuffled(lines: list[str], seed: int) -> list[str]:
    """The same paths and the same codes, but dealt out anew."""
    paths, codes = zip(*(line.rsplit(" ", 1) for line in lines), strict=True)
    return [f"{path} {code}" for path, code in zip(paths, np.random.default_rng(seed).permutation(codes), strict=True)]


@script
def main(argv: Sequence[str] | None = None) -> None:
    parser = get_args_parser()
    args = parser.parse_args(argv)
    if args.expansion and "train" not in args.split:
        parser.error("--expansion goes into the train list, which --split leaves out")
    lists: dict[str, list[str]] = {}
    for split in args.split:
        lines, without = [], Counter()
        for method, video in split_videos(args.data_root, split):
            faces = compression_dir(args.data_root, method, args.compression) / "faces"
            crops = evenly_spaced(list_images(faces / video), args.n_frames)
            without[method] += not crops
            code = REAL_CODE if method == "real" else METHOD_CODES[method]
            lines += [f"{path} {code}" for path in crops]
        if not lines:
            raise UserError(f"no crop of the {split} split under {args.data_root / 'FF++'} ({args.compression}); "
                            "run preprocessing/extract_faces.py, or choose other splits with --split")  # fmt: skip
        for method, number in without.items():
            if number:
                print(f"{split}: {number} {method} videos have no crop")
        if args.expansion and split == "train":
            lines += expansion_lines(args.data_root, split)
        if args.shuffle_codes is not None and split == "train":
            lines = shuffled(lines, args.shuffle_codes)
        lists[split] = lines
    folder = output_dir(args.output)
    for split, lines in lists.items():
        write_text(folder / f"{split}.txt", "\n".join(lines) + "\n")
        codes = Counter(line.rsplit(" ", 1)[1] for line in lines)
        counts = ", ".join(f"{code} x {number}" for code, number in sorted(codes.items()))
        print(f"{folder / split}.txt: {len(lines)} images ({counts})")


if __name__ == "__main__":
    sys.exit(main())
