"""The sections of report.html: headline, comparison, plots, and every run with its tables and worst mistakes."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from evaluation.comparison import MATCHED_BY, SEED_METRICS
from evaluation.conventions import CONVENTIONS
from evaluation.prediction_table import Predictions
from evaluation.report import html as html

_WORST = 8  # reals and fakes shown as thumbnails, each
_REASONS = 12  # rows of the table of dropped images
LABELS = "Labels: 0 real, 1 fake; fake is the positive class. P(fake) is the probability of fake."
COLUMNS = {
    "video_auc": "video AUC",
    "video_auc_ci95": "95% interval",
    "videos": "videos",
    "coverage": "coverage",
    "video_eer": "video EER",
    "video_ap": "video AP",
    "video_acc": "video ACC",
    "video_balanced_acc": "bal. ACC",
    "video_tpr_at_fpr01": "TPR 1%",
    "video_tpr_at_fpr05": "TPR 5%",
    "frame_auc": "frame AUC",
    "frame_eer": "frame EER",
    "frames": "frames",
}
AT_THRESHOLD = {
    "video_acc_at_threshold": "ACC at threshold",
    "video_balanced_acc_at_threshold": "bal. ACC at threshold",
}


@dataclass(frozen=True)
class Run:
    """One file of the report. metrics: {convention: {metric: value}}; effects: {convention: what it changes here}.

    threshold: of the _at_threshold figures, from validation; None where not known.
    """

    name: str
    predictions: Predictions
    metrics: dict[str, dict]
    effects: dict[str, str]
    threshold: float | None = None

    @property
    def columns(self) -> dict[str, str]:
        """{metric: heading} of the run's tables."""
        return COLUMNS | (AT_THRESHOLD if self.threshold is not None else {})


def figure_text(value: float | Sequence | None, digits: int = 2) -> str:
    """A count as it is, a fraction in percent, an interval as "low to high"; n/a where undefined."""
    if isinstance(value, (list, tuple)):
        return "n/a" if None in value else " to ".join(figure_text(end, digits) for end in value)
    if value is None:
        return "n/a"
    return str(value) if isinstance(value, int) else f"{100 * value:.{digits}f}"


def report_page(runs: Sequence[Run], plots: Sequence[tuple[bytes, bytes, str]], comparison: Mapping) -> str:
    """The page. plots: (PNG for a light page, for a dark page, caption). comparison: pairs or seeds, or empty."""
    title = "Deepfake detection: " + (runs[0].name if len(runs) == 1 else f"{len(runs)} runs")
    body = [html.heading(1, title), html.paragraph(f"{LABELS} Figures are in percent unless they count something.")]
    body += _headline(runs)
    body += _comparison(runs, comparison)
    body += [html.heading(2, "Plots"), html.grid("plots", [html.plot(*plot) for plot in plots])]
    for run in runs:
        body += _run(run)
    return html.page(title, body)


def _headline(runs: Sequence[Run]) -> list[str]:
    if len(runs) > 1:
        columns = {key: heading for run in runs for key, heading in run.columns.items()}
        rows = [[run.name, *(figure_text(run.metrics["ours"][key]) for key in columns)] for run in runs]
        caption = "All runs under our convention, on each run's own videos"
        caption += ", each at its own threshold." if len(columns) > len(COLUMNS) else "."
        return [html.table(["run", *columns.values()], rows, caption)]
    ours = runs[0].metrics["ours"]
    videos = f"{ours['videos_real']} real and {ours['videos_fake']} fake {runs[0].predictions.units}"
    return [
        html.cards(
            [
                ("Video AUC", figure_text(ours["video_auc"]), f"95%: {figure_text(ours['video_auc_ci95'], 1)}"),
                ("Frame AUC", figure_text(ours["frame_auc"]), f"{ours['frames']} frames"),
                ("Video EER", figure_text(ours["video_eer"]), "where FPR = FNR"),
                ("Balanced accuracy", figure_text(ours["video_balanced_acc"]), "videos, at 0.5"),
                ("Coverage", figure_text(ours["coverage"]), videos),
            ]
        )
    ]


def _comparison(runs: Sequence[Run], comparison: Mapping) -> list[str]:
    names = {run.predictions.source: run.name for run in runs}
    if "note" in comparison:
        return [html.heading(2, "Seeds"), html.paragraph(comparison["note"])]
    if "seeds" in comparison:
        header = ["convention", *(COLUMNS[name] for name in SEED_METRICS)]
        rows = [
            [convention, *(spread_text(entry[name]) for name in SEED_METRICS)]
            for convention, entry in comparison["seeds"].items()
        ]
        caption = f"Mean and standard deviation (n - 1) over {len(runs)} runs of one setting."
        return [html.heading(2, "Seeds"), html.table(header, rows, caption)]
    if not comparison:
        return []
    common = f"common {runs[0].predictions.units}"
    header = ["run", "difference", "95% interval", "p", "AUC", "AUC of the first", common]
    rows = [
        [names[pair["b"]], figure_text(pair["difference"]), figure_text(pair["ci95"]), p_text(pair["p"]),
         figure_text(pair["auc_b"]), figure_text(pair["auc_a"]), figure_text(pair["videos"])]
        for pair in comparison["pairs"]
    ]  # fmt: skip
    caption = f"Video AUC less that of the first file, {runs[0].name}: paired bootstrap by video, 1000 draws, "
    caption += "two-sided p."
    if loose := [names[pair["b"]] for pair in comparison["pairs"] if pair["matched_by"] != MATCHED_BY[0]]:
        caption += f" The videos of {', '.join(loose)} are matched by their {MATCHED_BY[1]}."
    return [html.heading(2, "Comparison"), html.table(header, rows, caption)]


def spread_text(entry: Mapping) -> str:
    """Mean ± standard deviation in percent."""
    return f"{figure_text(entry['mean'])} ± {figure_text(entry['sd'])}" if entry["mean"] is not None else "n/a"


def p_text(p: float | None) -> str:
    """A p value."""
    return "n/a" if p is None else f"{p:.3f}"


def _run(run: Run) -> list[str]:
    columns = run.columns
    p, ours = run.predictions, run.metrics["ours"]
    body = [html.heading(2, run.name), html.paragraph(f"File: {p.source}"), html.bullets(p.notes)]
    rows = [[name, *(figure_text(run.metrics[name][key]) for key in columns)] for name in CONVENTIONS]
    caption = "The same scores under each convention. ACC is at 0.5; TPR 1% is the true positive rate at FPR 1%."
    if run.threshold is not None:
        caption += f" Threshold from validation: {run.threshold:g}."
    body += [html.heading(3, "By convention"), html.table(["convention", *columns.values()], rows, caption)]
    body.append(html.bullets([f"{name}: {rule} ({run.effects[name]})" for name, rule in CONVENTIONS.items()]))
    if "datasets" in ours:
        figures = ("videos_real", "videos_fake", "video_auc", "frame_auc")
        rows = [[name, *(figure_text(entry[key]) for key in figures)] for name, entry in ours["datasets"].items()]
        caption = "Every data set on its own, our convention; the figures above mix them."
        header = ["data set", f"real {p.units}", f"fake {p.units}", "video AUC", "frame AUC"]
        body += [html.heading(3, "By data set"), html.table(header, rows, caption)]
    if ours["methods"]:
        rows = [
            [name, *(figure_text(entry[key]) for key in ("videos", "video_auc", "frame_auc"))]
            for name, entry in ours["methods"].items()
        ]
        caption = "Fakes of one method against all reals, our convention."
        header = ["method", f"fake {p.units}", "video AUC", "frame AUC"]
        body += [html.heading(3, "By method"), html.table(header, rows, caption)]
    if ours["nodes"]:
        rows = [[name, figure_text(value)] for name, value in ours["nodes"].items()]
        caption = "Frame AUC of every node among the frames whose state is known; n/a where there is one state only."
        body += [html.heading(3, "Label tree"), html.table(["node", "frame AUC"], rows, caption)]
    return body + _dropped(p, ours["coverage"]) + _worst(p)


def _dropped(p: Predictions, coverage: float | None) -> list[str]:
    if p.dropped is None:
        return []
    body = [html.heading(3, "Coverage and dropped images")]
    body.append(
        html.paragraph(
            f"{len(p.video_ids)} {p.units} were scored, {len(p.failed)} failed (nothing of them could be scored): "
            f"coverage {figure_text(coverage)}%. {len(p.dropped)} entries were dropped."
        )
    )
    reasons = Counter((d["reason"], "image" if d["path"] else "video") for d in p.dropped)
    shown = reasons.most_common(_REASONS)
    rows = [[reason, kind, str(count)] for (reason, kind), count in shown]
    if rest := reasons.total() - sum(count for _, count in shown):
        rows.append([f"{len(reasons) - len(shown)} other reasons", "", str(rest)])
    if rows:
        body.append(
            html.table(["reason", "of", "count"], rows, "Dropped images, and videos without any crop, by reason.")
        )
    return body


def _worst(p: Predictions) -> list[str]:
    """Thumbnails of the reals with the highest scores and the fakes with the lowest."""
    body = []
    score_text = "P(fake) {:.3f}" if p.probabilities else "score {:.4g}"
    labels, scores = p.video_labels, p.video_scores
    for label, sign, title in ((0, -1, "Reals that look most fake"), (1, 1, "Fakes that look most real")):
        videos = np.flatnonzero(labels == label)
        faces = []
        for video in videos[np.argsort(sign * scores[videos], kind="stable")][:_WORST]:
            frames = np.flatnonzero(p.video == video)
            frame = frames[np.argmin(sign * p.ranks[frames])]
            picture = html.thumbnail(p.paths[frame], Path(p.source).parent) if p.paths[frame] else None
            if picture is None:
                continue
            wrong = p.probabilities and bool((scores[video] >= 0.5) != label)
            remark = [p.video_ids[video][1], p.methods[frame]] if label else [p.video_ids[video][1]]
            faces.append(html.face(picture, score_text.format(scores[video]), wrong, [line for line in remark if line]))
        if faces:
            body += [html.heading(3, title), html.grid("faces", faces)]
    if body:
        note = "Each is the video's most misleading frame, with the video's score"
        note += "; red is the wrong side of 0.5." if p.probabilities else "."
        body.insert(0, html.heading(3, "Worst mistakes"))
        body.insert(1, html.paragraph(note))
    else:
        body.append(html.paragraph("None of the crops of the worst mistakes could be opened, so none is shown."))
    return body
