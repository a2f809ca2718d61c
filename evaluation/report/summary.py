"""The summary of one test: its main figures as text, and summary.png with sample crops and the ROC."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from PIL import Image

from evaluation.messages import orientation_question
from evaluation.number_text import percent
from evaluation.predictions_reader import Predictions, read_predictions
from evaluation.report.plots import draw_roc, png, videos_and_frames
from evaluation.report.theme import LIGHT, Theme
from evaluation.report.thumbnails import Thumbnails
from utils.cli import UserError
from utils.files import read_json, write_bytes
from utils.locks import exclusive_folder

_SAMPLES = 4  # crops shown per method
_SIDE = 160  # pixels of a crop
_METRICS = {"dataset", "videos_real", "videos_fake", "frames", "dropped", "frame_auc", "video_auc", "video_auc_ci95"}


def summarise(folder: Path, images: Path) -> list[str]:
    """Write summary.png into the folder of a test; returns the main figures as lines of text.

    images: Folder of the crops that may be shown.
    """
    predictions, metrics = read_results(folder)
    thumbnails = Thumbnails(images, folder)
    with exclusive_folder(folder, ["summary.png"]):
        write_bytes(folder / "summary.png", png(partial(summary_figure, predictions, metrics, thumbnails), LIGHT))
    return summary_lines(metrics, folder) + ([f"  {thumbnails.note}"] if thumbnails.note else [])


def read_results(folder: Path) -> tuple[Predictions, dict]:
    """predictions.csv and the content of metrics.json. Raises UserError if SJEDD_test.py did not write them."""
    for name in ("predictions.csv", "metrics.json"):
        if not (folder / name).exists():
            raise UserError(f"{folder / name} does not exist; run SJEDD_test.py first")
    metrics = read_json(folder / "metrics.json")
    if not isinstance(metrics, dict) or not _METRICS | {"nodes", "methods"} <= metrics.keys():
        raise UserError(f"{folder} holds no results of SJEDD_test.py; run it again")
    try:
        return read_predictions(str(folder / "predictions.csv")), metrics
    except UserError as error:
        raise UserError(f"{folder} holds no results of SJEDD_test.py ({error}); run it again") from error


def summary_lines(metrics: Mapping, folder: Path) -> list[str]:
    low, high = (percent(end, 1) for end in metrics["video_auc_ci95"])
    units = "images" if metrics.get("image_level") else "videos"
    lines = [
        f"{metrics['dataset']}: {metrics['videos_real']} real and {metrics['videos_fake']} fake {units}, "
        f"{metrics['frames']} frames, {len(metrics['dropped'])} dropped",
        f"  frame AUC {percent(metrics['frame_auc'], 1):>5}",
        f"  video AUC {percent(metrics['video_auc'], 1):>5}   (95% interval {low:>5} to {high:>5})",
    ]
    for name, figures in metrics["methods"].items():
        lines.append(f"  video AUC {percent(figures['video_auc'], 1):>5}   {name} against all reals")
    if question := orientation_question(metrics):
        lines.append(f"  {question}")
    known = {name: value for name, value in metrics["nodes"].items() if value is not None}
    if known:
        mean = percent(float(np.mean(list(known.values()))), 1)
        lines.append(f"  mean AUC of the {len(known)} global and local nodes {mean:>5}")
        lines.append("  " + ", ".join(f"{name} {percent(value, 1)}" for name, value in known.items()))
    lines.append(f"  files: {folder / 'predictions.csv'}, {folder / 'metrics.json'}, {folder / 'summary.png'}")
    return lines


def sample_frames(predictions: Predictions, n: int = _SAMPLES) -> dict[str, list[int]]:
    """{method: at most ``n`` row indices}, of different videos, evenly spaced over the file."""
    first: dict[str, dict[int, int]] = {}
    for row, video in enumerate(predictions.video.tolist()):
        method = predictions.methods[row] or ("real", "fake")[predictions.labels[row]]
        first.setdefault(method, {}).setdefault(video, row)
    chosen = {}
    for method, videos in first.items():
        rows = list(videos.values())
        chosen[method] = [rows[i] for i in np.unique(np.linspace(0, len(rows) - 1, n).astype(int))]
    return chosen


def summary_figure(p: Predictions, metrics: Mapping, thumbnails: Thumbnails, theme: Theme) -> Figure:
    """Sample crops with their P(fake), a row per method, beside the ROC. A missing crop is a grey tile."""
    samples = sample_frames(p)
    figure = plt.figure(figsize=(1.6 * _SAMPLES + 5.4, max(1.85 * len(samples), 4.2)), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=[1.6 * _SAMPLES, 5.4])
    axes = left.subplots(len(samples), _SAMPLES, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for line, (method, rows) in zip(axes, samples.items(), strict=True):
        for axis, row in zip(line, rows, strict=False):
            crop = thumbnails.make(p.paths[row], _SIDE) or Image.new("RGB", (_SIDE, _SIDE), "lightgrey")
            axis.imshow(crop)
            colour = theme.right if (p.scores[row] >= 0.5) == p.labels[row] else theme.wrong
            axis.set_title(f"{method}\nP(fake) {p.scores[row]:.3f}", fontsize=8, color=colour)
    axis = right.subplots()
    draw_roc(axis, videos_and_frames(p) if metrics["video_auc"] is not None else [], theme)
    axis.set_title(f"{metrics['dataset']}: ROC (fake is positive)", fontsize=10)
    axis.set_aspect("equal")
    if axis.get_legend_handles_labels()[1]:
        axis.legend(loc="lower right")
    return figure
