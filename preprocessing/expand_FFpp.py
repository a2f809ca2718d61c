"""FF++ data set expansion: one region of a fake face laid over its real face, so only that region is false.

python preprocessing/expand_FFpp.py --data_root data --compression c23

The frames of a fake a_b are those of its target a, so equal frame numbers make a pair. A method gives a region only
if its own list code names everything that the region's code names: Deepfakes and FaceSwap give eyes, nose and mouth,
Face2Face and NeuralTextures the mouth alone. Writes FF++/expansion/<split>/<region>/<method>_<a_b>/%04d.png and
FF++/expansion/<split>/manifest.csv, whose `path` is relative to its own folder, `real` and `fake` to --data_root.
A run replaces what an earlier one made of the same splits.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # the repository root instead of this script's folder

import argparse
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from datasets.ffpp_methods import METHOD_CODES, REGION_CODES, SPLITS, compression_dir, split_videos
from preprocessing import manifest
from preprocessing.align import similarity_matrix
from preprocessing.pool import run_jobs
from preprocessing.regions import move_crop, region_mask, transplant
from utils.cli import ArgumentParser, UserError, non_negative_int, positive_int, script
from utils.cpu import available_cores
from utils.files import atomic_path, output_dir, read_json, write_json

FIRST_LOCAL_DIGIT = 5  # of a list code: eye, lip, mouth, nose, skin
COLUMNS = ("path", "region", "code", "method", "video", "frame", "real", "fake", "grow")


class Job(NamedTuple):
    """One image to make. Crops are given with their landmarks [5, 2] in the frame."""

    path: Path
    region: str
    real: Path
    fake: Path
    real_points: np.ndarray
    fake_points: np.ndarray
    size: int
    scale: float
    grow: float


def get_args_parser() -> ArgumentParser:
    parser = ArgumentParser(description="Lay single regions of FF++ fakes over their real faces.")
    parser.add_argument("--data_root", type=Path, default=Path("data"), help="folder that holds FF++")
    parser.add_argument("--compression", choices=("c23", "c40", "raw"), default="c23", help="which crops")
    parser.add_argument("--split", nargs="+", choices=SPLITS, default=["train"], help="official splits to expand")
    parser.add_argument("--per_video", type=positive_int, default=1, help="images per fake video and region")
    parser.add_argument("--seed", type=non_negative_int, default=0, help="of the choice of frames and mask sizes")
    parser.add_argument("--workers", type=positive_int, default=min(8, available_cores()), help="processes")
    return parser


def gives(method: str, region: str) -> bool:
    """Does the method falsify everything that the region's code names?"""
    pairs = zip(METHOD_CODES[method][FIRST_LOCAL_DIGIT:], REGION_CODES[region][FIRST_LOCAL_DIGIT:], strict=True)
    return all(own == "1" for own, needed in pairs if needed == "1")


def read_crops(folder: Path) -> dict[str, dict[int, manifest.Row]]:
    """video -> frame -> row of each crop in a folder's manifest.csv."""
    rows = manifest.read_rows(folder / "manifest.csv")
    if not rows:
        raise UserError(f"{folder / 'manifest.csv'} is missing or empty; run preprocessing/extract_faces.py first")
    crops: dict[str, dict[int, manifest.Row]] = {}
    for row in rows:
        if row["status"] == "ok":
            crops.setdefault(row["video"], {})[int(row["frame"])] = row
    return crops


def crop_recipe(folder: Path) -> tuple[int, float]:
    """(size, scale) of the crops of a folder."""
    note = read_json(folder / "manifest.json")
    if not isinstance(note, dict) or not {"size", "scale"} <= note.keys():
        raise UserError(f"{folder / 'manifest.json'} does not tell size and scale of the crops; extract them again")
    return note["size"], note["scale"]


def make_image(job: Job) -> None:
    """Make and save one image."""
    crops = []
    for path in (job.real, job.fake):
        crop = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if crop is None:
            raise UserError(f"cannot read the crop {path}; run extract_faces.py with --overwrite")
        crops.append(crop)
    real, fake = crops
    matrices = [similarity_matrix(points, job.size, job.scale) for points in (job.fake_points, job.real_points)]
    mask = region_mask(job.region, job.size, job.scale, job.grow)
    job.path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(job.path) as temporary:
        if not cv2.imwrite(str(temporary), transplant(real, move_crop(fake, *matrices), mask)):
            raise OSError(f"cannot write {job.path}")


def plan(args: argparse.Namespace, split: str, target: Path) -> tuple[list[Job], list[dict[str, str]], int]:
    """The images of a split, their manifest rows, and how many fake videos have no frame in common with their real."""
    folders = {method: compression_dir(args.data_root, method, args.compression) for method in ("real", *METHOD_CODES)}
    crops = {method: read_crops(folder) for method, folder in folders.items()}
    recipes = {crop_recipe(folder) for folder in folders.values()}
    if len(recipes) > 1:
        raise UserError(f"crops of several sizes or scales in {args.data_root}: {recipes}; extract them alike")
    size, scale = recipes.pop()
    jobs, rows, lonely = [], [], 0
    for method, video in split_videos(args.data_root, split):
        if method == "real":
            continue
        source, donor = crops["real"].get(video.split("_")[0], {}), crops[method].get(video, {})
        frames = sorted(source.keys() & donor.keys())
        lonely += not frames
        for number, region in enumerate(REGION_CODES):
            if not frames or not gives(method, region):
                continue
            rng = np.random.default_rng([args.seed, number, *f"{method}/{video}".encode()])
            for frame in sorted(rng.permutation(frames)[: args.per_video].tolist()):
                grow = round(float(rng.uniform(0.9, 1.15)), 3)
                path = target / region / f"{method}_{video}" / f"{frame:04d}.png"
                real, fake = source[frame], donor[frame]
                files = (folders["real"] / real["path"], folders[method] / fake["path"])
                points = (manifest.landmarks_of(real), manifest.landmarks_of(fake))
                jobs.append(Job(path, region, *files, *points, size, scale, grow))
                values = (path.relative_to(target), region, REGION_CODES[region], method, video, frame)
                values += tuple(file.relative_to(args.data_root) for file in files) + (grow,)
                rows.append(dict(zip(COLUMNS, map(str, values), strict=True)))
    return jobs, rows, lonely


def remove_others(target: Path, keep: set[Path]) -> None:
    """Remove the images of earlier runs (and what killed ones left) that the manifest does not name."""
    for region in REGION_CODES:
        for path in sorted((target / region).rglob("*.png")):
            if path not in keep:
                path.unlink()


@script
def main(argv: Sequence[str] | None = None) -> None:
    args = get_args_parser().parse_args(argv)
    for split in args.split:
        target = args.data_root / "FF++" / "expansion" / split
        jobs, rows, lonely = plan(args, split, target)
        if not jobs:
            raise UserError(f"no fake of the {split} split has a crop with the frame number of a crop of its real "
                            "video; run extract_faces.py on this split first")  # fmt: skip
        output_dir(target)
        run_jobs(make_image, jobs, args.workers, "image")
        recipe = {"compression": args.compression, "per_video": args.per_video, "seed": args.seed}
        write_json(target / "manifest.json", recipe)
        manifest.write_rows(target / "manifest.csv", rows, COLUMNS)
        remove_others(target, {job.path for job in jobs})
        counts = ", ".join(f"{number} {region}" for region, number in Counter(job.region for job in jobs).items())
        print(f"{split}: {len(jobs)} images ({counts}) in {target}; {lonely} fake videos have no crop in common "
              "with their real video")  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
