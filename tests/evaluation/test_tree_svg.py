"""The drawing of a label tree, read as XML."""

import re
import xml.etree.ElementTree as ET
from collections import Counter

import pytest

from evaluation.tree_svg import CSS, tree_svg
from models.label_tree import FFPP, FFSC, LabelTree

NAMES = [f"attribute {i} with quite a long name" for i in range(4)]
REGIONS = [f"region_{'x' * 50}{i}" for i in range(15)]
LONG = LabelTree("long", ("fake", *NAMES, *REGIONS), {"fake": (*NAMES,), **dict.fromkeys(NAMES, (*REGIONS,))})
TREES = [FFPP, FFSC, FFPP.root_only, *FFPP.without.values(), *FFSC.without.values(), LONG]
SVG = "{http://www.w3.org/2000/svg}"


def draw(tree, values=None, **more):
    values = values or {name: (i + 1) / 32 for i, name in enumerate(tree.nodes)}
    texts = {name: "n/a" if p is None else f"{p:.2f}" for name, p in values.items()}
    text = str(tree_svg(tree, values, texts, "the label", **more))
    return ET.fromstring(text.replace("<svg ", f'<svg xmlns="{SVG[1:-1]}" ', 1))


def nodes_of(svg):
    """Name without spaces -> (node, its box, its filling)."""
    found = {}
    for node in svg:
        if "node" in node.get("class").split():
            name = "".join(span.text for span in node.iter(f"{SVG}tspan") if span.get("class") != "value")
            assert name.replace(" ", "") not in found, f"{name} is there twice"
            found[name.replace(" ", "")] = (node, *node.iter(f"{SVG}rect"))
    return found


def numbers(element, *names):
    return [float(element.get(name)) for name in names]


@pytest.mark.parametrize("tree", TREES, ids=lambda tree: tree.name)
def test_each_node_and_each_edge_is_there_once(tree):
    svg = draw(tree)
    found = nodes_of(svg)
    assert list(found) == [name.replace(" ", "") for name in tree.nodes]
    left, right = {}, {}
    for name in tree.nodes:
        x, y, width, height = numbers(found[name.replace(" ", "")][1], "x", "y", "width", "height")
        left[x, y + height / 2], right[x + width, y + height / 2] = name, name
    drawn = Counter()
    for line in svg.iter(f"{SVG}line"):
        x1, y1, x2, y2 = numbers(line, "x1", "y1", "x2", "y2")
        ends = [
            min(places, key=lambda at: abs(at[0] - x) + abs(at[1] - y))
            for places, x, y in ((right, x1, y1), (left, x2, y2))
        ]
        assert max(abs(ends[0][0] - x1), abs(ends[0][1] - y1), abs(ends[1][0] - x2), abs(ends[1][1] - y2)) < 0.11
        drawn[right[ends[0]], left[ends[1]]] += 1
    assert drawn == Counter((parent, child) for parent, children in tree.edges.items() for child in children)


@pytest.mark.parametrize("tree", TREES, ids=lambda tree: tree.name)
def test_nothing_overlaps_or_is_cut_off(tree):
    svg = draw(tree)
    left, top, width, height = map(float, svg.get("viewBox").split())
    assert (width, height) == tuple(numbers(svg, "width", "height"))
    boxes = [numbers(box, "x", "y", "width", "height") for _, box, _ in nodes_of(svg).values()]
    for i, (x, y, w, h) in enumerate(boxes):
        assert left < x and x + w < left + width and top < y and y + h < top + height
        assert all(x + w < x2 or x2 + w2 < x or y + h < y2 or y2 + h2 < y for x2, y2, w2, h2 in boxes[:i])
    for node, box, _ in nodes_of(svg).values():
        x, y, w, h = numbers(box, "x", "y", "width", "height")
        for span in node.iter(f"{SVG}tspan"):
            assert 8 * len(span.text) < w - 8 and float(span.get("x")) == pytest.approx(x + w / 2, abs=0.11)
            assert y + 12 < float(span.get("y")) < y + h - 4


def test_the_filling_is_the_value():
    svg = draw(FFPP, {name: i / 9 for i, name in enumerate(FFPP.nodes[:-1])} | {"skin": None})
    for i, (node, box, fill) in enumerate(nodes_of(svg).values()):
        expected = 0 if i == 9 else i / 9
        assert float(fill.get("width")) == pytest.approx(expected * (float(box.get("width")) - 2.4), abs=0.06)
        assert [span.text for span in node.iter(f"{SVG}tspan")][-1] == ("n/a" if i == 9 else f"{i / 9:.2f}")


def test_the_state_is_marked_with_the_edges_inside_it():
    svg = draw(FFPP, state=("fake", "expression", "mouth"))
    marked = [element for element in svg if "on" in element.get("class").split()]
    assert [element.tag for element in marked] == [f"{SVG}line"] * 2 + [f"{SVG}g"] * 3
    assert {name for name, (node, *_) in nodes_of(svg).items() if node in marked} == {"fake", "expression", "mouth"}
    lines = list(svg.iter(f"{SVG}line"))
    assert lines[-2:] == marked[:2], "they lie on the others"
    assert not [element for element in draw(FFPP) if "on" in element.get("class").split()]


def test_links_name_the_node_to_a_screen_reader():
    svg = draw(FFPP, state=("fake", "identity", "lip"), links="#map-1-")
    links = list(svg.iter(f"{SVG}a"))
    assert svg.get("role") == "group" and svg.get("aria-label") == "the label"
    assert [link.get("href") for link in links] == [f"#map-1-{i}" for i in range(10)]
    assert links[0].get("aria-label") == "fake 0.03, named by the verdict"
    assert links[1].get("aria-label") == "expression 0.06"
    assert draw(FFPP).get("role") == "img" and not list(draw(FFPP).iter(f"{SVG}a"))


def test_texts_are_escaped_and_no_style_is_inline():
    bad = '<b onclick="x">&'
    text = str(tree_svg(FFPP.root_only, {"fake": 1}, {"fake": bad}, bad, links='"><script>'))
    assert "<b" not in text and "<script" not in text and text.count("&lt;b onclick=&#34;x&#34;&gt;&amp;") == 3
    assert " style=" not in text, "the page's content security policy forbids it"
    assert set(re.findall(r"\.(\w+)", CSS)) - {"2", "4"} <= {"tree", "value", "edge", "box", "fill", "on"}
