"""FF++ data set expansion: lay one region of a fake face over its real face, so that only this region is fake.

python preprocessing/expand_FFpp.py --data_root data --compression c23 --preview expansion.png

Writes FF++/expansion/<compression>/<split>/<region>/<method>_<a_b>/%04d.png (jpg if the crops are jpg) and, beside the
regions, manifest.json (the settings) and manifest.csv (one row per image). manifest.csv exists only while the images
are complete. You can stop a run at any time: the next one makes what is missing.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # the repository root instead of this script's folder

import argparse
from collections.abc import Sequence

from datasets.readers.ffpp import REGION_CODES, SPLITS
from utils.cli import ArgumentParser, new_png_file, positive_int, processes, script, seed
from utils.cpu import available_cores


def get_args_parser() -> ArgumentParser:
    parser = ArgumentParser(description="Lay single regions of FF++ fakes over their real faces.")
    add = parser.add_argument
    add("--data_root", type=Path, default=Path("data"), help="folder that holds FF++")
    add("--compression", choices=("c23", "c40", "raw"), default="c23", help="which crops")
    add("--split", nargs="+", choices=SPLITS, default=["train"], help="official splits to expand")
    add("--per_video", type=positive_int, default=1, help="images per fake video and region")
    add("--regions", nargs="+", choices=tuple(REGION_CODES), default=list(REGION_CODES), help="regions to transplant")
    help_text = "feather: a soft edge; poisson: the fake's gradients in the light of the real face"
    add("--blend", choices=("feather", "poisson"), default="feather", help=help_text)
    help_text = "first match the fake's colours (mean and deviation in CIELAB) to the real face around the region"
    add("--color_transfer", action="store_true", help=help_text)
    help_text = """matching: a method gives a region only if its own list code names all parts of the region's code, so
        the label is certain: Deepfakes and FaceSwap give all regions, Face2Face and NeuralTextures the mouth. any: all
        four methods give all regions: more variety, but Face2Face and NeuralTextures barely change eyes and nose, so
        these labels are weaker"""
    add("--donors", choices=("matching", "any"), default="matching", help=help_text)
    add("--seed", type=seed, default=0, help="seed of the choice of frames, of mask sizes and of the preview")
    add("--workers", type=processes, default=min(8, available_cores()), help="number of processes")
    add("--overwrite", action="store_true", help="remove the existing images and make all of them again")
    add("--preview", type=new_png_file, metavar="FILE.png", help="draw real, fake, mask and result of some images")
    add("--preview_rows", type=positive_int, default=8, help="number of images in the preview")
    return parser


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = get_args_parser()
    args = parser.parse_args(argv)
    if not args.preview and args.preview_rows != parser.get_default("preview_rows"):
        parser.error("--preview_rows needs --preview")
    return args


@script
def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)

    from preprocessing.expansion.output import expand_splits
    from preprocessing.expansion.preview import draw_preview

    jobs = expand_splits(args)
    if args.preview:
        draw_preview(args.preview, jobs, args.preview_rows, args.seed)


if __name__ == "__main__":
    sys.exit(main())
