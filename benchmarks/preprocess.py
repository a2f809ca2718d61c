"""Measure face extraction on the videos of benchmarks/footage.py; prints one line of JSON.

python benchmarks/preprocess.py --quality FOOTAGE   right faces, false crops, error of the eyes
python benchmarks/preprocess.py --speed FOOTAGE     seconds per video, and per step
python benchmarks/preprocess.py --memory            growth of the memory over 200 short videos

Options after a lone -- go to preprocessing/extract_faces.py, such as:
python benchmarks/preprocess.py --quality FOOTAGE -- --track         one face followed through each video
python benchmarks/preprocess.py --quality FOOTAGE -- --size 224
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # the repository root instead of this script's folder

import argparse
import contextlib
import csv
import functools
import json
import math
import statistics
import subprocess
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from unittest import mock

import av
import cv2
import numpy as np
import torch

from benchmarks import footage
from preprocessing import extract_faces
from preprocessing.detection.align import similarity_matrix, template
from preprocessing.detection.detectors import Detector
from preprocessing.detection.retinaface import RetinaFace
from preprocessing.extraction import crop_folder, face_crops, manifest
from preprocessing.extraction.face_crops import Job
from preprocessing.extraction.find_files import find_videos
from preprocessing.extraction.options import DETECTORS
from utils.cli import ArgumentParser, UserError, positive_int, script
from utils.files import read_json

ROOT = Path(__file__).resolve().parents[1]
STEPS = ("decode_s", "detect_s", "warp_s", "write_s")
TIMED_VIDEOS = 4  # videos whose steps --speed times; the first one of the first run is a warm-up and not counted
SPEED_VIDEOS = 8  # least number of videos for --speed
RIGHT_FACE = 0.5  # eye distances; a face whose eyes are found further from the true ones is another face
MEMORY_VIDEOS, MEMORY_FIRST = 200, 20


def get_args_parser() -> ArgumentParser:
    parser = ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="%(prog)s MODE [options] [-- ...]",
    )
    modes = parser.add_argument_group("modes").add_mutually_exclusive_group(required=True)
    modes.add_argument("--quality", type=Path, metavar="FOOTAGE", help="compare crops with the truth of footage.py")
    modes.add_argument("--speed", type=Path, metavar="FOOTAGE", help="time the extraction of at least 8 videos; frames "
                       "without a face cost more")  # fmt: skip
    modes.add_argument("--memory", action="store_true", help="resident memory over 200 short videos, one process")
    parser.add_argument("--crops", type=Path, help="quality: existing crops (default: make them)")
    parser.add_argument("--detector", choices=DETECTORS, default="mtcnn", help="face detector (default: mtcnn)")
    parser.add_argument("--detector_weights", help='its file of weights; "random" for retinaface measures its '
                        "speed, but finds no faces")  # fmt: skip
    parser.add_argument("--n_frames", type=positive_int, default=32, help="frames per video (default: 32)")
    parser.add_argument("--runs", type=positive_int, default=3, help="speed: runs, the median counts (default: 3)")
    parser.add_argument("extract_options", nargs="*", metavar="-- ...", help="options for extract_faces.py")
    return parser


def read_csv(path: Path) -> list[manifest.Row]:
    if not path.is_file():
        raise UserError(f"there is no {path}; make it with benchmarks/footage.py or extract_faces.py")
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def extract_command(args: argparse.Namespace, videos: Path, crops: Path, *options: str) -> list[str]:
    """The command that extracts all ``videos``; ``options`` override those after the lone --."""
    command = [sys.executable, str(ROOT / "preprocessing/extract_faces.py"), "--dataset", "videos"]
    command += ["--video_path", str(videos), "--save_path", str(crops), "--detector", args.detector]
    command += ["--n_frames", str(args.n_frames)]
    if args.detector_weights:
        command += ["--detector_weights", args.detector_weights]
    return [*command, *args.extract_options, *options]


def run_command(command: list[str]) -> float:
    """Run an extraction. Returns the seconds it took."""
    started = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise UserError(f"{' '.join(command)} failed: {done.stderr.strip()}")
    return time.perf_counter() - started


def random_weights(path: Path) -> None:
    """Write random weights of RetinaFace that keep its activations finite, to measure its speed."""
    generator = torch.Generator().manual_seed(0)
    state = RetinaFace().state_dict()
    for key in sorted(state):
        shape = state[key].shape
        if key.endswith("num_batches_tracked"):
            continue
        draw = torch.randn(shape, generator=generator)
        if key.endswith("running_var"):
            state[key] = 0.5 * draw.abs() + 0.75
        elif len(shape) == 4:
            state[key] = draw * 0.6 / math.sqrt(math.prod(shape[1:]))
        else:
            state[key] = 0.1 * draw + (1.0 if len(shape) == 1 and key.endswith("weight") else 0.0)
    torch.save(state, path)


def eyes_of(person: manifest.Row) -> np.ndarray:
    """[2, 2] the eyes of a row of truth.csv."""
    return np.array([[float(person[f"{eye}_eye_{axis}"]) for axis in "xy"] for eye in ("left", "right")])


def eye_errors(row: manifest.Row, truth: np.ndarray, size: int, scale: float) -> np.ndarray:
    """[2] distance of the true eyes from the template's in a row's crop, % of the crop's width."""
    matrix = similarity_matrix(manifest.landmarks_of(row), size, scale)
    there = truth @ matrix[:, :2].T + matrix[:, 2]
    return 100 / size * np.linalg.norm(there - template(size, scale)[:2], axis=1)


def is_at(row: manifest.Row, truth: np.ndarray) -> bool:
    """Whether the detected eyes are near the true ones."""
    away = np.linalg.norm(manifest.landmarks_of(row)[:2] - truth, axis=1).max()
    return bool(away <= RIGHT_FACE * np.linalg.norm(truth[1] - truth[0]))


def judge(rows: list[manifest.Row], truth: list[manifest.Row], size: int, scale: float) -> dict[str, object]:
    """Compare the manifest rows of some videos with their rows of truth.csv.

    Returns:
        Figures by name. recall: share of the frames with a visible main face whose crop shows it. other_person_crops:
        crops that show the other person, whether the main one is visible or not. false_crops: crops that show no
        face. empty_frames: frames without anybody, where every crop is false. Eye errors: over both eyes of the right
        crops, % of the crop's width.
    """
    people = defaultdict(list)
    for person in truth:
        people[person["video"], person["frame"]].append(person)
    counts: Counter[str] = Counter()
    missed: Counter[str] = Counter()
    errors = []
    for row in rows:
        here = people[row["video"], row["frame"]]
        main = next((person for person in here if person["main"] == "1"), None)
        visible = main is not None and main["visible"] == "1"
        counts["visible_frames"] += visible
        counts["empty_frames"] += not here
        shown = [person for person in here if row["status"] == "ok" and is_at(row, eyes_of(person))]
        if main in shown and visible:
            counts["right_crops"] += 1
            errors.append(eye_errors(row, eyes_of(main), size, scale))
        elif visible:
            missed["other_person" if shown else "false_crop" if row["status"] == "ok" else row["status"]] += 1
        counts["other_person_crops"] += bool(shown) and main not in shown
        counts["false_crops"] += row["status"] == "ok" and not shown
        counts["false_crops_on_empty_frames"] += row["status"] == "ok" and not here
    figures: dict[str, object] = {"frames": len(rows)}
    for name in ("visible_frames", "right_crops", "other_person_crops", "false_crops", "empty_frames"):
        figures[name] = counts[name]
    figures["false_crops_on_empty_frames"] = counts["false_crops_on_empty_frames"]
    figures["missed"] = dict(missed)
    figures["recall"] = counts["right_crops"] / counts["visible_frames"] if counts["visible_frames"] else None
    if errors:
        figures["eye_error_mean_percent"] = float(np.mean(errors))
        figures["eye_error_median_percent"] = float(np.median(errors))
        figures["eye_error_p95_percent"] = float(np.percentile(errors, 95))
    return figures


def quality(folder: Path, crops: Path) -> dict[str, object]:
    """Compare the crops made of footage with its truth, over all videos and per kind."""
    truth, rows = read_csv(folder / "truth.csv"), read_csv(crops / "manifest.csv")
    settings = read_json(crops / "manifest.json")
    figures = judge(rows, truth, settings["size"], settings["scale"])
    figures["kinds"] = {}
    for kind in footage.KINDS:
        members = [row for row in rows if row["video"].endswith(f"_{kind}")]
        if members:
            figures["kinds"][kind] = judge(members, truth, settings["size"], settings["scale"])
    return figures


def timed(seconds: dict[str, float], step: str, function: Callable) -> Callable:
    """Wrap ``function`` so that each call adds its time to ``seconds[step]``."""

    @functools.wraps(function)
    def run(*args: object, **kwargs: object) -> object:
        started = time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            seconds[step] += time.perf_counter() - started

    return run


@contextlib.contextmanager
def timers(seconds: dict[str, float], reads: list[set[int]]) -> Iterator[None]:
    """Inside the block the steps of crop_video add their times to ``seconds``, and wanted frames to ``reads``."""
    real = face_crops.read_frames

    def read_frames(path: Path, indices: Collection[int]) -> Iterator[tuple[int, np.ndarray]]:
        reads.append(set(indices))
        step = functools.partial(next, real(path, reads[-1]), None)
        yield from iter(timed(seconds, "decode_s", step), None)

    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.object(face_crops, "read_frames", read_frames))
        for step, owner, name in (
            ("detect_s", Detector, "detect"),
            ("warp_s", face_crops, "align_face"),
            ("write_s", face_crops, "save_image"),
        ):
            stack.enter_context(mock.patch.object(owner, name, timed(seconds, step, getattr(owner, name))))
        yield


def plain_read(video: Path, wanted: Collection[int]) -> float:
    """Seconds of decoding a video up to the last wanted frame, and of converting the wanted ones, with PyAV alone."""
    started = time.perf_counter()
    with av.open(str(video)) as container:
        container.streams.video[0].thread_type = "AUTO"
        for index, frame in zip(range(max(wanted) + 1), container.decode(video=0), strict=False):
            if index in wanted:
                frame.to_ndarray(format="rgb24")
    return time.perf_counter() - started


def time_steps(args: argparse.Namespace) -> dict[str, object]:
    """Seconds of the steps of a video's extraction, medians over videos and runs.

    The first videos are extracted in this process, with timers around the steps. decode_s is the time in read_frames,
    for all passes over the video; other_s is the rest (counting the frames, picking faces, writing rows). plain_read_s
    is the time to read the wanted frames of the same file with nothing but OpenCV.
    """
    samples = defaultdict(list)
    names: dict[str, None] = {}

    def crop_video(job: Job) -> None:
        seconds, reads = dict.fromkeys(STEPS, 0.0), []
        started = time.perf_counter()
        with timers(seconds, reads):
            face_crops.crop_video(job)
        seconds["seconds_per_video"] = time.perf_counter() - started
        seconds["other_s"] = seconds["seconds_per_video"] - sum(seconds[step] for step in STEPS)
        if not reads:
            raise UserError(f"{job.video} cannot be read; make the videos with benchmarks/footage.py")
        seconds["plain_read_s"] = plain_read(job.video, reads[0])
        seconds["crops"] = len(list((job.faces / job.name).glob("[0-9]*")))
        for step, value in seconds.items():
            samples[step].append(value)
        names[job.name] = None

    options = ("--workers", "1", "--limit", str(TIMED_VIDEOS))
    for _ in range(args.runs):
        with (
            tempfile.TemporaryDirectory() as folder,
            mock.patch.object(crop_folder, "crop_video", crop_video),
            contextlib.redirect_stdout(sys.stderr),
        ):
            command = extract_command(args, args.speed / "videos", Path(folder), *options)
            if extract_faces.main(command[2:]):
                raise UserError(f"{' '.join(command)} failed in this process")
    figures: dict[str, object] = {"video": " ".join(names)}
    figures |= {step: statistics.median(values[1:]) for step, values in samples.items()}
    figures["decode_ratio"] = figures["decode_s"] / figures["plain_read_s"]
    return figures


def time_command(args: argparse.Namespace, half: int) -> dict[str, float]:
    """Seconds per video of the command with two processes, run over ``half`` and over twice as many videos.

    The difference of the two medians over runs leaves out the start of the processes. Raises UserError if the times
    cannot be right.
    """
    seconds, limits = defaultdict(list), (half, 2 * half)
    for _ in range(args.runs):
        for limit in limits:
            with tempfile.TemporaryDirectory() as folder:
                crops = Path(folder)
                options = ("--workers", "2", "--limit", str(limit))
                seconds[limit].append(run_command(extract_command(args, args.speed / "videos", crops, *options)))
                rows = read_csv(crops / "manifest.csv")
                done = len({row["video"] for row in rows})
                if done != limit:
                    raise UserError(f"the command did {done} videos instead of {limit}; leave out options that do so")
    few, many = (statistics.median(seconds[limit]) for limit in limits)
    each = (many - few) / half
    if each <= 0 or few < half * each:
        raise UserError(f"{few:.2f} s for {half} videos and {many:.2f} s for {2 * half} do not tell the time of one: "
                        "use an idle machine, more --runs or more videos, all alike")  # fmt: skip
    frames = sum(row["frame"] != "" for row in rows) / (2 * half)
    return {
        "command_videos": half,
        "command_seconds_per_video": each,
        "command_start_s": few - half * each,
        "frames_per_s": frames / each,
    }


def speed(args: argparse.Namespace) -> dict[str, object]:
    """Time some videos in this process on one thread, then the command with two processes.

    The videos should be alike (footage.py --kinds single). Decoding may use more threads in both.
    """
    videos, _ = find_videos([args.speed / "videos"], args.speed / "crops")
    if len(videos) < SPEED_VIDEOS:
        raise UserError(f"--speed needs at least {SPEED_VIDEOS} videos, {args.speed}/videos holds {len(videos)}; "
                        f"make them with benchmarks/footage.py --kinds single --n_videos {SPEED_VIDEOS}")  # fmt: skip
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    half = len(videos) // 4 * 2  # even: both processes get the same number of videos
    return {"detector": args.detector, **time_steps(args), **time_command(args, half)}


def resident_mb(pid: int) -> float:
    """Resident memory of a process, MB; 0 if it has ended. Linux only."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1e3 for line in status.splitlines() if line.startswith("VmRSS")), 0.0)


def memory(args: argparse.Namespace) -> dict[str, float]:
    """Extract 200 short videos in one process and watch its resident memory.

    A figure "after n" is the median over the ten videos up to the n-th. Raises UserError on other systems than Linux.
    """
    if not sys.platform.startswith("linux"):
        raise UserError("--memory reads /proc, which Linux alone has")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = ["--output", str(folder / "made"), "--n_videos", "4", "--frames", "12", "--workers", "1"]
        with contextlib.redirect_stdout(sys.stderr):
            footage.main([*made, "--kinds", "single", "two"])
        (folder / "videos").mkdir()
        sources = sorted((folder / "made" / "videos").glob("*.mp4"))
        for i in range(MEMORY_VIDEOS):
            (folder / "videos" / f"{i:03d}.mp4").symlink_to(sources[i % len(sources)])
        crops = folder / "crops"
        command = extract_command(args, folder / "videos", crops, "--workers", "1")
        seen: list[tuple[int, float]] = []
        with (folder / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
            while process.poll() is None:
                seen.append(
                    (len(list(crops.glob("[0-9]*"))), resident_mb(process.pid))
                )  # crop folders: all show a face
                time.sleep(0.1)
        if process.returncode:
            raise UserError(f"{' '.join(command)} failed: {(folder / 'log').read_text()}")
    early, late = (
        statistics.median(mb for done, mb in seen if after - 10 <= done <= after and mb)
        for after in (MEMORY_FIRST, MEMORY_VIDEOS)
    )
    peak = max(mb for _, mb in seen)
    return {"rss_after_20_mb": early, "rss_after_200_mb": late, "rss_growth_mb": late - early, "rss_peak_mb": peak}


def rounded(value: object) -> object:
    """Round floats to four decimals, in nested dictionaries too."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    return round(value, 4) if isinstance(value, float) else value


@script
def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark; see --help."""
    parser = get_args_parser()
    args = parser.parse_args(argv)
    if args.crops and not args.quality:
        parser.error("--crops goes with --quality only")
    with tempfile.TemporaryDirectory() as folder:
        if args.detector_weights == "random":
            if args.detector != "retinaface":
                parser.error("--detector_weights random goes with --detector retinaface")
            args.detector_weights = f"{folder}/random.pth"
            random_weights(Path(args.detector_weights))
        if args.quality:
            crops = args.crops or Path(folder) / "crops"
            if not args.crops:
                run_command(extract_command(args, args.quality / "videos", crops))
            figures = quality(args.quality, crops)
        else:
            figures = speed(args) if args.speed else memory(args)
    print(json.dumps(rounded(figures)))


if __name__ == "__main__":
    sys.exit(main())
