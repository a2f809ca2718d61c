"""The folders of the expansion: make the planned images, keep those that exist, write a row for each to manifest.csv.

At any moment the row of every image is in .unfinished.csv or, if there is no such file, in manifest.csv.
"""

import argparse
import csv
import sys
from collections import Counter
from pathlib import Path

from datasets.readers.ffpp import REGION_CODES
from preprocessing.expansion.compose import make_image
from preprocessing.expansion.planning import COLUMNS, Job, Plan, make_plan
from preprocessing.extraction import manifest
from preprocessing.extraction.crop_files import OWN_FILE
from utils.cli import UserError
from utils.files import output_dir, read_json, sync_files, write_json
from utils.locks import exclusive_folder
from utils.pool import run_jobs

UNFINISHED = ".unfinished.csv"  # the rows of all images that a run keeps or is making


def expand_splits(args: argparse.Namespace) -> list[Job]:
    """Make the images of all splits and print their numbers; returns the jobs whose images exist now.

    args: the options of expand_FFpp.py. Raises UserError if no image can be made, or a folder holds foreign files or an
    expansion with other settings.
    """
    plans = [plan for split in dict.fromkeys(args.split) if (plan := make_plan(args, split)).jobs]
    for plan in plans:
        _check_target(plan, args.overwrite)
    if args.preview:
        output_dir(args.preview.parent)
    done = []
    for plan in plans:
        with exclusive_folder(plan.target):
            done += _make_images(plan, args)
    if not done:
        what = f"the {' and '.join(args.split)} split in {args.compression}"
        raise UserError(f"nothing could be made of {what}; run extract_faces.py on its fake and its real videos first")
    return done


def _check_target(plan: Plan, overwrite: bool) -> None:
    """Raise UserError if the folder holds images of other settings, or files that no expansion made."""
    target, note = plan.target, plan.target / "manifest.json"
    if not note.is_file():
        if target.is_dir() and any(not path.name.startswith(".") for path in target.iterdir()):
            raise UserError(f"{target} holds files that no expansion made (no {note}); move them")
    elif (changed := manifest.changed_settings(read_json(note), plan.recipe)) and not overwrite:
        advice = "use the same settings, or give --overwrite to remove its images"
        raise UserError(f"{target} holds an expansion made with other settings ({changed}); {advice}")


def _make_images(plan: Plan, args: argparse.Namespace) -> list[Job]:
    """Make the missing images of a plan; returns the jobs whose images exist now."""
    target = plan.target
    table, unfinished = target / "manifest.csv", target / UNFINISHED
    if args.overwrite:
        table.unlink(missing_ok=True)
        unfinished.unlink(missing_ok=True)
        _remove_images(target, keep=set())
    if args.overwrite or not (target / "manifest.json").is_file():
        write_json(target / "manifest.json", plan.recipe)
    known = _known_rows(unfinished if unfinished.is_file() else table)
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
    sync_files(job.path for job in missing if job.path not in failed)
    _remove_images(target, keep={job.path for job in done})
    if unfinished.is_file() and done:
        manifest.write_rows(table, [job.row for job in done], COLUMNS)
        unfinished.unlink()
    counts = Counter(job.row["region"] for job in done)
    parts = ", ".join(f"{counts[region]} {region}" for region in REGION_CODES if region in args.regions)
    print(f"{target.name}: {len(done)} images ({parts}) in {target}; {len(missing) - len(failed)} of them new")
    if failed:
        what = f"{len(failed)} images left out because of their crops, the first: {next(iter(failed.values()))}"
        print(f"warning: {target.name}: {what}; move these crops away and run extract_faces.py again", file=sys.stderr)
    return done


def _known_rows(table: Path) -> dict[str, manifest.Row]:
    """path -> row of the images that exist or that a stopped run was making; {} for a missing or damaged table."""
    try:
        with table.open(newline="", encoding="utf-8") as file:
            return {row["path"]: row for row in csv.DictReader(file)}
    except (FileNotFoundError, KeyError, UnicodeDecodeError, csv.Error):
        return {}


def _remove_images(target: Path, keep: set[Path]) -> None:
    """Remove the images of earlier runs and the temporary files of killed runs, except ``keep``."""
    for region in REGION_CODES:
        for folder in sorted((target / region).glob("*/")):
            for path in sorted(folder.iterdir()):
                if path not in keep and OWN_FILE.fullmatch(path.name):
                    path.unlink()
            if not any(folder.iterdir()):
                folder.rmdir()
