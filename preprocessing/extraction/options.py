"""The options of extract_faces.py: which go together, and what they stand for when they are not given."""

import argparse
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from utils.cli import ArgumentParser, UserError, non_negative_int, positive_int
from utils.cpu import available_cores

DETECTORS = ("auto", "mtcnn", "retinaface")
# What options stand for when they are not given, by --protocol.
OURS = {"detector": "auto", "n_frames": 32, "detect_side": 640, "retry": 3, "track": False}
REFERENCE = {"detector": "retinaface", "n_frames": "all", "detect_side": "full", "retry": 0, "track": False}
FOREIGN = {  # options that do not go with a data set
    "FFpp": ("video_path", "save_path"),
    "CDF": ("video_path", "save_path", "compression"),
    "FSh": ("video_path", "save_path"),
    "Deeper": ("video_path", "save_path", "compression"),
    "DFDC": ("video_path", "save_path", "compression", "split"),
    "videos": ("data_root", "compression", "split"),
}


def number_or(word: str, lowest: int = 1) -> Callable[[str], int | str]:
    """argparse type: a whole number from ``lowest``, or one word."""

    def parse(text: str) -> int | str:
        return text if text == word else between(lowest, 10**9)(text)

    parse.__name__ = f"number or {word}"
    return parse


def shard_type(text: str) -> tuple[int, int]:
    """argparse type: i/n with 0 <= i <= n; counting from 0 and counting from 1 both cover all videos."""
    number, _, count = text.partition("/")
    digits = text.isascii() and number.isdigit() and count.isdigit()
    if not (digits and int(number) <= int(count) and int(count) > 0):
        raise argparse.ArgumentTypeError(f"{text} is not i/n, such as 0/4, 1/4, 2/4 and 3/4")
    return int(number) % int(count), int(count)


def between(lowest: float, highest: float, kind: type = int) -> Callable[[str], float]:
    """argparse type: a number of a range."""

    def parse(text: str) -> float:
        value = kind(text)
        if not lowest <= value <= highest:
            raise argparse.ArgumentTypeError(f"{text} is not between {lowest} and {highest}")
        return value

    parse.__name__ = "number"
    return parse


def get_args_parser() -> ArgumentParser:
    parser = ArgumentParser(description="Cut aligned face crops out of videos.")
    data = parser.add_argument_group("data")
    data.add_argument("--dataset", required=True, choices=tuple(FOREIGN), help="layout of the videos")
    data.add_argument("--data_root", type=Path, help="folder that holds FF++, CDF, FSh, DF-1.0, DFDC (default: data)")
    data.add_argument("--compression", choices=("c23", "c40", "raw"), help="FFpp, FSh: which files (default: c23)")
    data.add_argument("--split", nargs="+", choices=("train", "val", "test", "all"), help="FFpp: official splits "
                      "(default: all); CDF, FSh, Deeper: test, the videos of the tests (default), or all")  # fmt: skip
    data.add_argument("--video_path", type=Path, nargs="+", metavar="PATH", help="videos: folders searched for videos, "
                      "subfolders too, video files, and .txt files with one path a line")  # fmt: skip
    data.add_argument("--save_path", type=Path, help="videos: where crops and manifest go")
    data.add_argument("--limit", type=positive_int, help="only the first LIMIT videos of each class")
    crops = parser.add_argument_group("crops")
    crops.add_argument("--protocol", choices=("ours", "reference"), default="ours", help="reference: every frame, "
                       "RetinaFace on full frames, landmarks cut to whole pixels, no face too small")  # fmt: skip
    crops.add_argument("--n_frames", type=number_or("all"), metavar="N|all", help="frames per video, evenly spaced "
                       "(default: 32)")  # fmt: skip
    crops.add_argument("--retry", type=non_negative_int, metavar="FRAMES", help="where a chosen frame has no good face "
                       "take the nearest one that has, at most so far away, unless most of the video has none "
                       "(default: 3)")  # fmt: skip
    crops.add_argument("--track", action="store_true", default=None, help="follow one face through the video (the one "
                       "with the largest sum of box sides) instead of taking the largest of each frame")  # fmt: skip
    crops.add_argument("--detector", choices=DETECTORS, help="face detector; auto is retinaface when its weights are "
                       "in pretrained/, else mtcnn (default: auto)")  # fmt: skip
    crops.add_argument("--detector_weights", type=Path, metavar="FILE", help="RetinaFace-Resnet50-fixed.pth elsewhere")
    crops.add_argument("--detect_side", type=number_or("full", 64), metavar="PX|full", help="detect faces on frames "
                       "downscaled to this longer side; crops come from the full frame (default: 640)")  # fmt: skip
    crops.add_argument("--size", type=between(16, 4096), default=317, help="side of a crop, px")
    crops.add_argument(
        "--scale", type=between(0.5, 4, float), default=1.3, help="width of a crop over that of the tight face"
    )
    crops.add_argument("--format", choices=("png", "jpg"), default="png", help="of the crops")
    crops.add_argument("--quality", type=between(1, 100), help="of jpg crops, 1 to 100 (default: 95)")
    work = parser.add_argument_group("work")
    work.add_argument("--device", default="auto", help="cpu, cuda, cuda:1 ...; auto: cuda where there is one")
    work.add_argument("--workers", type=positive_int, help="processes over videos (default: one per core, at most 8); "
                      "1: none, so that a video that crashes its decoder ends the run")  # fmt: skip
    work.add_argument("--shard", type=shard_type, metavar="i/n", help="only each n-th video from the i-th, for job "
                      "arrays; under torchrun RANK and WORLD_SIZE say it")  # fmt: skip
    work.add_argument("--overwrite", action="store_true", help="crop finished videos again; with other settings than "
                      "those of the crops that are there, these crops are all removed first")  # fmt: skip
    return parser


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options, what was not given filled in, or an error for options that contradict each other."""
    parser = get_args_parser()
    args = parser.parse_args(argv)
    for name in FOREIGN[args.dataset]:
        if getattr(args, name) is not None:
            parser.error(f"--{name} does not go with --dataset {args.dataset}")
    if args.dataset == "videos" and not (args.video_path and args.save_path):
        parser.error("--dataset videos needs --video_path and --save_path")
    if args.split and args.dataset != "FFpp" and not {"test", "all"}.issuperset(args.split):
        parser.error(f"--dataset {args.dataset} has the splits test and all")
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
    args.shard = args.shard or shard_of_environment()
    args.workers = args.workers or max(1, min(8, available_cores() // environment_number("LOCAL_WORLD_SIZE", 1)))
    return args


def environment_number(name: str, default: int) -> int:
    """A number that torchrun puts into the environment; UserError when it is none."""
    text = os.environ.get(name, str(default))
    if not (text.isascii() and text.isdigit()):
        raise UserError(f"the environment variable {name} is {text!r}, not a number; unset it")
    return int(text)


def shard_of_environment() -> tuple[int, int]:
    """(RANK, WORLD_SIZE) under torchrun, else (0, 1)."""
    if "WORLD_SIZE" not in os.environ:
        return 0, 1
    size = environment_number("WORLD_SIZE", 1)
    rank = environment_number("RANK", size)
    if rank >= size:
        raise UserError("the environment variables RANK and WORLD_SIZE are no shard; unset both, or give --shard")
    return rank, size
