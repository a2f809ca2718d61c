"""Raw video -> aligned face crops and a manifest that accounts for every wanted frame.

python preprocessing/extract_faces.py --dataset FFpp --data_root data --compression c23
python preprocessing/extract_faces.py --dataset videos --video_path DIR --save_path DIR

Crops go to <faces>/<video>/%04d.png, the number being the frame's index in its video. A second run with the same
options does what is missing; a run can be stopped at any time.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # the repository root instead of this script's folder

import argparse
import time
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import version
from itertools import islice
from typing import NamedTuple

import cv2
import torch

from datasets.ffpp_methods import METHOD_CODES, SPLITS, compression_dir, split_videos
from preprocessing import manifest
from preprocessing.detectors import NAMES, resolve_name
from preprocessing.face_crops import MIN_CONFIDENCE, MIN_FACE, Job, Settings, crop_video, remove_crops
from preprocessing.pool import run_jobs
from preprocessing.video import VIDEO_SUFFIXES
from utils.cli import ArgumentParser, UserError, positive_float, positive_int, script
from utils.cpu import available_cores
from utils.files import output_dir, read_json, write_json


class Group(NamedTuple):
    """The videos that share a manifest: one FF++ folder, or everything of --dataset videos."""

    label: str
    root: Path  # holds manifest.csv
    faces: Path  # holds <video>/%04d.png
    videos: dict[str, Path]  # name -> file


def n_frames_type(text: str) -> int | None:
    """argparse type: a positive whole number, or "all" (None)."""
    return None if text == "all" else positive_int(text)


def get_args_parser() -> ArgumentParser:
    parser = ArgumentParser(description="Cut aligned face crops out of videos.")
    data = parser.add_argument_group("data")
    data.add_argument("--dataset", required=True, choices=("FFpp", "videos"), help="layout of the videos")
    data.add_argument("--data_root", type=Path, default=Path("data"), help="FFpp: folder that holds FF++")
    data.add_argument("--compression", choices=("c23", "c40", "raw"), default="c23", help="FFpp: which files")
    data.add_argument("--split", nargs="+", choices=SPLITS, default=list(SPLITS), help="FFpp: official splits")
    data.add_argument("--video_path", type=Path, help="videos: folder searched for videos, subfolders too")
    data.add_argument("--save_path", type=Path, help="videos: where crops and manifest go")
    data.add_argument("--limit", type=positive_int, help="only the first LIMIT videos of each class")
    crops = parser.add_argument_group("crops")
    crops.add_argument("--n_frames", type=n_frames_type, default=32, help="frames per video, evenly spaced, or all")
    crops.add_argument("--size", type=positive_int, default=317, help="side of a crop, px")
    crops.add_argument("--scale", type=positive_float, default=1.3, help="width of a crop over that of the tight face")
    crops.add_argument("--detector", choices=NAMES, default="auto", help="face detector")
    work = parser.add_argument_group("work")
    work.add_argument("--device", default="auto", help="cpu, cuda, cuda:1 ...; auto: cuda where there is one")
    work.add_argument("--workers", type=positive_int, default=min(8, available_cores()), help="processes over videos")
    work.add_argument("--overwrite", action="store_true", help="crop finished videos again; with other settings than "
                      "those of the crops that are there, these crops are all removed first")  # fmt: skip
    return parser


def choose_device(name: str) -> str:
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        kind = torch.device(name).type
    except RuntimeError as error:
        raise UserError(f"--device {name} is not a device; use cpu, cuda or cuda:1") from error
    if kind not in ("cpu", "cuda"):
        raise UserError(f"--device {name} is not supported; use cpu, cuda or cuda:1")
    if kind == "cuda" and not torch.cuda.is_available():
        raise UserError(f"--device {name}: torch finds no CUDA device here; use --device cpu")
    return name


def ffpp_groups(data_root: Path, compression: str, splits: Sequence[str]) -> list[Group]:
    names: dict[str, set[str]] = {method: set() for method in ("real", *METHOD_CODES)}
    for split in splits:
        for method, video in split_videos(data_root, split):
            names[method].add(video)
    groups = []
    for method, videos in names.items():
        root = compression_dir(data_root, method, compression)
        paths = {video: root / "videos" / f"{video}.mp4" for video in sorted(videos)}
        groups.append(Group(method, root, root / "faces", paths))
    return groups


def folder_group(video_path: Path, save_path: Path) -> Group:
    if not video_path.is_dir():
        raise UserError(f"--video_path {video_path} is not a folder")
    videos: dict[str, Path] = {}
    for path in sorted(video_path.rglob("*")):
        if path.suffix.lower() in VIDEO_SUFFIXES and not path.name.startswith(".") and path.is_file():
            name = path.relative_to(video_path).with_suffix("").as_posix()
            if name in videos:
                raise UserError(f"{videos[name]} and {path} would share the crop folder {name}; rename one of them")
            videos[name] = path
    return Group("videos", save_path, save_path, videos)


def is_finished(root: Path, name: str) -> bool:
    """Rows are there; a video that could not be read is tried again by the next run."""
    rows = manifest.read_rows(manifest.row_file(root, name))
    return bool(rows) and rows[0]["status"] != "video_unreadable"


def refuse_foreign_images(group: Group) -> None:
    """Crop folders of a place without manifest.json must be empty: what is there is not ours to replace."""
    for name in group.videos:
        folder = group.faces / name
        if folder.is_dir() and any(folder.iterdir()):
            raise UserError(f"{folder} holds files that no extraction made (no {group.root / 'manifest.json'}); "
                            "move them, or choose another place for the crops")  # fmt: skip


def prepare(group: Group, recipe: dict[str, object], overwrite: bool) -> None:
    """Make the group's folder and its manifest.json, or check that what is there was made with the same settings."""
    note = output_dir(group.root) / "manifest.json"
    if note.is_file():
        old = read_json(note)
        if not isinstance(old, dict):
            raise UserError(f"{note} holds no settings of an extraction; remove it, or choose another folder")
        changed = [key for key, value in recipe.items() if key != "versions" and old.get(key) != value]
        if changed and not overwrite:
            differences = ", ".join(f"{key} {old.get(key)} there, {recipe[key]} now" for key in changed)
            raise UserError(f"{group.root} holds crops made with other settings ({differences}); repeat those, "
                            "or give --overwrite to remove these crops")  # fmt: skip
        finished = manifest.row_files(group.root) if changed else []
        for path in finished:
            remove_crops(group.faces / path.relative_to(group.root / ".manifest").with_suffix(""))
            path.unlink()
    else:
        refuse_foreign_images(group)
    if overwrite:
        for name in group.videos:
            manifest.row_file(group.root, name).unlink(missing_ok=True)
    write_json(note, recipe)


def print_summary(groups: list[Group], tables: dict[Path, list[manifest.Row]], jobs: list[Job], seconds: float) -> None:
    done = {(job.root, job.name) for job in jobs}
    fresh = 0
    print(f"{'class':15} {'videos':>7} {'with crops':>10} {'frames':>7} {'crops':>7} {'coverage':>8}  dropped")
    for group in groups:
        rows = [row for row in tables[group.root] if row["video"] in group.videos]
        fresh += sum((group.root, row["video"]) in done and row["frame"] != "" for row in rows)
        status = Counter(row["status"] for row in rows)
        wanted = len(rows) - status["video_unreadable"]
        covered = len({row["video"] for row in rows if row["status"] == "ok"})
        dropped = ", ".join(f"{status[name]} {name}" for name in manifest.STATUSES[1:] if status[name]) or "none"
        share = f"{status['ok'] / wanted:8.1%}" if wanted else "       -"
        print(f"{group.label:15} {len(group.videos):7} {covered:10} {wanted:7} {status['ok']:7} {share}  {dropped}")
    rate = fresh / seconds if seconds else 0.0
    print(f"{len(jobs)} videos and {fresh} frames in {seconds:.1f} s, {rate:.1f} frames/s")


def check_options(parser: ArgumentParser, args: argparse.Namespace) -> None:
    foreign = ("video_path", "save_path") if args.dataset == "FFpp" else ("data_root", "compression", "split")
    for name in foreign:
        if getattr(args, name) != parser.get_default(name):
            parser.error(f"--{name} does not go with --dataset {args.dataset}")
    if args.dataset == "videos" and not (args.video_path and args.save_path):
        parser.error("--dataset videos needs --video_path and --save_path")


@script
def main(argv: Sequence[str] | None = None) -> None:
    parser = get_args_parser()
    args = parser.parse_args(argv)
    check_options(parser, args)
    device = choose_device(args.device)
    settings = Settings(resolve_name(args.detector), args.n_frames, args.size, args.scale)
    if args.dataset == "FFpp":
        groups = ffpp_groups(args.data_root, args.compression, args.split)
    else:
        groups = [folder_group(args.video_path, args.save_path)]
    groups = [group._replace(videos=dict(islice(group.videos.items(), args.limit))) for group in groups]
    paths = [path for group in groups for path in group.videos.values()]
    if not any(path.is_file() for path in paths):
        where = (
            f"none of {len(paths)} videos is there, such as {paths[0]}" if paths else f"no video in {args.video_path}"
        )
        raise UserError(f"{where}; check --data_root and --compression, or --video_path")
    chosen = " (auto)" if args.detector == "auto" else ""
    print(f"detector: {settings.detector}{chosen}, device: {device}, processes: {args.workers}")
    recipe = settings._asdict() | {"dataset": args.dataset, "min_confidence": MIN_CONFIDENCE, "min_face": MIN_FACE}
    recipe["n_frames"] = "all" if args.n_frames is None else args.n_frames
    recipe["compression"] = args.compression if args.dataset == "FFpp" else None
    recipe["versions"] = {"opencv": cv2.__version__, "torch": torch.__version__} | {
        "facenet-pytorch": version("facenet-pytorch")
    }
    for group in groups:
        prepare(group, recipe, args.overwrite)
    jobs = [
        Job(name, path, group.root, group.faces, settings, device)
        for group in groups
        for name, path in group.videos.items()
        if not is_finished(group.root, name)
    ]
    start = time.perf_counter()
    try:
        run_jobs(crop_video, jobs, args.workers, "video")
    finally:
        tables = {group.root: manifest.merge(group.root) for group in groups}
    print_summary(groups, tables, jobs, time.perf_counter() - start)
    if not any(row["status"] != "video_unreadable" for rows in tables.values() for row in rows):
        raise UserError(f"none of {len(paths)} videos could be read; the reasons are in {groups[0].root}/manifest.csv")


if __name__ == "__main__":
    sys.exit(main())
