"""The model and the settings that all inputs share."""

import argparse
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from datasets.perturbations import compression_unavailable
from models.checkpoint_file import weights_file
from models.label_tree import TREES
from prediction.predictor import Predictor
from prediction.results import stamp
from prediction.verdicts import Calibrate
from preprocessing.detection.detectors import choose_detector, detector_device
from utils.cli import UserError, print_note
from utils.devices import choose_device


class PredictionContext(NamedTuple):
    predictor: Predictor
    n_frames: int  # used frames of a video
    band: tuple[float, float]  # (low, high); P(fake) between them is uncertain
    calibrate: Calibrate | None  # the calibration, if there is one
    min_side: int  # px; people with smaller faces do not decide
    stability: bool  # whether to score re-encoded faces too
    pictures: bool  # whether to draw pictures
    settings: dict[str, Any]  # for prediction.json: all that a prediction depends on, except its input


def build_context(args: argparse.Namespace, pictures: bool, device: str | None = None) -> PredictionContext:
    """Load checkpoint, detector and calibration; print notes on settings that do not fit together.

    device: name of a PyTorch device (default: that of --gpu).
    """
    calibrate: Calibrate | None = None
    calibration, notes = None, []
    if args.stability and (reason := compression_unavailable()):
        raise UserError(reason)
    if args.calibration:
        # SciPy takes a second to import.
        from evaluation.calibration import calibrated, calibrated_checkpoint, read_calibration

        calibration, fitted_on = read_calibration(args.calibration), calibrated_checkpoint(args.calibration)
        calibrate = partial(calibrated, calibration=calibration)
        if fitted_on is not None and Path(fitted_on).resolve() != Path(args.resume).resolve():
            notes.append(f"{args.calibration} was fitted on {fitted_on}, not on {args.resume}")
    used = choose_device(args.gpu, args.precision) if device is None else detector_device(device)
    detector, _ = choose_detector(args.detector)
    tree = TREES[args.train_dataset] if args.train_dataset else None
    side = None if args.detect_side == "full" else args.detect_side
    predictor = Predictor.load(args.resume, detector, used, tree, args.precision, args.batch_size, side)
    trained_with = predictor.crops.get("detector")
    if trained_with not in (None, detector):
        notes.append(
            f"the training crops were found by {trained_with}, these faces by {detector}: the crops differ; use "
            f"--detector {trained_with}"
        )
    threshold = predictor.threshold
    if threshold is not None and abs(threshold - 0.5) > 0.05 and args.band == (0.5, 0.5):
        notes.append(
            f"P(fake) from 0.5 is called fake, but the checkpoint's threshold from validation is {threshold:.3g}; to "
            f"use that, give --band {threshold:.3g} {threshold:.3g}"
        )
    for note in notes:
        print_note(note)
    settings = {
        "checkpoint": str(args.resume),
        "checkpoint_file": stamp(weights_file(args.resume)),
        "tree": predictor.tree.name,
        "detector": detector,
        "detect_side": args.detect_side,
        "min_side": args.min_side,
        "n_frames": args.n_frames,
        "stability": args.stability,
        "precision": args.precision,
        "band": args.band,
        "calibration": calibration,
        "pictures": pictures,
    }
    return PredictionContext(
        predictor, args.n_frames, args.band, calibrate, args.min_side, args.stability, pictures, settings
    )
