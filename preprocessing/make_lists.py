"""Write training, validation and test lists of FF++ or FFSC: lines `path code`, and a recipe beside each list.

python preprocessing/make_lists.py --data_root data --expansion --output data/lists
python preprocessing/make_lists.py --dataset FFSC --data_root data --output data/lists_ffsc

FF++: a list takes up to --n_frames evenly spaced crops of each video of its split. The train list is balanced
(--balance equal): real videos give up to --n_frames crops each and the fakes as many images in total, so a fake video
gives fewer. These are spread over all fake videos: their numbers differ by one at most as long as they have the crops,
and a seeded choice, even over the methods, says which give one more. With --expansion up to --expansion_share of the
fake images are single regions laid over reals, a seeded choice that is even over the regions. Where there are too few
fakes, reals are left out evenly instead. --balance none takes up to --n_frames of every video, fake or real.

FFSC: a list takes every image of its folders. The split test gives test.txt (the methods of training) and
test_protocol1.txt (methods that training never saw), as far as their folders are there. --balance equal leaves out
images of the larger class of the train list, a seeded choice that is even over the methods.

FF++ crops are those in the manifest.csv of extract_faces.py, so videos that it did not finish are left out; crops of
other tools, without one, are all taken. Checked on every run: no source video and no pair of the FF++ split files is
in two splits; no two FFSC images of different splits hold the same bytes, as far as both lists are written.

Validation and test lists are never balanced and hold no expansion. <list>.recipe.json tells how a list was made, its
counts and its SHA-256. The same options and files give the same bytes.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # the repository root instead of this script's folder

import argparse
import csv
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from datasets.readers.ffpp import (
    METHOD_CODES,
    REAL_CODE,
    REGION_CODES,
    SPLITS,
    compression_dir,
    ffpp_root,
    read_pairs,
    split_videos,
)
from utils.cli import ArgumentParser, UserError, answer_first, non_negative_int, positive_int, probability, script, seed


def get_args_parser() -> ArgumentParser:
    title, _, *how = __doc__.split("\n\n")
    parser = ArgumentParser(description=" ".join([title, *how]))
    parser.add_argument("--dataset", choices=("FFpp", "FFSC"), default="FFpp", help="data set")
    parser.add_argument("--data_root", type=Path, default=Path("data"), help="folder that holds FF++ or FFSC")
    parser.add_argument("--split", nargs="+", choices=SPLITS, default=list(SPLITS), help="lists to write")
    parser.add_argument("--balance", choices=("equal", "none"), help="train.txt: as many real as fake images, or what "
                        "is there (default: equal for FFpp, none for FFSC)")  # fmt: skip
    parser.add_argument("--seed", type=seed, default=0, help="of every choice of images")
    parser.add_argument("--shuffle_codes", type=non_negative_int, metavar="SEED", help="control: deal the codes of "
                        "train.txt out anew, so that nothing can be learnt from it")  # fmt: skip
    parser.add_argument("--output", type=Path, required=True, help="folder for the lists and their recipes")
    ffpp = parser.add_argument_group("FFpp only")
    ffpp.add_argument("--compression", choices=("c23", "c40", "raw"), default="c23", help="which crops")
    ffpp.add_argument("--n_frames", type=positive_int, default=32, help="crops per video at most, evenly spaced; in a "
                      "balanced train.txt fake videos give fewer")  # fmt: skip
    ffpp.add_argument("--expansion", action="store_true", help="add the images of expand_FFpp.py to train.txt")
    ffpp.add_argument("--expansion_share", type=probability, default=0.25, help="of the fake images of train.txt, at "
                      "most; 1 with --balance none: all there are")  # fmt: skip
    return parser


answer_first(__name__, get_args_parser)

from datasets.readers.ffsc import UNVERIFIED, read_ffsc
from datasets.records import evenly_spaced, list_images
from preprocessing.extraction import manifest
from preprocessing.list_recipe import (
    Image,
    Video,
    balanced_classes,
    balanced_videos,
    check_copies,
    check_lists,
    crop_settings,
    shuffled_codes,
    write_list,
)
from utils.files import read_json
from utils.locks import exclusive_folder

CODES = {"real": REAL_CODE} | METHOD_CODES
REGION_OF_CODE = {code: region for region, code in REGION_CODES.items()}
SAVED = ("size", "scale", "format", "quality")  # settings of crops that the images of an expansion share
Lists = dict[str, tuple[list[Image], dict[str, object]]]  # name -> images and facts of its recipe


def check_options(parser: ArgumentParser, args: argparse.Namespace) -> None:
    given = {name for name in vars(args) if getattr(args, name) != parser.get_default(name)}
    if args.dataset == "FFSC":
        for name in ("compression", "n_frames", "expansion", "expansion_share"):
            if name in given:
                parser.error(f"--{name} does not go with --dataset FFSC")
    if "train" not in args.split:
        for name in ("balance", "expansion", "shuffle_codes"):
            if name in given:
                parser.error(f"--{name} is for the train list, which --split leaves out")
    if "expansion_share" in given and not args.expansion:
        parser.error("--expansion_share needs --expansion")


def check_splits(data_root: Path, splits: Sequence[str]) -> None:
    """UserError when a source video is in two of the split files that are there, or a pair is twice in one."""
    split_of: dict[str, str] = {}
    for split in SPLITS:
        path = ffpp_root(data_root) / f"{split}.json"
        if split not in splits and not path.is_file():
            continue
        pairs = set()
        for a, b in read_pairs(data_root, split):
            if a == b:
                raise UserError(f"{path}: the pair {a}, {b} is one video; download the official split files again")
            if frozenset((a, b)) in pairs:
                raise UserError(f"{path}: the pair {a}, {b} is there twice; download the official split files again")
            pairs.add(frozenset((a, b)))
            for video in (a, b):
                if split_of.setdefault(video, split) != split:
                    raise UserError(f"{path}: video {video} is in {split_of[video]}.json too, but a source video "
                                    "belongs to one split; download the official split files again")  # fmt: skip


def first_missing(paths: Iterable[str]) -> str | None:
    """The first path that is not there. Lists each folder once, because a look at each file takes longer."""
    there: dict[str, set[str]] = {}
    for path in paths:
        folder = path.rpartition("/")[0]  # no Path: it would take most of the time
        if folder not in there:
            there[folder] = set(list_images(Path(folder)))
        if path not in there[folder]:
            return path
    return None


def finished_crops(folder: Path) -> dict[str, list[str]] | None:
    """video -> its crops, sorted, of the videos that extract_faces.py finished; None for crops of other tools.

    A finished video is in manifest.csv, and in the hidden folder that goes with it, where that is there too.
    """
    hidden = manifest.row_file(folder, "").parent.is_dir()
    if not hidden and not (folder / "manifest.csv").is_file():
        return None
    crops: dict[str, set[str]] = {}
    for row in manifest.read_rows(folder / "manifest.csv"):
        paths = crops.setdefault(row["video"], set())
        if row["status"] == "ok":
            paths.add(f"{folder}/{row['path']}")
    whole = (video for video in crops if not hidden or manifest.row_file(folder, video).is_file())
    return {video: sorted(crops[video]) for video in whole}


def split_crops(
    videos: Sequence[Video], folders: Mapping[str, Path], finished: Mapping[str, dict[str, list[str]] | None]
) -> tuple[dict[Video, list[str]], list[Video]]:
    """(crops of each video, videos left out because their extraction did not end). finished: by method."""
    crops, unfinished = {}, []
    for method, video in videos:
        known = finished[method]
        if known is not None and video in known:
            crops[method, video] = known[video]
            if gone := first_missing(known[video]):
                raise UserError(f"{gone} is in {folders[method] / 'manifest.csv'}, but not there; run "
                                "preprocessing/extract_faces.py again")  # fmt: skip
            continue
        crops[method, video] = list_images(folders[method] / "faces" / video)
        if known is not None and crops[method, video]:
            crops[method, video] = []
            unfinished.append((method, video))
    return crops, unfinished


def expansion_settings(note: Path, crops: Mapping[str, object] | None) -> object:
    """The content of an expansion's manifest.json, None where there is none.

    crops: settings of the crops, None when not known. UserError when the expansion was made of other ones: size or
    format would tell fakes from reals.
    """
    content = read_json(note) if note.is_file() else None
    own = content if isinstance(content, dict) else {}
    changed = [key for key in SAVED if crops is not None and own.get(key) != crops.get(key)]
    if changed:
        differences = ", ".join(f"{key} {own.get(key)} there, {crops.get(key)} now" for key in changed)
        raise UserError(f"{note.parent} was made of other crops than those that are there now ({differences}); run "
                        "preprocessing/expand_FFpp.py again with --overwrite")  # fmt: skip
    return content


def expansion_images(folder: Path, data_root: Path, split: str) -> list[Image]:
    """The images of an expansion's manifest.csv. UserError when one of them is not there."""
    again = "run preprocessing/expand_FFpp.py again"
    fakes = {(method, video) for method, video in split_videos(data_root, split) if method != "real"}
    images = []
    try:
        with (folder / "manifest.csv").open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                if (row["method"], row["video"]) not in fakes:
                    raise UserError(f"{folder / 'manifest.csv'}: {row['method']} {row['video']} is no fake of the "
                                    f"{split} split; {again}")  # fmt: skip
                method, video = f"expansion/{REGION_OF_CODE[row['code']]}", f"{row['method']}/{row['video']}"
                images.append(Image(str(folder / row["path"]), row["code"], method, video))
    except (KeyError, TypeError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{folder / 'manifest.csv'} is damaged; {again}") from error
    except FileNotFoundError as error:
        raise UserError(f"--expansion: {error.filename} is missing; run preprocessing/expand_FFpp.py") from error
    if gone := first_missing(image.path for image in images):
        raise UserError(f"{gone} is in {folder / 'manifest.csv'}, but not there; {again}")
    return images


def ffpp_lists(args: argparse.Namespace, splits: Sequence[str]) -> Lists:
    folders = {method: compression_dir(args.data_root, method, args.compression) for method in CODES}
    settings = crop_settings(folders.values())
    finished = {method: finished_crops(folder) for method, folder in folders.items()}
    lists: Lists = {}
    for split in splits:
        crops, unfinished = split_crops(split_videos(args.data_root, split), folders, finished)
        if unfinished:
            print(f"{split}: {len(unfinished)} videos left out, such as {'/'.join(unfinished[0])}: the extraction of "
                  "their crops did not end; run preprocessing/extract_faces.py again")  # fmt: skip
        lists[split] = ffpp_list(args, split, crops, unfinished, settings)
    return lists


def ffpp_list(
    args: argparse.Namespace,
    split: str,
    crops: Mapping[Video, list[str]],
    unfinished: Sequence[Video],
    settings: Mapping[str, object] | None,
) -> tuple[list[Image], dict[str, object]]:
    """The list of a split. crops, unfinished: as split_crops gives them; settings: as crop_settings does."""
    left_out = set(unfinished)
    without = [video for video in crops if not crops[video] and video not in left_out]
    if not any(crops.values()):
        raise UserError(f"no crop of the {split} split under {ffpp_root(args.data_root)} ({args.compression}); "
                        "run preprocessing/extract_faces.py, or choose other splits with --split")  # fmt: skip
    for method, number in Counter(method for method, _ in without).items():
        print(f"{split}: {number} {method} videos have no crop")
    frames = {video: min(len(paths), args.n_frames) for video, paths in crops.items() if paths}
    balance, expansion, expansion_facts = "none", [], None
    if split == "train":
        balance, folder = args.balance, ffpp_root(args.data_root) / "expansion" / args.compression / split
        made_with, there = None, []
        if args.expansion:
            made_with = expansion_settings(folder / "manifest.json", settings)
            there = expansion_images(folder, args.data_root, split)
        frames, expansion = balanced_videos(frames, there, balance == "equal", args.expansion_share, args.seed)
        if args.expansion:
            n_fake = sum(number for (method, _), number in frames.items() if method != "real") + len(expansion)
            share = len(expansion) / n_fake if n_fake else 0.0
            expansion_facts = {"share_asked": args.expansion_share, "share": round(share, 4)}
            expansion_facts |= {"images_there": len(there), "made_with": made_with}
            print(f"train: {len(expansion)} of {len(there)} expansion images, {share:.1%} of the fakes "
                  f"(at most {args.expansion_share:.1%})")  # fmt: skip
    images = [
        Image(path, CODES[method], method, video)
        for (method, video), number in frames.items()
        for path in evenly_spaced(crops[method, video], number)
    ]
    sides = {
        "real": [number for (method, _), number in frames.items() if method == "real"],
        "fake": [number for (method, _), number in frames.items() if method != "real"],
    }
    facts = {
        "dataset": "FFpp",
        "split": split,
        "compression": args.compression,
        "crops": settings,
        "n_frames": args.n_frames,
        "balance": balance,
        "expansion": expansion_facts,
        "seed": args.seed,
        "videos": {side: len(numbers) for side, numbers in sides.items()},  # that have crops
        "frames_per_video": {
            side: [min(numbers, default=0), max(numbers, default=0)] for side, numbers in sides.items()
        },
        "videos_without_crops": [f"{method}/{video}" for method, video in without],
        "videos_unfinished": [f"{method}/{video}" for method, video in unfinished],
    }
    return images + expansion, facts


def ffsc_lists(args: argparse.Namespace, split: str) -> Lists:
    lists: Lists = {}
    balance = args.balance if split == "train" else "none"
    for name, records in read_ffsc(args.data_root, split).items():
        images = [Image(record.path, record.code, record.method) for record in records]
        if balance == "equal":
            images = balanced_classes(images, args.seed)
        unverified = {method: UNVERIFIED[method] for method in UNVERIFIED if any(i.method == method for i in images)}
        facts = {"dataset": "FFSC", "split": split, "balance": balance, "seed": args.seed, "unverified": unverified}
        lists[name] = (images, facts)
    if split == "test" and len(lists) == 1:
        print(f"test: only {next(iter(lists))}.txt, the folders of the other test list are not there")
    return lists


@script
def main(argv: Sequence[str] | None = None) -> None:
    parser = get_args_parser()
    args = parser.parse_args(argv)
    check_options(parser, args)
    args.balance = args.balance or ("equal" if args.dataset == "FFpp" else "none")
    lists: Lists = {}
    splits = sorted(set(args.split), key=SPLITS.index)
    if args.dataset == "FFpp":
        check_splits(args.data_root, splits)
        lists = ffpp_lists(args, splits)
    else:
        for split in splits:
            lists |= ffsc_lists(args, split)
    images_of = {name: images for name, (images, _) in lists.items()}
    check_lists(images_of)
    if args.dataset == "FFSC":
        check_copies(images_of)
    unverified = {item for _, facts in lists.values() for item in facts.get("unverified", {}).items()}
    for method, why in sorted(unverified):
        print(f"UNVERIFIED {method}: {why}")
    with exclusive_folder(args.output) as folder:
        for name, (images, facts) in lists.items():
            seed_of_codes = args.shuffle_codes if name == "train" else None
            if seed_of_codes is not None:
                images = shuffled_codes(images, seed_of_codes)
            write_list(folder, name, images, facts | {"shuffle_codes": seed_of_codes})


if __name__ == "__main__":
    sys.exit(main())
