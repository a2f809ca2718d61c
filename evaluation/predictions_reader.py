"""Read a predictions file, ours or another system's: its frames, its videos, and the metrics.json beside it."""

import string
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from datasets.video_ids import VIDEO_ENDING, folder_of, separate_videos
from evaluation.metrics import both_classes, first_rows, number_keys, video_means
from evaluation.metrics_file import metrics_beside
from evaluation.predictions_columns import Columns, ColumnTable, node_columns, read_columns
from utils.cli import UserError


@dataclass(frozen=True)
class Predictions:
    """The N scored frames of one file, and their V videos in order of first appearance."""

    source: str  # the file, as it was given
    labels: np.ndarray  # [N] 0 real, 1 fake
    scores: np.ndarray  # [N] higher means more fake
    ranks: np.ndarray  # [N] to order frames: the log-odds if the file has them, else the scores
    probabilities: bool  # whether all scores lie in [0, 1]
    video: np.ndarray  # [N] index into video_ids
    video_ids: list[tuple[str, str]]  # [V] (data set, video id)
    paths: list[str]  # [N], like the next three; "" where not known
    frame_names: list[str]
    methods: list[str]
    codes: list[str]
    logits: np.ndarray | None  # [N] log-odds of P(fake)
    nodes: dict[str, np.ndarray]  # node of the label tree -> [N] probabilities, in the order of the code's digits
    dropped: list[dict] | None  # from metrics.json; None if no such file belongs to these rows
    threshold: float | None  # from metrics.json
    checkpoint: str | None  # from metrics.json
    columns: Columns  # that were read
    notes: list[str]  # what is missing, and what was decided while reading

    @property
    def datasets(self) -> list[str]:
        """Names of the data sets, in order of first appearance; "" for an unnamed one."""
        return list(dict.fromkeys(dataset for dataset, _ in self.video_ids))

    @cached_property
    def units(self) -> str:
        """What to call the videos: "images" if each id is the path of an image."""
        rows = zip(self.paths, self.video.tolist(), strict=True)
        images = all(path == self.video_ids[v][1] and not VIDEO_ENDING.search(path) for path, v in rows)
        return "images" if images else "videos"

    @cached_property
    def video_labels(self) -> np.ndarray:
        """[V] 0 real, 1 fake."""
        return self.labels[first_rows(self.video)]

    @cached_property
    def video_scores(self) -> np.ndarray:
        """[V] mean over the video's frames."""
        return video_means(self.video, self.scores)

    @property
    def failed(self) -> dict[str, int]:
        """Video id -> label of the videos without any scored frame."""
        scored = {video for _, video in self.video_ids}
        return {d["video"]: d["label"] for d in self.dropped or () if d["video"] not in scored}


def read_predictions(source: str, columns: Columns | None = None, fall_back: bool = False) -> Predictions:
    """Read a CSV file with a header, and the metrics.json beside it if it belongs to the same test.

    Args:
        source: Path of the file.
        columns: Names of its columns (default: those of SJEDD_test.py).
        fall_back: Read the usual column, with a note, instead of a given one that is missing.

    Raises:
        UserError: The file cannot be read or is not a table of predictions; the message names file and line.
    """
    given = columns or Columns()
    table = read_columns(source, given, fall_back)
    labels, scores = table.labels(), table.numbers(table.columns.score)
    notes = _renamed_columns(given, table.columns)
    datasets, methods, frames = (table.texts(name) for name in ("dataset", "method", "frame"))
    paths, names = _paths_and_videos(table, labels, notes)
    names, separated = separate_videos(names, methods, paths, datasets)
    notes += separated + _repeated_images(datasets, names, frames, paths)
    video, video_ids = _group_by_video(datasets, names, labels, notes)
    score, probabilities = table.columns.score, bool(((scores >= 0) & (scores <= 1)).all())
    if not probabilities:
        notes.append(f"values of {score} outside [0, 1] are no probabilities, so no accuracy and no calibration error")
    if not both_classes(labels):
        notes.append("one class only: AUC, EER and AP are undefined")
    for name, use in (("method", "figures per method"), ("code", "figures per node of the label tree")):
        if name not in table.cells:
            notes.append(f"no column {name}: no {use}")
    metrics, reason = metrics_beside(source, score, {"frames": len(labels), "videos": len(video_ids)})
    if reason:
        notes.append(f"no metrics.json is used ({reason}): dropped and failed videos are not known")
    logits = table.numbers("logit_fake") if score == "p_fake" and "logit_fake" in table.cells else None
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
        codes=table.texts("code"),
        nodes=_nodes(table, notes),
        dropped=metrics.get("dropped"),
        threshold=metrics.get("threshold"),
        checkpoint=metrics.get("checkpoint"),
        columns=table.columns,
        notes=notes,
    )


def _renamed_columns(given: Columns, read: Columns) -> list[str]:
    names = [(option, name, getattr(read, option)) for option, name in vars(given).items()]
    return [f"no column {name}: the {option} is {used}" for option, name, used in names if name and name != used]


def _paths_and_videos(table: ColumnTable, labels: np.ndarray, notes: list[str]) -> tuple[list[str], list[str]]:
    """Path and video id of every row.

    Without a video column each folder is a video, unless a folder holds both labels or a whole class: such folders are
    image sets.
    """
    paths = table.texts(table.columns.path)
    if table.columns.path not in table.cells:
        notes.append("no column path: the benchmark's video key is the last part of the video id, and no thumbnails")
    folders = [folder_of(path) or path for path in paths]
    videos = table.cells.get(table.columns.video)
    if videos is not None:
        videos = [video or folder for video, folder in zip(videos, folders, strict=True)]
    elif _are_image_sets(folders, labels):
        notes.append("no column video, and a folder holds both labels or a whole class: every image is a video")
        videos = paths
    else:
        notes.append("no column video: every folder is a video")
        videos = folders
    for video, line in zip(videos, table.lines, strict=True):
        if not video:
            raise UserError(f"{table.source}:{line}: neither a path nor a video")
    return paths, videos


def _are_image_sets(folders: Sequence[str], labels: np.ndarray) -> bool:
    """Whether a folder holds both labels or a whole class."""
    real, fake = ({f for f, y in zip(folders, labels.tolist(), strict=True) if y == label} for label in (0, 1))
    return bool(real & fake) or len(real) == 1 or len(fake) == 1


def _repeated_images(
    datasets: Sequence[str], videos: Sequence[str], frames: Sequence[str], paths: Sequence[str]
) -> list[str]:
    """A note on rows of the same image: the same path or, without a path, the same frame of a video."""
    rows = zip(datasets, videos, frames, paths, strict=True)
    images = [
        (dataset, path) if path else (dataset, video, frame) for dataset, video, frame, path in rows if path or frame
    ]
    if repeated := len(images) - len(set(images)):
        return [f"rows that repeat the image of another row: {repeated} (duplicates, or several faces); each counts"]
    return []


def _group_by_video(
    datasets: Sequence[str], names: Sequence[str], labels: np.ndarray, notes: list[str]
) -> tuple[np.ndarray, list[tuple[str, str]]]:
    """(video of every row [N], ids [V]). The real and the fake rows of one id are two videos."""
    video, keys = number_keys(zip(datasets, names, labels.tolist(), strict=True))
    video_ids = [(dataset, name) for dataset, name, _ in keys]
    if mixed := len(video_ids) - len(set(video_ids)):
        notes.append(f"{mixed} videos have rows of both labels: their real and their fake rows count as two videos")
    of_dataset = Counter(dataset for dataset, _ in video_ids)
    if len(of_dataset) > 1:
        listed = ", ".join(f"{name or 'unnamed'} {count}" for name, count in of_dataset.items())
        notes.append(f"videos of {len(of_dataset)} data sets ({listed}): one AUC over all of them mixes data sets")
    return video, video_ids


def _nodes(table: ColumnTable, notes: list[str]) -> dict[str, np.ndarray]:
    names, codes = node_columns(table.header), set(table.texts("code")) - {""}
    if not codes:
        if "code" in table.cells:
            notes.append("no row has a code: no figures per node of the label tree")
        return {}
    if any(len(code) != len(names) + 1 or set(code) - set(string.digits) for code in codes):
        notes.append(f"the codes do not fit the {len(names)} columns after logit_fake: no figures per node")
        return {}
    return {name.replace("_", " "): table.numbers(name) for name in names}
