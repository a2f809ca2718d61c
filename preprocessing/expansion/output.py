"""The folders of the expansion: make the planned images, keep those that exist, write a row for each to manifest.csv.

At any moment the row of every image is in .unfinished.csv or, if there is no such file, in manifest.csv.
"""

import argparse
import csv
import os
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from datasets.readers.ffpp import REGION_CODES
from preprocessing.expansion.compose import make_image
from preprocessing.expansion.planning import COLUMNS, Job, Plan, make_plan
from preprocessing.extraction import manifest
from utils.cli import UserError
from utils.files import output_dir, read_json, remove_leftovers, sync_files, write_json
from utils.locks import exclusive_folder
from utils.pool import run_jobs
from utils.terminal import say

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
        with exclusive_folder(plan.target, ["manifest.json", "manifest.csv", UNFINISHED], adopt=True):
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
        return
    old = read_json(note)
    if not (isinstance(old, dict) and old.keys() & plan.recipe.keys()):
        raise UserError(f"{note} is not of an expansion; move it")
    if (changed := manifest.changed_settings(old, plan.recipe)) and not overwrite:
        advice = "use the same settings, or give --overwrite to remove its images"
        raise UserError(f"{target} holds an expansion made with other settings ({changed}); {advice}")
    known = _known_rows(target)
    for job in plan.jobs:
        if job.row["path"] not in known and os.path.lexists(job.path):
            raise UserError(f"{job.path} would be replaced, but no expansion made it; move it")


def _make_images(plan: Plan, args: argparse.Namespace) -> list[Job]:
    """Make the missing images of a plan; returns the jobs whose images exist now."""
    target = plan.target
    table, unfinished = target / "manifest.csv", target / UNFINISHED
    known = _known_rows(target)
    if args.overwrite:
        _remove_images(target, known, keep=set())
        table.unlink(missing_ok=True)
        unfinished.unlink(missing_ok=True)
        known = {}
    if args.overwrite or not (target / "manifest.json").is_file():
        write_json(target / "manifest.json", plan.recipe)
    missing = [job for job in plan.jobs if known.get(job.row["path"]) != job.row or not job.path.is_file()]
    rows = [job.row for job in plan.jobs]
    problems = []
    if missing or unfinished.is_file() or list(known.values()) != rows:
        if table.is_file():
            table.replace(unfinished)
        for job in missing:
            job.path.unlink(missing_ok=True)
        planned = {row["path"] for row in rows}
        others = [row for path, row in known.items() if path not in planned]  # their images are removed below
        manifest.write_rows(unfinished, rows + others, COLUMNS)
        problems = run_jobs(make_image, missing, args.workers, "image")
        if not unfinished.is_file():
            raise UserError(f"{target} was removed while this run worked in it; run it again")
    failed = {job.path: problem for job, problem in zip(missing, problems, strict=True) if problem}
    done = [job for job in plan.jobs if job.path not in failed]
    sync_files(job.path for job in missing if job.path not in failed)
    _remove_images(target, known, keep={job.path for job in done})
    if unfinished.is_file() and done:
        manifest.write_rows(table, [job.row for job in done], COLUMNS)
        unfinished.unlink()
    counts = Counter(job.row["region"] for job in done)
    parts = ", ".join(f"{counts[region]} {region}" for region in REGION_CODES if region in args.regions)
    say(f"{target.name}: {len(done)} images ({parts}) in {target}; {len(missing) - len(failed)} of them new")
    if failed:
        what = f"{len(failed)} images left out because of their crops, the first: {next(iter(failed.values()))}"
        say(f"warning: {target.name}: {what}; move these crops away and run extract_faces.py again", file=sys.stderr)
    return done


def _known_rows(target: Path) -> dict[str, manifest.Row]:
    """path -> row of the images that exist or that a stopped run was making. Raises UserError for a damaged table."""
    table = target / UNFINISHED if (target / UNFINISHED).is_file() else target / "manifest.csv"
    try:
        with table.open(newline="", encoding="utf-8") as file:
            rows = {row["path"]: row for row in csv.DictReader(file)}
        if any(None in row.values() for row in rows.values()):
            raise KeyError("a row is cut")
    except FileNotFoundError:
        return {}
    except (KeyError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{table} is damaged ({error}); remove {target} and make the expansion again") from error
    return rows


def _remove_images(target: Path, known: Iterable[str], keep: set[Path]) -> None:
    """Remove the images of ``known``, paths in the table, except ``keep``, and the temporary files of killed runs."""
    for path in {target / name for name in known} - keep:
        region, *rest = path.relative_to(target).parts  # the table may be forged
        if region in REGION_CODES and len(rest) == 2 and ".." not in rest:
            path.unlink(missing_ok=True)
    for region in REGION_CODES:
        for folder in sorted((target / region).glob("*/")):
            remove_leftovers(folder)
            if not any(folder.iterdir()):
                folder.rmdir()
