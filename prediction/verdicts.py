"""Turn the node scores of a person's frames into a verdict."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch

from models.label_tree import LabelTree
from models.tree_inference import logit_fake, marginals, state_probabilities
from prediction.people import People
from prediction.wording import OUTCOMES, calibrated_nodes, explain, outcome_of

_MOST_NUMBERS = 2**24  # probabilities of states in memory; a tree of 20 nodes may have 500,000 states
SHOWN_FRAMES = 3  # of each person
Calibrate = Callable[[np.ndarray], np.ndarray]  # log-odds of fake -> calibrated P(fake)


class Verdict(NamedTuple):
    """The verdict on a person over F frames."""

    frames: np.ndarray  # [F] P(fake) of each frame
    calibrated: np.ndarray  # [F] the same after calibration, if there is one
    nodes: dict[str, float]  # mean marginal of each node
    state: list[str]  # nodes of the most probable legal state; empty for real

    @property
    def p_fake(self) -> float:
        """Mean over the frames, as SJEDD_test.py computes it for a video."""
        return float(self.frames.mean(dtype=float))

    @property
    def p_calibrated(self) -> float:
        """Mean over the calibrated frames; it decides the outcome."""
        return float(self.calibrated.mean(dtype=float))


class Person(NamedTuple):
    """One person of an input."""

    frames: list[int]  # numbers of the F frames that show the person
    boxes: np.ndarray  # [F, 4]
    landmarks: np.ndarray  # [F, 5, 2]
    verdict: Verdict
    nodes: dict[str, float]  # probabilities for the explanation, calibrated like the outcome
    outcome: str  # fake, uncertain or real
    explanation: str
    small: bool  # whether the face is too small to decide the outcome of the input

    def decisive(self) -> list[int]:
        """Indices into ``frames`` of the SHOWN_FRAMES (or fewer) that support the outcome most, strongest first."""
        p_fake = self.verdict.frames
        return np.argsort(p_fake if self.outcome == "real" else -p_fake, kind="stable")[:SHOWN_FRAMES].tolist()


def verdict_of(
    scores: np.ndarray, tree: LabelTree, threshold: float = 0.5, calibrate: Calibrate | None = None
) -> Verdict:
    """Judge one person from scores, float32 [F, nodes]. All probabilities are means over the frames.

    If the (calibrated) P(fake) reaches ``threshold``, the state is the most probable fake one, else the real one. So a
    fake verdict has a fake state, even if the one real state is more probable than each single fake state.
    """
    parts = torch.from_numpy(scores).split(max(1, _MOST_NUMBERS // len(tree.legal_states)))
    nodes = np.concatenate([marginals(part, tree).numpy() for part in parts])
    frames = calibrated = nodes[:, 0]
    if calibrate is not None:
        calibrated = calibrate(np.concatenate([logit_fake(part, tree).numpy() for part in parts]))
    state = np.zeros(len(tree.nodes), bool)
    if calibrated.mean(dtype=float) >= threshold:
        states = sum(state_probabilities(part, tree).sum(dim=0) for part in parts)
        state = tree.legal_states[1 + int(states[1:].argmax())]
    means = zip(tree.nodes, nodes.mean(axis=0, dtype=float).tolist(), strict=True)
    return Verdict(frames, calibrated, dict(means), [tree.nodes[i] for i in np.flatnonzero(state)])


def judge(
    people: People, tree: LabelTree, band: tuple[float, float], calibrate: Calibrate | None, min_side: int
) -> list[Person]:
    """A verdict for each person.

    Args:
        people: The people of an input.
        tree: Label tree of the scores.
        band: (low, high); P(fake) between them is uncertain.
        calibrate: The calibration, if there is one.
        min_side: px. A person whose boxes have a smaller side (the shorter one, the median over the frames) is small.
    """
    judged = []
    for person in people.persons:
        faces = [(people.faces[frame], face) for frame, face in person.items()]
        boxes = np.stack([found.faces.boxes[face] for found, face in faces])
        landmarks = np.stack([found.faces.landmarks[face] for found, face in faces])
        scores = np.stack([found.scores[face] for found, face in faces])
        verdict = verdict_of(scores, tree, float(np.clip(0.5, *band)), calibrate)
        outcome, nodes = outcome_of(verdict.p_calibrated, band), verdict.nodes
        if calibrate is not None:
            nodes = calibrated_nodes(nodes, verdict.p_fake, verdict.p_calibrated)
        explanation = explain(outcome, verdict.p_calibrated, nodes, verdict.state, tree.edges)
        small = bool(np.median((boxes[:, 2:] - boxes[:, :2]).min(axis=1)) < min_side)
        judged.append(Person(list(person), boxes, landmarks, verdict, nodes, outcome, explanation, small))
    return judged


def decide(persons: Sequence[Person]) -> tuple[str, int]:
    """(outcome of an input, index of the person who decides it).

    Small faces do not decide if there are others. Alone they make an input uncertain at most, not fake.
    """
    large = [number for number, person in enumerate(persons) if not person.small]
    first = min(
        large or range(len(persons)),
        key=lambda number: (OUTCOMES.index(persons[number].outcome), -persons[number].verdict.p_fake),
    )
    outcome = persons[first].outcome
    return ("uncertain" if outcome == "fake" and not large else outcome), first
