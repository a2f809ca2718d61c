from collections import Counter
from functools import partial

import numpy as np
import pytest

from evaluation.calibration import calibrated
from models.label_tree import FFPP, FFSC
from prediction import verdicts
from prediction.people import People, ScoredFaces
from prediction.verdicts import decide, judge, verdict_of
from preprocessing.detection.faces import Faces

pytestmark = pytest.mark.numeric


@pytest.mark.parametrize("tree", [FFPP, FFSC], ids=["ffpp", "ffsc"])
def test_the_state_is_the_most_probable_legal_one_of_the_verdict(tree):
    rng = np.random.default_rng(0)
    legal = tree.legal_states.astype(float)
    kinds = set()
    for spread, frames in ((0.1, 1), (2, 3), (8, 2), (50, 1)) * 10:
        scores = rng.normal(-1, spread, (frames, len(tree.nodes))).astype(np.float32)
        scores[:, 0] -= rng.choice([0, 8])
        verdict = verdict_of(scores, tree)
        weights = np.exp(scores.astype(float) @ legal.T - (scores.astype(float) @ legal.T).max(axis=1, keepdims=True))
        states = (weights / weights.sum(axis=1, keepdims=True)).mean(axis=0)
        assert list(verdict.nodes.values()) == pytest.approx(states @ legal, abs=1e-6)
        assert verdict.p_fake == verdict.p_calibrated == pytest.approx(states[1:].sum(), abs=1e-6)
        vector = [float(node in verdict.state) for node in tree.nodes]
        assert tree.is_legal(vector)
        assert (vector[0] == 1) == (verdict.p_fake >= 0.5)
        if vector[0]:
            assert states[(legal == vector).all(axis=1)][0] == states[1:].max()
        kinds.add(vector[0])
    assert kinds == {0, 1}


def test_the_threshold_decides_whether_a_state_is_fake():
    scores = np.zeros((1, 10), np.float32)
    scores[0, 0] = -np.log(250)  # P(fake) is a half, and real is by far the most probable single state
    assert verdict_of(scores, FFPP).p_fake == pytest.approx(0.5, abs=1e-6)
    assert "fake" in verdict_of(scores, FFPP, 0.4).state
    assert verdict_of(scores, FFPP, 0.6).state == []


def by_temperature(temperature):
    return partial(calibrated, calibration={"method": "temperature", "temperature": temperature})


def test_calibration_leaves_p_fake_and_nodes():
    scores = np.random.default_rng(1).normal(0, 3, (4, 10)).astype(np.float32)
    plain, hot = verdict_of(scores, FFPP), verdict_of(scores, FFPP, calibrate=by_temperature(1e6))
    assert (plain.p_fake, plain.nodes) == (hot.p_fake, hot.nodes)
    assert hot.p_calibrated == pytest.approx(0.5, abs=1e-4)
    level = {"method": "isotonic", "logits": [0.0], "p_fake": [0.75]}
    assert verdict_of(scores, FFPP, calibrate=partial(calibrated, calibration=level)).p_calibrated == 0.75
    assert verdict_of(scores, FFPP, calibrate=by_temperature(1.0)).p_calibrated == pytest.approx(plain.p_fake, abs=1e-6)


def persons_of(*sides_and_scores):
    """One frame with a face of each side, px, and root score."""
    boxes = np.array([[0, 0, side, side + 9] for side, _ in sides_and_scores], np.float32)
    scores = np.zeros((len(boxes), 10), np.float32)
    scores[:, 0] = [score for _, score in sides_and_scores]
    faces = ScoredFaces(Faces(boxes, np.ones(len(boxes)), np.zeros((len(boxes), 5, 2))), [], scores)
    people = People(1, {0: faces}, [{0: index} for index in range(len(boxes))], Counter())
    return judge(people, FFPP, (0.5, 0.5), None, 64)


def test_small_faces_do_not_decide_alone():
    """A root score of 9 is fake, -9 is real."""
    assert [person.small for person in persons_of((63, 0), (64, 0))] == [True, False]
    assert decide(persons_of((100, -9), (40, 9))) == ("real", 0), "a picture on the wall"
    assert decide(persons_of((100, -9), (80, 9), (40, 9))) == ("fake", 1)
    assert decide(persons_of((40, -9), (50, 9))) == ("uncertain", 1), "nobody else is there"
    assert decide(persons_of((40, -9))) == ("real", 0)


@pytest.mark.numeric
def test_many_frames_of_a_large_tree_are_judged_in_parts(monkeypatch):
    scores = np.random.default_rng(0).normal(0, 2, (7, len(FFPP.nodes))).astype(np.float32)
    whole = verdict_of(scores, FFPP, 0.0, by_temperature(2))
    monkeypatch.setattr(verdicts, "_MOST_NUMBERS", 3 * len(FFPP.legal_states))
    parts = verdict_of(scores, FFPP, 0.0, by_temperature(2))
    assert parts.state == whole.state
    assert list(parts.nodes.values()) == pytest.approx(list(whole.nodes.values()), abs=1e-6)
    assert parts.calibrated == pytest.approx(whole.calibrated, abs=1e-6)
