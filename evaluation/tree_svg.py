"""A label tree as an SVG picture: each node once, filled by its value, and each edge once."""

import textwrap
from collections.abc import Collection, Mapping
from typing import NamedTuple

from markupsafe import Markup

from models.label_tree import LabelTree

_LETTERS, _LETTER = 14, 8.2  # most letters in a line of a name; px of an average letter
_LINE, _PAD = 17, 8  # px: height of a line, space around the text of a node
_BETWEEN, _BELOW = 70, 10  # px between two levels, and between two nodes of a level
_MARGIN = 4  # px left and right of the tree, for outlines
_INSET = 1.2  # px between the border of a node and its filling

# A page defines --card, --text, --edge (edges, borders of nodes), --fill, and for the state --on and --on-fill.
CSS = """\
.tree { display: block; max-width: 100%; height: auto; }
.tree text { fill: var(--text); font-size: 14px; text-anchor: middle; }
.tree .value { font-size: 13px; font-variant-numeric: tabular-nums; }
.tree .edge { stroke: var(--edge); stroke-width: 1.2; }
.tree .box { fill: var(--card); stroke: var(--edge); }
.tree .fill { fill: var(--fill); }
.tree .edge.on { stroke: var(--on); stroke-width: 2.2; }
.tree .on .box { stroke: var(--on); stroke-width: 2.4; }
.tree .on .fill { fill: var(--on-fill); }
.tree .on text { font-weight: 700; }
"""
_SVG = Markup("""\
<svg class="tree" role="{role}" aria-label="{label}" width="{width:.0f}" height="{height:.0f}" viewBox="{viewbox}">
{content}
</svg>""")
_EDGE = Markup('<line class="edge{on}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>')
_RECT = Markup('<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="4"/>')
_TSPAN = Markup('<tspan x="{x:.1f}" y="{y:.1f}"{kind}>{text}</tspan>')


class _Box(NamedTuple):
    x: float
    y: float
    width: float
    height: float


def tree_svg(
    tree: LabelTree,
    values: Mapping[str, float | None],
    texts: Mapping[str, str],
    label: str,
    state: Collection[str] = (),
    links: str = "",
) -> Markup:
    """Draw a tree from left to right, a column per level. ``CSS`` gives its colours.

    Args:
        tree: The tree.
        values: Node -> share of the node that is filled, 0 to 1; None is empty.
        texts: Node -> its value as text.
        label: What the picture shows, for screen readers.
        state: Nodes of a legal state. They are marked, and so are the edges between them.
        links: Every node links to this, followed by its index in ``tree.nodes``. "": no links.
    """
    lines = {name: textwrap.wrap(name, _LETTERS) for name in tree.nodes}
    boxes, on = _boxes(tree, lines, texts), frozenset(state)
    edges = [(parent, child) for parent, children in tree.edges.items() for child in children]
    content = [_edge(boxes[a], boxes[b], {a, b} <= on) for a, b in sorted(edges, key=lambda edge: on.issuperset(edge))]
    for i, name in enumerate(tree.nodes):
        drawn = _node(boxes[name], lines[name], values[name] or 0.0, texts[name])
        marked, spoken = (" on", ", named by the verdict") if name in on else ("", "")
        if links:
            start = Markup('<a class="node{}" href="{}{}" aria-label="{} {}{}">')
            content.append(start.format(marked, links, i, name, texts[name], spoken) + drawn + Markup("</a>"))
        else:
            content.append(Markup('<g class="node{}">{}</g>').format(marked, drawn))
    width = max(box.x + box.width for box in boxes.values()) + 2 * _MARGIN
    height = max(box.y + box.height for box in boxes.values()) + _BELOW / 2
    viewbox = f"{-_MARGIN} 0 {width:.0f} {height:.0f}"
    known = {"role": "group" if links else "img", "label": label, "content": Markup("\n").join(content)}
    return _SVG.format(width=width, height=height, viewbox=viewbox, **known)


def _boxes(tree: LabelTree, lines: Mapping[str, list[str]], texts: Mapping[str, str]) -> dict[str, _Box]:
    """Where each node is. The nodes of a level are spread over the height of the highest level."""
    heights = {name: _LINE * (len(lines[name]) + 1) + _PAD for name in tree.nodes}
    columns = [[tree.nodes[i] for i in level] for level in tree.levels if level]
    total = max(sum(heights[name] + _BELOW for name in column) for column in columns)
    boxes, x = {}, 0.0
    for column in columns:
        letters = max(len(text) for name in column for text in (*lines[name], texts[name]))
        width, y = _LETTER * letters + 2 * _PAD, 0.0
        space = (total - sum(heights[name] for name in column)) / len(column)
        for name in column:
            boxes[name] = _Box(x, y + space / 2, width, heights[name])
            y += heights[name] + space
        x += width + _BETWEEN
    return boxes


def _edge(parent: _Box, child: _Box, on: bool) -> Markup:
    """An edge, from the middle of the parent's right side to the middle of the child's left side."""
    y1, y2 = parent.y + parent.height / 2, child.y + child.height / 2
    return _EDGE.format(on=" on" if on else "", x1=parent.x + parent.width, y1=y1, x2=child.x, y2=y2)


def _node(box: _Box, lines: list[str], share: float, text: str) -> Markup:
    """A box that is filled from the left, with the lines of the name above the value."""
    inner = {"x": box.x + _INSET, "y": box.y + _INSET, "height": box.height - 2 * _INSET}
    fill = _RECT.format(kind="fill", width=share * (box.width - 2 * _INSET), **inner)
    rows = [*((line, "") for line in lines), (text, Markup(' class="value"'))]
    spans = [
        _TSPAN.format(x=box.x + box.width / 2, y=box.y + _LINE * number, kind=kind, text=row)
        for number, (row, kind) in enumerate(rows, start=1)
    ]
    return _RECT.format(kind="box", **box._asdict()) + fill + Markup("<text>{}</text>").format(Markup("").join(spans))
