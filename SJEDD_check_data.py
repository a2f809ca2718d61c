"""Check lists, crops and splits before any GPU hour: everything that is wrong, with its place and how to mend it.

Lists: every line, whatever the lines before it hold. A line with no code, a code of another length than most lines of
both lists have (10 digits: FF++, 12: FFSC) or a code of no state is unknown_code. Two lists share an image as
overlap_path (one file) or overlap_content (two files with the same bytes: files whose sizes agree are compared, always)
and a video as overlap_video: one folder of crops, or, where folders are FF++'s, one source video under any method.
Data sets: videos with crops against the official numbers, orientation of labels, and manifest.csv, which tells why
crops are not there. Images are decoded with --deep only. Exit code 0: nothing found; 2: findings, or bad arguments.
"""

import argparse
import os
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from datasets.list_checks import Checked, check_list_crops, check_lists, check_overlaps, short_video
from datasets.official_counts import Group, contradictions, count_ffsc, layout
from datasets.records import list_images
from models.label_tree import TREES
from preprocessing import manifest
from preprocessing.pool import run_jobs
from utils.cli import ArgumentParser, UserError, positive_int, script
from utils.cpu import available_cores
from utils.data_checks import Finding, as_json, finding_lines, summary, table
from utils.progress import progress_bar

IMAGE_LISTS = {"DiFF": "DiFF/DiFFtest.txt", "DiffusionFace": "DiffusionFace/DiffusionFacetest.txt"}
_REMOVED = "removed since the extraction"
DATASETS = ("FFpp", "CDF", "FSh", "Deeper", "DFDC", "FFSC", *IMAGE_LISTS)


def get_args_parser() -> ArgumentParser:
    parser = ArgumentParser(description=" ".join(__doc__.split("\n\n")))
    parser.add_argument("--txt_path_train", type=Path, metavar="FILE", help="training list")
    parser.add_argument("--txt_path_val", type=Path, metavar="FILE", help="validation list")
    parser.add_argument("--dataset", nargs="+", choices=DATASETS, help="data sets to count")
    parser.add_argument("--data_root", type=Path, default=Path("data"), help="folder that holds FF++, CDF, FSh ...")
    parser.add_argument("--datapath", type=Path, help="place of the one --dataset: its root or faces folder; FSh, "
                        "Deeper: of the fakes; DiFF, DiffusionFace: the list; FFSC: the folder, or a list")  # fmt: skip
    parser.add_argument("--compression", choices=("c23", "c40", "raw"), default="c23", help="of FFpp and FSh")
    parser.add_argument("--n_frames", type=positive_int, help="report videos with fewer crops than this")
    parser.add_argument("--deep", action="store_true", help="decode every image")
    parser.add_argument("--workers", type=positive_int, help="processes of --deep (default: one per core, at most 8)")
    parser.add_argument("--json", action="store_true", help="print findings and counts as JSON")
    return parser


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = get_args_parser()
    args = parser.parse_args(argv)
    args.dataset = args.dataset or []
    if not (args.txt_path_train or args.txt_path_val or args.dataset):
        parser.error("nothing to check; give --txt_path_train, --txt_path_val or --dataset")
    if args.datapath and len(set(args.dataset)) != 1:
        parser.error("--datapath is the place of one data set; give one --dataset, or use --data_root")
    if args.workers and not args.deep:
        parser.error("--workers goes with --deep")
    return args


def check_group(
    group: Group, rows: Mapping[str, list[manifest.Row]], n_frames: int | None
) -> tuple[dict[str, object], list[str], list[Finding]]:
    """Counts, crops and findings of one class of a data set. rows: video -> its rows of manifest.csv."""
    crops = {video: list_images(group.faces / video) for video in group.videos}
    without = [video for video in crops if not crops[video]]
    images = [image for paths in crops.values() for image in paths]
    status = Counter(row["status"] for video in crops for row in rows.get(video, []))
    counts = {
        "videos": len(crops),
        "with_crops": len(crops) - len(without),
        "official": group.official,
        "crops": len(images),
        "manifest": dict(status.most_common()),
    }
    findings = []
    if without:
        reasons = Counter(reason_of(rows.get(video, [])) for video in without)
        told = ", ".join(f"{number} {reason}" for reason, number in reasons.most_common())
        message = (
            f"{group.split} {group.label}: {len(crops) - len(without)} of {len(crops)} videos have crops "
            f"({told}; the first is {without[0]})"
        )
        fix = group.command
        if "video_missing" in reasons or "video_unreadable" in reasons:
            fix = f"download the missing videos again, then {fix}"
        elif set(reasons) <= set(manifest.STATUSES):
            fix += " --retry 15 --overwrite, or leave them: a test counts them as no_crops in its coverage"
        elif _REMOVED in reasons:
            fix += " --overwrite"  # to the extraction such a video is finished
        findings.append(Finding("count_mismatch", str(group.faces), None, message, fix))
    findings += empty_files(images, f"{group.command} --overwrite")
    for video, paths in crops.items():
        if n_frames and (paths or (group.faces / video).is_dir()):
            findings += short_video(len(paths), n_frames, str(group.faces / video), None, group.command)
    return counts, images, findings


def reason_of(rows: Sequence[manifest.Row]) -> str:
    """Why a video has no crops, by its rows of the manifest."""
    status = Counter(row["status"] for row in rows)
    if not status:
        return "not extracted"
    return _REMOVED if status["ok"] else status.most_common(1)[0][0]


def empty_files(images: Sequence[str], fix: str) -> list[Finding]:
    """unreadable_image for every file without a byte."""
    empty = [image for image in images if os.path.getsize(image) == 0]  # noqa: PTH202 - Path costs 10 times as much
    return [Finding("unreadable_image", image, None, "the image is empty (0 bytes)", fix) for image in empty]


def manifest_rows(folder: Path) -> dict[str, list[manifest.Row]]:
    """Video -> its rows of the manifest of a folder; nothing where there is none, or no readable one."""
    rows: dict[str, list[manifest.Row]] = {}
    try:
        for row in manifest.read_rows(folder / "manifest.csv"):
            rows.setdefault(row["video"], []).append(row)
    except UserError:  # the crops themselves are counted all the same
        return {}
    return rows


def check_videos_of(name: str, args: argparse.Namespace) -> tuple[dict, list[str], list[Finding]]:
    """Counts (split -> class -> numbers), crops and findings of a data set of videos."""
    groups, findings = layout(name, args.data_root, args.datapath, args.compression)
    manifests = {folder: manifest_rows(folder) for folder in dict.fromkeys(group.faces.parent for group in groups)}
    counts: dict[str, dict] = {}
    crops = []
    for group in progress_bar(groups, desc=name, unit="class", leave=False, delay=1):
        numbers, images, more = check_group(group, manifests[group.faces.parent], args.n_frames)
        counts.setdefault(group.split, {})[group.label] = numbers
        crops += images
        findings += more
    return counts, crops, findings


def image_list(name: str, args: argparse.Namespace) -> Path | None:
    """The list of a data set of images; None for FFSC's folders."""
    if name == "FFSC":
        return args.datapath if args.datapath and args.datapath.is_file() else None
    if args.datapath is None:
        return args.data_root / IMAGE_LISTS[name]
    return args.datapath / Path(IMAGE_LISTS[name]).name if args.datapath.is_dir() else args.datapath


def check_all(args: argparse.Namespace) -> tuple[list[Finding], dict[str, dict]]:
    """All findings and counts."""
    trees = list(TREES.values())
    paths = {"train": args.txt_path_train, "val": args.txt_path_val}
    lists, counts, findings = check_lists({k: v for k, v in paths.items() if v}, trees, args.data_root, False)
    if len(lists) == 2:
        findings += check_overlaps(lists["train"], lists["val"])
    if args.n_frames:
        findings += check_list_crops(list(lists.values()), args.n_frames)
    images: list[str] = []
    for name in dict.fromkeys(args.dataset):
        path = image_list(name, args) if name in ("FFSC", *IMAGE_LISTS) else None
        if path is not None and not path.is_file():
            fix = f"put the list of {name} there, or set --data_root or --datapath"
            findings.append(Finding("missing_file", str(path), None, f"the list of {name} is not there", fix))
            continue
        if path is not None:
            listed, numbers, more = check_lists({name: path}, trees, args.data_root, True)
            more += contradictions(path, [(row.line, row.path, fake) for row, fake in listed[name].labelled()])
            lists |= listed
            counts |= numbers
        elif name == "FFSC":
            counts[name], found, more = count_ffsc(args.datapath or args.data_root)
            more += empty_files(found, "unpack FFSC again")
            images += found
        else:
            counts[name], found, more = check_videos_of(name, args)
            images += found
        findings += more
    if args.deep:
        findings += decode(list(lists.values()), images, args.workers or min(8, available_cores()))
    told = {finding[:4]: finding for finding in reversed(findings)}  # data sets may share videos, such as FF++'s reals
    return list(told.values())[::-1], counts


def decode(lists: Sequence[Checked], images: Sequence[str], workers: int) -> list[Finding]:
    """unreadable_image for every image of the lists and of ``images`` that cannot be decoded."""
    listed = [(checked.path, row) for checked in lists for row in checked.rows if row.size]
    places = [(row.file, str(path), row.line, row.path) for path, row in listed]
    places += [(image, image, None, "the image") for image in dict.fromkeys(images) if os.path.getsize(image)]  # noqa: PTH202
    files = list(dict.fromkeys(file for file, *_ in places))
    reasons = dict(zip(files, run_jobs(why_unreadable, files, workers, "image"), strict=True))
    fix = "extract or copy the image again, or remove it and its line"
    return [
        Finding("unreadable_image", path, line, f"{name}: {reasons[file].removeprefix('unreadable_image: ')}", fix)
        for file, path, line, name in places
        if reasons[file]
    ]


def why_unreadable(image: str) -> str | None:
    """Why an image cannot be decoded; None when it can."""
    from datasets.transforms import ImageError, read_image  # torch: two seconds that only --deep needs

    try:
        read_image(image)
    except ImageError as error:
        return str(error)
    return None


def print_report(findings: Sequence[Finding], counts: Mapping[str, dict]) -> None:
    """Counts as tables, findings by kind."""
    lists = [{"list": name} | numbers for name, numbers in counts.items() if "lines" in numbers]
    videos, images = [], []
    for name, splits in counts.items():
        for split, classes in splits.items() if "lines" not in splits else ():
            for label, numbers in classes.items():
                where = {"data set": name, "split": split, "class": label}
                if isinstance(numbers, dict):
                    told = ", ".join(f"{number} {status}" for status, number in numbers["manifest"].items())
                    videos.append(where | numbers | {"manifest": told or None})
                else:
                    images.append(where | {"images": numbers})
    for rows in (lists, videos, images):
        if rows:
            print("\n".join(table([{k: v for k, v in row.items() if k != "codes"} for row in rows])))
    print("\n".join(finding_lines(findings)) if findings else "nothing wrong was found")


@script
def main(argv: Sequence[str] | None = None) -> None:
    """Check data; see --help."""
    args = parse_args(argv)
    findings, counts = check_all(args)
    if args.json:
        print(as_json(findings, counts))
    else:
        print_report(findings, counts)
    if findings:
        raise UserError(summary(findings))


if __name__ == "__main__":
    sys.exit(main())
