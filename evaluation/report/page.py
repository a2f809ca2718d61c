"""report.html: one page that holds its styles and pictures, without scripts."""

import io
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from markupsafe import Markup

from evaluation.comparison import MATCHED_BY, SEED_METRICS
from evaluation.conventions import CONVENTIONS
from evaluation.number_text import figure_text, p_text, spread_text
from evaluation.predictions_reader import Predictions
from evaluation.report.runs import AT_THRESHOLD, COLUMNS, CROSS_AUC, LABELS, TESTS, Run, cross_means
from evaluation.report.theme import DARK, LIGHT
from evaluation.report.thumbnails import Thumbnails
from evaluation.tree_svg import CSS, tree_svg
from models.label_tree import known_trees
from utils.templates import environment

_WORST = 8  # reals and fakes shown as thumbnails, each
_REASONS = 12  # rows of the table of dropped images


def report_page(
    runs: Sequence[Run], plots: Sequence[tuple[bytes, bytes, str]], comparison: Mapping, images: Path
) -> str:
    """The page as HTML.

    Args:
        plots: (PNG for a light page, PNG for a dark page, caption) of each.
        images: Folder of the images that may be shown.
    """
    templates = environment(Path(__file__).parent / "templates")
    templates.filters |= {"figure": figure_text, "spread": spread_text, "p": p_text, "cross_means": cross_means}
    names = {run.predictions.source: run.name for run in runs}
    text = templates.get_template("report.html").render(
        title="Deepfake detection: " + (runs[0].name if len(runs) == 1 else f"{len(runs)} runs"),
        labels=LABELS,
        light=LIGHT,
        dark=DARK,
        tree_style=CSS,
        conventions=CONVENTIONS,
        columns=_columns(runs),
        seed_columns={key: COLUMNS[key] for key in SEED_METRICS},
        units=runs[0].predictions.units,
        comparison=comparison,
        names=names,
        loose=[names[pair["b"]] for pair in comparison.get("pairs", ()) if pair["matched_by"] != MATCHED_BY[0]],
        loosely=MATCHED_BY[1],
        tests=TESTS,
        cross_auc=CROSS_AUC,
        plots=plots,
        runs=[_section(run, images) for run in runs],
    )
    return text.encode("utf-8", "replace").decode()  # names may hold bytes that are not UTF-8


def _section(run: Run, images: Path) -> dict:
    """What the page says of one run."""
    thumbnails = Thumbnails(images, Path(run.predictions.source).parent)
    return vars(run) | {
        "notes": run.notes,
        "columns": _columns([run]),
        "tree": _tree(run.metrics["ours"]),
        "dropped": _dropped(run.predictions),
        "worst": _worst(run.predictions, thumbnails),
        "not_shown": thumbnails.note,
    }


def _columns(runs: Sequence[Run]) -> dict[str, str]:
    """{metric: heading}, including those at a threshold if a run has one."""
    return COLUMNS | (AT_THRESHOLD if any(run.threshold is not None for run in runs) else {})


def _tree(ours: Mapping) -> Markup | None:
    """The label tree with the frame AUC of every node; None if no known tree has these nodes."""
    tree = next((tree for tree in known_trees() if tree.nodes[1:] == (*ours["nodes"],)), None)
    if not ours["nodes"] or tree is None:
        return None
    aucs = {tree.nodes[0]: ours["frame_auc"], **ours["nodes"]}
    label = "Label tree with the frame AUC of every node; the table has the same figures"
    return tree_svg(tree, aucs, {name: figure_text(auc) for name, auc in aucs.items()}, label)


def _dropped(p: Predictions) -> list[tuple[str, str, int]]:
    """(reason, image or video, count), most frequent first."""
    reasons = Counter((drop["reason"], "image" if drop["path"] else "video") for drop in p.dropped or ())
    shown = reasons.most_common(_REASONS)
    rows = [(reason, kind, count) for (reason, kind), count in shown]
    if rest := reasons.total() - sum(count for _, count in shown):
        rows.append((f"{len(reasons) - len(shown)} other reasons", "", rest))
    return rows


def _worst(p: Predictions, thumbnails: Thumbnails) -> dict[str, list[dict]]:
    """{title: faces} of the reals with the highest scores and the fakes with the lowest, if their crops can be shown.

    A face is {jpeg, score, wrong (side of 0.5), lines (video and method)}.
    """
    score_text = "P(fake) {:.3f}" if p.probabilities else "score {:.4g}"
    worst = {}
    for label, sign, title in ((0, -1, "Reals that look most fake"), (1, 1, "Fakes that look most real")):
        videos = np.flatnonzero(p.video_labels == label)
        faces = []
        for video in videos[np.argsort(sign * p.video_scores[videos], kind="stable")][:_WORST]:
            frames = np.flatnonzero(p.video == video)
            frame = frames[np.argmin(sign * p.ranks[frames])]
            image = thumbnails.make(p.paths[frame])
            if image is not None:
                jpeg, score = io.BytesIO(), p.video_scores[video]
                image.save(jpeg, "JPEG", quality=80)
                face = {"jpeg": jpeg.getvalue(), "score": score_text.format(score)}
                method = p.methods[frame] if label else ""
                face["lines"] = [p.video_ids[video][1], method] if method else [p.video_ids[video][1]]
                faces.append(face | {"wrong": p.probabilities and (score >= 0.5) != label})
        if faces:
            worst[title] = faces
    return worst
