"""Lists from what people have: JSON files of DeepfakeBench and DF40, CSV files, class folders, Parquet tables.

The sources are read by the readers of the tests. Splits are those of the sources. A split that no source has is drawn
from what they have for training; a source without splits is for training (``splitting``). The codes of fakes follow
from their methods (``method_codes``).
"""

import argparse
import csv
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from datasets.data_set_format import ReadOptions
from datasets.list_rules import BLANKS
from datasets.readers.csv_list import read_csv_list
from datasets.readers.ffpp import REAL_CODE, SPLITS
from datasets.readers.image_folder import read_image_folder
from datasets.readers.parquet import SPLIT_NAMES, read_parquet
from datasets.records import DataSet, by_video, evenly_spaced, subfolders
from datasets.test_sets import TEST_SETS
from models.label_tree import FFPP
from preprocessing.lists.checks import check_paths
from preprocessing.lists.choosing import ListedImage, Lists, balanced_videos
from preprocessing.lists.method_codes import codes_of_fakes, read_codes
from preprocessing.lists.splitting import Sample, check_disjoint, draw_splits
from preprocessing.lists.table_images import unpack
from utils.cli import UserError
from utils.files import read_json, text_file
from utils.terminal import say

Parts = Iterator[tuple[str, DataSet]]  # split as the source calls it, "" if it has none; its images
LeftOut = dict[str, list[str]]  # reason -> the images or videos


def source_lists(args: argparse.Namespace) -> Lists:
    """The lists of the chosen splits; prints what is left out and how splits were drawn. args: of make_lists.py.

    Raises UserError if a source cannot be read, a method has no code, a class is missing, or splits share an image or a
    video.
    """
    more = read_codes(args.codes)
    left_out: LeftOut = defaultdict(list)
    samples = list(_samples(args, left_out))
    splits = named = {sample.split for sample in samples}
    shares = {"val": args.val_share, "test": args.test_share} if "train" in splits else {}
    shares = {split: share for split, share in shares.items() if share and split not in splits}
    samples = [sample for sample in samples if sample.split in {"train", *args.split}]
    samples = _existing(_without_repeats(samples, left_out), left_out)
    rule = None
    if shares:
        samples, rule = _with_drawn(samples, shares, args.seed)
    samples = [sample for sample in samples if sample.split in args.split]
    if shared := check_disjoint(samples):
        say(f"note: {shared}; --resplit draws splits that share fewer, as far as names tell")
    for reason, names in left_out.items():
        say(f"left out: {len(names)} x {reason}, such as {names[0]}")
    codes = codes_of_fakes((sample.method for sample in samples if sample.label), more)
    facts = {"dataset": args.dataset, "sources": list(map(str, args.datapath)), "n_frames": args.n_frames}
    facts |= {"drawn_splits": shares if rule else {}, "disjoint": rule, "shared": shared, "seed": args.seed}
    facts |= {"left_out": {reason: len(names) for reason, names in left_out.items()}}
    lists: Lists = {}
    for split in args.split:
        own = [sample for sample in samples if sample.split == split]
        if not own:
            why = "none of its images is there" if split in named else "the sources have no such split"
            say(f"{split}: no list, {why} (--resplit draws new ones)")
            continue
        _require_classes(own, split)
        balance = args.balance if split == "train" else "none"
        images = _listed(own, codes, balance == "equal", args.seed)
        if len(images) < len(own):
            say(f"{split}: {len(images)} of {len(own)} images are listed, as many real as fake (--balance equal)")
        lists[split] = (images, facts | {"split": split, "balance": balance})
    if not lists:
        chosen = " or ".join(args.split)
        if named & set(args.split):
            raise UserError(f"no image of {chosen} is there; set --data_root to the folder that holds them")
        raise UserError(f"the sources have no split {chosen}; choose others with --split")
    check_paths(lists)
    return lists


def _samples(args: argparse.Namespace, left_out: LeftOut) -> Iterator[Sample]:
    """The images of all sources, with the sources' splits; train where they have none, and under --resplit."""
    for place in args.datapath:
        source = f"{place}/" if len(args.datapath) > 1 else ""
        for name, data in _PARTS[args.dataset](place, args):
            if name and name.lower() not in SPLIT_NAMES:
                raise UserError(f"{place}: {name[:80]!r} is no name of a split; call it train, val or test")
            split = "train" if args.resplit or not name else SPLIT_NAMES[name.lower()]
            for note in data.notes:
                say(f"{place}: {note}")
            for drop in data.dropped:
                left_out[drop.reason.split(":")[0]].append(drop.path or drop.video)
            for record in data.records:
                video = record.path if record.video == record.path else source + record.video
                yield Sample(record.path, record.label, record.method, video, split)


def _json(place: Path, args: argparse.Namespace) -> Parts:
    content = read_json(place)
    labels = [parts for labels in _items(content) for parts in _items(labels[1])]
    splits = dict.fromkeys(split for _, parts in labels for split, videos in _items(parts) if videos)
    for split in splits or SPLITS:  # none: the reader says what is wrong with the file
        options = ReadOptions(args.data_root, FFPP, place, args.compression, split, n_frames=args.n_frames)
        yield split, TEST_SETS["json"].read(options)


def _items(value: object) -> list[tuple[str, object]]:
    return list(value.items()) if isinstance(value, dict) else []


def _csv(place: Path, args: argparse.Namespace) -> Parts:
    for split in _csv_splits(place):
        yield split, by_video(read_csv_list(place, [args.data_root], split=split or None), args.n_frames)


def _csv_splits(path: Path) -> Sequence[str]:
    """The values of the column split; "" alone if there is none, or if the file cannot be read (its reader says so)."""
    try:
        with text_file(path).open(newline="", encoding="utf-8-sig") as file:
            rows = csv.reader(file)
            header = [name.strip().lower() for name in next(rows, ())]
            if "split" not in header:
                return [""]
            column = header.index("split")
            values: dict[str, int] = {}  # -> the line where it is first
            for row in rows:
                if any(map(str.strip, row)):
                    values.setdefault(row[column].strip(BLANKS) if len(row) > column else "", rows.line_num)
    except (OSError, UnicodeDecodeError, csv.Error):
        return [""]
    if "" in values and len(values) > 1:
        raise UserError(f"{path}:{values['']}: the row has no split; write train, val or test, or drop the column")
    return list(values)


def _folder(place: Path, args: argparse.Namespace) -> Parts:
    folders = subfolders(place)
    splits = [name for name in folders if name.lower() in SPLIT_NAMES]
    if others := [name for name in folders if splits and name not in splits]:
        say(f"{place}: not read, beside {', '.join(splits)}: {', '.join(others)}")
    for name in splits:
        data = read_image_folder(place / name, args.n_frames)
        records = [
            record if record.video == record.path else replace(record, video=f"{name}/{record.video}")
            for record in data.records
        ]
        yield name, replace(data, records=records)
    if not splits:
        yield "", read_image_folder(place, args.n_frames)


def _parquet(place: Path, args: argparse.Namespace) -> Parts:
    for split, data in read_parquet(place).items():
        yield split, by_video(unpack(data, args.images_to), args.n_frames)


_PARTS: Mapping[str, Callable[[Path, argparse.Namespace], Parts]]
_PARTS = {"json": _json, "csv": _csv, "folder": _folder, "parquet": _parquet}


def _without_repeats(samples: Sequence[Sample], left_out: LeftOut) -> list[Sample]:
    """Each file once: the reals of FF++ are in every JSON file of DF40. Raises UserError if two entries disagree."""
    first: dict[str, Sample] = {}
    for sample in samples:
        file = os.path.abspath(sample.path)  # noqa: PTH100 - Path costs 10 times as much
        other = first.setdefault(file, sample)
        if other is sample:
            continue
        if other.label != sample.label:
            raise UserError(f"{sample.path} is listed as real and as fake; keep one of them")
        if other.split != sample.split:
            both = f"{sample.path} is in {other.split} and in {sample.split}"
            raise UserError(f"{both}, but an image belongs to one split; give --resplit, or one of them as --split")
        left_out["duplicate"].append(sample.path)
    return list(first.values())


def _existing(samples: Sequence[Sample], left_out: LeftOut) -> list[Sample]:
    existing = [sample for sample in samples if os.path.isfile(sample.path)]  # noqa: PTH113 - as above
    if samples and not existing:
        what = f"none of the {len(samples)} listed images exists, such as {samples[0].path}"
        raise UserError(f"{what}; set --data_root (json) to the folder that the paths are relative to")
    if missing := set(samples).difference(existing):
        left_out["missing_file"] += sorted(sample.path for sample in missing)
    return existing


def _with_drawn(samples: Sequence[Sample], shares: Mapping[str, float], seed: int) -> tuple[list[Sample], str]:
    """The samples, some of those for training now in the splits that are lacking, and the rule that is kept."""
    training = [sample for sample in samples if sample.split == "train"]
    others = [sample for sample in samples if sample.split != "train"]
    drawn, rule = draw_splits(training, shares, seed)
    counts = [
        f"{split} {len({sample.video for sample in drawn if sample.split == split})}" for split in ("train", *shares)
    ]
    kind = "images" if all(sample.video == sample.path for sample in training) else "videos"
    say(f"drawn with seed {seed}: {', '.join(counts)} {kind}; the splits share no {rule}")
    return drawn + others, rule


def _require_classes(samples: Sequence[Sample], split: str) -> None:
    labels = {sample.label for sample in samples}
    if len(labels) == 1 and split != "test":
        lacking = "real" if labels == {1} else "fake"
        raise UserError(f"the {split} split has no {lacking} image; give a source of them as one more --datapath")


def _listed(samples: Sequence[Sample], codes: Mapping[str, str], equal: bool, seed: int) -> list[ListedImage]:
    """The lines of a list. equal: As many real as fake images, evenly over methods and videos."""
    paths: dict[tuple[str, str], list[str]] = {}
    code_of = {}
    for sample in samples:
        video = ((sample.method or "fake") if sample.label else "real", sample.video)
        paths.setdefault(video, []).append(sample.path)
        code_of[video] = codes[sample.method] if sample.label else REAL_CODE
    numbers, _ = balanced_videos({video: len(found) for video, found in paths.items()}, [], equal, 0, seed)
    return [
        ListedImage(path, code_of[video], *video)
        for video, found in paths.items()
        for path in evenly_spaced(found, numbers[video])
    ]
