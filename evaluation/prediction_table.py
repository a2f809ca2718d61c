"""Reading a predictions file, ours or another system's, into columns, with the metrics.json beside it.

Labels are 0 real, 1 fake; a higher score means more fake.
"""

import csv
import math
import string
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain
from pathlib import Path

import numpy as np

from datasets.video_ids import VIDEO_ENDING, folder_of, separate_videos
from evaluation.metrics import first_rows, video_means
from utils.cli import UserError
from utils.files import read_json, text_file

LABEL_WORDS = {
    **dict.fromkeys(("0", "0.0", "real", "original", "pristine"), 0),
    **dict.fromkeys(("1", "1.0", "fake", "manipulated", "deepfake"), 1),
}
_KNOWN = ("dataset", "frame", "method", "code", "logit_fake")  # read by these names, where there are any
_CALIBRATED = "p_fake_calibrated"  # the last column of a test with --calibration; no node of the label tree


@dataclass(frozen=True)
class Columns:
    """Names of the columns to read. path and video: None takes the usual name where the file has it."""

    score: str = "p_fake"
    label: str = "label"
    path: str | None = None
    video: str | None = None


@dataclass(frozen=True)
class Predictions:
    """The scored frames of one file, N rows, and their videos, V of them in order of first appearance.

    labels: [N] 0 real, 1 fake. scores: [N]; ranks: [N], what orders the frames (the log-odds where there are any).
    probabilities: whether all scores lie in [0, 1]. video: [N] index into ``video_ids``, pairs (data set, video).
    paths: [N]. frame_names: [N], "" where not known. logits: [N] or None. methods, codes: [N], "" where not known.
    nodes: name -> [N] probabilities, in the order of the code's digits. dropped: the entries of metrics.json, None
    where no such file belongs to these rows. threshold: of the decision, checkpoint: what was tested, from the same
    file. columns: those that were read. notes: what is missing or was decided, a line each.
    """

    source: str
    labels: np.ndarray
    scores: np.ndarray
    ranks: np.ndarray
    probabilities: bool
    video: np.ndarray
    video_ids: list[tuple[str, str]]
    paths: list[str]
    frame_names: list[str]
    logits: np.ndarray | None
    methods: list[str]
    codes: list[str]
    nodes: dict[str, np.ndarray]
    dropped: list[dict] | None
    threshold: float | None = None
    checkpoint: str | None = None
    columns: Columns = Columns()
    notes: list[str] = field(default_factory=list)

    @property
    def datasets(self) -> list[str]:
        """Names of the data sets, in order of first appearance."""
        return list(dict.fromkeys(dataset for dataset, _ in self.video_ids))

    @cached_property
    def units(self) -> str:
        """What the videos are called: "images" where the id of each is the path of an image."""
        rows = zip(self.paths, self.video.tolist(), strict=True)
        images = all(path == self.video_ids[v][1] and not VIDEO_ENDING.search(path) for path, v in rows)
        return "images" if images else "videos"

    @property
    def video_labels(self) -> np.ndarray:
        """[V] 0 real, 1 fake."""
        return self.labels[first_rows(self.video)]

    @property
    def video_scores(self) -> np.ndarray:
        """[V] mean score of the video's frames."""
        return self.means(self.video, self.scores)

    def means(self, group: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Mean score per group [G]. group: [N] integers 0..G-1, each of which occurs. values: [N] scores.

        Scores of any size have a mean: very large and very small ones are summed, and rounded, in units of the group's
        largest one, so that no sum is infinite and groups of one score tie.
        """
        largest = np.zeros(group.max() + 1)
        np.maximum.at(largest, group, np.abs(values))
        if self.probabilities or 1e-3 < largest.max() < 1e3:
            return video_means(group, values)
        exponent = np.frexp(largest)[1]
        means = video_means(group, np.ldexp(values, -exponent[group]))
        limit = np.nextafter(1, 0)  # a mean rounded up to 1 could be one too many for a float
        return np.ldexp(means.clip(-limit, limit), exponent)

    @property
    def failed(self) -> dict[str, int]:
        """Videos of which nothing was scored, with their labels."""
        scored = {video for _, video in self.video_ids}
        return {d["video"]: d["label"] for d in self.dropped or () if d["video"] not in scored}


def read_predictions(source: str, columns: Columns | None = None, fall_back: bool = False) -> Predictions:
    """Read a CSV file with a header; UserError naming file and line for anything that is no prediction.

    fall_back: where the file has no column of a given name, the usual one is read, and a note says so.
    """
    given = columns or Columns()
    try:
        with text_file(source).open(newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
            first = file.readline()
            if "\0" in first:
                raise UserError(f"{source}:1: no UTF-8 text (UTF-16, or no CSV file at all): save it as CSV in UTF-8")
            header, columns, cells, lines = _read_cells(source, csv.reader(chain([first], file)), given, fall_back)
    except OSError as error:
        raise UserError(f"cannot read {source} ({error.strerror})") from error
    except ValueError as error:  # a NUL in the name
        raise UserError(f"cannot read {source!r} ({error})") from error
    scores = _numbers(source, columns.score, cells[columns.score], lines)
    labels = _labels(source, columns.label, cells[columns.label], lines)
    options = [(option, name, getattr(columns, option)) for option, name in vars(given).items()]
    notes = [f"no column {name}: the {option} is {used}" for option, name, used in options if used not in (None, name)]
    empty = [""] * len(labels)
    datasets, methods, frames = (cells.get(name) or empty for name in ("dataset", "method", "frame"))
    paths, names = _paths_and_videos(source, columns, cells, labels, lines, notes)
    names, separated = separate_videos(names, methods, paths, datasets)
    notes += separated + _repeated(datasets, names, frames, paths)
    index: dict[tuple[str, str, int], int] = {}
    keys = zip(datasets, names, labels.tolist(), strict=True)
    video = np.array([index.setdefault(key, len(index)) for key in keys])
    video_ids = [key[:2] for key in index]
    if mixed := len(index) - len(set(video_ids)):
        notes.append(f"{mixed} videos have rows of both labels: their real and their fake rows count as two videos")
    of_dataset = Counter(dataset for dataset, _ in video_ids)
    if len(of_dataset) > 1:
        listed = ", ".join(f"{name or 'unnamed'} {count}" for name, count in of_dataset.items())
        notes.append(f"videos of {len(of_dataset)} data sets ({listed}): one AUC over all of them mixes data sets")
    logits = None
    if columns.score == "p_fake" and "logit_fake" in cells:
        logits = _numbers(source, "logit_fake", cells["logit_fake"], lines)
    probabilities = bool(((scores >= 0) & (scores <= 1)).all())
    if not probabilities:
        notes.append(f"scores of {columns.score} outside [0, 1]: no probabilities, so no accuracy and no calibration")
    if not 0 < labels.sum() < len(labels):
        notes.append("one class only: AUC, EER and AP are undefined")
    for name, use in (("method", "figures per method"), ("code", "figures per node of the label tree")):
        if name not in cells:
            notes.append(f"no column {name}: no {use}")
    metrics = _metrics_beside(source, columns.score, {"frames": len(labels), "videos": len(index)}, notes)
    return Predictions(
        source=source,
        labels=labels,
        scores=scores,
        ranks=scores if logits is None else logits,
        probabilities=probabilities,
        video=video,
        video_ids=video_ids,
        paths=paths,
        frame_names=frames,
        logits=logits,
        methods=methods,
        codes=cells.get("code", empty),
        nodes=_nodes(source, header, cells, lines, notes),
        dropped=metrics.get("dropped"),
        threshold=metrics.get("threshold"),
        checkpoint=metrics.get("checkpoint"),
        columns=columns,
        notes=notes,
    )


def _read_cells(
    source: str, reader: Iterator[list[str]], columns: Columns, fall_back: bool
) -> tuple[list[str], Columns, dict[str, list[str]], list[int]]:
    """(header, what the columns are called here, the columns that are used, line number of every row)."""
    try:
        header = [name.strip() for name in next(reader, [])]
        columns, wanted = _wanted_columns(source, header, columns, fall_back)
        cells: dict[str, list[str]] = {name: [] for name in wanted}
        targets = [(header.index(name), values.append) for name, values in cells.items()]
        lines: list[int] = []
        for row in reader:
            if not row:
                continue
            if len(row) != len(header):
                raise UserError(f"{source}:{reader.line_num}: {len(row)} fields, the header has {len(header)}")
            for position, append in targets:
                append(row[position])
            lines.append(reader.line_num)
    except csv.Error as error:
        raise UserError(f"{source}:{reader.line_num}: not CSV ({error})") from error
    if not lines:
        raise UserError(f"{source}:1: no rows below the header; nothing was scored")
    return header, columns, cells, lines


def _wanted_columns(source: str, header: Sequence[str], columns: Columns, fall_back: bool) -> tuple[Columns, list[str]]:
    """(the given columns, or with ``fall_back`` the usual ones of those that are not there; all that are used)."""
    if not any(header):
        raise UserError(f"{source}:1: the file is empty; it needs a header and a row per scored image")
    shown = ", ".join(header[:20])
    for mark, word in ((";", ";"), ("\t", "tabs")):
        if len(header) == 1 and mark in header[0]:
            raise UserError(f"{source}:1: the columns are separated by {word}: save it with commas")
    for option, name in vars(columns).items():
        names = dict.fromkeys([name, getattr(Columns(), option)] if fall_back else [name])
        there = [name for name in names if name is None or name in header]
        if not there:
            missing = " or ".join(names)
            raise UserError(f"{source}:1: no column {missing}; name it with --{option}_column (the file has: {shown})")
        columns = replace(columns, **{option: there[0]})
    places = {columns.path or "path", columns.video or "video"} & set(header)
    if not places:
        raise UserError(
            f"{source}:1: neither a column path nor video; name one with --path_column (the file has: {shown})"
        )
    wanted = {columns.score, columns.label, *places, *(name for name in _KNOWN if name in header)}
    used = [name for name in header if name in wanted] + _node_columns(header)
    if repeated := next((name for name in used if name and header.count(name) > 1), ""):
        raise UserError(f"{source}:1: {header.count(repeated)} columns are named {repeated}; keep one of them")
    return columns, used


def _node_columns(header: Sequence[str]) -> list[str]:
    """Our files have a column per node of the label tree after logit_fake."""
    if "code" not in header or "logit_fake" not in header:
        return []
    return [name for name in header[header.index("logit_fake") + 1 :] if name != _CALIBRATED]


def _numbers(source: str, name: str, cells: Sequence[str], lines: Sequence[int]) -> np.ndarray:
    try:
        values = np.array([float(cell) for cell in cells])
        if np.isfinite(values).all():
            return values
    except ValueError:
        pass
    for cell, line in zip(cells, lines, strict=True):
        if not _is_finite(cell):
            raise UserError(f"{source}:{line}: {name} is {cell!r}, not a finite number")
    raise AssertionError("one of the cells is not a finite number")


def _is_finite(cell: str) -> bool:
    try:
        return math.isfinite(float(cell))
    except ValueError:
        return False


def _labels(source: str, name: str, cells: Sequence[str], lines: Sequence[int]) -> np.ndarray:
    known = {cell: LABEL_WORDS.get(cell.strip().lower()) for cell in set(cells)}
    if None in known.values():
        cell, line = next(pair for pair in zip(cells, lines, strict=True) if known[pair[0]] is None)
        raise UserError(f"{source}:{line}: {name} is {cell!r}; use 0 or real, 1 or fake")
    return np.array([known[cell] for cell in cells])


def _paths_and_videos(
    source: str,
    columns: Columns,
    cells: Mapping[str, list[str]],
    labels: np.ndarray,
    lines: Sequence[int],
    notes: list[str],
) -> tuple[list[str], list[str]]:
    """Path and video id of every row.

    Without a video column a video is a folder; but folders that mix labels or hold a whole class are image sets.
    """
    paths = cells.get(columns.path or "path")
    if paths is None:
        notes.append("no column path: the benchmark's video key is the last part of the video id, and no thumbnails")
    folders = [folder_of(path) or path for path in paths or [""] * len(labels)]
    videos = cells.get(columns.video or "video")
    if videos is not None:
        videos = [video or folder for video, folder in zip(videos, folders, strict=True)]
    elif _are_image_sets(folders, labels):
        notes.append("no column video, and folders that mix labels or hold a whole class: each image counts for itself")
        videos = paths
    else:
        notes.append("no column video: the images of a folder count as a video")
        videos = folders
    for video, line in zip(videos, lines, strict=True):
        if not video:
            raise UserError(f"{source}:{line}: neither a path nor a video")
    return paths or [""] * len(labels), videos


def _are_image_sets(folders: Sequence[str], labels: np.ndarray) -> bool:
    """Whether a folder holds both labels, or all images of a class lie in one folder."""
    by_label = [{f for f, y in zip(folders, labels.tolist(), strict=True) if y == label} for label in (0, 1)]
    return bool(by_label[0] & by_label[1]) or 1 in map(len, by_label)


def dense_ranks(values: np.ndarray) -> np.ndarray:
    """[N] 0 for the smallest value, 1 for the next and so on, ties together: the order without the size."""
    return np.unique(values, return_inverse=True)[1].astype(float)


def _repeated(datasets: Sequence[str], videos: Sequence[str], frames: Sequence[str], paths: Sequence[str]) -> list[str]:
    """A line for rows of the same image: of one path, or of one frame of a video where the path is not known."""
    images: Counter[tuple] = Counter()
    for dataset, video, frame, path in zip(datasets, videos, frames, paths, strict=True):
        if path or frame:
            images[(dataset, path) if path else (dataset, video, frame)] += 1
    if repeated := images.total() - len(images):
        return [f"rows that repeat the image of another row: {repeated} (duplicates, or more faces of it); each counts"]
    return []


def _nodes(
    source: str, header: Sequence[str], cells: Mapping[str, list[str]], lines: Sequence[int], notes: list[str]
) -> dict[str, np.ndarray]:
    names = _node_columns(header)
    lengths = {len(code) for code in set(cells.get("code", ())) if code}
    if not lengths:
        if "code" in cells:
            notes.append("no row has a code: no figures per node of the label tree")
        return {}
    strange = {letter for code in set(cells["code"]) for letter in code} - set(string.digits)
    if lengths != {len(names) + 1} or strange:
        notes.append(f"the codes do not fit the {len(names)} columns after logit_fake: no figures per node")
        return {}
    return {name.replace("_", " "): _numbers(source, name, cells[name], lines) for name in names}


def _metrics_beside(source: str, score: str, counted: Mapping[str, int], notes: list[str]) -> dict:
    """The metrics.json of the same test; {} with a note where there is none that belongs to these rows.

    It belongs to them when the scores are p_fake and it counts as many frames and videos. UserError where what the
    report takes from such a file is damaged.
    """
    path = Path(source).parent / "metrics.json"
    content: object = {}
    if not path.is_file():
        reason = "there is none beside the file"
    elif score != "p_fake":
        reason = f"it is about p_fake, the scores are {score}"
    else:
        try:
            content = read_json(path)
            reason = _other_counts(content, counted)
        except UserError as error:
            reason = str(error)
    if reason:
        notes.append(f"no metrics.json is used ({reason}): dropped and failed videos are not known")
        return {}
    dropped, threshold, checkpoint = (content.get(name) for name in ("dropped", "threshold", "checkpoint"))
    types = {"video": str, "path": str, "label": int, "reason": str}
    if not isinstance(dropped, list) or not all(
        isinstance(entry, dict) and all(isinstance(entry.get(key), kind) for key, kind in types.items())
        and entry["label"] in (0, 1) for entry in dropped
    ):  # fmt: skip
        raise UserError(f"{path} has no list `dropped` of video, path, label, reason; run SJEDD_test.py again")
    if threshold is not None and (type(threshold) not in (int, float) or not 0 <= threshold <= 1):
        raise UserError(f"{path} has the threshold {threshold!r}, not a number in [0, 1]; run SJEDD_test.py again")
    if not isinstance(checkpoint, str | None):
        raise UserError(f"{path} has the checkpoint {checkpoint!r}, not a path; run SJEDD_test.py again")
    return content


def _other_counts(metrics: object, counted: Mapping[str, int]) -> str:
    """Why metrics.json is not about a file of these counts; "" where it is."""
    if not isinstance(metrics, dict):
        return "it holds no metrics"
    differ = [f"{metrics.get(name, 'no')} {name}, not {count}" for name, count in counted.items()
              if metrics.get(name) != count]  # fmt: skip
    return f"it counts {' and '.join(differ)}" if differ else ""
