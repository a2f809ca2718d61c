"""Run extract_faces.py: choose videos and settings, crop the faces, print a summary."""

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
from preprocessing.extraction.crop_folder import crop_unclaimed, is_finished, record_crash, working_in
from preprocessing.extraction.face_crops import Job, Settings
from preprocessing.extraction.face_limits import MAX_MISFIT, MIN_CONFIDENCE, MIN_FACE
from preprocessing.extraction.find_files import PHOTO_SUFFIXES, VIDEO_SUFFIXES, find_videos, left_out_note
from utils.cli import UserError
from utils.files import file_sha256
from utils.pool import run_jobs
from utils.terminal import say
from utils.text_table import text_table


def _find_videos(args: argparse.Namespace) -> tuple[list[VideoSet], str | None]:
    """(The videos of the data set, at most --limit of each class; a note about other files of the folders)."""
    data_set = TEST_SETS.get(args.dataset)
    if data_set and data_set.videos:
        sets, note = data_set.videos(args.data_root, args.compression, args.split), None
    else:
        found, left_out = find_videos(args.video_path, args.save_path, photos=args.dataset == "images")
        videos = [Video(name, path, args.dataset) for name, path in found.items()]
        sets, note = [VideoSet(args.save_path, args.save_path, videos)], left_out_note(left_out)
    chosen = {video for group in sets for videos in _by_label(group.videos).values() for video in videos[: args.limit]}
    return [group._replace(videos=[video for video in group.videos if video in chosen]) for group in sets], note


def _by_label(videos: list[Video]) -> dict[str, list[Video]]:
    groups: dict[str, list[Video]] = {}
    for video in videos:
        groups.setdefault(video.label, []).append(video)
    return groups


def _recipe(args: argparse.Namespace, settings: Settings) -> dict[str, object]:
    """The content of manifest.json: all settings that change the crops, and the versions of the libraries."""
    recipe = settings._asdict() | {"dataset": args.dataset}
    if args.protocol == "ours":
        recipe |= {"min_face": MIN_FACE, "max_misfit": MAX_MISFIT}
    else:
        recipe["suppression"] = False  # of overlapping boxes
    data_set = TEST_SETS.get(args.dataset)
    recipe["compression"] = args.compression if data_set and data_set.videos_by_compression else None
    libraries = {"opencv": cv2.__version__, "torch": torch.__version__}
    return recipe | {"versions": libraries | {"facenet-pytorch": version("facenet-pytorch")}}


def _frames(counts: Counter[str]) -> int:
    """The number of wanted frames of videos that can be read. counts: status -> number of rows."""
    return sum(counts[status] for status in manifest.STATUSES if status not in manifest.NO_VIDEO)


def _print_summary(sets: list[VideoSet], counts: dict[Path, dict[str, Counter[str]]], n_frames: int | None) -> None:
    """A row per class. Coverage is crops / wanted frames; a video that cannot be read counts with n_frames of them."""
    rows = []
    for group in sets:
        for label, videos in _by_label(group.videos).items():
            known = [counts[group.root][video.name] for video in videos if video.name in counts[group.root]]
            total = sum(known, Counter())
            wanted = _frames(total) + sum(total[status] for status in manifest.NO_VIDEO) * (n_frames or 0)
            cropped = sum(own["ok"] > 0 for own in known)
            coverage = f"{total['ok'] / wanted:.1%}" if wanted else None
            dropped = [f"{total[status]} {status}" for status in manifest.STATUSES[1:] if total[status]]
            if len(known) < len(videos):
                dropped.append(f"{len(videos) - len(known)} videos not done yet")
            if moved := total[manifest.MOVED]:
                dropped.append(f"({moved} crops are of a neighbouring frame)")
            rows.append((label, len(videos), cropped, wanted, total["ok"], coverage, ", ".join(dropped) or "none"))
    say(*text_table(("class", "videos", "with crops", "frames", "crops", "coverage", "dropped"), rows))


def run(args: argparse.Namespace) -> None:
    """Crop the faces of a data set's videos. args: the options of extract_faces.py.

    Raises UserError if there is no video, none can be read, or the folder holds other crops.
    """
    device = detector_device(args.device)
    detector, weights = choose_detector(args.detector, args.detector_weights)
    if weights:
        load_weights(weights)  # refuse a bad file before folders are made
    settings = Settings(
        detector=detector,
        min_confidence=MIN_CONFIDENCE[detector],
        weights=file_sha256(weights) if weights else None,
        detect_side=None if args.detect_side == "full" else args.detect_side,
        **{name: getattr(args, name) for name in ("protocol", "retry", "track", "size", "scale", "format", "quality")},
    )
    recipe = _recipe(args, settings)
    sets, note = _find_videos(args)
    videos = [(group, video) for group in sets for video in group.videos]
    if not any(video.path.is_file() for _, video in videos):
        where = f"none of {len(videos)} videos is there, such as {videos[0][1].path}" if videos else "there is no video"
        suffixes = {"videos": VIDEO_SUFFIXES, "images": PHOTO_SUFFIXES}.get(args.dataset)
        hint = f"{', '.join(suffixes)} files are taken" if suffixes else "check --data_root"
        raise UserError(f"{where}; {hint}")
    number, count = args.shard
    auto = " (auto: no RetinaFace weights in pretrained/)" if args.detector == "auto" and weights is None else ""
    part = f", shard {number} of {count}" if count > 1 else ""
    say(f"detector: {detector}{auto}, device: {device}, processes: {args.workers}{part}")
    if note:
        say(note)
    n_frames, photos = None if args.n_frames == "all" else args.n_frames, args.dataset == "images"
    shard = [
        Job(video.name, video.path, group.root, group.faces, n_frames, settings, device, weights, photos)
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
            cropped = run_jobs(crop_unclaimed, jobs, args.workers, "video", record_crash)
        finally:
            counts = {group.root: manifest.merge(group.root) for group in sets}
    seconds = time.perf_counter() - start
    _print_summary(sets, counts, n_frames)
    done = [counts[job.root][job.name] for job, mine in zip(jobs, cropped, strict=True) if mine]
    frames = sum(map(_frames, done))
    say(f"{len(done)} videos and {frames} frames in {seconds:.1f} s, {frames / max(seconds, 1e-9):.1f} frames/s")
    if not all(cropped):
        say(f"{len(jobs) - len(done)} more videos are being cropped by another run in the same place")
    known = [counts[group.root].get(video.name) for group, video in videos]
    if all(own is not None and not _frames(own) for own in known):
        raise UserError(
            f"none of {len(videos)} videos could be read; the column status of {sets[0].root}/manifest.csv says why"
        )
