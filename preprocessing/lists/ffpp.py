"""The lists of FF++: up to --n_frames evenly spaced crops of each video of a split.

The train list is balanced (--balance equal): real videos give up to --n_frames crops each, and the fakes as many images
in total. Fake videos give equal numbers of crops while they have any; a seeded choice, even over the methods, says
which give one more. With --expansion up to --expansion_share of the fakes are single regions laid over reals, a seeded
choice that is even over the regions. If there are too few fakes, reals are left out evenly.

Crops are those in the manifest.csv of extract_faces.py; videos that it did not finish are left out. All crops of other
tools, which write no manifest.csv, are taken.
"""

import argparse
import csv
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from datasets.readers.ffpp_methods import (
    METHOD_CODES,
    REAL_CODE,
    REGION_CODES,
    SPLITS,
    compression_dir,
    ffpp_root,
    split_videos,
)
from datasets.records import evenly_spaced, list_images
from preprocessing.extraction import manifest
from preprocessing.lists.checks import check_paths, check_splits, shared_crop_settings
from preprocessing.lists.choosing import ListedImage, Lists, Video, balanced_videos
from utils.cli import UserError
from utils.files import read_json

CODES = {"real": REAL_CODE} | METHOD_CODES
REGION_OF_CODE = {code: region for region, code in REGION_CODES.items()}
SAVED = ("size", "scale", "format", "quality")  # settings that an expansion shares with its crops
Settings = dict[str, object] | None  # of crops; None if unknown
Finished = dict[str, list[str]] | None  # video -> its crops, sorted; None for crops of other tools


def ffpp_lists(args: argparse.Namespace) -> Lists:
    """The lists of the chosen splits; prints what is left out. args: the options of make_lists.py.

    Raises:
        UserError: Splits overlap, crops or expansion do not fit or are damaged, or a path cannot stand in a list.
    """
    splits = [split for split in SPLITS if split in args.split]
    check_splits(args.data_root, splits)
    folders = {method: compression_dir(args.data_root, method, args.compression) for method in CODES}
    settings = shared_crop_settings(folders.values())
    finished = {method: finished_crops(folder) for method, folder in folders.items()}
    lists = {split: _list_of_split(args, split, folders, finished, settings) for split in splits}
    check_paths(lists)
    return lists


def finished_crops(folder: Path) -> Finished:
    """The crops of the videos that extract_faces.py finished: those in manifest.csv that also have a row file.

    Without the hidden folder of row files manifest.csv alone counts.
    """
    hidden = (folder / ".manifest").is_dir()
    if not hidden and not (folder / "manifest.csv").is_file():
        return None
    crops: dict[str, list[str]] = {}
    for row in manifest.read_rows(folder / "manifest.csv"):
        paths = crops.setdefault(row["video"], [])
        if row["status"] == "ok":
            paths.append(f"{folder}/{row['path']}")
    finished = manifest.finished_videos(folder) if hidden else crops
    return {video: sorted(set(crops[video])) for video in finished if video in crops}


def first_missing(paths: Iterable[str]) -> str | None:
    """The first path that does not exist. Lists each folder once, which is faster than to check each file."""
    existing: dict[str, set[str]] = {}
    for path in paths:
        folder = path.rpartition("/")[0]  # no Path: it would take most of the time
        if folder not in existing:
            existing[folder] = set(list_images(Path(folder)))
        if path not in existing[folder]:
            return path
    return None


def read_expansion(args: argparse.Namespace, split: str, crops: Settings) -> tuple[list[ListedImage], object]:
    """Read the expansion of a split. Returns its images and the content of its manifest.json (None without one).

    Raises:
        UserError: It is missing, damaged, of another split, or made of crops with other settings than ``crops``: their
            size or format would tell fakes from reals.
    """
    folder = ffpp_root(args.data_root) / "expansion" / args.compression / split
    table, note, again = folder / "manifest.csv", folder / "manifest.json", "run preprocessing/expand_FFpp.py again"
    made_with = read_json(note) if note.is_file() else None
    own = made_with if isinstance(made_with, dict) else {}
    changed = [key for key in SAVED if crops is not None and own.get(key) != crops.get(key)]
    if changed:
        differences = ", ".join(f"{key} {own.get(key)} there, {crops.get(key)} now" for key in changed)
        raise UserError(f"{folder} was made of other crops than today's ({differences}); {again} with --overwrite")
    fakes = {(method, video) for method, video in split_videos(args.data_root, split) if method != "real"}
    images = []
    try:
        with table.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                if (row["method"], row["video"]) not in fakes:
                    raise UserError(f"{table}: {row['method']} {row['video']} is no fake of the {split} split; {again}")
                method, video = f"expansion/{REGION_OF_CODE[row['code']]}", f"{row['method']}/{row['video']}"
                images.append(ListedImage(str(folder / row["path"]), row["code"], method, video))
    except (KeyError, TypeError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{table} is damaged; {again}") from error
    except FileNotFoundError as error:
        raise UserError(f"--expansion: {table} is missing; run preprocessing/expand_FFpp.py") from error
    if gone := first_missing(image.path for image in images):
        raise UserError(f"{gone} is in {table}, but does not exist; {again}")
    return images, made_with


def _list_of_split(
    args: argparse.Namespace, split: str, folders: dict[str, Path], finished: dict[str, Finished], settings: Settings
) -> tuple[list[ListedImage], dict[str, object]]:
    crops, without, unfinished = _crops_of_split(args, split, folders, finished)
    if unfinished:
        what = f"{len(unfinished)} videos left out, such as {unfinished[0]}"
        print(f"{split}: {what}: their extraction did not end; run preprocessing/extract_faces.py again")
    if not crops:
        where = f"the {split} split under {ffpp_root(args.data_root)} ({args.compression})"
        raise UserError(f"no crop of {where}; run preprocessing/extract_faces.py, or choose other splits with --split")
    for method, number in Counter(video.split("/")[0] for video in without).items():
        print(f"{split}: {number} {method} videos have no crop")
    frames = {video: min(len(paths), args.n_frames) for video, paths in crops.items()}
    balance, chosen, expansion_facts = "none", [], None
    if split == "train":
        balance = args.balance
        expansion, made_with = read_expansion(args, split, settings) if args.expansion else ([], None)
        frames, chosen = balanced_videos(frames, expansion, balance == "equal", args.expansion_share, args.seed)
        if args.expansion:
            n_fake = sum(number for (method, _), number in frames.items() if method != "real") + len(chosen)
            share = len(chosen) / n_fake if n_fake else 0.0
            expansion_facts = {"share_asked": args.expansion_share, "share": round(share, 4)}
            expansion_facts |= {"images_there": len(expansion), "made_with": made_with}
            shares = f"{share:.1%} of the fakes (at most {args.expansion_share:.1%})"
            print(f"train: {len(chosen)} of {len(expansion)} expansion images, {shares}")
    images = [
        ListedImage(path, CODES[method], method, video)
        for (method, video), number in frames.items()
        for path in evenly_spaced(crops[method, video], number)
    ]
    numbers = {"real": [], "fake": []}
    for (method, _), number in frames.items():
        numbers["real" if method == "real" else "fake"].append(number)
    facts = {
        "dataset": "FFpp",
        "split": split,
        "compression": args.compression,
        "crops": settings,
        "n_frames": args.n_frames,
        "balance": balance,
        "expansion": expansion_facts,
        "seed": args.seed,
        "videos": {name: len(counts) for name, counts in numbers.items()},  # that have crops
        "frames_per_video": {name: [min(c, default=0), max(c, default=0)] for name, c in numbers.items()},
        "videos_without_crops": without,
        "videos_unfinished": unfinished,
    }
    return images + chosen, facts


def _crops_of_split(
    args: argparse.Namespace, split: str, folders: dict[str, Path], finished: dict[str, Finished]
) -> tuple[dict[Video, list[str]], list[str], list[str]]:
    """(video -> its crops, videos without crops, videos whose extraction did not end)."""
    crops: dict[Video, list[str]] = {}
    without, unfinished = [], []
    for method, video in split_videos(args.data_root, split):
        known = finished[method]
        in_manifest = known is not None and video in known
        paths = known[video] if in_manifest else list_images(folders[method] / "faces" / video)
        if in_manifest and (gone := first_missing(paths)):
            table = folders[method] / "manifest.csv"
            raise UserError(f"{gone} is in {table}, but does not exist; run preprocessing/extract_faces.py again")
        if not paths:
            without.append(f"{method}/{video}")
        elif known is not None and not in_manifest:
            unfinished.append(f"{method}/{video}")
        else:
            crops[method, video] = paths
    return crops, without, unfinished
