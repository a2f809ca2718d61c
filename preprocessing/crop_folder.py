"""The folder that holds the crops of a data set: the settings they were made with, and who works in it.

Several runs, shards of one extraction or not, may work in one folder: a video is claimed while it is cropped, and the
short moments in which the settings or the manifest are written are taken in turn. The hidden folder .manifest holds
the rows of each finished video and the lock files (always empty).
"""

import contextlib
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from preprocessing import manifest
from preprocessing.face_crops import Job, crop_video, remove_crops
from utils.cli import UserError
from utils.files import output_dir, read_json, write_json
from utils.locks import claim, hold


def is_finished(root: Path, name: str) -> bool:
    """Rows are there; a video that was missing or could not be read is tried again by the next run."""
    rows = manifest.read_rows(manifest.row_file(root, name))
    return bool(rows) and rows[0]["status"] not in manifest.NO_VIDEO


def crop_unclaimed(job: Job) -> bool:
    """Crop a video unless another run is at it (returns False) or has finished it meanwhile."""
    with claim(job.root / ".manifest" / ".videos.lock", job.name) as mine:
        if mine and not is_finished(job.root, job.name):
            crop_video(job)
        return mine


@contextlib.contextmanager
def working_in(root: Path) -> Iterator[None]:
    """While inside, no other run changes the settings of this folder."""
    with hold(root / ".manifest" / ".runs.lock", shared=True):
        yield


def merge(root: Path) -> list[manifest.Row]:
    """Write manifest.csv from all finished videos and return its rows; the last of several runs sees all of them."""
    with hold(root / ".manifest" / ".turn.lock"):
        return manifest.merge(root)


def prepare(
    root: Path, faces: Path, names: Collection[str], shard: Collection[str], recipe: dict[str, object], overwrite: bool
) -> None:
    """Make the folder and its manifest.json, or check that what is there was made with the same settings.

    names: all videos. shard: those of this run; with ``overwrite`` their rows are forgotten. With other settings all
    crops go. UserError for other settings without ``overwrite``, and for crop folders with somebody else's files.
    """
    output_dir(output_dir(root) / ".manifest")
    with hold(root / ".manifest" / ".turn.lock"):
        note = root / "manifest.json"
        changed = _differences(note, recipe) if note.is_file() else []
        if changed and not overwrite:
            raise UserError(f"{root} holds crops made with other settings ({', '.join(changed)}); repeat those, "
                            "or give --overwrite to remove these crops")  # fmt: skip
        if not note.is_file():
            _refuse_foreign_images(root, faces, names)
        with contextlib.ExitStack() as stack:
            if changed and not stack.enter_context(hold(root / ".manifest" / ".runs.lock", wait=False)):
                raise UserError(f"another run is working in {root} with other settings; wait for its end")
            if changed:
                finished = [path.relative_to(root / ".manifest") for path in manifest.row_files(root)]
                for name in {path.with_suffix("").as_posix() for path in finished}.union(names):
                    remove_crops(faces / name)
                    manifest.row_file(root, name).unlink(missing_ok=True)
            if overwrite:
                for name in shard:
                    manifest.row_file(root, name).unlink(missing_ok=True)
            write_json(note, recipe)


def _differences(note: Path, recipe: dict[str, object]) -> list[str]:
    old = read_json(note)
    if not isinstance(old, dict):
        raise UserError(f"{note} holds no settings of an extraction; remove it, or choose another folder")
    changed = [key for key, value in recipe.items() if key != "versions" and old.get(key) != value]
    return [f"{key} {old.get(key)} there, {recipe[key]} now" for key in changed]


def _refuse_foreign_images(root: Path, faces: Path, names: Iterable[str]) -> None:
    """Crop folders of a place without manifest.json must be empty: what is there is not ours to replace."""
    for name in names:
        folder = faces / name
        if folder.is_dir() and any(folder.iterdir()):
            raise UserError(f"{folder} holds files that no extraction made (no {root / 'manifest.json'}); "
                            "move them, or choose another place for the crops")  # fmt: skip
