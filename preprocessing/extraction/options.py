"""Options of extract_faces.py: their defaults, and which exclude each other."""

import argparse
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from datasets.test_sets import TEST_SETS
from utils.cli import ArgumentParser, UserError, between, non_negative_int, positive_int, processes
from utils.cpu import default_workers
from utils.ranks import not_numbers, rank, world_size

DETECTORS = ("auto", "mtcnn", "retinaface")
# Defaults that depend on --protocol.
OURS: dict[str, Any] = {"detector": "auto", "n_frames": 32, "detect_side": 640, "retry": 3, "track": False}
REFERENCE = {"detector": "retinaface", "n_frames": "all", "detect_side": "full", "retry": 0, "track": False}
VIDEO_SETS = {name: data_set for name, data_set in TEST_SETS.items() if data_set.videos}


def _foreign_options(dataset: str) -> list[str]:
    """The options that do not go with a data set, or with "videos" and "images"."""
    if dataset in ("videos", "images"):
        return ["data_root", "compression", "split"]
    named = VIDEO_SETS[dataset]
    wrong = {"compression": not named.videos_by_compression, "split": not named.video_splits}
    return ["video_path", "save_path", *(name for name in wrong if wrong[name])]


def number_or(word: str, lowest: int = 1) -> Callable[[str], int | str]:
    """Make an argparse type for a whole number of at least ``lowest``, or a word."""

    def parse(text: str) -> int | str:
        return text if text == word else between(lowest, 10**9)(text)

    parse.__name__ = f"number or {word}"
    return parse


def shard_type(text: str) -> tuple[int, int]:
    """argparse type: i/n with 0 <= i <= n. Shards may be numbered from 0 or from 1."""
    number, _, count = text.partition("/")
    if not (number.isdecimal() and count.isdecimal() and int(number) <= int(count) > 0):
        raise argparse.ArgumentTypeError(f"{text} is not i/n, such as 0/4, 1/4, 2/4 and 3/4")
    return int(number) % int(count), int(count)


def get_args_parser() -> ArgumentParser:
    parser = ArgumentParser(description="Cut aligned face crops out of videos.")
    data = parser.add_argument_group("data")
    data.add_argument(
        "--dataset", required=True, choices=(*VIDEO_SETS, "videos", "images"), help="data set; videos: your own"
    )
    data.add_argument("--data_root", type=Path, help="folder that holds FF++, CDF, CDFv1, CDF++, FSh, "
                      "DF-1.0, DFDC (default: data)")  # fmt: skip
    data.add_argument("--compression", choices=("c23", "c40", "raw"), help="FFpp, DFD, FSh: which files "
                      "(default: c23)")  # fmt: skip
    data.add_argument("--split", nargs="+", choices=("train", "val", "test", "all"), help="FFpp: official splits "
                      "(default: all); other sets: test (what SJEDD_test.py needs, default) or all")  # fmt: skip
    paths = "videos, images: folders to search, with their subfolders, files, and .txt files with one path per line"
    data.add_argument("--video_path", "--image_path", type=Path, nargs="+", metavar="PATH", help=paths)
    data.add_argument("--save_path", type=Path, help="videos, images: folder for crops and manifest")
    data.add_argument("--limit", type=positive_int, help="only the first LIMIT videos of each class")
    crops = parser.add_argument_group("crops")
    crops.add_argument("--protocol", choices=("ours", "reference"), default="ours", help="reference: every frame, "
                       "RetinaFace on full frames, the largest of its raw boxes without non-maximum suppression, "
                       "landmarks cut to whole pixels, faces of any size")  # fmt: skip
    crops.add_argument("--n_frames", type=number_or("all"), metavar="N|all", help="frames per video, evenly spaced "
                       "(default: 32)")  # fmt: skip
    crops.add_argument("--retry", type=non_negative_int, metavar="FRAMES", help="if a chosen frame has no good face, "
                       "take the nearest frame that has one, at most FRAMES away; no search if most chosen frames "
                       "have none (default: 3)")  # fmt: skip
    crops.add_argument("--track", action="store_true", default=None, help="follow one face through the video (the one "
                       "with the largest sum of box sides) instead of taking the largest of each frame")  # fmt: skip
    crops.add_argument("--detector", choices=DETECTORS, help="face detector; auto: retinaface if its weights are in "
                       "pretrained/, else mtcnn (default: auto)")  # fmt: skip
    crops.add_argument("--detector_weights", type=Path, metavar="FILE", help="RetinaFace-Resnet50-fixed.pth, if it is "
                       "not in pretrained/")  # fmt: skip
    crops.add_argument("--detect_side", type=number_or("full", 64), metavar="PX|full", help="detect faces on frames "
                       "downscaled to this longer side; crops come from the full frame (default: 640)")  # fmt: skip
    crops.add_argument("--size", type=between(16, 4096), default=317, help="side of a crop, px")
    crops.add_argument("--scale", type=between(0.5, 4, float), default=1.3, help="crop width / width of the tight face")
    crops.add_argument("--format", choices=("png", "jpg"), default="png", help="file format of the crops")
    crops.add_argument("--quality", type=between(1, 100), help="quality of jpg crops, 1 to 100 (default: 95)")
    work = parser.add_argument_group("work")
    work.add_argument("--device", default="auto", help="cpu, cuda, cuda:1 ...; auto: cuda if there is one")
    work.add_argument("--workers", type=processes, help="processes, each on one video (default: one per core, at "
                      "most 8); with 1 a video that crashes its decoder ends the run")  # fmt: skip
    work.add_argument("--shard", type=shard_type, metavar="i/n", help="every n-th video only, from the i-th on, for "
                      "job arrays; under torchrun each process takes its own shard")  # fmt: skip
    work.add_argument("--overwrite", action="store_true", help="crop finished videos again; if the settings differ "
                      "from those of the existing crops, all these crops are removed first")  # fmt: skip
    return parser


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the options and fill in defaults. Exits with code 2 if they contradict each other."""
    parser = get_args_parser()
    args = parser.parse_args(argv)
    for name in _foreign_options(args.dataset):
        if getattr(args, name) is not None:
            parser.error(f"--{name} does not go with --dataset {args.dataset}")
    if args.dataset in ("videos", "images") and not (args.video_path and args.save_path):
        parser.error(f"--dataset {args.dataset} needs --{args.dataset[:-1]}_path and --save_path")
    splits = VIDEO_SETS[args.dataset].video_splits if args.split else ()
    if args.split and not set(args.split) <= set(splits):
        parser.error(f"--dataset {args.dataset} has the splits {' and '.join(splits)}")
    for name, value in (REFERENCE if args.protocol == "reference" else OURS).items():
        if getattr(args, name) is None:
            setattr(args, name, value)
        elif args.protocol == "reference" and getattr(args, name) != value:
            parser.error(f"--protocol reference means --{name} {value}; leave --{name} out")
    if args.quality is not None and args.format == "png":
        parser.error("--quality goes with --format jpg")
    args.quality = (args.quality or 95) if args.format == "jpg" else None
    args.data_root, args.compression = args.data_root or Path("data"), args.compression or "c23"
    # The reference draws DeeperForensics fakes from all of them.
    everything = args.dataset == "FFpp" or (args.dataset == "Deeper" and args.protocol == "reference")
    args.split = args.split or (["all"] if everything else ["test"])
    if not args.shard and world_size() > 1 and not_numbers("RANK"):
        raise UserError(f"WORLD_SIZE is set, but RANK is {os.environ.get('RANK')!r}; unset it, or give --shard")
    args.shard = args.shard or (rank() % world_size(), world_size())
    args.workers = args.workers or min(8, default_workers())
    return args
