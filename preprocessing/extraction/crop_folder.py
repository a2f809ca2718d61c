"""The folder that holds the crops of a data set: its settings, and the runs that share it.

Several runs may work in one folder at once. Its hidden folder .manifest holds

- <video>.csv: the rows of a finished video;
- <video>.new: empty; a run is cropping the video, or was killed while it did. Its crops may be removed;
- .turn.lock: held while the settings or the manifest are written;
- .run-*.lock: one for each run at work;
- .claim-*.lock: one for each video that is being cropped.
"""

import contextlib
import hashlib
import sys
import uuid
from collections.abc import Collection, Iterator
from pathlib import Path

from tqdm import tqdm

from preprocessing.extraction import manifest
from preprocessing.extraction.crop_files import OWN_FILE
from preprocessing.extraction.face_crops import Job, crop_video, remove_crops, write_row_file
from utils.cli import UserError
from utils.files import TEMPORARY, output_dir, read_json, remove_leftovers, require_folder, write_json
from utils.locks import claim, hold
from utils.own_files import refuse_foreign_files
from utils.terminal import printable


def is_finished(job: Job) -> bool:
    """Whether the rows and crops of a video exist, made from the same file with the same --n_frames.

    A video that was missing or could not be read is not finished: the next run tries it again.
    """
    rows = manifest.read_rows(manifest.row_file(job.root, job.name))
    if not rows or rows[0]["status"] in manifest.NO_VIDEO or rows[0]["n_frames"] != str(job.n_frames or "all"):
        return False
    if job.video.is_file() and rows[0]["video_bytes"] != str(job.video.stat().st_size):
        return False
    folder = job.faces / job.name
    there = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    return {Path(row["path"]).name for row in rows if row["status"] == "ok"} <= there


def _cannot_be_made_again(job: Job) -> bool:
    """Whether a video has crops, and its file is gone."""
    rows = [] if job.video.is_file() else manifest.read_rows(manifest.row_file(job.root, job.name))
    return any(row["status"] == "ok" for row in rows)


def _say_kept(job: Job) -> None:
    line = f"{job.video} is gone; its crops in {job.faces / job.name} are kept as they are"
    tqdm.write(printable(line), sys.stderr)


def crop_unclaimed(job: Job) -> bool:
    """Crop a video, unless it has been finished meanwhile. Returns False if another run is cropping it.

    The crops of a video whose file is gone are kept.
    """
    with _claim_video(job) as mine:
        if mine and _cannot_be_made_again(job):
            _say_kept(job)
        elif mine and not is_finished(job):
            _refuse_unlisted_crops(job)
            started = _started_file(job.root, job.name)
            started.parent.mkdir(parents=True, exist_ok=True)
            started.touch()
            crop_video(job)
            started.unlink()
        return mine


def record_crash(job: Job) -> bool:
    """Record a video as unreadable because decoding it crashes the process. Returns as ``crop_unclaimed``."""
    with _claim_video(job) as mine:
        if mine:
            remove_crops(job.faces / job.name)
            write_row_file(job, [manifest.frame_row(job.name, None, "video_unreadable")])
            _started_file(job.root, job.name).unlink(missing_ok=True)
            line = f"{job.video}: decoding it crashed the process twice; it counts as video_unreadable"
            tqdm.write(printable(line), sys.stderr)
        return mine


@contextlib.contextmanager
def working_in(
    root: Path, jobs: Collection[Job], all_names: Collection[str], recipe: dict[str, object], overwrite: bool
) -> Iterator[None]:
    """Make the folder and its manifest.json, or check that the settings there are the same.

    During the block no other run can change the settings.

    Args:
        jobs: The videos of this run.
        all_names: The videos of the data set, those of other shards too.
        recipe: The settings, for manifest.json.
        overwrite: Allow other settings and other numbers of frames; crop the finished videos of ``jobs`` again.

    Raises:
        UserError: The settings or numbers of frames differ without ``overwrite``; crops of videos that are not in
            ``all_names``, or whose files are gone, would be lost; a crop folder holds files of the user; another run
            works with other settings; or the folder is removed meanwhile. Nothing has been changed.
    """
    if not (root / ".manifest" / ".turn.lock").exists():  # no run was here
        refuse_foreign_files(root, ["manifest.json", "manifest.csv"])
    hidden = output_dir(output_dir(root) / ".manifest")
    with contextlib.ExitStack() as stack, require_folder(hidden):
        with hold(hidden / ".turn.lock"):
            _check_settings(root, jobs, all_names, recipe, overwrite)
            stack.enter_context(claim(hidden / f".run-{uuid.uuid4().hex}.lock"))
        yield


def _run_at_work(hidden: Path) -> bool:
    """Whether any run holds its lock file. Removes the lock files of killed runs."""
    for path in hidden.glob(".run-*.lock"):
        with claim(path) as ended:
            if not ended:
                return True
    return False


def _claim_video(job: Job) -> contextlib.AbstractContextManager[bool]:
    """Claim a video for this run; yields False if another run has it."""
    name = hashlib.sha256(job.name.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return claim(job.root / ".manifest" / f".claim-{name}.lock")


def _check_settings(
    root: Path, jobs: Collection[Job], all_names: Collection[str], recipe: dict[str, object], overwrite: bool
) -> None:
    note = root / "manifest.json"
    alone = not _run_at_work(root / ".manifest")
    changed = manifest.changed_settings(read_json(note), recipe) if note.is_file() else ""
    if changed and not overwrite:
        raise UserError(f"{root} holds crops made with other settings ({changed}); use the same "
                        "settings, or give --overwrite to remove these crops")  # fmt: skip
    _refuse_foreign_images(root, jobs)
    for job in jobs if overwrite else ():
        _refuse_unlisted_crops(job)
    if alone:
        _remove_traces_of_killed_runs(root)
    if changed:
        if not alone:
            raise UserError(f"another run is working in {root} with other settings; wait for its end")
        finished = manifest.finished_videos(root)
        if others := set(finished).difference(all_names):
            raise UserError(f"{root} holds crops of {len(others)} videos that are not in this run, such as "
                            f"{min(others)}, made with other settings ({changed}); add them to the run, "
                            "or choose another folder")  # fmt: skip
        if gone := [job for job in jobs if _cannot_be_made_again(job)]:
            raise UserError(
                f"{root} holds crops of {len(gone)} videos whose files are gone, such as {gone[0].video}, "
                f"made with other settings ({changed}); put the videos back, or choose another folder"
            )
        for job in jobs:
            if job.name not in finished and _started_file(root, job.name).is_file():
                remove_crops(job.faces / job.name)
        _forget(root, finished)
    elif overwrite:
        kept = {job.name for job in jobs if _cannot_be_made_again(job)}
        _forget(root, {job.name for job in jobs if manifest.row_file(root, job.name).is_file()} - kept)
        for job in jobs:
            if job.name in kept and is_finished(job):  # else ``crop_unclaimed`` says so
                _say_kept(job)
    else:
        _refuse_other_numbers(jobs)
    if changed or not note.is_file():
        write_json(note, recipe)


def _remove_traces_of_killed_runs(root: Path) -> None:
    hidden = root / ".manifest"
    remove_leftovers(root)
    finished = (path for path in hidden.rglob("*.new") if path.is_file() and path.with_suffix(".csv").is_file())
    for path in [*hidden.rglob(f"{TEMPORARY}*"), *hidden.glob(".claim-*.lock"), *finished]:
        path.unlink(missing_ok=True)


def _started_file(root: Path, name: str) -> Path:
    return root / ".manifest" / f"{name}.new"


def _forget(root: Path, names: Collection[str]) -> None:
    """Mark videos as begun instead of finished: their crops are replaced later."""
    for name in names:
        manifest.row_file(root, name).replace(_started_file(root, name))
        _started_file(root, name).write_bytes(b"")


def _refuse_other_numbers(jobs: Collection[Job]) -> None:
    for job in jobs:
        rows = manifest.read_rows(manifest.row_file(job.root, job.name))
        if rows and rows[0]["status"] not in manifest.NO_VIDEO and rows[0]["n_frames"] != str(job.n_frames or "all"):
            raise UserError(f"video {job.name} has crops with --n_frames {rows[0]['n_frames']}; use that, give "
                            "--overwrite to crop it again, or choose other videos with --split")  # fmt: skip


def _refuse_foreign_images(root: Path, jobs: Collection[Job]) -> None:
    """Refuse a crop folder with files if no run has begun its video: the files are the user's."""
    for job in jobs:
        if manifest.row_file(root, job.name).is_file() or _started_file(root, job.name).is_file():
            continue
        folder = job.faces / job.name
        if folder.is_dir() and any(path.is_file() for path in folder.iterdir()):
            raise UserError(f"{folder} holds files that no extraction made (they are not in the manifest); "
                            "move them, or choose another folder for the crops")  # fmt: skip


def _refuse_unlisted_crops(job: Job) -> None:
    """Refuse to replace the crops of a finished video if others are among them: they are the user's."""
    rows = manifest.read_rows(manifest.row_file(job.root, job.name))
    folder = job.faces / job.name
    if not rows or not folder.is_dir() or _started_file(job.root, job.name).is_file():
        return
    made = {Path(row["path"]).name for row in rows}
    for path in folder.iterdir():
        if OWN_FILE.fullmatch(path.name) and path.name not in made and not path.name.startswith(TEMPORARY):
            raise UserError(f"{path} would be removed, but no extraction made it (it is not in the manifest); move it")
