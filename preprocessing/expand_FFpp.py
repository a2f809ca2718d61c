"""FF++ data set expansion: one region of a fake face laid over its real face, so only that region is false.

python preprocessing/expand_FFpp.py --data_root data --compression c23 --preview expansion.png

The frames of a fake a_b are those of its target a, so equal frame numbers make a pair. Which methods give a region:

--donors matching (default)  a method gives a region only if its own list code names everything that the region's code
    names: Deepfakes and FaceSwap give eyes, nose and mouth, Face2Face and NeuralTextures the mouth alone. The label is
    surely true.
--donors any  all four give every region: more variety, but Face2Face and NeuralTextures only render eyes and nose
    anew and barely change them, so these labels are weaker.

Writes FF++/expansion/<compression>/<split>/<region>/<method>_<a_b>/%04d.png (jpg where the crops are jpg), and beside
the regions manifest.json (the settings) and manifest.csv: a row for every image, `path` relative to its own folder,
`real` and `fake` to --data_root, the landmarks in pixels of the real crop. manifest.csv is written last and is there
only while the images are complete.
A second run with the same options makes what is missing; a run can be stopped at any time.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # the repository root instead of this script's folder

import argparse
import csv
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from datasets.readers.ffpp import METHOD_CODES, REGION_CODES, SPLITS, compression_dir, ffpp_root, split_videos
from utils.cli import ArgumentParser, UserError, answer_first, positive_int, script, seed
from utils.cpu import available_cores


def get_args_parser() -> ArgumentParser:
    parser = ArgumentParser(description="Lay single regions of FF++ fakes over their real faces.")
    parser.add_argument("--data_root", type=Path, default=Path("data"), help="folder that holds FF++")
    parser.add_argument("--compression", choices=("c23", "c40", "raw"), default="c23", help="which crops")
    parser.add_argument("--split", nargs="+", choices=SPLITS, default=["train"], help="official splits to expand")
    parser.add_argument("--per_video", type=positive_int, default=1, help="images per fake video and region")
    parser.add_argument("--regions", nargs="+", choices=tuple(REGION_CODES), default=list(REGION_CODES),
                        help="regions to transplant")  # fmt: skip
    parser.add_argument("--blend", choices=("feather", "poisson"), default="feather",
                        help="soft edge, or the fake's gradients in the real's light")  # fmt: skip
    parser.add_argument("--color_transfer", action="store_true", help="first give the fake the colours (mean and "
                        "deviation in CIELAB) that the real has around the region")  # fmt: skip
    parser.add_argument("--donors", choices=("matching", "any"), default="matching", help="methods that give a region: "
                        "those whose own list code names all that the region's code names, so that the label is surely "
                        "true; or any of the four: more variety, but Face2Face and NeuralTextures barely change eyes "
                        "and nose, so these labels are weaker")  # fmt: skip
    parser.add_argument("--seed", type=seed, default=0, help="of the choice of frames, mask sizes and preview")
    parser.add_argument("--workers", type=positive_int, default=min(8, available_cores()), help="processes")
    parser.add_argument("--overwrite", action="store_true", help="remove the images that are there and make all anew")
    parser.add_argument("--preview", type=Path, metavar="FILE.png", help="draw real, fake, mask and result of some "
                        "images")  # fmt: skip
    parser.add_argument("--preview_rows", type=positive_int, default=8, help="images in the preview")
    return parser


answer_first(__name__, get_args_parser)

import cv2
import numpy as np

from preprocessing.detection.align import similarity_matrix
from preprocessing.expansion.preview import SheetRow, tinted, write_sheet
from preprocessing.expansion.regions import (
    BAND,
    band_around,
    face_of,
    map_points,
    match_colours,
    move_crop,
    poisson,
    region_mask,
    transplant,
)
from preprocessing.extraction import manifest
from preprocessing.extraction.crop_files import OWN_FILE, save_image
from utils.files import output_dir, read_json, whole_file, write_json
from utils.locks import exclusive_folder
from utils.pool import run_jobs

FIRST_LOCAL_DIGIT = 5  # of a list code: eye, lip, mouth, nose, skin
GROW = (0.95, 1.15)  # range of the factor on a region's radii
FEATHER = (0.05, 0.09)  # range of the blur of a mask's edge (standard deviation), in units of the face
MAX_SHIFT = 0.5  # units of the face, between the landmarks of fake and real: beyond it they are different faces
COLUMNS = (
    ("path", "region", "code", "method", "video", "frame", "real", "fake", "blend", "color_transfer", "donors", "grow")
    + ("feather",)  # px, standard deviation; 0 with poisson
    + tuple(f"{point}_{axis}" for point in manifest.POINTS for axis in "xy")
    + ("seed",)
)
UNFINISHED = ".unfinished.csv"  # the rows of all images that a run keeps or is making

Row = dict[str, str]


class Crops(NamedTuple):
    """How the crops were made; the images are saved in the same way, which must not tell them from crops."""

    size: int
    scale: float
    format: str
    quality: int | None


class Pair(NamedTuple):
    """The crops of one frame of a fake video and of its real one."""

    method: str
    video: str
    frame: int
    real: Path
    fake: Path
    real_matrix: np.ndarray  # [2, 3], from the frame to the crop
    fake_matrix: np.ndarray
    points: np.ndarray  # [5, 2], landmarks of the real face in its crop
    crops: Crops


class Job(NamedTuple):
    """One image to make."""

    path: Path
    row: Row  # of manifest.csv
    region: str
    pair: Pair
    grow: float
    feather: float
    blend: str
    color_transfer: bool


class Parts(NamedTuple):
    """The pictures of one transplant, [S, S, 3] uint8 BGR in the real crop's alignment, and its mask [S, S]."""

    real: np.ndarray
    fake: np.ndarray
    mask: np.ndarray
    result: np.ndarray


class Plan(NamedTuple):
    """What is to be made of one split."""

    split: str
    target: Path
    jobs: list[Job]
    recipe: dict[str, object]
    left_out: Counter  # reason -> number


class CropError(Exception):
    """A crop that cannot be used. The message names the file."""


def gives(method: str, region: str) -> bool:
    """Does the method falsify everything that the region's code names?"""
    pairs = zip(METHOD_CODES[method][FIRST_LOCAL_DIGIT:], REGION_CODES[region][FIRST_LOCAL_DIGIT:], strict=True)
    return all(own == "1" for own, needed in pairs if needed == "1")


def read_crops(folder: Path) -> dict[str, dict[int, manifest.Row]]:
    """video -> frame -> row of each crop in a folder's manifest.csv; nothing where there is none."""
    table = folder / "manifest.csv"
    crops: dict[str, dict[int, manifest.Row]] = {}
    for row in manifest.read_rows(table):
        if row["status"] == "ok":
            if not row["frame"].isdecimal() or not row["path"] or Path(row["path"]).is_absolute():
                raise UserError(f"{table} is damaged (a crop of {row['video']} has the frame {row['frame']!r} and the "
                                f"path {row['path']!r}); remove it and run extract_faces.py again")  # fmt: skip
            crops.setdefault(row["video"], {})[int(row["frame"])] = row
    return crops


def crop_recipe(folder: Path) -> Crops:
    """How the crops of a folder were made."""
    note = read_json(folder / "manifest.json")
    made = Crops(*(note.get(name) for name in Crops._fields)) if isinstance(note, dict) else None
    if (
        not made
        or not (type(made.size) is int and made.size > 0)
        or not (type(made.scale) in (int, float) and made.scale > 0)
        or made.format not in ("png", "jpg")
        or not (made.quality is None or type(made.quality) is int)
    ):
        raise UserError(f"{folder / 'manifest.json'} does not tell how the crops were made; extract them again")
    return made


def read_crop(path: Path, size: int) -> np.ndarray:
    """[size, size, 3] uint8 BGR. Raises CropError."""
    try:
        crop = cv2.imdecode(np.frombuffer(whole_file(path).read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    except (OSError, cv2.error) as error:
        raise CropError(f"{path} cannot be read") from error
    if crop is None:
        raise CropError(f"{path} is no picture, or half of one")
    if crop.shape != (size, size, 3):
        raise CropError(f"{path} has {crop.shape[1]}x{crop.shape[0]} px instead of {size}x{size}")
    return crop


def compose(job: Job) -> Parts:
    """Transplant one region. Raises CropError."""
    pair = job.pair
    real, fake = (read_crop(path, pair.crops.size) for path in (pair.real, pair.fake))
    fake = move_crop(fake, pair.fake_matrix, pair.real_matrix)
    mask = region_mask(job.region, pair.points, pair.crops.size, job.grow, job.feather)
    if not (mask > 0.5).any():
        raise CropError(f"the {job.region} of {pair.real} lies outside the crop")
    donor = fake
    if job.color_transfer:
        donor = match_colours(fake, real, band_around(mask, BAND * face_of(pair.points).unit))
    try:
        result = {"feather": transplant, "poisson": poisson}[job.blend](real, donor, mask)
    except ValueError as error:
        raise CropError(f"{pair.real}, {job.region}: {error}") from error
    return Parts(real, fake, mask, result)


def make_image(job: Job) -> str:
    """Make and save one image. Returns what is wrong with its crops, or nothing."""
    try:
        result = compose(job).result
    except CropError as error:
        return str(error)
    save_image(job.path, result, job.pair.crops.quality)
    return ""


def place_pair(real: manifest.Row, fake: manifest.Row, made: Crops) -> tuple[np.ndarray, ...] | None:
    """(matrix of the real crop, matrix of the fake crop, landmarks [5, 2] of the real face in its crop, rounded as the
    manifest holds them); None when the two are no pictures of one face at one place."""
    try:
        landmarks = [manifest.landmarks_of(row) for row in (real, fake)]
        matrices = [similarity_matrix(points, made.size, made.scale) for points in landmarks]
        points, fake_points = (map_points(points, matrices[0]) for points in landmarks)
        unit = face_of(points).unit
    except ValueError:
        return None
    if not np.linalg.norm(points - fake_points, axis=1).mean() <= MAX_SHIFT * unit:  # so NaN counts as far
        return None
    return matrices[0], matrices[1], points.round(2)


def make_plan(args: argparse.Namespace, split: str) -> Plan:
    """Choose the images of a split. All draws come from the seed and from what the image is."""
    folders = {method: compression_dir(args.data_root, method, args.compression) for method in ("real", *METHOD_CODES)}
    crops = {method: read_crops(folder) for method, folder in folders.items()}
    recipes = {crop_recipe(folders[method]) for method, videos in crops.items() if videos}
    if len(recipes) > 1:
        raise UserError(f"crops in {args.data_root} were made in several ways ({recipes}); extract them alike")
    made = recipes.pop() if recipes else None
    target = ffpp_root(args.data_root) / "expansion" / args.compression / split
    wanted = [region for region in REGION_CODES if region in args.regions]
    jobs, left_out = [], Counter()
    for method, video in split_videos(args.data_root, split):
        regions = [region for region in wanted if method != "real" and (args.donors == "any" or gives(method, region))]
        if not regions:
            continue
        reals, fakes = crops["real"].get(video.split("_")[0], {}), crops[method].get(video, {})
        frames = sorted(reals.keys() & fakes.keys())
        if not frames:
            lack = "have no crop" if not fakes else "lack crops of their real video" if not reals else "share no frame"
            left_out[f"fake videos {lack}"] += 1
            continue
        pairs = {}
        for frame in frames:
            placed = place_pair(reals[frame], fakes[frame], made)
            if placed:
                files = (folders["real"] / reals[frame]["path"], folders[method] / fakes[frame]["path"])
                pairs[frame] = Pair(method, video, frame, *files, *placed, made)
        left_out["frames show another face than their real"] += len(frames) - len(pairs)
        for region in regions:
            key = [args.seed, list(REGION_CODES).index(region), *f"{method}/{video}".encode()]
            chosen = np.random.default_rng(key).permutation(np.array(list(pairs), int))[: args.per_video]
            for frame in sorted(chosen.tolist()):
                jobs.append(make_job(args, target, region, pairs[frame], np.random.default_rng([*key, frame])))
    recipe = {name: getattr(args, name) for name in ("compression", "per_video", "blend", "color_transfer", "donors")}
    recipe |= {"regions": wanted, "seed": args.seed} | (made._asdict() if made else {})
    recipe |= {"versions": {"opencv": cv2.__version__, "numpy": np.__version__}}
    return Plan(split, target, jobs, recipe, left_out)


def make_job(args: argparse.Namespace, target: Path, region: str, pair: Pair, rng: np.random.Generator) -> Job:
    """Draw the mask of an image and write its row."""
    path = target / region / f"{pair.method}_{pair.video}" / f"{pair.frame:04d}.{pair.crops.format}"
    grow = round(float(rng.uniform(*GROW)), 3)
    feather = round(float(rng.uniform(*FEATHER)) * face_of(pair.points).unit, 3) if args.blend == "feather" else 0.0
    files = (file.relative_to(args.data_root).as_posix() for file in (pair.real, pair.fake))
    values = (path.relative_to(target).as_posix(), region, REGION_CODES[region], pair.method, pair.video, pair.frame)
    values += (*files, args.blend, int(args.color_transfer), args.donors, grow, feather)
    values += (*(f"{value:.2f}" for value in pair.points.ravel()), args.seed)
    row = dict(zip(COLUMNS, map(str, values), strict=True))
    return Job(path, row, region, pair, grow, feather, args.blend, args.color_transfer)


def read_known(target: Path) -> dict[str, Row]:
    """path -> row of the images that are there or that a stopped run was making; what cannot be read is not known."""
    for path in (target / UNFINISHED, target / "manifest.csv"):
        if path.is_file():
            try:
                with path.open(newline="", encoding="utf-8") as file:
                    return {row["path"]: row for row in csv.DictReader(file)}
            except (KeyError, UnicodeDecodeError, csv.Error):
                return {}
    return {}


def check_target(plan: Plan, overwrite: bool) -> None:
    """Raise UserError when the folder holds images of other settings, or files that no expansion made."""
    note = plan.target / "manifest.json"
    if not note.is_file():
        if plan.target.is_dir() and any(not path.name.startswith(".") for path in plan.target.iterdir()):
            raise UserError(f"{plan.target} holds files that no expansion made (no {note}); move them")
        return
    old = read_json(note)
    if not isinstance(old, dict):
        raise UserError(f"{note} holds no settings of an expansion; remove {plan.target}")
    changed = [key for key, value in plan.recipe.items() if key != "versions" and old.get(key) != value]
    if changed and not overwrite:
        differences = ", ".join(f"{key} {old.get(key)} there, {plan.recipe[key]} now" for key in changed)
        raise UserError(f"{plan.target} holds an expansion made with other settings ({differences}); repeat those, "
                        "or give --overwrite to remove its images")  # fmt: skip


def remove_images(target: Path, keep: set[Path]) -> None:
    """Remove the images of earlier runs, and what killed ones left, except ``keep``."""
    for region in REGION_CODES:
        for folder in sorted((target / region).glob("*/")):
            for path in sorted(folder.iterdir()):
                if path not in keep and OWN_FILE.fullmatch(path.name):
                    path.unlink()
            if not any(folder.iterdir()):
                folder.rmdir()


def carry_out(plan: Plan, args: argparse.Namespace) -> list[Job]:
    """Make what is missing of a plan; returns the jobs whose images are there. At every moment each image is the one of
    its row in UNFINISHED or, where there is none, in manifest.csv."""
    target = output_dir(plan.target)
    table, unfinished = target / "manifest.csv", target / UNFINISHED
    if args.overwrite:
        for path in (table, unfinished):
            path.unlink(missing_ok=True)
        remove_images(target, set())
    if args.overwrite or not (target / "manifest.json").is_file():
        write_json(target / "manifest.json", plan.recipe)
    known = read_known(target)
    missing = [job for job in plan.jobs if known.get(job.row["path"]) != job.row or not job.path.is_file()]
    rows = [job.row for job in plan.jobs]
    problems = []
    if missing or unfinished.is_file() or list(known.values()) != rows:
        if table.is_file():
            table.replace(unfinished)
        for job in missing:
            job.path.unlink(missing_ok=True)
        manifest.write_rows(unfinished, rows, COLUMNS)
        problems = run_jobs(make_image, missing, args.workers, "image")
        if not unfinished.is_file():
            raise UserError(f"{target} was removed while this run worked in it; run it again")
    failed = {job.path: problem for job, problem in zip(missing, problems, strict=True) if problem}
    done = [job for job in plan.jobs if job.path not in failed]
    remove_images(target, {job.path for job in done})
    if unfinished.is_file() and done:
        manifest.write_rows(table, [job.row for job in done], COLUMNS)
        unfinished.unlink()
    counts = Counter(job.region for job in done)
    parts = ", ".join(f"{counts[region]} {region}" for region in REGION_CODES if region in args.regions)
    print(f"{plan.split}: {len(done)} images ({parts}) in {target}; {len(missing) - len(failed)} of them new")
    if failed:
        print(f"warning: {plan.split}: {len(failed)} images left out for their crops, the first because "
              f"{next(iter(failed.values()))}; run extract_faces.py with --overwrite", file=sys.stderr)  # fmt: skip
    return done


def choose_samples(jobs: list[Job], number: int, rng: np.random.Generator) -> list[Job]:
    """At most ``number`` jobs, drawn so that they spread over regions, then over their methods."""
    methods: dict[str, list[str]] = {}  # of each region, in the order drawn
    drawn, ranks = Counter(), {}
    for index in rng.permutation(len(jobs)).tolist():
        region, method = jobs[index].region, jobs[index].pair.method
        known = methods.setdefault(region, [])
        if method not in known:
            known.append(method)
        ranks[index] = (drawn[region, method], known.index(method))
        drawn[region, method] += 1
    chosen = [jobs[index] for index in sorted(ranks, key=ranks.__getitem__)[:number]]
    regions, names = list(REGION_CODES), list(METHOD_CODES)
    return sorted(chosen, key=lambda job: (regions.index(job.region), names.index(job.pair.method), job.pair[1:3]))


def draw_preview(path: Path, jobs: list[Job]) -> None:
    """Draw the jobs. One whose crops cannot be read any more is left out with a warning; UserError when all are."""
    rows = []
    for job in jobs:
        try:
            real, fake, mask, result = compose(job)
        except CropError as error:
            print(f"warning: left out of the preview: {error}", file=sys.stderr)
            continue
        caption = f"{job.pair.method} {job.pair.video}, frame {job.pair.frame}, {job.region}"
        rows.append(SheetRow(caption, (real, fake, tinted(real, mask), result)))
    if not rows:
        raise UserError(f"{path} is not written: none of its crops can be read; run extract_faces.py with --overwrite")
    how = jobs[0].blend + (", colours matched" if jobs[0].color_transfer else "")
    write_sheet(path, ("real", "fake", "mask", f"result ({how})"), rows)


@script
def main(argv: Sequence[str] | None = None) -> None:
    parser = get_args_parser()
    args = parser.parse_args(argv)
    if args.preview and args.preview.suffix.lower() != ".png":
        parser.error(f"--preview {args.preview} must end in .png")
    if not args.preview and args.preview_rows != parser.get_default("preview_rows"):
        parser.error("--preview_rows goes with --preview")
    plans = [make_plan(args, split) for split in dict.fromkeys(args.split)]
    for plan in plans:
        if plan.jobs:
            check_target(plan, args.overwrite)
    if args.preview:
        output_dir(args.preview.parent)
    done = []
    for plan in plans:
        if plan.jobs:
            with exclusive_folder(plan.target):
                done += carry_out(plan, args)
        left_out = ", ".join(f"{number} {reason}" for reason, number in plan.left_out.items() if number)
        if left_out:
            print(f"{plan.split}: {left_out}")
    if not done:
        raise UserError(f"nothing could be made of the {' and '.join(args.split)} split in {args.compression}; run "
                        "extract_faces.py on its fake and its real videos first")  # fmt: skip
    if args.preview:
        draw_preview(args.preview, choose_samples(done, args.preview_rows, np.random.default_rng(args.seed)))
        print(f"preview: {args.preview}")


if __name__ == "__main__":
    sys.exit(main())
