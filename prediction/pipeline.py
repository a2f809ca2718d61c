"""From input files to their results: load everything once, predict one input, predict all of them."""

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from models.label_tree import TREES
from prediction.people import People, Source, open_source, people_of_photo, people_of_video
from prediction.pictures import draw_pictures
from prediction.predictor import Predictor
from prediction.results import clear, folders_for, is_done, row_of, stamp, track_entry, write_table
from prediction.verdicts import judge
from prediction.wording import OUTCOMES, no_face_reason, summary
from preprocessing.detection.detectors import choose_detector
from preprocessing.extraction.photos import PhotoError, find_inputs
from preprocessing.extraction.video import VideoError
from utils.cli import UserError
from utils.devices import choose_device
from utils.files import write_json
from utils.locks import exclusive_folder
from utils.progress import progress_bar

Progress = Callable[[str, float], object]  # gets the current step ("faces" or "pictures") and its share done, 0 to 1


class PredictionContext(NamedTuple):
    """What all inputs share."""

    predictor: Predictor
    n_frames: int  # used frames of a video
    band: tuple[float, float]
    temperature: float | None  # of the calibration
    pictures: bool  # whether to draw them
    settings: dict[str, object]  # all that a prediction depends on beside its input, for prediction.json


def build_context(args: argparse.Namespace, pictures: bool) -> PredictionContext:
    """Load checkpoint, detector and calibration, and print notes about settings that do not fit together.

    Args:
        args: The options of ``prediction.options``.
        pictures: Whether to draw pictures.
    """
    temperature, notes = None, []
    if args.calibration:
        from evaluation.calibration import calibrated_checkpoint, read_calibration  # SciPy takes a second to import

        temperature, fitted_on = read_calibration(args.calibration), calibrated_checkpoint(args.calibration)
        if fitted_on is not None and Path(fitted_on).resolve() != Path(args.resume).resolve():
            notes.append(f"{args.calibration} was fitted on {fitted_on}, not on {args.resume}")
    device = choose_device(args.gpu, args.precision)
    detector, _ = choose_detector(args.detector)
    tree = TREES[args.train_dataset] if args.train_dataset else None
    predictor = Predictor.load(args.resume, detector, device, tree, args.precision, args.batch_size)
    trained_with = predictor.crops.get("detector")
    if trained_with not in (None, detector):
        notes.append(
            f"the training crops were found by {trained_with}, these faces by {detector}, which crops them "
            f"differently; use --detector {trained_with}"
        )
    threshold = predictor.threshold
    if threshold is not None and abs(threshold - 0.5) > 0.05 and args.band == (0.5, 0.5):
        notes.append(
            f"a verdict is fake from P(fake) 0.5; the checkpoint's threshold from validation is {threshold:.3g} "
            f"(to use it: --band {threshold:.3g} {threshold:.3g})"
        )
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    settings = {
        "checkpoint": str(args.resume),
        "checkpoint_file": stamp(args.resume),
        "tree": predictor.tree.name,
        "detector": detector,
        "n_frames": args.n_frames,
        "precision": args.precision,
        "band": args.band,
        "temperature": temperature,
        "pictures": pictures,
    }
    return PredictionContext(predictor, args.n_frames, args.band, temperature, pictures, settings)


def predict(
    path: Path,
    folder: Path,
    context: PredictionContext,
    on_verdict: Callable[[dict], object] = lambda prediction: None,
    on_progress: Progress = lambda step, share: None,
) -> dict:
    """Predict one input and write its results.

    Args:
        path: Photograph or video.
        folder: Where the results go; made here.
        context: What all inputs share.
        on_verdict: Called with the prediction before the pictures are drawn.
        on_progress: Called now and then.

    Returns:
        The content of prediction.json.

    Raises:
        UserError: The results cannot be written.
    """
    prediction = {"input": str(path), "outcome": "unreadable", "p_fake": None, "tracks": [], "reason": None}
    persons = []
    try:
        source = open_source(path)
        people = _find_people(source, context, on_progress)
        persons = judge(people, context.predictor.tree, context.band, context.temperature)
        if persons:
            prediction["outcome"] = min((person.outcome for person in persons), key=OUTCOMES.index)
            prediction["p_fake"] = max(person.verdict.p_fake for person in persons)
            prediction["tracks"] = [track_entry(person, context.temperature is not None) for person in persons]
        else:
            prediction |= {"outcome": "no_face", "reason": no_face_reason(len(people.faces), people.dropped)}
        prediction["dropped_faces"] = dict(people.dropped)
    except (PhotoError, VideoError) as error:
        prediction["reason"] = str(error).removeprefix(f"{path}: ")
    on_verdict(prediction)
    try:
        folder.mkdir(exist_ok=True)
        clear(folder)
        if context.pictures and persons:
            show = partial(on_progress, "pictures")
            drawn = draw_pictures(source, people, persons, folder, context.predictor, context.band, show)
            prediction["annotated"], entries = drawn
            for track, entry in zip(prediction["tracks"], entries, strict=True):
                track.update(entry)
        prediction["settings"] = context.settings | {"file": stamp(path)}
        write_json(folder / "prediction.json", prediction)
    except OSError as error:
        raise UserError(f"cannot write the results of {path} into {folder} ({error})") from error
    return prediction


def _find_people(source: Source, context: PredictionContext, on_progress: Progress) -> People:
    predictor = context.predictor
    if source.photo is not None:
        return people_of_photo(source.photo, predictor.score_faces)
    options = {"desc": source.path.name, "unit": "frame", "leave": False, "disable": None}
    with progress_bar(total=context.n_frames, **options) as bar:
        done = 0

        def on_frames(frames: int) -> None:
            nonlocal done
            done += frames
            bar.update(frames)
            on_progress("faces", min(done / context.n_frames, 1.0))

        return people_of_video(source.path, context.n_frames, predictor.rules, predictor.score_faces, on_frames)


def predict_all(args: argparse.Namespace) -> None:
    """Predict the inputs of SJEDD_predict.py. Kept predictions are printed and tabulated like new ones.

    Raises:
        UserError: No input could be read.
    """
    paths = find_inputs(args.input)
    with exclusive_folder(args.output) as output:
        folders = folders_for(paths, output)
        context = build_context(args, pictures=not args.no_pictures)
        rows = _predict_each(folders, output / "predictions.csv", context, as_json=args.json == "-")
    if all(row["outcome"] == "unreadable" for row in rows):
        raise UserError(f"none of {len(rows)} inputs could be read; {rows[0]['input']}: {rows[0]['reason']}")


def _predict_each(
    folders: Mapping[Path, tuple[Path, dict | None]], table: Path, context: PredictionContext, as_json: bool
) -> list[dict]:
    """Returns the rows of predictions.csv. It is also written when the loop is stopped."""
    nodes, rows = context.predictor.tree.nodes, []
    report = partial(_print_verdict, as_json=as_json)
    try:
        for path, (folder, known) in progress_bar(folders.items(), desc="inputs", unit="input", leave=False):
            if is_done(known, context.settings | {"file": stamp(path)}, nodes):
                prediction = known
                report(prediction)
            else:
                prediction = predict(path, folder, context, report)
            if as_json:
                print(json.dumps(prediction, allow_nan=False), flush=True)
            rows.append(row_of(prediction, folder.name, nodes))
    finally:
        if rows:
            write_table(table, rows)
    return rows


def _print_verdict(prediction: Mapping, as_json: bool) -> None:
    line = f"{prediction['input']}: {summary(prediction)}".encode("utf-8", "backslashreplace").decode()
    tqdm.write(line, file=sys.stderr if as_json else sys.stdout)
