"""All checks of SJEDD_check_data.py, and its report."""

import argparse
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from datasets.checks.crop_checks import CountedCrops, check_groups, empty_files, sizes_of
from datasets.checks.findings import DROP, DROP_LINE, KINDS, Edit, Finding
from datasets.checks.list_checks import CheckedList, check_list_crops, check_txt_lists, folders_without_videos
from datasets.checks.overlap_checks import check_overlaps, data_set_contents, list_contents, same_lists
from datasets.checks.record_checks import check_records
from datasets.readers.ffpp import SPLITS
from datasets.test_sets import TEST_SETS
from datasets.transforms import ImageError, read_image
from utils.cpu import available_cores
from utils.pool import run_jobs
from utils.text_table import text_table

_EXAMPLES = 10  # findings of a kind in the report
_FIXES = 8


def check_data(args: argparse.Namespace) -> tuple[list[Finding], dict[str, dict]]:
    """Run all checks that the options of SJEDD_check_data.py ask for.

    Returns:
        (findings, counts: list -> numbers, or data set -> split -> class -> numbers).

    Raises:
        UserError: A list cannot be read.
    """
    paths = {"train": args.txt_path_train, "val": args.txt_path_val}
    lists = check_txt_lists({name: path for name, path in paths.items() if path}, args.data_root, labels_allowed=False)
    to_compare = bool(lists)
    for number, path in enumerate(args.txt_path_test, start=1):
        name = "test" if len(args.txt_path_test) == 1 else f"test {number}"
        lists |= check_txt_lists({name: path}, args.data_root, labels_allowed=True)
    no_videos = folders_without_videos(lists.values())
    contents = [list_contents(name.split()[0], checked, no_videos) for name, checked in lists.items()]
    findings = [finding for checked in lists.values() for finding in checked.findings]
    if args.n_frames:
        findings += check_list_crops(lists.values(), no_videos, args.n_frames)
    counts = {name: checked.counts for name, checked in lists.items()}
    sizes: dict[str, int] = {}
    read: list[CheckedList] = []
    for name in dict.fromkeys(args.dataset):
        image_list = TEST_SETS[name].image_list
        path = image_list(args.data_root, args.datapath) if image_list else None
        if TEST_SETS[name].needs_datapath:
            splits, of_images = check_records(
                name, args.datapath, args.data_root, args.compression, args.n_frames, args.subset
            )
            counts[name] = {split: checked.counts for split, checked in splits.items() if checked.rows}
            findings += [finding for checked in splits.values() for finding in checked.findings]
            read += splits.values()
            if "test" in splits:
                contents.insert(0, list_contents("test", splits["test"], of_images))
        elif path is None:
            crops = _check_data_set(name, args)
            counts[name] = crops.counts
            findings += crops.findings
            sizes |= crops.sizes
            if to_compare:
                contents.insert(0, data_set_contents(name, crops.tested, crops.videos))
        elif path.is_file():
            folders = (args.data_root / name, args.data_root)  # as the readers of image lists do
            lists[name] = checked = check_txt_lists({name: path}, args.data_root, True, folders)[name]
            counts[name] = checked.counts
            findings += [finding for finding in checked.findings if not (args.subset and finding.kind == "one_class")]
            contents.insert(0, list_contents("test", checked, checked.first_rows().keys()))
        else:
            fix = f"put the list of {name} there, or set --data_root or --datapath"
            findings.append(Finding("missing_file", str(path), None, f"the list of {name} is not there", fix))
    repeated, told = same_lists(lists)
    findings += repeated + check_overlaps(contents, told)
    if args.deep:
        findings += _decode(lists.values(), read, sizes, args.workers or min(8, available_cores()))
    unique = {finding[:4]: finding for finding in reversed(findings)}  # data sets may share videos: FF++'s reals
    return list(unique.values())[::-1], counts


def _check_data_set(name: str, args: argparse.Namespace) -> CountedCrops:
    data_set = TEST_SETS[name]
    if data_set.count_images:
        counts, images, findings = data_set.count_images(args.datapath or args.data_root, args.subset)
        sizes = sizes_of(images)
        tested = {image: size for image, size in sizes.items() if images[image]}
        return CountedCrops(counts, sizes, tested, {}, findings + empty_files(sizes, f"unpack {name} again"))
    find_groups = data_set.crop_groups
    groups, findings = find_groups(args.data_root, args.datapath, args.compression) if find_groups else ([], [])
    if args.subset:
        absent = {"count_mismatch"}
        if {group.split for group in groups} & set(SPLITS):  # else there is nothing to check
            absent.add("missing_file")  # the lists of other splits
        findings = [finding for finding in findings if finding.kind not in absent]
    found = check_groups(name, groups, args.n_frames, args.subset)
    return found._replace(findings=findings + found.findings)


def _decode(
    lists: Iterable[CheckedList], read: Iterable[CheckedList], sizes: Mapping[str, int], workers: int
) -> list[Finding]:
    """unreadable_image for every image that cannot be decoded.

    lists: Text lists. read: Data sets that readers made images of. sizes: Image of other data sets -> bytes.
    """
    drop, leave = (f" or {DROP_LINE}", DROP), (" or leave it: a test counts it in its coverage", None)
    places: list[tuple[str, str, int | None, str, tuple[str, Edit | None]]] = [
        (row.file, str(checked.path), row.line or None, row.path, fix)
        for those, fix in ((lists, drop), (read, leave))
        for checked in those
        for row in checked.rows
        if row.size
    ]
    places += [(image, image, None, "the image", (" or move it away", None)) for image, size in sizes.items() if size]
    files = list(dict.fromkeys(file for file, *_ in places))
    reasons = dict(zip(files, run_jobs(_why_unreadable, files, workers, "image"), strict=True))
    findings = []
    for file, path, line, name, (fix, edit) in places:
        if reason := reasons[file]:
            message = f"{name}: {reason.removeprefix('unreadable_image: ')}"
            fix = f"extract or copy the image again,{fix}"
            findings.append(Finding("unreadable_image", path, line, message, fix, edit))
    return findings


def _why_unreadable(image: str) -> str | None:
    try:
        read_image(image)
    except ImageError as error:
        return str(error)
    return None


def as_json(findings: Sequence[Finding], counts: Mapping) -> str:
    """{"findings": [{"kind", "path", "line", "message", "fix"}], "counts": {...}}."""
    shown = [{key: value for key, value in finding._asdict().items() if key != "edit"} for finding in findings]
    return json.dumps({"findings": shown, "counts": counts}, indent=2)


def summary(findings: Sequence[Finding]) -> str:
    """One line: the number of findings, by kind."""
    numbers = Counter(finding.kind for finding in findings)
    by_kind = ", ".join(f"{numbers[kind]} {kind}" for kind in KINDS if numbers[kind])
    return f"{len(findings)} finding{'s' * (len(findings) > 1)}: {by_kind}"


def report_lines(findings: Sequence[Finding], counts: Mapping[str, dict]) -> list[str]:
    """The report for people: counts as tables, findings by kind."""
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
                row = {"data set": name, "split": split, "class": label}
                if isinstance(numbers, dict):
                    manifest = ", ".join(f"{number} {status}" for status, number in numbers["manifest"].items())
                    videos.append(row | numbers | {"manifest": manifest or None})
                else:
                    images.append(row | {"images": numbers})
    lines = []
    for rows in (lists, methods, videos, images):
        if rows:
            header = [key for key in rows[0] if key not in ("codes", "methods")]
            lines += text_table(header, [[row[key] for key in header] for row in rows])
    if absent := [f"{row['data set']} {row['split']} {row['class']}" for row in videos if not row["crops"]]:
        lines.append(f"without crops: {', '.join(absent)}")
    return lines + (_finding_lines(findings) if findings else ["nothing wrong was found"])


def _finding_lines(findings: Iterable[Finding]) -> list[str]:
    """The first findings of each kind, and their fixes."""
    groups = defaultdict(list)
    for finding in findings:
        groups[finding.kind].append(finding)
    lines = []
    for kind in (kind for kind in KINDS if kind in groups):
        group = groups[kind]
        lines += ["", f"{kind} ({len(group)})"]
        for finding in group[:_EXAMPLES]:
            place = finding.path if finding.line is None else f"{finding.path}:{finding.line}"
            lines.append(f"  {place}: {finding.message}")
        if len(group) > _EXAMPLES:
            lines.append(f"  ... and {len(group) - _EXAMPLES} more; --json lists all")
        fixes = list(dict.fromkeys(finding.fix for finding in group))
        lines += [f"  fix: {fix}" for fix in fixes[:_FIXES]]
        if len(fixes) > _FIXES:
            lines.append(f"  ... and {len(fixes) - _FIXES} more ways to fix them; --json lists all")
    return lines
