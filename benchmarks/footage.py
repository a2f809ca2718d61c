"""Make 720p H.264 videos of two photographs seen by a moving camera, with the exact positions of the eyes.

python benchmarks/footage.py --output data/footage

Writes videos/<number>_<kind>.mp4 and truth.csv. The kind says who is in the picture:
  single    one person, always in the picture
  two       the main person and a smaller one who stays
  crossing  the main person and a smaller one who crosses the picture behind them
  approach  the main person and one who comes nearer, looks larger for a fifth of the time, and goes back
  away      one person who is out of the picture for a third of the time
  none      nobody
truth.csv has a row for every frame and person: the eye centres in pixels of the frame ("left" is the viewer's left),
visible (the whole face box is in the picture and nobody covers it) and main. The same options give the same truth. The
photographs come with scikit-image and matplotlib.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # the repository root instead of this script's folder

import functools
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import cv2
import numpy as np
import skimage.data

from preprocessing.demo.people import photographs
from preprocessing.extraction.manifest import Row, write_rows
from utils.cli import ArgumentParser, non_negative_int, positive_int, script
from utils.cpu import available_cores
from utils.files import output_dir
from utils.pool import run_jobs
from utils.video_writer import write_video

WIDTH, HEIGHT, FPS = 1280, 720, 25
KINDS = ("single", "two", "crossing", "approach", "away", "none")
COLUMNS = ("video", "frame", "person", "left_eye_x", "left_eye_y", "right_eye_x", "right_eye_y", "visible", "main")
PEOPLE = ("astronaut", "hopper")
# Centres of the irises in the photographs, measured by hand at 24-fold magnification (to about 0.5 px and 1 px).
EYES = {"astronaut": [[203.3, 100.2], [246.3, 102.4]], "hopper": [[222.5, 189.5], [305.3, 186.5]]}
# Head and shoulders in the photographs, outlined by hand. The photographs' last row is repeated for BELOW px.
BELOW = 300
OUTLINES = {
    "astronaut": [
        (18, 811), (18, 511), (20, 400), (40, 310), (62, 250), (100, 215), (115, 190), (130, 163), (160, 150),
        (184, 149), (180, 124), (166, 118), (155, 100), (153, 75), (162, 48), (185, 28), (215, 17), (245, 17),
        (275, 32), (293, 55), (301, 85), (297, 105), (285, 122), (272, 130), (264, 172), (295, 205), (305, 235),
        (330, 250), (350, 280), (362, 348), (430, 345), (470, 365), (490, 410), (511, 470), (511, 811),
    ],
    "hopper": [
        (15, 899), (15, 599), (25, 480), (38, 400), (60, 375), (120, 355), (190, 330), (200, 318), (190, 297),
        (170, 285), (160, 260), (153, 225), (151, 195), (158, 178), (150, 160), (147, 110), (165, 92),
        (176, 68), (200, 48), (235, 28), (280, 24), (320, 38), (348, 62), (354, 88), (366, 95), (371, 120),
        (370, 160), (366, 178), (377, 200), (372, 235), (362, 262), (358, 285), (345, 300), (332, 312),
        (340, 330), (380, 355), (460, 380), (485, 392), (500, 420), (511, 470), (511, 899),
    ],
}  # fmt: skip
# The face box about the middle of the eyes, in eye distances: x1, y1, x2, y2; a face's width is that of its box.
FACE_BOX = (-1.1, -0.75, 1.1, 1.9)
WIDTHS = {"astronaut": (95, 200), "hopper": (95, 300)}  # px, face of the main person before the camera's zoom
SCENERY = ("coffee", "chelsea", "rocket", "brick", "grass", "gravel", "hubble_deep_field", "immunohistochemistry")
MARGIN = 25  # px between a face that is to be seen and the picture's edge


class Person(NamedTuple):
    """One person of a video. matrices: [T, 3, 3], photograph -> frame."""

    name: str
    matrices: np.ndarray


class Plan(NamedTuple):
    """Positions in a video. people: the main person first. camera: [T, 3, 3], scenery centred on (0, 0) -> frame."""

    people: list[Person]
    camera: np.ndarray


class Job(NamedTuple):
    """One video to make."""

    path: Path
    kind: str
    main: str  # of PEOPLE
    frames: int
    seed: tuple[int, int]


def get_args_parser() -> ArgumentParser:
    parser = ArgumentParser(description="Make 720p videos with faces in known places.")
    parser.add_argument("--output", type=Path, required=True, help="folder for videos/ and truth.csv")
    parser.add_argument("--n_videos", type=positive_int, default=24, help="videos; kinds and people take turns")
    parser.add_argument("--frames", type=positive_int, default=300, help="frames of each video, 25 a second")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS), help="kinds to make")
    parser.add_argument("--seed", type=non_negative_int, default=0, help="of all random draws")
    parser.add_argument("--workers", type=positive_int, default=min(8, available_cores()), help="processes")
    return parser


def face_box(eyes: np.ndarray) -> np.ndarray:
    """The corners [4, 2] of the face box about the eyes [2, 2] of an upright face."""
    x1, y1, x2, y2 = np.array(FACE_BOX) * np.linalg.norm(eyes[1] - eyes[0])
    return eyes.mean(axis=0) + [[x1, y1], [x2, y1], [x2, y2], [x1, y2]]


def smooth_path(rng: np.random.Generator, frames: int, hertz: float) -> np.ndarray:
    """A smooth random path [T] within -1..1 that oscillates about ``hertz`` times a second."""
    seconds = np.arange(frames)[:, None] / FPS
    rates, phases = hertz * rng.uniform(0.4, 1.6, 3), rng.uniform(0, 2 * np.pi, 3)
    return np.sin(2 * np.pi * rates * seconds + phases) @ [0.5, 0.3, 0.2]


def hump(frames: int, start: float, stop: float, slope: float) -> np.ndarray:
    """[T]: 1 from ``start`` to ``stop``, 0 elsewhere, with smooth slopes; all arguments are shares of the video."""
    share = np.arange(frames) / frames
    rise = np.clip(np.minimum(share - start, stop - share) / slope + 1, 0, 1)
    return rise * rise * (3 - 2 * rise)


def similarity(
    scale: np.ndarray | float, angle: np.ndarray | float, x: np.ndarray | float, y: np.ndarray | float
) -> np.ndarray:
    """Rotate by ``angle`` (radians), scale, then shift; numbers or [T]. Returns [3, 3] or [T, 3, 3]."""
    scale, angle, x, y = np.broadcast_arrays(scale, angle, x, y)
    matrix = np.zeros((*scale.shape, 3, 3))
    matrix[..., 0, 0] = matrix[..., 1, 1] = scale * np.cos(angle)
    matrix[..., 1, 0] = scale * np.sin(angle)
    matrix[..., 0, 1] = -matrix[..., 1, 0]
    matrix[..., 0, 2], matrix[..., 1, 2], matrix[..., 2, 2] = x, y, 1
    return matrix


def transform(matrix: np.ndarray, points: Sequence[Sequence[float]] | np.ndarray) -> np.ndarray:
    """Map points [n, 2] by an affine matrix [3, 3]."""
    return np.asarray(points) @ matrix[:2, :2].T + matrix[:2, 2]


def place(
    rng: np.random.Generator, name: str, width: np.ndarray | float, x: np.ndarray | float, y: np.ndarray | float,
    frames: int,
) -> np.ndarray:  # fmt: skip
    """Put a person's face, ``width`` px wide, at (x, y) of the scene, mirrored at random and swaying a little.

    Returns [T, 3, 3] photograph -> scene.
    """
    corners = face_box(np.array(EYES[name]))
    centre, photo_width = corners.mean(axis=0), corners[1, 0] - corners[0, 0]
    mirror = np.diag([rng.choice([-1.0, 1.0]), 1.0, 1.0])
    sway_x, sway_y, turn = (smooth_path(rng, frames, 0.4) for _ in range(3))
    there = similarity(width / photo_width, np.deg2rad(4) * turn, x + 0.06 * width * sway_x, y + 0.04 * width * sway_y)
    return there @ mirror @ similarity(1, 0, -centre[0], -centre[1])


def plan_video(job: Job) -> Plan:
    """Draw the paths of a video's people and of its camera. All draws depend on the job's seed only."""
    rng = np.random.default_rng(job.seed)
    kind, main, frames = job.kind, job.main, job.frames
    second = PEOPLE[1 - PEOPLE.index(main)]
    width = np.exp(rng.uniform(*np.log(WIDTHS[main])))
    if kind in ("two", "crossing", "approach"):
        width = min(width, 180.0)  # leaves room for the other one
    zoom = np.exp(0.15 * smooth_path(rng, frames, 0.15))
    angle = np.deg2rad(rng.uniform(-3, 3) + 4 * smooth_path(rng, frames, 0.2))
    jitter = 3 * np.stack([smooth_path(rng, frames, 3.0) for _ in range(2)])
    reach = np.array([0.75, 0.8]) * width * 1.17 + MARGIN  # half of the turned, swaying box at the largest zoom
    low, high = reach, np.array([WIDTH, HEIGHT]) - reach
    if kind in ("two", "crossing", "approach"):
        high[0] = max(low[0] + 1, 0.4 * WIDTH)  # the main person stays on one side
    swing = np.minimum((high - low) / 2, [220, 60])
    middle = low + swing + (high - low - 2 * swing) * rng.uniform(size=2)
    x, y = (middle[i] + swing[i] * smooth_path(rng, frames, 0.2) + jitter[i] for i in range(2))
    if kind == "away":
        start = rng.uniform(0.25, 0.45)
        x = x + rng.choice([-1, 1]) * (WIDTH + 2 * width) * hump(frames, start, start + 0.2, 0.2)
    side = 1 if kind in ("single", "away", "none") else rng.choice([-1, 1])
    camera = similarity(zoom, angle, x if side > 0 else WIDTH - x, y)
    if kind == "none":
        return Plan([], camera)
    people = [Person(main, camera @ place(rng, main, width, 0.0, 0.0, frames))]
    if kind == "two":
        other = width * rng.uniform(0.5, 0.75)
        way = place(rng, second, other, side * rng.uniform(1.6, 2.6) * width, rng.uniform(-0.4, 0.1) * width, frames)
    elif kind == "crossing":
        other = width * rng.uniform(0.5, 0.75)
        across = rng.choice([-1, 1]) * np.linspace(-1.05 * WIDTH, 1.05 * WIDTH, frames)
        way = place(rng, second, other, across, rng.uniform(-0.7, -0.2) * width, frames)
    elif kind == "approach":
        start = rng.uniform(0.25, 0.65)
        other = width * (0.55 + rng.uniform(0.7, 1.0) * hump(frames, start, start + 0.08, 0.1))
        way = place(rng, second, other, side * rng.uniform(2.4, 3.0) * width, rng.uniform(-0.2, 0.2) * width, frames)
    else:
        return Plan(people, camera)
    return Plan([*people, Person(second, camera @ way)], camera)


def box_in_frame(person: Person, frame: int) -> np.ndarray:
    """The corners [4, 2] of a person's face box in pixels of the frame."""
    return transform(person.matrices[frame], face_box(np.array(EYES[person.name])))


def width_in_frame(person: Person, frame: int) -> float:
    """The width of a person's face in the frame, px. The person with the larger face stands in front."""
    corners = box_in_frame(person, frame)
    return float(np.linalg.norm(corners[1] - corners[0]))


def is_visible(person: Person, people: Sequence[Person], frame: int) -> bool:
    """Is the whole face box in the frame and not covered by a person in front?"""
    box = box_in_frame(person, frame)
    if (box < 0).any() or (box > [WIDTH - 1, HEIGHT - 1]).any():
        return False
    face, front = np.zeros((2, HEIGHT // 4, WIDTH // 4), np.uint8)
    cv2.fillPoly(face, [np.rint(box / 4).astype(np.int32)], 1)
    for other in people:
        if width_in_frame(other, frame) > width_in_frame(person, frame):
            outline = transform(other.matrices[frame], OUTLINES[other.name])
            cv2.fillPoly(front, [np.rint(outline / 4).astype(np.int32)], 1)
    return not (face & front).any()


def truth_rows(video: str, plan: Plan) -> list[Row]:
    """The rows of truth.csv for one video."""
    rows = []
    for frame in range(len(plan.camera)):
        for number, person in enumerate(plan.people):
            eyes = transform(person.matrices[frame], EYES[person.name])
            eyes = eyes[np.argsort(eyes[:, 0])]  # mirroring swaps them
            visible = is_visible(person, plan.people, frame)
            values = [video, frame, person.name, *(f"{value:.3f}" for value in eyes.ravel())]
            rows.append(dict(zip(COLUMNS, map(str, [*values, int(visible), int(number == 0)]), strict=True)))
    return rows


@functools.cache
def cutout(name: str) -> np.ndarray:
    """A photograph with its person's outline as soft alpha channel, [H + BELOW, W, 4] uint8 RGBA."""
    photo = cv2.copyMakeBorder(photographs()[PEOPLE.index(name)], 0, BELOW, 0, 0, cv2.BORDER_REPLICATE)
    cover = np.zeros(photo.shape[:2], np.uint8)
    cv2.fillPoly(cover, [np.array(OUTLINES[name], np.int32)], 255)
    return np.dstack([photo, cv2.GaussianBlur(cover, (0, 0), 1.5)])


def draw_person(frame: np.ndarray, name: str, matrix: np.ndarray) -> None:
    """Draw a person into ``frame`` [H, W, 3] uint8 in place. matrix: [3, 3] photograph -> frame."""
    picture = cutout(name)
    height, width = picture.shape[:2]
    corners = transform(matrix, [[0, 0], [width, 0], [width, height], [0, height]])
    x1, y1 = np.clip(np.floor(corners.min(axis=0)).astype(int), 0, [WIDTH, HEIGHT]).tolist()
    x2, y2 = np.clip(np.ceil(corners.max(axis=0)).astype(int) + 1, 0, [WIDTH, HEIGHT]).tolist()
    if x1 >= x2 or y1 >= y2:
        return
    scale = np.sqrt(abs(np.linalg.det(matrix[:2, :2])))
    if scale < 1:  # shrink with area averages first; the bilinear warp alone would alias
        picture = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        x, y = width / picture.shape[1], height / picture.shape[0]
        matrix = matrix @ [[x, 0, x / 2 - 0.5], [0, y, y / 2 - 0.5], [0, 0, 1]]  # pixel centres are whole numbers
    matrix = np.array([[1, 0, -x1], [0, 1, -y1], [0, 0, 1]]) @ matrix
    drawn = cv2.warpAffine(picture, matrix[:2], (x2 - x1, y2 - y1)).astype(np.float32)
    part = frame[y1:y2, x1:x2]
    part[...] = np.rint(part + (drawn[..., :3] - part) * (drawn[..., 3:] / 255))


def draw_scenery(rng: np.random.Generator) -> np.ndarray:
    """A background without people: a large picture and some smaller ones on it. Returns [1200, 1920, 3] uint8."""
    scene = np.zeros((1200, 1920, 3), np.uint8)
    boxes = [(0, 0, 1920, 1200)]
    for _ in range(rng.integers(2, 6)):
        w, h = rng.integers(200, 600, 2)
        boxes.append((rng.integers(1920 - w), rng.integers(1200 - h), w, h))
    for (x, y, w, h), pick in zip(boxes, rng.permutation(len(SCENERY)), strict=False):
        picture = getattr(skimage.data, SCENERY[pick])()
        if picture.ndim == 2:
            picture = np.uint8(picture[..., None] * rng.uniform(0.5, 1.0, 3))
        scene[y : y + h, x : x + w] = cv2.resize(picture, (int(w), int(h)), interpolation=cv2.INTER_LINEAR)
    return cv2.GaussianBlur(scene, (0, 0), rng.uniform(0.5, 4.0))


def render(rng: np.random.Generator, plan: Plan) -> Iterator[np.ndarray]:
    """The frames, each [HEIGHT, WIDTH, 3] uint8 RGB: scenery, people, then light, blur and noise over all."""
    frames = len(plan.camera)
    scenery = draw_scenery(rng)
    height, width = scenery.shape[:2]
    cameras = plan.camera @ similarity(1, 0, -width / 2, -height / 2)
    y, x = np.mgrid[-1 : 1 : HEIGHT * 1j, -1 : 1 : WIDTH * 1j]
    direction, strength, warmth = rng.uniform([0, 0, -0.08], [2 * np.pi, 0.25, 0.08])
    light = 1 + strength * (np.cos(direction) * x + np.sin(direction) * y)
    light = (light[..., None] * [1 + warmth, 1.0, 1 - warmth]).astype(np.float32)
    gains = 0.95 + 0.2 * smooth_path(rng, frames, 0.3)
    blurs = rng.uniform(0.4, 1.0) + 0.4 * (1 + smooth_path(rng, frames, 0.3))
    noise = np.float32(rng.uniform(1, 4)) * rng.standard_normal((HEIGHT + 64, WIDTH + 64, 3), dtype=np.float32)
    for t in range(frames):
        frame = cv2.warpAffine(scenery, cameras[t, :2], (WIDTH, HEIGHT), borderMode=cv2.BORDER_REFLECT)
        for person in sorted(plan.people, key=lambda person: width_in_frame(person, t)):
            draw_person(frame, person.name, person.matrices[t])
        dy, dx = rng.integers(64, size=2)
        lit = cv2.multiply(cv2.GaussianBlur(frame, (0, 0), blurs[t]), light, scale=gains[t], dtype=cv2.CV_32F)
        yield cv2.add(lit, noise[dy : dy + HEIGHT, dx : dx + WIDTH], dtype=cv2.CV_8U)


def make_video(job: Job) -> list[Row]:
    """Draw and encode one video. Returns its rows of truth.csv."""
    plan = plan_video(job)
    write_video(job.path, render(np.random.default_rng((*job.seed, 1)), plan), FPS)
    return truth_rows(job.path.stem, plan)


def plan_jobs(folder: Path, kinds: Sequence[str], n_videos: int, frames: int, seed: int) -> list[Job]:
    """The videos to make in ``folder``; kinds take turns, then people."""
    jobs = []
    for i in range(n_videos):
        turn, kind = i // len(kinds), kinds[i % len(kinds)]
        jobs.append(Job(folder / f"{i:03d}_{kind}.mp4", kind, PEOPLE[turn % 2], frames, (seed, i)))
    return jobs


@script
def main(argv: Sequence[str] | None = None) -> None:
    """Make the videos; see --help."""
    args = get_args_parser().parse_args(argv)
    folder = output_dir(args.output / "videos")
    jobs = plan_jobs(folder, args.kinds, args.n_videos, args.frames, args.seed)
    start = time.perf_counter()
    tables = run_jobs(make_video, jobs, args.workers, "video")
    write_rows(args.output / "truth.csv", [row for table in tables for row in table], COLUMNS)
    print(f"{len(jobs)} videos of {args.frames} frames in {folder}, made in {time.perf_counter() - start:.1f} s")


if __name__ == "__main__":
    sys.exit(main())
