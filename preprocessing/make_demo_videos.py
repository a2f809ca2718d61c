"""Make a miniature FaceForensics++ from two public-domain photographs. A demonstration, not a benchmark.

python preprocessing/make_demo_videos.py --data_root data/demo

Writes FF++/{train,val,test}.json and short H.264 videos in the official layout. The same options give the same files.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # the repository root instead of this script's folder

import argparse
import json
import subprocess
import time
from collections.abc import Sequence
from typing import NamedTuple

from datasets.readers.ffpp import METHOD_CODES, SPLITS, compression_dir
from utils.cli import ArgumentParser, UserError, answer_first, non_negative_int, positive_int, script
from utils.cpu import available_cores


def even_int(text: str) -> int:
    """argparse type: a positive even number."""
    value = positive_int(text)
    if value % 2:
        raise ValueError
    return value


def get_args_parser() -> ArgumentParser:
    parser = ArgumentParser(description="Make a miniature FF++ from two public-domain photographs.")
    parser.add_argument("--data_root", type=Path, default=Path("data/demo"), help="folder that will hold FF++")
    for split, number in zip(SPLITS, (320, 40, 80), strict=True):
        parser.add_argument(
            f"--n_{split}", type=even_int, default=number, help=f"real videos in {split}; an even number"
        )
    parser.add_argument("--frames", type=positive_int, default=6, help="frames of each video")
    parser.add_argument("--seed", type=non_negative_int, default=0, help="of all random draws")
    parser.add_argument("--workers", type=positive_int, default=min(8, available_cores()), help="processes")
    return parser


answer_first(__name__, get_args_parser)

import imageio_ffmpeg
import numpy as np

from preprocessing.demo_faces import FRAME, RENDER, STRENGTHS, draw_scene, manipulate, play, render
from utils.files import atomic_path, output_dir, read_json, write_json
from utils.locks import exclusive_folder
from utils.pool import run_jobs

FPS = 25


class Job(NamedTuple):
    """One video: ``name`` is a for a real, a_b for a fake."""

    path: Path
    method: str
    name: str
    frames: int
    seed: int


def write_video(path: Path, frames: np.ndarray, crf: int) -> None:
    """Encode frames [T, H, W, 3] uint8 RGB, H and W even, as H.264 (yuv420p); the same frames give the same file."""
    height, width = frames.shape[1:3]
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(FPS), "-i", "-"]
    codec = ["-c:v", "libx264", "-preset", "ultrafast", "-crf", str(crf), "-pix_fmt", "yuv420p", "-threads", "1"]
    exact = ["-map_metadata", "-1", "-fflags", "+bitexact", "-flags:v", "+bitexact"]
    with atomic_path(path) as temporary:
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *source, *codec, *exact, str(temporary)]
        done = subprocess.run(command, input=frames.tobytes(), capture_output=True, check=False)
        if done.returncode:
            raise OSError(f"ffmpeg could not write {path}: {done.stderr.decode(errors='replace').strip()}")


def make_video(job: Job) -> None:
    """Draw, render and encode one video. All draws come from the seed and the video's own ids."""
    ids = [int(part) for part in job.name.split("_")]
    kind = ("real", *METHOD_CODES).index(job.method)
    scene = draw_scene(np.random.default_rng([job.seed, ids[0]]), person=ids[0] % 2, frames=job.frames)
    rng = np.random.default_rng([job.seed, kind + 1, *ids])
    if job.method == "real":
        canvases = [play(scene.person, scene.flip, scene.expression, swing) for swing in scene.swing]
    else:
        canvases = manipulate(rng, job.method, scene)
    frames, crf = render(rng, scene, canvases)
    write_video(job.path, frames, crf)


def prepare(root: Path, recipe: dict[str, object]) -> None:
    """Refuse a folder that holds another data set, or a demo made with other settings."""
    note = root / "demo.json"
    if note.is_file():
        if read_json(note) != recipe:
            raise UserError(f"{root} holds a demo made with other settings; remove it or set another --data_root")
    elif any((root / f"{split}.json").exists() for split in SPLITS):
        raise UserError(f"{root} holds a data set that is no demo; set another --data_root")
    write_json(root / "demo.json", recipe)


def list_jobs(args: argparse.Namespace, numbers: dict[str, int]) -> list[Job]:
    """Write the split files and make the folders; all videos of the demo, ``numbers`` reals in each split."""
    jobs = []
    first = 0
    for split, number in numbers.items():
        names = [f"{i:03d}" for i in range(first, first + number)]
        first += number
        pairs = list(zip(names[::2], names[1::2], strict=True))
        videos = {"real": names} | {method: [f"{a}_{b}" for p in pairs for a, b in (p, p[::-1])]
                                    for method in METHOD_CODES}  # fmt: skip
        for method, members in videos.items():
            folder = output_dir(compression_dir(args.data_root, method, "c23") / "videos")
            jobs += [Job(folder / f"{name}.mp4", method, name, args.frames, args.seed) for name in members]
        write_json(args.data_root / "FF++" / f"{split}.json", pairs)
    return jobs


@script
def main(argv: Sequence[str] | None = None) -> None:
    args = get_args_parser().parse_args(argv)
    numbers = {split: getattr(args, f"n_{split}") for split in SPLITS}
    root = args.data_root / "FF++"
    recipe = {"seed": args.seed, "frames": args.frames, "frame_px": FRAME, "videos": numbers}
    recipe |= {"strengths": STRENGTHS, "render": RENDER}
    recipe = json.loads(json.dumps(recipe))
    with exclusive_folder(root):
        prepare(root, recipe)
        jobs = list_jobs(args, numbers)
        missing = [job for job in jobs if not job.path.is_file()]
        start = time.perf_counter()
        run_jobs(make_video, missing, args.workers, "video")
    print(f"{len(jobs)} videos in {root}, {len(missing)} of them made now in {time.perf_counter() - start:.1f} s")


if __name__ == "__main__":
    sys.exit(main())
