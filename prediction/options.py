"""Options shared by SJEDD_predict.py and SJEDD_app.py."""

import argparse
from collections.abc import Sequence

from models.label_tree import TREES
from preprocessing.extraction.options import DETECTORS, number_or
from utils.cli import ArgumentParser, non_negative_int, positive_int, probability

CALIBRATED_BAND = (0.3, 0.7)  # a calibrated verdict outside it is wrong less than 3 times in 10
_DETECT_SIDE = "detect faces on frames downscaled to this longer side; full finds the smallest"
_MIN_SIDE = "a person whose face box is smaller is reported, but does not decide the outcome of the file"
_DETECTOR = "use that of the training crops; auto: retinaface if its weights are in pretrained/, else mtcnn"
_BAND = (
    "P(fake) below LOW is real, from HIGH fake, between them uncertain (default: 0.5 0.5, never uncertain; with "
    f"--calibration {CALIBRATED_BAND[0]} {CALIBRATED_BAND[1]})"
)
_STABILITY = "score the faces again after JPEG 75, H.264 CRF 30 and 0.75 x size; say whether the verdict flips"
_CALIBRATION = "calibration.json of SJEDD_report.py --calibrate; verdicts use the calibrated P(fake)"


def add_prediction_options(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("--resume", metavar="CKPT", required=True, help="checkpoint, ours or a published one")
    add(
        "--train_dataset", choices=tuple(TREES), help="label tree of a checkpoint that does not name it (default: ffpp)"
    )
    add = parser.add_argument_group("faces").add_argument
    add("--n_frames", type=positive_int, default=32, help="frames per video, evenly spaced")
    add("--detector", choices=DETECTORS, default="auto", help=_DETECTOR)
    add("--detect_side", type=number_or("full", 64), default=640, metavar="PX|full", help=_DETECT_SIDE)
    add("--min_side", type=non_negative_int, default=64, metavar="PX", help=_MIN_SIDE)
    add = parser.add_argument_group("verdict").add_argument
    add("--band", type=probability, nargs=2, metavar=("LOW", "HIGH"), help=_BAND)
    add("--calibration", metavar="FILE", help=_CALIBRATION)
    add("--stability", action="store_true", help=_STABILITY)
    add = parser.add_argument_group("machine").add_argument
    add("--batch_size", type=positive_int, default=32, help="faces in one forward pass")
    add("--gpu", type=non_negative_int, help="CUDA device (default: 0; the CPU without CUDA)")
    add("--precision", choices=("float32", "bfloat16"), default="float32", help="of the image tower")


def parse_prediction_args(parser: ArgumentParser, argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line and fill in the default of --band."""
    args = parser.parse_args(argv)
    if args.band and args.band[0] > args.band[1]:
        parser.error("--band: LOW is above HIGH")
    args.band = tuple(args.band) if args.band else CALIBRATED_BAND if args.calibration else (0.5, 0.5)
    return args
