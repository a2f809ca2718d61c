import hashlib
import itertools
import json

import numpy as np
import pytest

from models.label_tree import FFPP, FFSC, LabelTree
from utils.cli import UserError

TREE = {"nodes": ("fake", "a", "b", "x", "y"), "edges": {"fake": ("a", "b"), "a": ("x",), "b": ("x", "y")}}


@pytest.mark.parametrize("tree", [FFPP, FFSC], ids=lambda tree: tree.name)
def test_legal_states_are_the_references(tree, golden_tree):
    golden = golden_tree[tree.name]
    rows = sorted("".join(str(int(value)) for value in state) for state in tree.legal_states)
    assert len(rows) == golden["n_legal_states"]
    assert hashlib.sha256("\n".join(rows).encode()).hexdigest() == golden["legal_states_sha256"]
    assert not tree.legal_states[0].any()
    assert (tree.legal_states[1:, 0]).all(), "every state but the first is fake"


def test_legal_states_follow_from_the_edges_by_brute_force():
    tree = LabelTree("small", **TREE)
    expected = []
    for fake, a, b, x, y in itertools.product([False, True], repeat=5):
        parents = (not x or a or b) and (not y or b)
        children = (not a or (fake and x)) and (not b or (fake and (x or y)))
        if parents and children:
            expected.append([fake, a, b, x, y])
    assert tree.legal_states.tolist() == expected


def test_prompts_and_levels():
    assert FFPP.levels == ((0,), (1, 2, 3), (4, 5, 6, 7, 8, 9))
    assert FFPP.prompts[0] == "A photo of a fake face"
    assert FFPP.prompts[3] == "A photo of a face with the global attribute of physical inconsistency altered"
    assert FFSC.prompts[11] == "A photo of a face with the local attribute of skin altered"


@pytest.mark.parametrize(
    ("code", "nodes"),
    [
        ("1000000000", "0000000000"),
        ("0101011111", "1011111111"),
        ("0110001100", "1101001100"),
        ("0100110000", "1001100000"),
        ("0100100010", "1001000010"),
        ("0100101100", "1001001100"),
    ],
)
def test_ffpp_codes_map_to_node_order(code, nodes):
    assert "".join(str(int(value)) for value in FFPP.encode(code)) == nodes


def test_ffsc_codes_are_in_node_order_with_unknown_digits():
    assert FFSC.encode("120110111101").tolist() == [1, 2, 0, 1, 1, 0, 1, 1, 1, 1, 0, 1]
    for code in ("110000100001", "101000001100", "101000101111", "120010111111", "100001111111", "000000000000"):
        assert FFSC.encode(code).tolist() == [float(digit) for digit in code]


@pytest.mark.parametrize(
    ("tree", "code", "message"),
    [
        (FFPP, "110000100001", "10 digits"),
        (FFPP, "0111111111", "unknown code"),
        (FFPP, "01010111a1", "10 digits"),
        (FFSC, "1000000000", "12 digits"),
        (FFSC, "130000100001", "unknown digit"),
        (FFSC, "100000100000", "no legal state"),
    ],
)
def test_wrong_codes_are_refused(tree, code, message):
    with pytest.raises(UserError, match=message):
        tree.encode(code)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"edges": TREE["edges"] | {"a": ("x", "chin")}}, "unknown node 'chin'"),
        ({"edges": TREE["edges"] | {"x": ("a",)}}, "cannot have children"),
        ({"edges": TREE["edges"] | {"a": ("x", "fake")}}, "cannot have children"),
        ({"edges": TREE["edges"] | {"fake": ("a", "b", "fake")}}, "both of the root and of a global"),
        ({"edges": TREE["edges"] | {"x": ("y",)}}, "cannot have children"),
        ({"edges": {"fake": ("a", "b", "x"), "a": ("x",), "b": ("y",)}}, "both of the root and of a global"),
        ({"edges": {"fake": ("a", "b"), "a": ("x",), "b": ("x",)}}, "no path"),
        ({"edges": {"fake": ("a", "b"), "a": ("x", "y")}}, "at least one region"),
        ({"edges": {}}, "no edge leads from the root"),
        ({"nodes": tuple(f"n{i}" for i in range(21))}, "more than the 20"),
        ({"nodes": ("fake", "a", "x", "b", "y")}, "root first"),
        ({"nodes": ("fake", "a", "a", "x", "y")}, "differ"),
        ({"codes": {"10": (), "011": ("fake",)}}, "digits"),
        ({"codes": {"1x": ()}}, "digits only"),
        ({"codes": {"10": ("chin",)}}, "unknown nodes"),
        ({"codes": {"10": ("fake", "a")}}, "do not allow"),
        ({"codes": {f"{i:03}": () for i in range(300)}}, "300 codes are more than"),
        ({"edges": TREE["edges"] | {"a": ("x", "x")}}, "names a node twice"),
        ({"nodes": ("fake", "a b", "a_b", "x", "y")}, "different names"),
        ({"nodes": ("fake", "a", "A", "x", "y")}, "different names"),
        ({"nodes": ("fake", "a", "p fake", "x", "y")}, "'p_fake'. are columns of the results"),
        ({"digits": 3}, "3 digits are not 5 to 1000"),
        ({"digits": 10, "places": (0, 1, 2, 3, 4.5)}, "not one digit of a code"),
        ({"wordings": {"root": "x{}" * 400}}, "more than 1000 characters"),
    ],
)
def test_wrong_trees_are_refused_with_the_reason(change, message):
    with pytest.raises(ValueError, match=message):
        LabelTree("wrong", **(TREE | change))


@pytest.mark.parametrize("tree", [FFPP, FFSC, LabelTree("small", **TREE)], ids=lambda tree: tree.name)
def test_plain_form_round_trips(tree):
    again = LabelTree.from_dict(tree.to_dict())
    assert again.to_dict() == tree.to_dict()
    assert np.array_equal(again.legal_states, tree.legal_states)


@pytest.mark.parametrize("tree", [FFPP, FFSC], ids=lambda tree: tree.name)
def test_root_only_tree_reads_the_codes_of_its_whole(tree):
    root = tree.root_only
    assert root.nodes == ("fake",)
    assert root.levels == ((0,), (), ())
    assert root.prompts == tree.prompts[:1]
    assert root.legal_states.tolist() == [[False], [True]]
    assert root.code_length == tree.code_length
    codes = tree.codes or ("110000100001", "120010111111", "000000000000")
    assert all(root.encode(code)[0] == tree.encode(code)[0] for code in codes)
    with pytest.raises(UserError):
        root.encode("1")
    assert LabelTree.from_dict(root.to_dict()) is root
    assert LabelTree.from_dict(json.loads(json.dumps(root.to_dict() | {"name": "x"}))).code_length == tree.code_length


@pytest.mark.parametrize("tree", [FFPP, FFSC], ids=lambda tree: tree.name)
@pytest.mark.parametrize("dropped", ["global", "local"])
def test_a_tree_without_a_level_has_the_states_of_its_parts_and_reads_the_codes_of_its_whole(tree, dropped):
    """Below the root alone, every set of nodes is legal with the root, and none without it."""
    smaller = tree.without[dropped]
    kept = tree.levels[2 if dropped == "global" else 1]
    assert smaller.nodes == ("fake", *(tree.nodes[i] for i in kept))
    below = tuple(range(1, 1 + len(kept)))
    assert smaller.levels == ((0,), *(((), below) if dropped == "global" else (below, ())))
    assert smaller.prompts == [tree.prompts[0], *(tree.prompts[i] for i in kept)]
    states = {tuple(state) for state in smaller.legal_states.tolist()}
    assert states == {(False,) * (1 + len(kept))} | {
        (True, *rest) for rest in itertools.product([False, True], repeat=len(kept))
    }
    for code in tree.codes or ("120110111101", "110000100001", "101000101111", "000000000000"):
        assert smaller.encode(code).tolist() == tree.encode(code)[[0, *kept]].tolist()
    with pytest.raises(UserError):
        smaller.encode("1")
    assert LabelTree.from_dict(json.loads(json.dumps(smaller.to_dict()))) is smaller
    assert smaller.family == tree.name


def test_other_prompts_are_of_levels_and_nodes_and_stay_with_the_tree():
    wordings = {"root": "a {} portrait", "local": "its {} is {}", "skin": "smooth skin"}
    tree = FFPP.reworded(wordings, "p.json")
    assert tree.prompts[0] == "a fake portrait" and tree.prompts[1] == FFPP.prompts[1]
    assert tree.prompts[4] == "its eye is eye" and tree.prompts[9] == "smooth skin"
    again = LabelTree.from_dict(json.loads(json.dumps(tree.to_dict())))
    assert again is not FFPP and again.prompts == tree.prompts
    for wrong, says in (
        ({"chin": "x"}, "p.json: .*chin.*neither levels"),
        ({"skin": " "}, "no texts"),
        ({"skin": 1}, "no texts"),
        (["x"], "JSON object"),
    ):
        with pytest.raises(UserError, match=says):
            FFPP.reworded(wrong, "p.json")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dropped": "global"}, "only the root has children"),
        ({"dropped": "both", "nodes": ("fake", "a"), "edges": {"fake": ("a",)}}, "only the root has children"),
        ({"places": (0, 1)}, "one digit of a code for each node"),
        ({"places": (0, 1, 2, 3, 5)}, "one digit of a code for each node"),
    ],
)
def test_wrong_variants_are_refused_with_the_reason(change, message):
    with pytest.raises(ValueError, match=message):
        LabelTree("wrong", **(TREE | change))
