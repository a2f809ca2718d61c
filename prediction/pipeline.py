"""Predict one input, or all inputs of a run, and write the results."""

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from prediction.context import PredictionContext, build_context
from prediction.people import People, Source, find_people, open_source
from prediction.pictures import draw_pictures
from prediction.results import (
    RESULT_FILES,
    SCHEMA,
    clear,
    file_settings,
    folders_for,
    is_done,
    is_whole,
    row_of,
    track_entry,
    write_table,
)
from prediction.stability import check_stability, instability
from prediction.verdicts import Person, decide, judge
from prediction.wording import no_face_reason, summary
from preprocessing.extraction.find_files import find_inputs, left_out_note
from preprocessing.extraction.photos import PhotoError
from preprocessing.extraction.video import VideoError
from utils.cli import UserError, print_note
from utils.files import write_json
from utils.locks import exclusive_folder
from utils.own_files import recorded
from utils.progress import progress_bar
from utils.terminal import printable

Progress = Callable[[str, float], object]  # called with a step, "faces" or "pictures", and the share done, 0 to 1


class Judgement(NamedTuple):
    """What was found in an input."""

    prediction: dict  # content of prediction.json without pictures and settings
    source: Source | None  # None if the input cannot be read; so are the people
    people: People | None
    persons: list[Person]


def judge_input(
    path: Path,
    context: PredictionContext,
    on_progress: Progress = lambda step, share: None,
    photo: np.ndarray | None = None,
) -> Judgement:
    """Predict a photograph or a video; writes no files. photo: uint8 [H, W, 3] RGB, whose name ``path`` is."""
    prediction: dict[str, Any] = {"schema": SCHEMA, "input": str(path), "outcome": "unreadable", "p_fake": None}
    prediction |= {"decided_by": None, "tracks": [], "reason": None}
    try:
        source = open_source(path) if photo is None else Source(path, photo)
        predictor, report = context.predictor, partial(on_progress, "faces")
        people = find_people(source, context.n_frames, predictor.min_confidence, predictor.score_faces, report)
        persons = judge(people, predictor.tree, context.band, context.calibrate, context.min_side)
        if persons:
            prediction["outcome"], decisive = decide(persons)
            prediction |= {"p_fake": persons[decisive].verdict.p_fake, "decided_by": decisive + 1}
            prediction["tracks"] = [track_entry(person, context.calibrate is not None) for person in persons]
            if context.stability:
                entries = check_stability(source, persons, context)
                for track, entry in zip(prediction["tracks"], entries, strict=True):
                    track.update(entry)
                    track["explanation"] = f"{track['explanation']} {instability(entry)}".strip()
        else:
            prediction |= {"outcome": "no_face", "reason": no_face_reason(len(people.faces), people.dropped)}
        prediction["dropped_faces"] = dict(people.dropped)
    except (PhotoError, VideoError) as error:
        prediction["reason"] = str(error).removeprefix(f"{path}: ")
        return Judgement(prediction, None, None, [])
    return Judgement(prediction, source, people, persons)


def predict(
    path: Path,
    folder: Path,
    context: PredictionContext,
    on_verdict: Callable[[dict], object] = lambda prediction: None,
    on_progress: Progress = lambda step, share: None,
) -> dict:
    """Predict a photograph or a video and write its results into ``folder``.

    ``on_verdict`` is called with the prediction before the pictures are drawn. Returns the content of prediction.json.
    Raises UserError if the results cannot be written.
    """
    prediction, source, people, persons = judge_input(path, context, on_progress)
    on_verdict(prediction)
    try:
        folder.mkdir(exist_ok=True)
        with recorded(folder, RESULT_FILES):
            clear(folder)
            if context.pictures and persons and source and people:
                drawn = draw_pictures(source, people, persons, folder, context, partial(on_progress, "pictures"))
                prediction["annotated"], entries = drawn
                for track, entry in zip(prediction["tracks"], entries, strict=True):
                    track.update(entry)
            prediction["settings"] = context.settings | file_settings(path)
            write_json(folder / "prediction.json", prediction)
    except OSError as error:
        raise UserError(f"cannot write the results of {path} into {folder} ({error})") from error
    return prediction


def predict_all(args: argparse.Namespace) -> None:
    """Predict the inputs of SJEDD_predict.py. Raises UserError if no input could be read."""
    paths, left_out = find_inputs(args.input, Path(args.output))
    if note := left_out_note(left_out):
        print_note(note)
    with exclusive_folder(args.output, ["predictions.csv"]) as output:
        folders = folders_for(paths, output)
        context = build_context(args, pictures=not args.no_pictures)
        rows = _predict_each(folders, output / "predictions.csv", context, as_json=args.json == "-")
    if all(row["outcome"] == "unreadable" for row in rows):
        raise UserError(f"none of {len(rows)} inputs could be read; {rows[0]['input']}: {rows[0]['reason']}")


def _predict_each(
    folders: Mapping[Path, tuple[Path, dict | None]], table: Path, context: PredictionContext, as_json: bool
) -> list[dict]:
    """Returns the rows of predictions.csv. The file is written even if the loop is stopped."""
    nodes, rows = context.predictor.tree.nodes, []
    show = partial(_print_verdict, as_json=as_json)
    try:
        for path, (folder, known) in progress_bar(folders.items(), desc="inputs", unit="input", leave=False):
            if is_done(known, context.settings | file_settings(path)) and is_whole(known, nodes):
                prediction = known
                show(prediction)
            else:
                with progress_bar(total=100, bar_format="{l_bar}{bar}", leave=False, disable=None) as bar:
                    prediction = predict(path, folder, context, show, partial(_show_progress, bar, path.name))
            if as_json:
                print(json.dumps(prediction, allow_nan=False), flush=True)
            rows.append(row_of(prediction, folder.name, nodes))
    finally:
        if rows:
            write_table(table, rows)
    return rows


def _show_progress(bar: tqdm, name: str, step: str, share: float) -> None:
    bar.set_description(f"{name}, {step}", refresh=False)
    bar.update(round(100 * share) - bar.n)


def _print_verdict(prediction: Mapping, as_json: bool) -> None:
    line = printable(f"{prediction['input']}: {summary(prediction)}")
    tqdm.write(line, file=sys.stderr if as_json else sys.stdout)
