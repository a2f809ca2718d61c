"""Raw video -> aligned face crops and a manifest that accounts for every wanted frame.

python preprocessing/extract_faces.py --dataset FFpp --data_root data --compression c23
python preprocessing/extract_faces.py --dataset videos --video_path DIR --save_path DIR

Crops go to <faces>/<video>/%04d.png, the number being the frame's index in its video. A second run with the same
options does what is missing; a run can be stopped at any time, and several may work in one place.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # the repository root instead of this script's folder

import argparse
import contextlib
import time
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import version

from preprocessing.extraction.options import environment_number, get_args_parser, parse_args
from utils.cli import UserError, answer_first, script

answer_first(__name__, get_args_parser)

import cv2
import torch

from datasets.raw_videos import Video, VideoSet
from datasets.test_sets import TEST_SETS
from preprocessing.detection.detectors import choose_detector
from preprocessing.detection.retinaface import load_weights
from preprocessing.extraction import manifest
from preprocessing.extraction.crop_folder import crop_unclaimed, give_up, is_finished, merge, working_in
from preprocessing.extraction.face_crops import MAX_MISFIT, MIN_CONFIDENCE, MIN_FACE, Job, Settings
from preprocessing.extraction.video import VIDEO_SUFFIXES, find_videos
from utils.files import file_sha256
from utils.pool import run_jobs


def choose_device(name: str) -> str:
    if name == "auto":
        if not torch.cuda.is_available():
            return "cpu"
        return f"cuda:{environment_number('LOCAL_RANK', 0) % torch.cuda.device_count()}"
    try:
        kind = torch.device(name).type
    except RuntimeError as error:
        raise UserError(f"--device {name} is not a device; use cpu, cuda or cuda:1") from error
    if kind not in ("cpu", "cuda"):
        raise UserError(f"--device {name} is not supported; use cpu, cuda or cuda:1")
    if name == "cuda" and torch.cuda.is_available():
        return choose_device("auto")
    if kind == "cuda" and not torch.cuda.is_available():
        raise UserError(f"--device {name}: torch finds no CUDA device here; use --device cpu")
    return name


def video_sets(args: argparse.Namespace) -> list[VideoSet]:
    """The videos of the data set, at most --limit of each class."""
    if args.dataset in TEST_SETS:
        sets = TEST_SETS[args.dataset].videos(args.data_root, args.compression, args.split)
    else:
        videos = [Video(name, path, "videos") for name, path in find_videos(args.video_path).items()]
        sets = [VideoSet(args.save_path, args.save_path, videos)]
    return [group._replace(videos=first_of_each_class(group.videos, args.limit)) for group in sets]


def first_of_each_class(videos: list[Video], limit: int | None) -> list[Video]:
    """At most ``limit`` videos of each label; None = all."""
    seen: Counter[str] = Counter()
    kept = []
    for video in videos:
        seen[video.label] += 1
        if limit is None or seen[video.label] <= limit:
            kept.append(video)
    return kept


def settings_of(args: argparse.Namespace, detector: str, weights: Path | None) -> Settings:
    return Settings(
        protocol=args.protocol,
        detector=detector,
        min_confidence=MIN_CONFIDENCE[detector],
        weights=file_sha256(weights) if weights else None,
        detect_side=None if args.detect_side == "full" else args.detect_side,
        retry=args.retry,
        track=args.track,
        size=args.size,
        scale=args.scale,
        format=args.format,
        quality=args.quality,
    )


def recipe_of(args: argparse.Namespace, settings: Settings) -> dict[str, object]:
    """manifest.json: everything that decides the crops, and the versions of the libraries that made them."""
    recipe = settings._asdict() | {"dataset": args.dataset}
    recipe |= {"min_face": MIN_FACE, "max_misfit": MAX_MISFIT} if args.protocol == "ours" else {}
    recipe["compression"] = args.compression if args.dataset in ("FFpp", "FSh") else None
    libraries = {"opencv": cv2.__version__, "torch": torch.__version__}
    return recipe | {"versions": libraries | {"facenet-pytorch": version("facenet-pytorch")}}


def print_summary(sets: list[VideoSet], accounts: dict[Path, dict[str, manifest.Account]], n_frames: int | str) -> None:
    """One line per class: what became of its videos and frames. coverage: crops / wanted frames, where a video without
    any frame counts with --n_frames of them."""
    print(f"{'class':15} {'videos':>7} {'with crops':>10} {'frames':>7} {'crops':>7} {'coverage':>8}  dropped")
    for group in sets:
        for label, videos in by_label(group.videos).items():
            known = [accounts[group.root][name] for name in videos if name in accounts[group.root]]
            status = sum((account.status for account in known), Counter())
            lost = sum(status[name] for name in manifest.NO_VIDEO)
            wanted = sum(account.frames for account in known) + (lost * n_frames if isinstance(n_frames, int) else 0)
            covered = sum(account.status["ok"] > 0 for account in known)
            dropped = [f"{status[name]} {name}" for name in manifest.STATUSES[1:] if status[name]]
            dropped += [f"{len(videos) - len(known)} videos not done yet"] if len(known) < len(videos) else []
            moved = sum(account.moved for account in known)
            dropped += [f"({moved} crops are of a neighbouring frame)"] if moved else []
            share = f"{status['ok'] / wanted:8.1%}" if wanted else "       -"
            print(f"{label:15} {len(videos):7} {covered:10} {wanted:7} {status['ok']:7} {share}  "
                  f"{', '.join(dropped) or 'none'}")  # fmt: skip


def by_label(videos: list[Video]) -> dict[str, list[str]]:
    """Label -> names of its videos."""
    names: dict[str, list[str]] = {}
    for video in videos:
        names.setdefault(video.label, []).append(video.name)
    return names


@script
def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    device = choose_device(args.device)
    detector, weights = choose_detector(args.detector, args.detector_weights)
    if weights:
        load_weights(weights)  # a file that is refused must not have made folders
    settings = settings_of(args, detector, weights)
    recipe = recipe_of(args, settings)
    sets = video_sets(args)
    videos = [(group, video) for group in sets for video in group.videos]
    if not any(video.path.is_file() for _, video in videos):
        where = f"none of {len(videos)} videos is there, such as {videos[0][1].path}" if videos else "there is no video"
        hint = f"{', '.join(VIDEO_SUFFIXES)} count" if args.dataset == "videos" else "check --data_root"
        raise UserError(f"{where}; {hint}")
    number, count = args.shard
    auto = " (auto: no RetinaFace weights in pretrained/)" if args.detector == "auto" and weights is None else ""
    part = f", shard {number} of {count}" if count > 1 else ""
    print(f"detector: {detector}{auto}, device: {device}, processes: {args.workers}{part}")
    n_frames = None if args.n_frames == "all" else args.n_frames
    shard = [
        (group, Job(video.name, video.path, group.root, group.faces, n_frames, settings, device, weights))
        for group, video in videos[number::count]
    ]
    with contextlib.ExitStack() as stack:
        for group in sets:
            mine = [job for owner, job in shard if owner is group]
            names = {video.name for video in group.videos}
            stack.enter_context(working_in(group.root, mine, names, recipe, args.overwrite))
        jobs = [job for _, job in shard if not is_finished(job)]
        start = time.perf_counter()
        try:
            cropped = run_jobs(crop_unclaimed, jobs, args.workers, "video", give_up)
        finally:
            accounts = {group.root: merge(group.root) for group in sets}
    seconds = time.perf_counter() - start
    print_summary(sets, accounts, args.n_frames)
    done = [accounts[job.root][job.name] for job, mine in zip(jobs, cropped, strict=True) if mine]
    frames = sum(account.frames for account in done)
    print(f"{len(done)} videos and {frames} frames in {seconds:.1f} s, {frames / max(seconds, 1e-9):.1f} frames/s")
    if not all(cropped):
        print(f"{len(jobs) - len(done)} more videos are being cropped by another run in the same place")
    lost = [accounts[group.root].get(video.name) for group, video in videos]
    if all(account and account.status.keys() <= set(manifest.NO_VIDEO) for account in lost):
        raise UserError(f"none of {len(videos)} videos could be read; the reasons are in {sets[0].root}/manifest.csv")


if __name__ == "__main__":
    sys.exit(main())
