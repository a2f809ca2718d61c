"""A test's results for people: a summary in words, and one picture with sample crops and the ROC curve.

python -m evaluation.report.summary output/SJEDD_test/FFpp
"""

import csv
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from utils.cli import ArgumentParser, UserError, answer_first, script


def get_args_parser() -> ArgumentParser:
    """The command line."""
    parser = ArgumentParser(prog="python -m evaluation.report.summary", description=__doc__)
    parser.add_argument("folder", type=Path, help="folder with predictions.csv and metrics.json")
    return parser


answer_first(__name__, get_args_parser)

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from PIL import Image
from sklearn.metrics import roc_curve

from evaluation.metrics import video_scores
from utils.files import atomic_path, read_json, text_file, whole_file

_SAMPLES = 4  # crops shown per method
_METRICS = {"dataset", "videos_real", "videos_fake", "frames", "dropped", "frame_auc", "video_auc", "video_auc_ci95"}


def read_results(folder: Path) -> tuple[list[dict], dict]:
    """Rows of predictions.csv and the content of metrics.json in ``folder``; UserError when they are not there."""
    try:
        with text_file(folder / "predictions.csv").open(newline="", encoding="utf-8", errors="surrogateescape") as file:
            rows, metrics = list(csv.DictReader(file)), read_json(folder / "metrics.json")
    except OSError as error:
        raise UserError(f"cannot read {error.filename} ({error.strerror}); run SJEDD_test.py first") from error
    known = {"video", "path", "label", "method", "p_fake", "logit_fake"}
    if (
        not rows
        or not known <= rows[0].keys()
        or not isinstance(metrics, dict)
        or not _METRICS | {"nodes", "methods"} <= metrics.keys()
    ):
        raise UserError(f"{folder} holds no results of SJEDD_test.py; run it again")
    return rows, metrics


def summary(metrics: Mapping, folder: Path) -> str:
    """The figures of metrics.json that a person reads first, as text. AUCs in percent."""

    def percent(value: float | None) -> str:
        return "  n/a" if value is None else f"{100 * value:5.1f}"

    low, high = metrics["video_auc_ci95"]
    units = "images" if metrics.get("image_level") else "videos"
    lines = [
        f"{metrics['dataset']}: {metrics['videos_real']} real and {metrics['videos_fake']} fake {units}, "
        f"{metrics['frames']} frames, {len(metrics['dropped'])} dropped",
        f"  frame AUC {percent(metrics['frame_auc'])}",
        f"  video AUC {percent(metrics['video_auc'])}   (95% interval {percent(low)} to {percent(high)})",
    ]
    lines += [
        f"  video AUC {percent(m['video_auc'])}   {name} against all reals" for name, m in metrics["methods"].items()
    ]
    known = {name: value for name, value in metrics["nodes"].items() if value is not None}
    if known:
        lines.append(
            f"  mean AUC of the {len(known)} global and local nodes {percent(float(np.mean(list(known.values()))))}"
        )
        lines.append("  " + ", ".join(f"{name} {percent(value).strip()}" for name, value in known.items()))
    lines.append(f"  files: {folder / 'predictions.csv'}, {folder / 'metrics.json'}, {folder / 'summary.png'}")
    return "\n".join(lines)


def sample_rows(rows: Sequence[Mapping], n: int = _SAMPLES) -> dict[str, list[Mapping]]:
    """Per method ``n`` frames of different videos, evenly over the file, so that good and bad ones show alike."""
    first: dict[str, dict[str, Mapping]] = {}
    for row in rows:
        first.setdefault(row["method"] or ("fake" if row["label"] == "1" else "real"), {}).setdefault(row["video"], row)
    chosen = {}
    for method, videos in first.items():
        frames = list(videos.values())
        chosen[method] = [frames[i] for i in np.unique(np.linspace(0, len(frames) - 1, n).astype(int))]
    return chosen


def _thumbnail(path: str) -> Image.Image:
    """The crop, small; a grey tile when it is no longer there."""
    try:
        with Image.open(whole_file(path)) as image:
            return image.convert("RGB").resize((160, 160))
    except OSError:
        return Image.new("RGB", (160, 160), "lightgrey")


def summary_figure(rows: Sequence[Mapping], metrics: Mapping) -> Figure:
    """Sample crops with their P(fake), a row per method, beside the ROC of the videos."""
    samples = sample_rows(rows)
    figure = plt.figure(figsize=(1.6 * _SAMPLES + 5.4, max(1.85 * len(samples), 4.2)), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=[1.6 * _SAMPLES, 5.4])
    axes = left.subplots(len(samples), _SAMPLES, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for line, (method, frames) in zip(axes, samples.items(), strict=True):
        for axis, row in zip(line, frames, strict=False):
            p, fake = float(row["p_fake"]), row["label"] == "1"
            axis.imshow(_thumbnail(row["path"]))
            colour = "tab:green" if (p >= 0.5) == fake else "tab:red"
            axis.set_title(f"{method}\nP(fake) {p:.3f}", fontsize=8, color=colour)
    axis = right.subplots()
    _, labels, scores = video_scores(rows)
    if metrics["video_auc"] is not None:
        fpr, tpr, _ = roc_curve(labels, scores)
        axis.plot(fpr, tpr, color="tab:blue", label=f"video AUC {100 * metrics['video_auc']:.1f}%")
        fpr, tpr, _ = roc_curve([int(r["label"]) for r in rows], [float(r["logit_fake"]) for r in rows])
        axis.plot(fpr, tpr, color="tab:orange", lw=1, label=f"frame AUC {100 * metrics['frame_auc']:.1f}%")
        axis.legend(loc="lower right")
    axis.plot([0, 1], [0, 1], color="grey", lw=0.8, ls=":")
    axis.set(xlabel="false positive rate", ylabel="true positive rate", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axis.set_title(f"{metrics['dataset']}: ROC (fake is positive)", fontsize=10)
    axis.set_aspect("equal")
    return figure


@script
def main(argv: Sequence[str] | None = None) -> None:
    """Print the summary of a test and write summary.png beside its predictions."""
    folder = get_args_parser().parse_args(argv).folder
    rows, metrics = read_results(folder)
    figure = summary_figure(rows, metrics)
    with atomic_path(folder / "summary.png") as temporary:
        figure.savefig(temporary, dpi=110)
    plt.close(figure)
    print(summary(metrics, folder))


if __name__ == "__main__":
    sys.exit(main())
