"""The demonstration data set: split files and short H.264 videos in the layout of FF++."""

import argparse
import json
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from datasets.readers.ffpp import METHOD_CODES, SPLITS, compression_dir
from preprocessing.demo.faces import CRF, FRAME, RENDER, STRENGTHS, draw_scene, manipulate, play, render
from preprocessing.demo.people import PEOPLE
from utils import video_writer
from utils.cli import UserError
from utils.files import output_dir, read_json, write_json
from utils.locks import exclusive_folder
from utils.pool import run_jobs
from utils.terminal import say

FPS = 25
N_TRAIN_PEOPLE = 5  # of PEOPLE, the first ones; the last one is in test only


class Job(NamedTuple):
    """One video. name: a for a real video, a_b for a fake; people: its person, or those of a and b."""

    path: Path
    method: str
    name: str
    frames: int
    seed: int
    people: tuple[int, ...]


def make_data_set(args: argparse.Namespace) -> None:
    """Make the videos that do not exist yet in data_root/FF++. args: the options of make_demo_videos.py.

    Raises UserError if the folder holds another data set or a demo made with other settings, or is in use.
    """
    root = args.data_root / "FF++"
    numbers = {split: getattr(args, f"n_{split}") for split in SPLITS}
    recipe = {"seed": args.seed, "frames": args.frames, "frame_px": FRAME, "videos": numbers}
    recipe |= {"people": PEOPLE, "strengths": STRENGTHS, "render": RENDER | {"crf": CRF}}
    with exclusive_folder(root):
        _write_recipe(root, json.loads(json.dumps(recipe)))
        jobs = _list_jobs(args, numbers)
        missing = [job for job in jobs if not job.path.is_file()]
        start = time.perf_counter()
        run_jobs(make_video, missing, args.workers, "video")
    say(f"{len(jobs)} videos in {root}, {len(missing)} of them made now in {time.perf_counter() - start:.1f} s")


def _write_recipe(root: Path, recipe: dict[str, object]) -> None:
    note = root / "demo.json"
    if note.is_file():
        if read_json(note) != recipe:
            raise UserError(f"{root} holds a demo made with other settings; set another --data_root")
    elif any((root / f"{split}.json").exists() for split in SPLITS):
        raise UserError(f"{root} holds a data set that is no demo; set another --data_root")
    write_json(note, recipe)


def _list_jobs(args: argparse.Namespace, numbers: dict[str, int]) -> list[Job]:
    """Write the split files and make the folders. Returns all videos of the demo."""
    jobs, first = [], 0
    for split, number in numbers.items():
        names = [f"{i:03d}" for i in range(first, first + number)]
        first += number
        pairs = list(zip(names[::2], names[1::2], strict=True))
        reals, fakes = {}, {}
        for (a, b), (person_a, person_b) in zip(pairs, pairs_of_people(split, len(pairs)), strict=True):
            reals |= {a: (person_a,), b: (person_b,)}
            fakes |= {f"{a}_{b}": (person_a, person_b), f"{b}_{a}": (person_b, person_a)}
        for method in ("real", *METHOD_CODES):
            folder = output_dir(compression_dir(args.data_root, method, "c23") / "videos")
            videos = reals if method == "real" else fakes
            jobs += [
                Job(folder / f"{name}.mp4", method, name, args.frames, args.seed, people)
                for name, people in videos.items()
            ]
        write_json(args.data_root / "FF++" / f"{split}.json", pairs)
    return jobs


def pairs_of_people(split: str, number: int) -> list[tuple[int, int]]:
    """The people of a split's pairs of videos, as indices in PEOPLE: in turn all ordered pairs of those in training.

    In test then all ordered pairs of everyone, so that fewer videos show those who are not in training.
    """
    counts = (N_TRAIN_PEOPLE, len(PEOPLE)) if split == "test" else (N_TRAIN_PEOPLE,)
    in_turn = [(a, (a + step) % people) for people in counts for step in range(1, people) for a in range(people)]
    return [in_turn[index % len(in_turn)] for index in range(number)]


def make_video(job: Job) -> None:
    """Make one video. All random draws depend on nothing but the seed and the video's method and name."""
    numbers = [int(part) for part in job.name.split("_")]
    kind = ("real", *METHOD_CODES).index(job.method)
    scene = draw_scene(np.random.default_rng([job.seed, numbers[0]]), job.people[0], job.frames)
    rng = np.random.default_rng([job.seed, kind + 1, *numbers])
    if job.method == "real":
        canvases = [play(scene.person, scene.flip, scene.expression, swing) for swing in scene.swing]
    else:
        canvases = manipulate(rng, job.method, scene, donor=job.people[1])
    write_video(job.path, *render(rng, scene, canvases))


def write_video(path: Path, frames: np.ndarray, crf: int) -> None:
    """Encode frames [T, H, W, 3] uint8 RGB as H.264, FPS per second; the same frames give the same file.

    crf: Constant rate factor of x264, 0 (lossless) to 51.
    """
    video_writer.write_video(path, frames, FPS, {"preset": "ultrafast", "crf": str(crf)}, exact=True)
