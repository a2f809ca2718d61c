"""Make a miniature FaceForensics++ of six people: two public-domain photographs and variations of them. No benchmark.

python preprocessing/make_demo_videos.py --data_root data/demo

Writes FF++/{train,val,test}.json and short H.264 videos in the official layout. The same options give the same files.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # the repository root instead of this script's folder

from collections.abc import Sequence

from datasets.readers.ffpp import SPLITS
from utils.cli import ArgumentParser, non_negative_int, number_type, positive_int, processes, script
from utils.cpu import available_cores

even_int = number_type("even number", int, lambda value: value > 0 and value % 2 == 0, "is not a positive even number")


def get_args_parser() -> ArgumentParser:
    parser = ArgumentParser(description="Make a miniature FF++ of six people: two photographs and variations.")
    add = parser.add_argument
    add("--data_root", type=Path, default=Path("data/demo"), help="folder that will hold FF++")
    for split, number in zip(SPLITS, (320, 40, 80), strict=True):
        add(
            f"--n_{split}", type=even_int, default=number, help=f"real videos in {split}, an even number; fakes: 4 each"
        )
    add("--frames", type=positive_int, default=6, help="frames of each video")
    add("--seed", type=non_negative_int, default=0, help="seed of all random draws")
    add("--workers", type=processes, default=min(8, available_cores()), help="number of processes")
    return parser


@script
def main(argv: Sequence[str] | None = None) -> None:
    args = get_args_parser().parse_args(argv)

    from preprocessing.demo.videos import make_data_set

    make_data_set(args)


if __name__ == "__main__":
    sys.exit(main())
