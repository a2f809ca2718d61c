import numpy as np
import pytest

from models.label_tree import FFPP, FFSC
from prediction.wording import explain, outcome_of


def words_of(tree, outcome, state, probabilities, p=0.97):
    nodes = dict.fromkeys(tree.nodes, 0.1) | probabilities
    return explain(outcome, p, nodes, state, tree.edges)


def test_the_sentences_of_a_fake():
    nodes = {"identity": 0.91, "eye": 0.93, "nose": 0.88, "mouth": 0.9}
    expected = "Fake (0.97). Identity altered (0.91): eyes 0.93, mouth 0.90, nose 0.88."
    assert words_of(FFPP, "fake", ["fake", *nodes], nodes) == expected
    nodes |= {"physical inconsistency": 0.95, "skin": 0.8}
    assert words_of(FFPP, "fake", ["fake", *nodes], nodes) == (
        "Fake (0.97). Physical inconsistency (0.95): eyes 0.93, mouth 0.90, nose 0.88. "
        "Identity altered (0.91): eyes, mouth, nose, skin 0.80."
    )
    assert words_of(FFPP, "fake", ["fake"], {}) == "Fake (0.97). No attribute stands out."


def test_the_sentences_of_other_outcomes():
    assert words_of(FFPP, "real", [], {}, 0.031) == "Real (P(fake) 0.03)."
    assert words_of(FFPP, "uncertain", [], {}, 0.4) == "Uncertain (P(fake) 0.40)."
    words = words_of(FFPP, "uncertain", ["fake", "expression", "lip"], {"expression": 0.5, "lip": 0.5}, 0.6)
    assert words == "Uncertain (0.60). If it is fake: Expression altered (0.50): lips 0.50."


@pytest.mark.parametrize("tree", [FFPP, FFSC], ids=["ffpp", "ffsc"])
def test_every_legal_state_names_exactly_its_nodes(tree):
    rng = np.random.default_rng(0)
    for vector in tree.legal_states[1:]:
        state = [name for name, on in zip(tree.nodes, vector, strict=True) if on]
        words = explain("fake", 0.9, dict(zip(tree.nodes, rng.random(len(tree.nodes)), strict=True)), state, tree.edges)
        for sentence in words.split(". ")[1:]:
            head, _, regions = sentence.partition(": ")
            attribute = head.partition(" (")[0].removesuffix(" altered").lower()
            if attribute != "no attribute stands out.":
                names = {word.split(" ")[0].rstrip(".") for word in regions.split(", ")}
                singular = {{"eyes": "eye", "eyebrows": "eyebrow", "lips": "lip"}.get(name, name) for name in names}
                assert singular == set(state) & set(tree.edges[attribute])
        named = {name for name in tree.nodes[1:] if name in words.lower()}
        assert named - {"eye"} == set(state) - {"fake", "eye"}  # "eyebrow" holds "eye"


@pytest.mark.parametrize(
    ("p", "band", "outcome"),
    [
        (0.5, (0.5, 0.5), "fake"),
        (0.49, (0.5, 0.5), "real"),
        (0.3, (0.3, 0.7), "uncertain"),
        (0.7, (0.3, 0.7), "fake"),
    ],
)
def test_the_band_decides(p, band, outcome):
    assert outcome_of(p, band) == outcome


def test_trees_of_ablations_are_explained():
    nodes = {"fake": 0.9, "identity": 0.8, "expression": 0.6, "eye": 0.7}
    assert explain("fake", 0.9, nodes, ["fake"], FFPP.root_only.edges) == "Fake (0.90). No attribute stands out."
    words = explain("fake", 0.9, nodes, ["fake", "expression", "identity"], FFPP.without["local"].edges)
    assert words == "Fake (0.90). Identity altered (0.80). Expression altered (0.60)."
    assert (
        explain("fake", 0.9, nodes, ["fake", "eye"], FFPP.without["global"].edges) == "Fake (0.90). Eye altered (0.70)."
    )
