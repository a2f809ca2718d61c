"""Plan the expansion of one split: pair the crops of fake and real frames and choose the images to make.

The frames of a fake a_b are those of its target a, so equal frame numbers make a pair.
"""

import argparse
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from datasets.face_regions import face_of
from datasets.readers.ffpp import METHOD_CODES, REGION_CODES, compression_dir, ffpp_root, split_videos
from preprocessing.detection.align import similarity_matrix
from preprocessing.expansion.blending import map_points
from preprocessing.extraction import manifest
from utils.cli import UserError
from utils.files import read_json
from utils.terminal import say

LOCAL = slice(5, None)  # digits of a list code for eye, lip, mouth, nose, skin
GROW = (0.95, 1.15)  # range of the factor on a region's radii
FEATHER = (0.05, 0.09)  # range of the blur of a mask's edge (standard deviation), in units of the face
MAX_SHIFT = 0.5  # units of the face; landmarks of fake and real that differ by more belong to different faces
COLUMNS = (
    ("path", "region", "code", "method", "video", "frame")  # path: relative to the expansion's folder
    + ("real", "fake")  # crops, relative to --data_root
    + ("blend", "color_transfer", "donors", "grow", "feather")  # feather: px, standard deviation; 0 with poisson
    + tuple(f"{point}_{axis}" for point in manifest.POINTS for axis in "xy")  # px of the real crop
    + ("seed",)
)


class CropFormat(NamedTuple):
    """How the crops were made. The images are saved alike, so that only the face differs from a crop."""

    size: int
    scale: float
    format: str
    quality: int | None


class Pair(NamedTuple):
    """The crops of one frame in a fake video and in its real video."""

    real: Path
    fake: Path
    real_matrix: np.ndarray  # [2, 3], from the frame to the crop
    fake_matrix: np.ndarray
    points: np.ndarray  # [5, 2], landmarks of the real face in its crop
    crops: CropFormat


class Job(NamedTuple):
    """One image to make. row: Its row in the expansion's manifest.csv, which tells how."""

    path: Path
    row: manifest.Row
    pair: Pair


class Plan(NamedTuple):
    """The images of one split. target: Their folder, named after the split. recipe: The settings, for manifest.json."""

    target: Path
    jobs: list[Job]
    recipe: dict[str, object]


def expansion_dir(data_root: Path, compression: str, split: str) -> Path:
    return ffpp_root(data_root) / "expansion" / compression / split


def can_give(method: str, region: str) -> bool:
    """Whether the method manipulates all parts that the region's code names."""
    digits = zip(METHOD_CODES[method][LOCAL], REGION_CODES[region][LOCAL], strict=True)
    return all(own >= needed for own, needed in digits)


def read_crops(folder: Path) -> dict[str, dict[int, manifest.Row]]:
    """video -> frame -> row of each crop in a folder's manifest.csv; empty if there is none."""
    table = folder / "manifest.csv"
    crops: dict[str, dict[int, manifest.Row]] = {}
    for row in manifest.read_rows(table):
        if Path(row["path"]).is_absolute():
            raise UserError(f"{table} is damaged (the path {row['path']}); move it away and run extract_faces.py again")
        if row["status"] == "ok":
            crops.setdefault(row["video"], {})[int(row["frame"])] = row
    return crops


def read_crop_format(folder: Path) -> CropFormat:
    """How the crops of a folder were made, by its manifest.json. Raises UserError if that does not tell."""
    note = read_json(folder / "manifest.json")
    made = CropFormat._make(map(note.get, CropFormat._fields) if isinstance(note, dict) else (None,) * 4)
    measures = type(made.size) is int and type(made.scale) in (int, float) and made.size > 0 and made.scale > 0
    if not measures or made.format not in ("png", "jpg") or type(made.quality) not in (int, type(None)):
        raise UserError(f"{folder / 'manifest.json'} does not tell how the crops were made; extract them again")
    return made


def place_pair(
    real: manifest.Row, fake: manifest.Row, made: CropFormat
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """(real_matrix, fake_matrix, points) of a Pair; None unless both crops show one face in one place.

    real, fake: Rows of the crops in manifest.csv. The points are rounded as in the expansion's manifest.csv.
    """
    try:
        landmarks = [manifest.landmarks_of(row) for row in (real, fake)]
        real_matrix, fake_matrix = (similarity_matrix(points, made.size, made.scale) for points in landmarks)
        points, fake_points = (map_points(points, real_matrix) for points in landmarks)
        unit = face_of(points).unit
    except ValueError:
        return None
    near = np.linalg.norm(points - fake_points, axis=1).mean() <= MAX_SHIFT * unit  # False for NaN
    return (real_matrix, fake_matrix, points.round(2)) if near else None


def make_plan(args: argparse.Namespace, split: str) -> Plan:
    """Choose the images of a split and print what is left out. args: the options of expand_FFpp.py.

    All random draws depend on nothing but the seed and the image's region, method, video and frame. Raises UserError if
    the crops were made in several ways or a manifest is damaged.
    """
    folders = {method: compression_dir(args.data_root, method, args.compression) for method in ("real", *METHOD_CODES)}
    crops = {method: read_crops(folder) for method, folder in folders.items()}
    formats = {read_crop_format(folders[method]) for method, videos in crops.items() if videos}
    if len(formats) > 1:
        ways = " and ".join(map(str, formats))
        raise UserError(f"crops in {args.data_root} were made in several ways ({ways}); extract them alike")
    made = formats.pop() if formats else None
    target = expansion_dir(args.data_root, args.compression, split)
    wanted = [region for region in REGION_CODES if region in args.regions]
    given = {method: [r for r in wanted if args.donors == "any" or can_give(method, r)] for method in METHOD_CODES}
    jobs, left_out = [], Counter()
    for method, video in split_videos(args.data_root, split):
        if not given.get(method):
            continue
        reals, fakes = crops["real"].get(video.split("_")[0], {}), crops[method].get(video, {})
        shared = sorted(reals.keys() & fakes.keys())
        if made is None or not shared:
            lack = "have no crop" if not fakes else "lack crops of their real video" if not reals else "share no frame"
            left_out[f"fake videos {lack}"] += 1
            continue
        pairs = {}
        for frame in shared:
            if placed := place_pair(reals[frame], fakes[frame], made):
                files = (folders["real"] / reals[frame]["path"], folders[method] / fakes[frame]["path"])
                pairs[frame] = Pair(*files, *placed, made)
        if len(pairs) < len(shared):
            left_out["frames show another face than the real video"] += len(shared) - len(pairs)
        for region in given[method]:
            key = [args.seed, list(REGION_CODES).index(region), *f"{method}/{video}".encode()]
            chosen = np.random.default_rng(key).permutation(np.array(list(pairs), int))[: args.per_video]
            for frame in sorted(chosen.tolist()):
                rng = np.random.default_rng([*key, frame])
                jobs.append(_make_job(args, target, (region, method, video, frame), pairs[frame], rng))
    if left_out:
        say(f"{split}: {', '.join(f'{number} {reason}' for reason, number in left_out.items())}")
    recipe = {name: getattr(args, name) for name in ("compression", "per_video", "blend", "color_transfer", "donors")}
    recipe |= {"regions": wanted, "seed": args.seed} | (made._asdict() if made else {})
    recipe |= {"versions": {"opencv": cv2.__version__, "numpy": np.__version__}}
    return Plan(target, jobs, recipe)


def _make_job(
    args: argparse.Namespace, target: Path, image: tuple[str, str, str, int], pair: Pair, rng: np.random.Generator
) -> Job:
    """Draw the mask of an image (region, method, video, frame) and write its row."""
    region, method, video, frame = image
    path = f"{region}/{method}_{video}/{frame:04d}.{pair.crops.format}"
    grow = round(float(rng.uniform(*GROW)), 3)
    feather = round(float(rng.uniform(*FEATHER)) * face_of(pair.points).unit, 3) if args.blend == "feather" else 0.0
    values = [path, region, REGION_CODES[region], method, video, frame]
    values += [file.relative_to(args.data_root).as_posix() for file in (pair.real, pair.fake)]
    values += [args.blend, int(args.color_transfer), args.donors, grow, feather]
    values += [*(f"{value:.2f}" for value in pair.points.ravel()), args.seed]
    return Job(target / path, dict(zip(COLUMNS, map(str, values), strict=True)), pair)
