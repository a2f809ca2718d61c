"""The lists of FF++, or of its part DeepFakeDetection (DFD).

They hold up to --n_frames evenly spaced crops of each video of a split.

The train list is balanced (--balance equal): real videos give up to --n_frames crops each, and the fakes as many images
in total. Fake videos give equal numbers of crops while they have any; a seeded choice, even over the methods, decides
which give one more. With --expansion up to --expansion_share of the fakes are images of expand_FFpp.py, a seeded choice
that is even over the regions. If there are too few fakes, reals are left out evenly.

Crops are those in the manifest.csv of extract_faces.py; videos that it did not finish are left out. Without a
manifest.csv (crops of other tools) all images are taken.

DFD has no official splits: its actors are divided (``split_of_actors``). Fakes of actors of two splits are left out.
"""

import argparse
import csv
from collections import Counter
from pathlib import Path

from datasets.readers.ffpp import (
    DFD_CODES,
    METHOD_CODES,
    REGION_CODES,
    SPLITS,
    compression_dir,
    dfd_dirs,
    dfd_videos,
    split_of_actors,
    split_videos,
)
from datasets.records import evenly_spaced, in_order, list_images
from preprocessing.expansion.planning import CropFormat, expansion_dir
from preprocessing.extraction import manifest
from preprocessing.lists.checks import check_paths, check_splits, shared_crop_settings
from preprocessing.lists.choosing import ListedImage, Lists, Video, balanced_videos
from utils.cli import UserError
from utils.files import read_json
from utils.terminal import say

CODES = METHOD_CODES | DFD_CODES
REGION_OF_CODE = {code: region for region, code in REGION_CODES.items()}
Settings = dict[str, object] | None  # of crops; None if unknown


def ffpp_lists(args: argparse.Namespace) -> Lists:
    """The lists of the chosen splits; prints what is left out. args: the options of make_lists.py.

    Raises UserError if splits overlap, crops or expansion do not fit or are damaged, or a list cannot hold a path.
    """
    if args.dataset == "DFD":
        folders, videos = dfd_dirs(args.data_root, args.compression), dfd_splits(args)
    else:
        check_splits(args.data_root, args.split)
        methods = ("real", *METHOD_CODES)
        folders = {method: compression_dir(args.data_root, method, args.compression) for method in methods}
        videos = {split: split_videos(args.data_root, split) for split in args.split}
    settings = shared_crop_settings(folders.values())
    finished = {method: finished_crops(folder) for method, folder in folders.items()}
    lists: Lists = {}
    for split in args.split:
        crops: dict[Video, list[str]] = {}
        without, unfinished = [], []
        for method, video in videos[split]:
            paths = crops_of_video(folders[method], video, finished[method])
            if paths:
                crops[method, video] = paths
            else:
                (unfinished if paths is None else without).append(f"{method}/{video}")
        if unfinished:
            what = f"{len(unfinished)} videos left out, such as {unfinished[0]}: their extraction did not end"
            say(f"{split}: {what}; run preprocessing/extract_faces.py again")
        if not crops:
            where = f"the {split} split under {args.data_root} ({args.compression})"
            advice = "run preprocessing/extract_faces.py, or choose other splits with --split"
            raise UserError(f"no crop of {where}; {advice}")
        for method, number in Counter(video.split("/")[0] for video in without).items():
            say(f"{split}: {number} {method} videos have no crop")
        images, facts = _choose_images(args, split, crops, settings)
        lists[split] = (images, facts | {"videos_without_crops": without, "videos_unfinished": unfinished})
    check_paths(lists)
    return lists


def dfd_splits(args: argparse.Namespace) -> dict[str, list[Video]]:
    """The videos of DFD's splits; prints how many fakes are in none."""
    splits: dict[str, list[Video]] = {split: [] for split in SPLITS}
    apart = []
    for method, video in dfd_videos(args.data_root, args.compression):
        split = split_of_actors(video)
        (splits[split] if split else apart).append((method, video))
    if apart:
        say(f"{len(apart)} fakes left out, such as {apart[0][1]}: their two actors are in different splits")
    return splits


def finished_crops(folder: Path) -> dict[str, list[str]] | None:
    """Finished video -> its crops, sorted; None if extract_faces.py did not make the crops of the folder.

    A finished video is in manifest.csv and, if there is a folder of row files, has a row file.
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
    return {video: in_order(set(crops[video])) for video in finished if video in crops}


def crops_of_video(folder: Path, video: str, finished: dict[str, list[str]] | None) -> list[str] | None:
    """The crops of a video; None if its extraction did not end. finished: see finished_crops."""
    existing = list_images(folder / "faces" / video)
    if finished is None:
        return existing
    if video not in finished:
        return None if existing else []
    if gone := sorted(set(finished[video]).difference(existing)):
        what = f"{gone[0]} is in {folder / 'manifest.csv'}, but does not exist"
        raise UserError(f"{what}; run preprocessing/extract_faces.py again")
    return finished[video]


def read_expansion(args: argparse.Namespace, split: str, crops: Settings) -> tuple[list[ListedImage], object]:
    """Read the expansion of a split: (its images, the content of its manifest.json or None).

    Raises UserError if it is missing, damaged, of another split, or made of crops with other settings than ``crops``:
    their size or format would tell fakes from reals.
    """
    folder = expansion_dir(args.data_root, args.compression, split)
    table, note, again = folder / "manifest.csv", folder / "manifest.json", "run preprocessing/expand_FFpp.py again"
    made_with = read_json(note) if note.is_file() else None
    wanted = {key: crops.get(key) for key in CropFormat._fields} if crops is not None else {}
    if changed := manifest.changed_settings(made_with, wanted):
        raise UserError(f"{folder} was made of other crops than today's ({changed}); move it away and {again}")
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
    folders = {image.path.rpartition("/")[0] for image in images}  # one listing each is faster than a check per file
    existing = {path for folder in folders for path in list_images(Path(folder))}
    if gone := [image.path for image in images if image.path not in existing]:
        raise UserError(f"{gone[0]} is in {table}, but does not exist; {again}")
    return images, made_with


def _choose_images(
    args: argparse.Namespace, split: str, crops: dict[Video, list[str]], settings: Settings
) -> tuple[list[ListedImage], dict[str, object]]:
    """The images of a list, and what its recipe tells of them."""
    frames = {video: min(len(paths), args.n_frames) for video, paths in crops.items()}
    balance, chosen, expansion_facts = "none", [], None
    use_expansion = args.expansion and split == "train"
    expansion, made_with = read_expansion(args, split, settings) if use_expansion else ([], None)
    if split == "train":
        balance = args.balance
        frames, chosen = balanced_videos(frames, expansion, balance == "equal", args.expansion_share, args.seed)
    images, numbers = [], {"real": [], "fake": []}
    for (method, video), number in frames.items():
        paths = evenly_spaced(crops[method, video], number)
        images += [ListedImage(path, CODES[method], method, video) for path in paths]
        numbers["real" if method == "real" else "fake"].append(number)
    if use_expansion:
        share = len(chosen) / max(sum(numbers["fake"]) + len(chosen), 1)
        expansion_facts = {"share_asked": args.expansion_share, "share": round(share, 4)}
        expansion_facts |= {"images_there": len(expansion), "made_with": made_with}
        shares = f"{share:.1%} of the fakes (at most {args.expansion_share:.1%})"
        say(f"train: {len(chosen)} of {len(expansion)} expansion images, {shares}")
    facts = {"dataset": args.dataset, "split": split, "compression": args.compression, "crops": settings}
    facts |= {"n_frames": args.n_frames, "balance": balance, "expansion": expansion_facts, "seed": args.seed}
    facts["videos"] = {name: len(counts) for name, counts in numbers.items()}  # those with crops
    facts["frames_per_video"] = {name: [min(c, default=0), max(c, default=0)] for name, c in numbers.items()}
    return images + chosen, facts
