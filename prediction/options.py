"""The options that a prediction depends on, of the script and of the web page."""

import argparse
from collections.abc import Iterable, Sequence

from utils.cli import ArgumentParser, non_negative_int, positive_int, probability

SURE_BAND = (0.3, 0.7)  # of calibrated probabilities: wrong less than 3 times in 10


def add_prediction_options(parser: ArgumentParser, trees: Iterable[str], detectors: Iterable[str]) -> None:
    """Add them. trees, detectors: the names to choose from."""
    parser.add_argument("--resume", metavar="CKPT", required=True, help="checkpoint, ours or a published one")
    parser.add_argument("--train_dataset", choices=tuple(trees), help="tree of a checkpoint that does not say (ffpp)")
    look = parser.add_argument_group("looking")
    look.add_argument("--n_frames", type=positive_int, default=32, help="frames of a video, evenly spaced")
    look.add_argument("--detector", choices=tuple(detectors), default="auto", help="of faces; auto is retinaface when "
                      "its weights are in pretrained/, else mtcnn; best is that of the training crops")  # fmt: skip
    verdict = parser.add_argument_group("the verdict")
    verdict.add_argument("--band", type=probability, nargs=2, metavar=("LOW", "HIGH"), help="real below LOW, fake from "
                         "HIGH on, else uncertain (default: 0.5 0.5, so never uncertain; with --calibration "
                         f"{SURE_BAND[0]} {SURE_BAND[1]})")  # fmt: skip
    verdict.add_argument("--calibration", metavar="FILE", help="calibration.json of SJEDD_report.py --calibrate: the "
                         "verdict and its words go by the calibrated P(fake)")  # fmt: skip
    machine = parser.add_argument_group("the machine")
    machine.add_argument("--batch_size", type=positive_int, default=32, help="faces per forward")
    machine.add_argument("--gpu", type=non_negative_int, help="number of the CUDA device (0); without CUDA, the CPU")
    machine.add_argument("--precision", choices=("float32", "bfloat16"), default="float32", help="of the image tower")


def parse_prediction_args(parser: ArgumentParser, argv: Sequence[str] | None) -> argparse.Namespace:
    """The arguments, with the band filled in."""
    args = parser.parse_args(argv)
    if args.band and args.band[0] > args.band[1]:
        parser.error("--band: LOW is above HIGH")
    args.band = tuple(args.band) if args.band else SURE_BAND if args.calibration else (0.5, 0.5)
    return args
