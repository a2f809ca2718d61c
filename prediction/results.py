"""The results of SJEDD_predict.py: a folder with prediction.json per input, and predictions.csv, a row per input."""

import csv
import itertools
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets.csv_cells import safe_cell
from prediction.verdicts import Person
from utils.files import atomic_path, read_json, remove_leftovers
from utils.own_files import foreign_files, own_files

SCHEMA = 1  # of prediction.json: docs/prediction.schema.json. A key that changes or goes makes it 2, a new key does not
_LONGEST_NAME = 200  # bytes of a folder's name; file systems take 255
_TEXTS = ("input", "folder", "outcome", "explanation", "reason")  # columns of predictions.csv
# Patterns of the files in an input's folder.
RESULT_FILES = ("prediction.json", "annotated.jpg", "annotated.mp4", "timeline_[0-9]*.png", "heat_[0-9]*.jpg")


def track_entry(person: Person, calibrated: bool) -> dict:
    """A person's entry in ``tracks`` of prediction.json."""
    verdict = person.verdict
    rows = zip(person.frames, verdict.frames.tolist(), person.boxes.tolist(), strict=True)
    return {
        "outcome": person.outcome,
        "p_fake": verdict.p_fake,
        **({"p_fake_calibrated": verdict.p_calibrated} if calibrated else {}),
        "nodes": verdict.nodes,
        "state": verdict.state,
        "explanation": person.explanation,
        "small": person.small,
        "frames": [{"frame": n, "p_fake": p, "box": [round(x, 1) for x in box]} for n, p, box in rows],
    }


def stamp(path: str | Path) -> list[int] | None:
    """[size in bytes, modification time in ns] of a file; None if it does not exist."""
    try:
        status = os.stat(path)  # noqa: PTH116 - a Path with a NUL in it raises elsewhere
    except (OSError, ValueError):
        return None
    return [status.st_size, status.st_mtime_ns]


def file_settings(path: str | Path) -> dict[str, Any]:
    """What tells an input from others, and from what it was before; for ``settings`` of prediction.json."""
    return {"file": stamp(path), "path": os.path.abspath(path)}  # noqa: PTH100 - resolve() follows links


def folders_for(paths: Sequence[Path], output: Path) -> dict[Path, tuple[Path, dict | None]]:
    """Input -> (its result folder, content of an earlier prediction.json there or None).

    A folder is named after the input's stem, with a number if another input, or something of the user's, has that name.
    """
    folders: dict[Path, tuple[Path, dict | None]] = {}
    taken = {output / "predictions.csv"}
    for path in paths:
        stem = path.stem.encode("utf-8", "backslashreplace")[:_LONGEST_NAME].decode("utf-8", "ignore")
        stem = stem if stem.strip(".") else "input"
        for number in itertools.count(1):
            folder = output / (stem if number == 1 else f"{stem}_{number}")
            if folder in taken or _is_users(folder):
                continue
            file = folder / "prediction.json"
            content = read_json(file) if file.is_file() else None
            known = content if isinstance(content, dict) else None
            if known is None or _is_of(known, path):
                break
        taken.add(folder)
        folders[path] = folder, known
    return folders


def _is_of(known: Mapping, path: Path) -> bool:
    """Whether an earlier prediction is of this input. A relative name may be another file in another folder."""
    settings = known.get("settings")
    place = settings.get("path") if isinstance(settings, dict) else None
    return known.get("input") == str(path) if place is None else place == os.path.abspath(path)  # noqa: PTH100


def _is_users(folder: Path) -> bool:
    """Whether something of this name is there that no earlier run made, or that holds a file in the way of ours."""
    if not os.path.lexists(folder):
        return False
    if not folder.is_dir() or not (own_files(folder) or not any(folder.iterdir())):
        return True
    return bool(foreign_files(folder, RESULT_FILES))


def is_done(known: Mapping | None, settings: Mapping[str, object]) -> bool:
    """Whether an earlier prediction has these settings (with the input's stamp). Unreadable inputs are tried again."""
    settings = json.loads(json.dumps(settings))  # tuples become lists
    if known is None or known.get("schema") != SCHEMA or known.get("outcome") == "unreadable":
        return False
    return known.get("settings") == settings


def is_whole(known: Mapping, nodes: Sequence[str]) -> bool:
    """Whether an earlier prediction holds all that is printed and written to predictions.csv."""
    try:
        row_of(known, "", nodes)
        texts = [known["outcome"], *(track["explanation"] for track in known["tracks"])]
    except (KeyError, TypeError, ValueError, AttributeError):
        return False
    return all(isinstance(text, str) for text in texts)


def clear(folder: Path) -> None:
    """Remove an earlier prediction, prediction.json first: without it the other files are ignored."""
    remove_leftovers(folder)
    (folder / "prediction.json").unlink(missing_ok=True)
    for path in [path for pattern in RESULT_FILES for path in folder.glob(pattern)]:
        path.unlink()


def row_of(prediction: Mapping, folder: str, nodes: Sequence[str]) -> dict[str, object]:
    """A row of predictions.csv. Explanation and nodes are those of the person who decides the outcome."""
    tracks, p_fake = prediction["tracks"], prediction["p_fake"]
    nobody: dict[str, Any] = {"nodes": {}, "frames": [], "explanation": ""}
    first = tracks[prediction["decided_by"] - 1] if tracks else nobody
    return {
        "input": prediction["input"],
        "folder": folder,
        "outcome": prediction["outcome"],
        "p_fake": "" if p_fake is None else f"{p_fake:.9g}",
        "people": len(tracks),
        "frames": len(first["frames"]),
        "explanation": first["explanation"],
        "reason": prediction["reason"] or "",
        **{node.replace(" ", "_"): f"{first['nodes'][node]:.9g}" if tracks else "" for node in nodes[1:]},
    }


def write_table(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write predictions.csv. rows: as ``row_of`` makes them; texts are written as datasets/csv_cells.py says."""
    with (
        atomic_path(path) as temporary,
        temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file,
    ):
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({**row, **{name: safe_cell(str(row[name])) for name in _TEXTS}} for row in rows)
