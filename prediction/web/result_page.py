"""A prediction as a piece of HTML with its pictures inside it. Every text from outside goes through ``escape``."""

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

from prediction.wording import calibrated_nodes

LARGEST = 32 * 2**20  # bytes of a video that is laid into a page
_KINDS = {".jpg": "image/jpeg", ".png": "image/png", ".mp4": "video/mp4"}
_WORDS = {
    "fake": "Fake",
    "real": "Real",
    "uncertain": "Uncertain",
    "no_face": "No face to judge",
    "unreadable": "Cannot be read",
}

# Gradio's variables follow its light and dark theme. The colours of the outcomes are those of prediction/pictures.py.
STYLE = """
.sjedd { --fake: #b34e00; --real: #0063a3; --uncertain: #7a6a00; line-height: 1.5; }
.dark .sjedd { --fake: #ff9a4d; --real: #62b5ee; --uncertain: #f0e442; }
.sjedd.empty { min-height: 9rem; }
.sjedd .fake { color: var(--fake); } .sjedd .real { color: var(--real); } .sjedd .uncertain { color: var(--uncertain); }
.sjedd .verdict { display: flex; flex-wrap: wrap; align-items: baseline; gap: 0 1rem; margin: 0 0 .2rem; }
.sjedd .verdict b { font-size: 2rem; line-height: 1.3; }
.sjedd .quiet { opacity: .75; font-size: .9rem; overflow-wrap: anywhere; margin: .2rem 0; }
.sjedd .person { border: 1px solid var(--border-color-primary); border-radius: 10px; padding: 1rem; margin: 1rem 0;
  background: var(--block-background-fill); }
.sjedd h3 { font-size: 1.1rem; margin: 0 0 .4rem; } .sjedd h4 { font-size: .95rem; margin: 1.1rem 0 .3rem; }
.sjedd img, .sjedd video { display: block; max-width: 100%; height: auto; border-radius: 6px; }
.sjedd .whole { max-height: 70vh; margin: .8rem 0; } .sjedd .timeline { background: #fff; }
.sjedd ul { list-style: none; margin: 0; padding: 0; }
.sjedd li { margin: 0; } .sjedd li li .node span:first-child { padding-left: 1.1rem; }
.sjedd li li li .node span:first-child { padding-left: 2.2rem; }
.sjedd .node { display: grid; grid-template-columns: minmax(0, 13rem) minmax(3rem, 1fr) 2.6rem; gap: .6rem;
  align-items: center; font-size: .92rem; padding: .12rem 0; }
.sjedd .node span:last-child { text-align: right; font-variant-numeric: tabular-nums; }
.sjedd .bar { height: .55rem; border-radius: 3px; background: var(--border-color-primary); overflow: hidden; }
.sjedd .bar i { display: block; height: 100%; background: var(--body-text-color-subdued); }
.sjedd .on { font-weight: 600; } .sjedd .on .bar i { background: var(--fake); }
.sjedd .maps { display: grid; grid-template-columns: repeat(auto-fill, minmax(118px, 1fr)); gap: .6rem; }
.sjedd .maps figure { margin: 0; font-size: .82rem; } .sjedd .maps .on figcaption { color: var(--fake); }
"""


EMPTY = '<div class="sjedd empty"></div>'


def prediction_html(prediction: Mapping, folder: Path, nodes: Sequence[str], edges: Mapping[str, Sequence[str]]) -> str:
    """What SJEDD_predict.py says of one input, in a ``<div class="sjedd">`` for a page that holds STYLE.

    prediction: content of prediction.json. folder: where its pictures are. nodes, edges: of the label tree, root first.
    """
    outcome, tracks = prediction["outcome"], prediction["tracks"]
    number = ""
    if tracks:
        number = f"<span>P(fake) {max(_p_fake(track) for track in tracks):.2f}</span>"
    parts = [
        f'<p class="verdict"><b class="{outcome}">{_WORDS[outcome]}</b>{number}</p>',
        f'<p class="quiet">{escape(Path(prediction["input"]).name)}</p>',
    ]
    if prediction["reason"]:
        parts.append(f"<p>{escape(_sentence(prediction['reason']))}</p>")
    if "annotated" in prediction:
        parts.append(_annotated(folder / prediction["annotated"]))
    for index, track in enumerate(tracks, start=1):
        title = f"Person {index}" if len(tracks) > 1 else "What was found"
        parts.append(_person(title, track, folder, nodes, edges))
    return f'<div class="sjedd">{"".join(parts)}</div>'


def message_html(text: str) -> str:
    """A sentence in the place of a prediction."""
    return f'<div class="sjedd"><p class="verdict"><b>Not looked at</b></p><p>{escape(_sentence(text))}</p></div>'


def _p_fake(track: Mapping) -> float:
    return track.get("p_fake_calibrated", track["p_fake"])


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")


def _data_uri(path: Path) -> str:
    return f"data:{_KINDS[path.suffix]};base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"


def _annotated(path: Path) -> str:
    if path.suffix != ".mp4":
        return f'<img class="whole" alt="the picture, faces marked" src="{_data_uri(path)}">'
    if path.stat().st_size > LARGEST:
        return '<p class="quiet">The marked video is too large for this page; SJEDD_predict.py writes it to disk.</p>'
    return f'<video class="whole" controls muted playsinline preload="metadata" src="{_data_uri(path)}"></video>'


def _person(title: str, track: Mapping, folder: Path, nodes: Sequence[str], edges: Mapping[str, Sequence[str]]) -> str:
    p_fake, state = _p_fake(track), track["state"]
    probabilities = calibrated_nodes(track["nodes"], track["p_fake"], p_fake)
    frames = len(track["frames"])
    parts = [
        f'<h3>{title}: <span class="{track["outcome"]}">{_WORDS[track["outcome"]].lower()}</span></h3>',
        f"<p>{escape(track['explanation'])}</p>",
        f'<p class="quiet">{f"seen in {frames} of the frames looked at" if frames > 1 else "one picture"}</p>',
    ]
    if track.get("timeline"):
        picture = _data_uri(folder / track["timeline"])
        parts.append(f'<h4>P(fake) over time</h4><img class="timeline" alt="P(fake) over time" src="{picture}">')
    parts.append(f"<h4>What is altered, if it is fake</h4>{_branch(nodes[:1], edges, probabilities, state)}")
    if track.get("heat_maps"):
        order = sorted(nodes, key=lambda node: node not in state)
        figures = (
            f'<figure class="{_on(node, state)}"><img alt="" src="{_data_uri(folder / track["heat_maps"][node])}">'
            f"<figcaption>{escape(node)} {probabilities[node]:.2f}</figcaption></figure>"
            for node in order
        )
        parts.append(f'<h4>Where each score comes from</h4><div class="maps">{"".join(figures)}</div>')
    return f'<section class="person">{"".join(parts)}</section>'


def _on(node: str, state: Iterable[str]) -> str:
    return "on" if node in state else "off"


def _branch(
    names: Sequence[str],
    edges: Mapping[str, Sequence[str]],
    probabilities: Mapping[str, float],
    state: Sequence[str],
    above: str | None = None,
) -> str:
    """The tree below ``names``. What the state names is marked, regions where their attribute is named as well."""
    named = set(state) if above is None or above in state else set()
    items = (
        f'<li><div class="node {_on(name, named)}"><span>{escape(name)}</span>'
        f'<div class="bar"><i style="width:{100 * probabilities[name]:.1f}%"></i></div>'
        f"<span>{probabilities[name]:.2f}</span></div>"
        f"{_branch(edges[name], edges, probabilities, state, name) if edges.get(name) else ''}</li>"
        for name in names
    )
    return f"<ul>{''.join(items)}</ul>"
