"""Check lists, crops and splits before any GPU hour: everything that is wrong, with its place and how to mend it.

Lists: every line, whatever the lines before it hold. A line with no code, a code of another length than most lines of
both lists have (10 digits: FF++, 12: FFSC) or a code of no state is unknown_code. Training, validation and test (lists,
and the test splits of data sets) share an image as overlap_path (one file) or overlap_content (two files with the same
bytes: files whose sizes agree are compared, always) and a video as overlap_video: one folder of crops, or, where
folders are FF++'s, one source video under any method. Data sets: videos with crops against the official numbers, videos
of which an extraction made only a part (unfinished), orientation of labels, and the extraction's manifest, which tells
why crops are not there. Images are decoded with --deep only. Commands that drop lines empty them (sed's z): readers
skip blank lines, and all others keep their numbers. Exit code 0: nothing found; 2: findings, or bad arguments.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from utils.cli import ArgumentParser, UserError, answer_first, positive_int, script

IMAGE_LISTS = {"DiFF": "DiFF/DiFFtest.txt", "DiffusionFace": "DiffusionFace/DiffusionFacetest.txt"}
DATASETS = ("FFpp", "CDF", "FSh", "Deeper", "DFDC", "FFSC", *IMAGE_LISTS)


def get_args_parser() -> ArgumentParser:
    parser = ArgumentParser(description=" ".join(__doc__.split("\n\n")))
    parser.add_argument("--txt_path_train", type=Path, metavar="FILE", help="training list")
    parser.add_argument("--txt_path_val", type=Path, metavar="FILE", help="validation list")
    parser.add_argument("--txt_path_test", type=Path, nargs="+", default=[], metavar="FILE", help="test lists, of "
                        "codes or labels; they must share nothing with the other two")  # fmt: skip
    parser.add_argument("--dataset", nargs="+", choices=DATASETS, help="data sets to count; their "
                        "test videos must not be in the training and validation lists")  # fmt: skip
    parser.add_argument("--data_root", type=Path, default=Path("data"), help="folder that holds FF++, CDF, FSh ...")
    parser.add_argument("--datapath", type=Path, help="place of the one --dataset: its root or faces folder; FSh, "
                        "Deeper: of the fakes; DiFF, DiffusionFace: the list; FFSC: the folder, or a list")  # fmt: skip
    parser.add_argument("--compression", choices=("c23", "c40", "raw"), default="c23", help="of FFpp and FSh")
    parser.add_argument("--subset", action="store_true", help="a part of the data sets is here on purpose: do not "
                        "compare it with the official numbers")  # fmt: skip
    parser.add_argument("--n_frames", type=positive_int, help="report videos with fewer crops than this")
    parser.add_argument("--deep", action="store_true", help="decode every image")
    parser.add_argument("--workers", type=positive_int, help="processes of --deep (default: one per core, at most 8)")
    parser.add_argument("--json", action="store_true", help="print findings and counts as JSON")
    return parser


answer_first(__name__, get_args_parser)

from datasets.checks.crop_checks import Account, Counted, check_groups, empty_files, sizes_of
from datasets.checks.findings import Finding, as_json, drop_lines, finding_lines, summary, table
from datasets.checks.list_checks import Checked, check_list_crops, check_lists, first_rows, folders_without_videos
from datasets.checks.official_counts import contradictions, count_ffsc, layout
from datasets.checks.overlap_checks import check_overlaps, data_set_side, list_side
from models.label_tree import TREES
from preprocessing.extraction import manifest
from utils.cpu import available_cores
from utils.pool import run_jobs


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = get_args_parser()
    args = parser.parse_args(argv)
    args.dataset = args.dataset or []
    if not (args.txt_path_train or args.txt_path_val or args.txt_path_test or args.dataset):
        parser.error("nothing to check; give --txt_path_train, --txt_path_val, --txt_path_test or --dataset")
    if args.datapath and len(set(args.dataset)) != 1:
        parser.error("--datapath is the place of one data set; give one --dataset, or use --data_root")
    if args.subset and not args.dataset:
        parser.error("--subset goes with --dataset")
    if args.workers and not args.deep:
        parser.error("--workers goes with --deep")
    return args


def account_of(folder: Path) -> Account | None:
    """Video -> its rows, of the videos whose extraction into a folder ended; None where there was none, or an account
    cannot be read."""
    try:
        if manifest.row_file(folder, "").parent.is_dir():  # a killed run leaves manifest.csv behind
            videos = manifest.finished_videos(folder)
            return {video: manifest.read_rows(manifest.row_file(folder, video)) for video in videos}
        account: dict[str, list[manifest.Row]] = {}
        for row in manifest.read_rows(folder / "manifest.csv"):
            account.setdefault(row["video"], []).append(row)
    except UserError:  # the crops themselves are counted all the same
        return None
    return account or None


def check_data_set(name: str, args: argparse.Namespace) -> Counted:
    """Counts, crops and findings of a data set in folders."""
    if name == "FFSC":
        counts, images, findings = count_ffsc(args.datapath or args.data_root, args.subset)
        sizes = sizes_of(images)
        tested = [image for image in images if images[image]]
        return Counted(counts, sizes, tested, {}, findings + empty_files(sizes, "unpack FFSC again"))
    groups, findings = layout(name, args.data_root, args.datapath, args.compression)
    accounts = {folder: account_of(folder) for folder in dict.fromkeys(group.faces.parent for group in groups)}
    if args.subset:
        findings = [finding for finding in findings if finding.kind != "count_mismatch"]
    found = check_groups(name, groups, accounts, args.n_frames, args.subset)
    return found._replace(findings=findings + found.findings)


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
    paths = {name: path for name, path in (("train", args.txt_path_train), ("val", args.txt_path_val)) if path}
    lists, counts, findings = check_lists(paths, trees, args.data_root, False)
    for number, path in enumerate(args.txt_path_test, start=1):
        name = "test" if len(args.txt_path_test) == 1 else f"test {number}"
        listed, numbers, more = check_lists({name: path}, trees, args.data_root, True)
        lists, counts, findings = lists | listed, counts | numbers, findings + more
    for name, checked in lists.items():
        rows = [(row.line, row.path, fake) for row, fake in checked.labelled()]
        findings += contradictions(checked.path, rows, labels=counts[name]["digits"] == 1)
    no_videos = folders_without_videos(row for checked in lists.values() for row in checked.labelled())
    sides = [list_side(name.split()[0], checked, no_videos) for name, checked in lists.items()]
    if args.n_frames:
        findings += check_list_crops(list(lists.values()), no_videos, args.n_frames)
    sizes: dict[str, int] = {}
    for name in dict.fromkeys(args.dataset):
        path = image_list(name, args) if name in ("FFSC", *IMAGE_LISTS) else None
        if path is not None and not path.is_file():
            fix = f"put the list of {name} there, or set --data_root or --datapath"
            findings.append(Finding("missing_file", str(path), None, f"the list of {name} is not there", fix))
        elif path is not None:
            data_folders = (args.data_root / name, args.data_root)  # as datasets/readers/diffusion.py and ffsc.py do
            listed, numbers, more = check_lists({name: path}, trees, args.data_root, True, data_folders)
            rows = [(row.line, row.path, fake) for row, fake in listed[name].labelled()]
            findings += more + contradictions(path, rows, labels=numbers[name]["digits"] == 1)
            sides.insert(0, list_side("test", listed[name], {*first_rows(listed[name])}))
            lists, counts = lists | listed, counts | numbers
        else:
            found = check_data_set(name, args)
            counts[name] = found.counts
            findings += found.findings
            sizes |= found.sizes
            if args.txt_path_train or args.txt_path_val:
                tested = {image: found.sizes[image] for image in found.tested}
                sides.insert(0, data_set_side(name, tested, found.videos, name in ("FFpp", "FSh", "Deeper")))
    findings += check_overlaps(sides)
    if args.deep:
        findings += decode(list(lists.values()), sizes, args.workers or min(8, available_cores()))
    told = {finding[:4]: finding for finding in reversed(findings)}  # data sets may share videos, such as FF++'s reals
    return list(told.values())[::-1], counts


def decode(lists: Sequence[Checked], sizes: Mapping[str, int], workers: int) -> list[Finding]:
    """unreadable_image for every image of the lists, and of ``sizes`` (image -> bytes), that cannot be decoded."""
    listed = [(checked.path, row) for checked in lists for row in checked.rows if row.size]
    places = [(row.file, str(path), row.line, row.path) for path, row in listed]
    places += [(image, image, None, "the image") for image, size in sizes.items() if size]
    files = list(dict.fromkeys(file for file, *_ in places))
    reasons = dict(zip(files, run_jobs(why_unreadable, files, workers, "image"), strict=True))
    findings = []
    for file, path, line, name in places:
        if reasons[file]:
            message = f"{name}: {reasons[file].removeprefix('unreadable_image: ')}"
            fix = "extract or copy the image again, or " + (f"drop: {drop_lines(path, line)}" if line else "remove it")
            findings.append(Finding("unreadable_image", path, line, message, fix))
    return findings


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
    methods = [
        {"list": numbers["list"], "class": label, "method": method, "lines": number}
        for numbers in lists
        for label, by_method in numbers["methods"].items()
        for method, number in by_method.items()
    ]
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
    for rows in (lists, methods, videos, images):
        if rows:
            print("\n".join(table([{k: v for k, v in row.items() if k not in ("codes", "methods")} for row in rows])))
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
