"""The work of extract_faces.py: which videos are cropped, how, and what becomes of them."""

import argparse
import contextlib
import time
from collections import Counter
from importlib.metadata import version
from pathlib import Path

import cv2
import torch

from datasets.raw_videos import Video, VideoSet
from datasets.test_sets import TEST_SETS
from preprocessing.detection.detectors import choose_detector, detector_device
from preprocessing.detection.retinaface import load_weights
from preprocessing.extraction import manifest
from preprocessing.extraction.crop_folder import crop_unclaimed, give_up, is_finished, merge, working_in
from preprocessing.extraction.face_crops import MAX_MISFIT, MIN_CONFIDENCE, MIN_FACE, Job, Settings
from preprocessing.extraction.video import VIDEO_SUFFIXES, find_videos
from utils.cli import UserError
from utils.files import file_sha256
from utils.pool import run_jobs
from utils.text_table import text_table


def video_sets(args: argparse.Namespace) -> list[VideoSet]:
    """The videos of the data set, at most --limit of each class."""
    data_set = TEST_SETS.get(args.dataset)
    if data_set and data_set.videos:
        sets = data_set.videos(args.data_root, args.compression, args.split)
    else:
        videos = [Video(name, path, "videos") for name, path in find_videos(args.video_path).items()]
        sets = [VideoSet(args.save_path, args.save_path, videos)]
    return [group._replace(videos=_first_of_each_class(group.videos, args.limit)) for group in sets]


def _first_of_each_class(videos: list[Video], limit: int | None) -> list[Video]:
    chosen = {video for group in _by_label(videos).values() for video in group[:limit]}
    return [video for video in videos if video in chosen]


def _by_label(videos: list[Video]) -> dict[str, list[Video]]:
    groups: dict[str, list[Video]] = {}
    for video in videos:
        groups.setdefault(video.label, []).append(video)
    return groups


def _settings(args: argparse.Namespace, detector: str, weights: Path | None) -> Settings:
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


def _recipe(args: argparse.Namespace, settings: Settings) -> dict[str, object]:
    """The content of manifest.json: all that decides the crops, and the versions of the libraries."""
    recipe = settings._asdict() | {"dataset": args.dataset}
    if args.protocol == "ours":
        recipe |= {"min_face": MIN_FACE, "max_misfit": MAX_MISFIT}
    else:
        recipe["suppression"] = False  # of overlapping boxes
    recipe["compression"] = args.compression if args.dataset in ("FFpp", "FSh") else None
    libraries = {"opencv": cv2.__version__, "torch": torch.__version__}
    return recipe | {"versions": libraries | {"facenet-pytorch": version("facenet-pytorch")}}


def _print_summary(
    sets: list[VideoSet], accounts: dict[Path, dict[str, manifest.Account]], n_frames: int | str
) -> None:
    """A row per class. Coverage is crops / wanted frames; a video without any frame counts with --n_frames of them."""
    rows = []
    for group in sets:
        for label, videos in _by_label(group.videos).items():
            known = [accounts[group.root][video.name] for video in videos if video.name in accounts[group.root]]
            status = sum((account.status for account in known), Counter())
            lost = sum(status[name] for name in manifest.NO_VIDEO)
            wanted = sum(account.frames for account in known) + (lost * n_frames if isinstance(n_frames, int) else 0)
            cropped = sum(account.status["ok"] > 0 for account in known)
            coverage = f"{status['ok'] / wanted:.1%}" if wanted else None
            dropped = [f"{status[name]} {name}" for name in manifest.STATUSES[1:] if status[name]]
            if len(known) < len(videos):
                dropped.append(f"{len(videos) - len(known)} videos not done yet")
            if moved := sum(account.moved for account in known):
                dropped.append(f"({moved} crops are of a neighbouring frame)")
            rows.append((label, len(videos), cropped, wanted, status["ok"], coverage, ", ".join(dropped) or "none"))
    print("\n".join(text_table(("class", "videos", "with crops", "frames", "crops", "coverage", "dropped"), rows)))


def run(args: argparse.Namespace) -> None:
    """Crop the faces of a data set's videos. args: as parse_args of extraction/options.py returns them.

    Raises:
        UserError: There is no video, none can be read, or the folder holds other crops.
    """
    device = detector_device(args.device)
    detector, weights = choose_detector(args.detector, args.detector_weights)
    if weights:
        load_weights(weights)  # refuse a bad file before folders are made
    settings = _settings(args, detector, weights)
    recipe = _recipe(args, settings)
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
        Job(video.name, video.path, group.root, group.faces, n_frames, settings, device, weights)
        for group, video in videos[number::count]
    ]
    with contextlib.ExitStack() as stack:
        for group in sets:
            mine = [job for job in shard if job.root == group.root]
            names = {video.name for video in group.videos}
            stack.enter_context(working_in(group.root, mine, names, recipe, args.overwrite))
        jobs = [job for job in shard if not is_finished(job)]
        start = time.perf_counter()
        try:
            cropped = run_jobs(crop_unclaimed, jobs, args.workers, "video", give_up)
        finally:
            accounts = {group.root: merge(group.root) for group in sets}
    seconds = time.perf_counter() - start
    _print_summary(sets, accounts, args.n_frames)
    done = [accounts[job.root][job.name] for job, mine in zip(jobs, cropped, strict=True) if mine]
    frames = sum(account.frames for account in done)
    print(f"{len(done)} videos and {frames} frames in {seconds:.1f} s, {frames / max(seconds, 1e-9):.1f} frames/s")
    if not all(cropped):
        print(f"{len(jobs) - len(done)} more videos are being cropped by another run in the same place")
    all_accounts = [accounts[group.root].get(video.name) for group, video in videos]
    if all(account and account.status.keys() <= set(manifest.NO_VIDEO) for account in all_accounts):
        raise UserError(f"none of {len(videos)} videos could be read; the reasons are in {sets[0].root}/manifest.csv")
