"""report.html: one page that opens from disk, with its styles and pictures inside it and no script."""

import io
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from evaluation.comparison import MATCHED_BY, SEED_METRICS
from evaluation.conventions import CONVENTIONS
from evaluation.number_text import figure_text, p_text, percent, spread_text
from evaluation.prediction_table import Predictions
from evaluation.report.palette import DARK, LIGHT
from evaluation.report.runs import AT_THRESHOLD, COLUMNS, LABELS, Run
from evaluation.report.thumbnails import thumbnail
from utils.templates import environment

_WORST = 8  # reals and fakes shown as thumbnails, each
_REASONS = 12  # rows of the table of dropped images


class _Table(NamedTuple):
    """The first cell of a row is its name."""

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


class _Face(NamedTuple):
    """A thumbnail with its score and a few words. wrong: whether the score is on the wrong side of 0.5."""

    jpeg: bytes
    title: str
    wrong: bool
    lines: Sequence[str]


def report_page(runs: Sequence[Run], plots: Sequence[tuple[bytes, bytes, str]], comparison: Mapping) -> str:
    """The page as HTML; bytes of names that are not UTF-8 become question marks.

    Args:
        runs: At least one.
        plots: (PNG for a light page, PNG for a dark page, caption).
        comparison: The content of comparison.json, or {}.
    """
    page = environment(Path(__file__).parent / "templates").get_template("report.html")
    text = page.render(
        title="Deepfake detection: " + (runs[0].name if len(runs) == 1 else f"{len(runs)} runs"),
        labels=LABELS,
        light=LIGHT,
        dark=DARK,
        cards=_cards(runs[0]) if len(runs) == 1 else [],
        overview=_overview(runs),
        comparison=_comparison(runs, comparison),
        plots=plots,
        runs=list(map(_run, runs)),
    )
    return text.encode("utf-8", "replace").decode()


def _cards(run: Run) -> list[tuple[str, str, str]]:
    """(name, value, remark) of the most important figures."""
    ours = run.metrics["ours"]
    videos = f"{ours['videos_real']} real and {ours['videos_fake']} fake {run.predictions.units}"
    return [
        ("Video AUC", percent(ours["video_auc"]), f"95%: {figure_text(ours['video_auc_ci95'], 1)}"),
        ("Frame AUC", percent(ours["frame_auc"]), f"{ours['frames']} frames"),
        ("Video EER", percent(ours["video_eer"]), "where FPR = FNR"),
        ("Balanced accuracy", percent(ours["video_balanced_acc"]), "videos, at 0.5"),
        ("Coverage", percent(ours["coverage"]), videos),
    ]


def _columns(runs: Sequence[Run]) -> dict[str, str]:
    """{metric: heading}, with those at a threshold if a run has one."""
    return COLUMNS | (AT_THRESHOLD if any(run.threshold is not None for run in runs) else {})


def _overview(runs: Sequence[Run]) -> _Table:
    columns = _columns(runs)
    rows = [[run.name, *(figure_text(run.metrics["ours"][key]) for key in columns)] for run in runs]
    threshold = ", each at its own threshold" if len(columns) > len(COLUMNS) else ""
    caption = f"All runs under our convention, on each run's own videos{threshold}."
    return _Table(caption, ["run", *columns.values()], rows)


def _comparison(runs: Sequence[Run], comparison: Mapping) -> dict:
    """Title, and a table or a note; {} for one run."""
    if "note" in comparison:
        return {"title": "Seeds", "table": None, "note": comparison["note"]}
    if "seeds" in comparison:
        header = ["convention", *(COLUMNS[name] for name in SEED_METRICS)]
        rows = [
            [name, *(spread_text(entry[key]) for key in SEED_METRICS)] for name, entry in comparison["seeds"].items()
        ]
        caption = f"Mean and standard deviation (n - 1) over {len(runs)} runs of one setting."
        return {"title": "Seeds", "table": _Table(caption, header, rows)}
    if not comparison:
        return {}
    names = {run.predictions.source: run.name for run in runs}
    header = ["run", "difference", "95% interval", "p", "AUC", "AUC of the first"]
    rows = [
        [names[pair["b"]], percent(pair["difference"]), figure_text(pair["ci95"]), p_text(pair["p"])]
        + [percent(pair["auc_b"]), percent(pair["auc_a"]), str(pair["videos"])]
        for pair in comparison["pairs"]
    ]
    caption = f"Video AUC minus that of the first file, {runs[0].name}: paired bootstrap by video, 1000 draws, "
    caption += "two-sided p."
    if loose := [names[pair["b"]] for pair in comparison["pairs"] if pair["matched_by"] != MATCHED_BY[0]]:
        caption += f" The videos of {', '.join(loose)} are matched by their {MATCHED_BY[1]}."
    return {"title": "Comparison", "table": _Table(caption, [*header, f"common {runs[0].predictions.units}"], rows)}


def _run(run: Run) -> dict:
    """What the template shows of a run."""
    p, ours, columns = run.predictions, run.metrics["ours"], _columns([run])
    rows = [[name, *(figure_text(run.metrics[name][key]) for key in columns)] for name in CONVENTIONS]
    caption = "The same scores under each convention. ACC is at 0.5; TPR 1% is the true positive rate at FPR 1%."
    if run.threshold is not None:
        caption += f" Threshold from validation: {run.threshold:g}."
    coverage = (
        ""
        if p.dropped is None
        else (
            f"{len(p.video_ids)} {p.units} were scored, {len(p.failed)} failed (nothing of them could be scored): "
            f"coverage {percent(ours['coverage'])}%. {len(p.dropped)} entries were dropped."
        )
    )
    return {
        "name": run.name,
        "source": p.source,
        "notes": p.notes,
        "by_convention": _Table(caption, ["convention", *columns.values()], rows),
        "conventions": [f"{name}: {rule} ({run.effects[name]})" for name, rule in CONVENTIONS.items()],
        "tables": _detail_tables(p, ours),
        "coverage": coverage,
        "dropped": _dropped(p.dropped or []),
        "probabilities": p.probabilities,
        "worst": _worst(p),
    }


def _detail_tables(p: Predictions, ours: Mapping) -> dict[str, _Table]:
    """{title: table} of the figures per data set, method and node that the file has."""
    tables = {}
    if "datasets" in ours:
        header = ["data set", f"real {p.units}", f"fake {p.units}", "video AUC", "frame AUC"]
        caption = "Every data set on its own, our convention; the figures above mix them."
        rows = _named_rows(ours["datasets"], "videos_real", "videos_fake", "video_auc", "frame_auc")
        tables["By data set"] = _Table(caption, header, rows)
    if ours["methods"]:
        header = ["method", f"fake {p.units}", "video AUC", "frame AUC"]
        caption = "Fakes of one method against all reals, our convention."
        rows = _named_rows(ours["methods"], "videos", "video_auc", "frame_auc")
        tables["By method"] = _Table(caption, header, rows)
    if ours["nodes"]:
        caption = "Frame AUC of every node among the frames whose state is known; n/a where there is one state only."
        rows = [[name, percent(value)] for name, value in ours["nodes"].items()]
        tables["Label tree"] = _Table(caption, ["node", "frame AUC"], rows)
    return tables


def _named_rows(entries: Mapping[str, Mapping], *keys: str) -> list[list[str]]:
    return [[name, *(figure_text(entry[key]) for key in keys)] for name, entry in entries.items()]


def _dropped(dropped: Sequence[Mapping]) -> _Table:
    reasons = Counter((drop["reason"], "image" if drop["path"] else "video") for drop in dropped)
    shown = reasons.most_common(_REASONS)
    rows = [[reason, kind, str(count)] for (reason, kind), count in shown]
    if rest := reasons.total() - sum(count for _, count in shown):
        rows.append([f"{len(reasons) - len(shown)} other reasons", "", str(rest)])
    return _Table("Dropped images, and videos without any crop, by reason.", ["reason", "of", "count"], rows)


def _worst(p: Predictions) -> dict[str, list[_Face]]:
    """{title: faces} of the reals with the highest scores and the fakes with the lowest, if their crops are there."""
    score_text = "P(fake) {:.3f}" if p.probabilities else "score {:.4g}"
    worst = {}
    for label, sign, title in ((0, -1, "Reals that look most fake"), (1, 1, "Fakes that look most real")):
        videos = np.flatnonzero(p.video_labels == label)
        faces = []
        for video in videos[np.argsort(sign * p.video_scores[videos], kind="stable")][:_WORST]:
            frames = np.flatnonzero(p.video == video)
            frame = frames[np.argmin(sign * p.ranks[frames])]
            image = thumbnail(p.paths[frame], Path(p.source).parent) if p.paths[frame] else None
            if image is not None:
                jpeg, score = io.BytesIO(), p.video_scores[video]
                image.save(jpeg, "JPEG", quality=80)
                lines = [line for line in (p.video_ids[video][1], p.methods[frame] if label else "") if line]
                wrong = p.probabilities and bool((score >= 0.5) != label)
                faces.append(_Face(jpeg.getvalue(), score_text.format(score), wrong, lines))
        if faces:
            worst[title] = faces
    return worst
