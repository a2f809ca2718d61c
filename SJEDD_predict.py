"""Anyone's photographs and videos -> for each person in them P(fake), what was altered, and where.

P(fake) is the probability of fake, 0 real, 1 fake; a person's is the mean over the frames looked at, an input's the
largest of its people's. Below --output every input gets a folder of its own name with prediction.json, the annotated
photograph or video (without sound), heat maps and timelines; predictions.csv has a line for each input. An input whose
prediction.json was made of the same file with the same settings is not looked at again.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from models.label_tree import TREES
from prediction.options import add_prediction_options, parse_prediction_args
from preprocessing.extraction.options import DETECTORS
from utils.cli import ArgumentParser, UserError, answer_first, script


def get_args_parser() -> ArgumentParser:
    """The command line."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--input", type=Path, nargs="+", required=True, metavar="PATH", help="photographs, videos, "
                        "folders of them, .txt files with one path a line")  # fmt: skip
    parser.add_argument("--output", default="output/SJEDD_predict", help="folder for the results")
    add_prediction_options(parser, TREES, DETECTORS)
    results = parser.add_argument_group("results")
    results.add_argument("--no_pictures", action="store_true", help="only prediction.json and predictions.csv")
    results.add_argument("--json", choices=("-",), help="print each prediction as a line of JSON to standard output, "
                         "and all else to standard error")  # fmt: skip
    return parser


answer_first(__name__, get_args_parser)

import numpy as np
from tqdm import tqdm

from datasets.transforms import normalise, resize
from prediction.people import People, Rules, box_at, find_faces, look_at_photo, look_through
from prediction.pictures import draw_face, lay_over, write_jpeg
from prediction.predictor import Predictor, Verdict
from prediction.results import clear, folders_for, is_done, is_whole, row_of, stamp, write_table
from prediction.timeline import timeline
from prediction.wording import OUTCOMES, calibrated_nodes, explain, outcome_of
from preprocessing.detection.align import align_face
from preprocessing.detection.detectors import build_detector, choose_detector
from preprocessing.extraction.photos import PhotoError, find_inputs, read_photo
from preprocessing.extraction.video import VideoError, frame_rate, read_frames
from utils.devices import choose_device
from utils.files import write_bytes, write_json
from utils.locks import exclusive_folder
from utils.progress import progress_bar
from utils.video_writer import write_video

DECIDING = 3  # frames of a person that are shown
Step = Callable[[str, float], object]  # gets what is done ("faces", then "pictures") and the share of it, 0 to 1


class PredictionContext(NamedTuple):
    """What all inputs share. settings: what a prediction depends on beside its input, for prediction.json."""

    predictor: Predictor
    rules: Rules
    n_frames: int
    band: tuple[float, float]
    pictures: bool
    settings: dict[str, object]


class Person(NamedTuple):
    """One person of an input. frames: those that show the person; boxes: [F, 4] there; landmarks: [F, 5, 2]. nodes:
    the probabilities told in words, calibrated as the verdict is."""

    frames: list[int]
    boxes: np.ndarray
    landmarks: np.ndarray
    verdict: Verdict
    nodes: dict[str, float]
    outcome: str
    explanation: str

    def deciding(self) -> list[int]:
        """Indices into ``frames`` of those that speak most for the outcome, the first one most."""
        p_fake = self.verdict.frames
        return np.argsort(p_fake if self.outcome == "real" else -p_fake, kind="stable")[:DECIDING].tolist()


class Source(NamedTuple):
    """An input that can be read. photo: [H, W, 3] uint8 RGB; None for a video."""

    path: Path
    photo: np.ndarray | None

    def frames(self, count: int) -> Iterator[tuple[int, np.ndarray]]:
        """(number, frame [H, W, 3] uint8 RGB) of all ``count`` frames, one at a time."""
        if self.photo is not None:
            return iter([(0, self.photo)])
        return read_frames(self.path, range(count))


def open_source(path: Path) -> Source:
    """Raises PhotoError or VideoError for what cannot be read; a video's frames are not asked for yet."""
    if not os.path.isfile(path):  # noqa: PTH113 - False for names that no file system takes
        raise VideoError("missing", path, "there is no such file")
    return Source(path, read_photo(path))


def look_at(source: Source, kit: PredictionContext, step: Step) -> People:
    """Find and score the faces of an input. Raises VideoError."""
    if source.photo is not None:
        return look_at_photo(source.photo, kit.predictor.look)
    looked = 0

    def progress(frames: int) -> None:
        nonlocal looked
        looked += frames
        bar.update(frames)
        step("faces", min(looked / kit.n_frames, 1.0))

    with progress_bar(total=kit.n_frames, desc=source.path.name, unit="frame", leave=False, disable=None) as bar:
        return look_through(source.path, kit.n_frames, kit.rules, kit.predictor.look, progress)


def judge(people: People, kit: PredictionContext) -> list[Person]:
    """A verdict for each person."""
    judged = []
    for person in people.persons:
        faces = [(people.seen[frame], face) for frame, face in person.items()]
        scores = np.stack([seen.scores[face] for seen, face in faces])
        boxes, landmarks = (
            np.stack([getattr(seen.faces, name)[face] for seen, face in faces]) for name in ("boxes", "landmarks")
        )
        verdict = kit.predictor.verdict(scores, float(np.clip(0.5, *kit.band)))
        outcome, nodes = outcome_of(verdict.p_calibrated, kit.band), verdict.nodes
        if kit.predictor.temperature is not None:
            nodes = calibrated_nodes(nodes, verdict.p_fake, verdict.p_calibrated)
        words = explain(outcome, verdict.p_calibrated, nodes, verdict.state, kit.predictor.tree.edges)
        judged.append(Person(list(person), boxes, landmarks, verdict, nodes, outcome, words))
    return judged


def track_of(person: Person, calibrated: bool) -> dict:
    """A person as prediction.json has it."""
    verdict = person.verdict
    rows = zip(person.frames, verdict.frames.tolist(), person.boxes.tolist(), strict=True)
    return {
        "outcome": person.outcome,
        "p_fake": verdict.p_fake,
        **({"p_fake_calibrated": verdict.p_calibrated} if calibrated else {}),
        "nodes": verdict.nodes,
        "state": verdict.state,
        "explanation": person.explanation,
        "frames": [{"frame": n, "p_fake": p, "box": [round(x, 1) for x in box]} for n, p, box in rows],
    }


def no_face_reason(people: People) -> str:
    """Why there is no face to judge."""
    words = {
        "too_small": "too small",
        "bad_landmarks": "seen from too far aside or covered",
        "brief": "seen for a moment only",
    }
    dropped = [f"{number} {words[name]}" for name, number in people.dropped.items()]
    frames = f"{len(people.seen)} frames" if len(people.seen) != 1 else "the picture"
    return f"no face found in {frames}" + (f" that can be judged ({', '.join(dropped)})" if dropped else "")


def predict(
    path: Path,
    folder: Path,
    kit: PredictionContext,
    told: Callable[[dict], object] = lambda prediction: None,
    step: Step = lambda what, share: None,
) -> dict:
    """Predict one input and write its results into ``folder``; returns the content of its prediction.json.

    told: gets the prediction as soon as it stands, before the pictures are drawn. step: called now and then.
    """
    prediction = {"input": str(path), "outcome": "unreadable", "p_fake": None, "tracks": [], "reason": None}
    persons: list[Person] = []
    try:
        source = open_source(path)
        people = look_at(source, kit, step)
        persons = judge(people, kit)
        tracks = [track_of(person, kit.predictor.temperature is not None) for person in persons]
        prediction |= {"outcome": "no_face", "reason": no_face_reason(people)} if not persons else {
            "outcome": min((person.outcome for person in persons), key=OUTCOMES.index),
            "p_fake": max(person.verdict.p_fake for person in persons),
            "tracks": tracks,
        }  # fmt: skip
        prediction |= {"dropped_faces": dict(people.dropped)}
    except (PhotoError, VideoError) as error:
        prediction["reason"] = str(error).removeprefix(f"{path}: ")
    told(prediction)
    try:
        folder.mkdir(exist_ok=True)
        clear(folder)
        if kit.pictures and persons:
            prediction["annotated"] = draw_pictures(source, people, persons, folder, kit, prediction["tracks"], step)
        prediction |= {"settings": kit.settings | {"file": stamp(path)}}
        write_json(folder / "prediction.json", prediction)
    except OSError as error:
        raise UserError(f"cannot write the results of {path} into {folder} ({error})") from error
    return prediction


def draw_pictures(
    source: Source,
    people: People,
    persons: list[Person],
    folder: Path,
    kit: PredictionContext,
    tracks: list[dict],
    step: Step,
) -> str:
    """Write the annotated input, then heat maps and timelines, whose names go into ``tracks``; the annotated's name.

    The input is read once more, frame by frame; only the crops that are shown are kept.
    """
    crops: list[dict[int, np.ndarray]] = [{} for _ in persons]  # index into a person's frames -> crop
    gap = max(np.diff(list(people.seen)), default=1)
    boxes = [dict(zip(person.frames, person.boxes, strict=True)) for person in persons]
    labels = [label(person, f"{n}: " if len(persons) > 1 else "", kit) for n, person in enumerate(persons, start=1)]

    def annotated() -> Iterator[np.ndarray]:
        for index, frame in source.frames(people.count):
            drawn = frame.copy()
            for n, person in enumerate(persons):
                if index in person.frames and (i := person.frames.index(index)) in person.deciding():
                    crops[n][i] = kit.predictor.align(frame, person.landmarks[i])
                if (box := box_at(index, boxes[n], gap)) is not None:
                    draw_face(drawn, box, person.outcome, labels[n])
            step("pictures", (index + 1) / people.count)
            yield drawn

    if source.photo is not None:
        name, rate = "annotated.jpg", None
        write_jpeg(folder / name, next(annotated()), 92)
    else:
        name, rate = "annotated.mp4", frame_rate(source.path)
        write_video(
            folder / name,
            progress_bar(annotated(), desc=name, total=people.count, unit="frame", leave=False, disable=None),
            rate,
        )
    for number, (person, shown, track) in enumerate(zip(persons, crops, tracks, strict=True), start=1):
        first = person.deciding()[0]
        track["heat_map_frame"] = person.frames[first]
        track["heat_maps"] = draw_heat_maps(shown[first], number, folder, kit)
        track["timeline"] = None
        if rate is not None:
            track["timeline"] = f"timeline_{number}.png"
            title = f"{source.path.name}, person {number}: {person.outcome}"
            seconds, p_fake = [frame / rate for frame in person.frames], person.verdict.calibrated.tolist()
            picture = timeline(seconds, p_fake, person.outcome, person.verdict.p_calibrated, shown, kit.band, title)
            write_bytes(folder / track["timeline"], picture)
    return name


def label(person: Person, who: str, kit: PredictionContext) -> list[str]:
    """The lines at a face: who, outcome and P(fake), and the likeliest region of the state."""
    regions = [kit.predictor.tree.nodes[i] for i in kit.predictor.tree.levels[2]]
    named = sorted((name for name in regions if name in person.verdict.state), key=lambda name: -person.nodes[name])
    return [f"{who}{person.outcome}, P(fake) {person.verdict.p_calibrated:.2f}"] + [
        f"{name} {person.nodes[name]:.2f}" for name in named[:1]
    ]


def draw_heat_maps(crop: np.ndarray, number: int, folder: Path, kit: PredictionContext) -> dict[str, str]:
    """Write a heat map of each node over a crop; node -> file name."""
    names = {}
    for node, heat in zip(kit.predictor.tree.nodes, kit.predictor.heat_maps(crop), strict=True):
        names[node] = f"heat_{number}_{node.replace(' ', '_')}.jpg"
        write_jpeg(folder / names[node], lay_over(crop, heat), 90)
    return names


def tell(prediction: Mapping, as_json: bool) -> None:
    """Print the verdict."""
    several = len(prediction["tracks"]) > 1
    words = " ".join(f"Person {number}: {track['explanation']}" if several else track["explanation"]
                     for number, track in enumerate(prediction["tracks"], start=1))  # fmt: skip
    words = words or f"{prediction['outcome'].replace('_', ' ').capitalize()}: {prediction['reason']}."
    line = f"{prediction['input']}: {words}".encode("utf-8", "backslashreplace").decode()
    tqdm.write(line, file=sys.stderr if as_json else sys.stdout)


def build_context(args: argparse.Namespace, pictures: bool) -> PredictionContext:
    """Load everything once, and tell what is odd about it. args: those of add_prediction_options."""
    temperature, notes = None, []
    if args.calibration:
        from evaluation.calibration import calibrated_checkpoint, read_calibration  # SciPy takes a second to import

        temperature, fitted_on = read_calibration(args.calibration), calibrated_checkpoint(args.calibration)
        if fitted_on is not None and Path(fitted_on).resolve() != Path(args.resume).resolve():
            notes.append(f"{args.calibration} was fitted on {fitted_on}, not on {args.resume}")
    device = choose_device(args.gpu, args.precision)
    detector, weights = choose_detector(args.detector)
    rules = Rules.of(detector)
    find = partial(find_faces, detector=build_detector(detector, str(device), weights), rules=rules)
    tree = TREES[args.train_dataset] if args.train_dataset else None
    predictor = Predictor.load(
        args.resume, find, align_face, resize, normalise, device, tree,
        precision=args.precision, batch_size=args.batch_size, temperature=temperature,
    )  # fmt: skip
    trained_with = predictor.crops.get("detector")
    if trained_with not in (None, detector):
        notes.append(f"the training crops were found by {trained_with}, these faces by {detector}, which cuts them "
                     f"differently; use --detector {trained_with}")  # fmt: skip
    threshold = predictor.threshold
    if threshold is not None and abs(threshold - 0.5) > 0.05 and args.band == (0.5, 0.5):
        notes.append(f"a verdict is fake from P(fake) 0.5 on; the checkpoint's threshold from validation is "
                     f"{threshold:.3g} (--band {threshold:.3g} {threshold:.3g} takes it)")  # fmt: skip
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    settings = {"checkpoint": str(args.resume), "checkpoint_file": stamp(args.resume), "tree": predictor.tree.name,
                "detector": detector, "n_frames": args.n_frames, "precision": args.precision, "band": args.band,
                "temperature": temperature, "pictures": pictures}  # fmt: skip
    return PredictionContext(predictor, rules, args.n_frames, args.band, pictures, settings)


def predict_all(
    folders: Mapping[Path, tuple[Path, dict | None]], table: Path, kit: PredictionContext, as_json: bool
) -> list[dict]:
    """Predict and tell all inputs; writes and returns the rows of predictions.csv, those so far when stopped.

    folders: input -> (its folder, what its prediction.json holds already).
    """
    rows = []
    try:
        for path, (folder, known) in progress_bar(folders.items(), desc="inputs", unit="input", leave=False):
            done = is_done(known, kit.settings | {"file": stamp(path)})
            if done and is_whole(known, kit.predictor.tree.nodes):
                prediction = known
                tell(prediction, as_json)
            else:
                prediction = predict(path, folder, kit, partial(tell, as_json=as_json))
            if as_json:
                print(json.dumps(prediction, allow_nan=False), flush=True)
            rows.append(row_of(prediction, folder.name, kit.predictor.tree.nodes))
    finally:
        if rows:
            write_table(table, rows)
    return rows


@script
def main(argv: Sequence[str] | None = None) -> None:
    """Predict; see --help."""
    args = parse_prediction_args(get_args_parser(), argv)
    paths = find_inputs(args.input)
    with exclusive_folder(args.output) as output:
        folders = folders_for(paths, output)
        kit = build_context(args, pictures=not args.no_pictures)
        rows = predict_all(folders, output / "predictions.csv", kit, as_json=args.json == "-")
    if all(row["outcome"] == "unreadable" for row in rows):
        raise UserError(f"none of {len(rows)} inputs could be read; {rows[0]['input']}: {rows[0]['reason']}")


if __name__ == "__main__":
    sys.exit(main())
