"""Read the metrics.json beside a predictions.csv."""

from collections.abc import Mapping
from pathlib import Path

from utils.cli import UserError
from utils.files import read_json


def metrics_beside(source: str, score: str, counted: Mapping[str, int]) -> tuple[dict, str]:
    """(content of the metrics.json beside the file ``source``, ""), or ({}, why it does not belong to that file).

    It belongs to it if ``score``, the column of the scores, is p_fake, and the numbers of frames and videos agree with
    ``counted``. Raises UserError if it belongs to it but is damaged.
    """
    path = Path(source).parent / "metrics.json"
    if not path.is_file():
        return {}, "there is none beside the file"
    if score != "p_fake":
        return {}, f"it is about p_fake, the scores are {score}"
    try:
        metrics = read_json(path)
    except UserError as error:
        return {}, str(error)
    if not isinstance(metrics, dict):
        return {}, "it holds no metrics"
    wrong = [f"{metrics.get(name, 'no')} {name}, not {n}" for name, n in counted.items() if metrics.get(name) != n]
    if wrong:
        return {}, f"it counts {' and '.join(wrong)}"
    dropped, threshold, checkpoint = (metrics.get(name) for name in ("dropped", "threshold", "checkpoint"))
    if not isinstance(dropped, list) or not all(map(_is_dropped, dropped)):
        raise UserError(f"{path} has no list `dropped` of video, path, label, reason; run SJEDD_test.py again")
    if threshold is not None and (type(threshold) not in (int, float) or not 0 <= threshold <= 1):
        raise UserError(f"{path} has the threshold {threshold!r}, not a number in [0, 1]; run SJEDD_test.py again")
    if not isinstance(checkpoint, str | None):
        raise UserError(f"{path} has the checkpoint {checkpoint!r}, not a path; run SJEDD_test.py again")
    return metrics, ""


def _is_dropped(entry: object) -> bool:
    if not isinstance(entry, dict) or entry.get("label") not in (0, 1):
        return False
    return all(isinstance(entry.get(key), str) for key in ("video", "path", "reason"))
