"""Predictions in words. A region is named only under an attribute that explains it, as the label tree requires."""

from collections.abc import Collection, Mapping, Sequence

OUTCOMES = ("fake", "uncertain", "real", "no_face", "unreadable")  # an input gets the first one among its people
_PLURAL = {"eye": "eyes", "eyebrow": "eyebrows", "lip": "lips"}
_DROPPED = {
    "too_small": "too small",
    "bad_landmarks": "in profile or covered",
    "brief": "in too few frames",
    "low_confidence": "hardly like a face",
}


def outcome_of(p_fake: float, band: tuple[float, float]) -> str:
    """real below ``low``, fake from ``high``, else uncertain."""
    low, high = band
    return "fake" if p_fake >= high else "real" if p_fake < low else "uncertain"


def calibrated_nodes(nodes: Mapping[str, float], p_fake: float, p_calibrated: float) -> dict[str, float]:
    """Scale node probabilities like the calibrated P(fake): each keeps its ratio to P(fake)."""
    return {name: p * p_calibrated / max(p_fake, 1e-300) for name, p in nodes.items()}


def explain(
    outcome: str,
    p_fake: float,
    nodes: Mapping[str, float],
    state: Collection[str],
    edges: Mapping[str, Sequence[str]],
) -> str:
    """Explain a verdict, as in "Fake (0.97). Identity altered (0.91): eyes 0.93, nose 0.88, mouth 0.90."

    Args:
        outcome: fake, uncertain or real.
        p_fake: P(fake) of the person.
        nodes: Probability of every node, root first. That of a region is printed once, at its most probable attribute.
        state: Nodes of a legal state.
        edges: Parent -> children; none in a tree that is a root alone.
    """
    if not state:
        return f"{outcome.capitalize()} (P(fake) {p_fake:.2f})."
    children = edges.get(next(iter(nodes)), ())  # of the root
    sentences = [f"{outcome.capitalize()} ({p_fake:.2f})."] + ([] if outcome == "fake" else ["If it is fake:"])
    attributes = sorted((name for name in children if name in state), key=lambda name: -nodes[name])
    named: set[str] = set()
    for attribute in attributes:
        regions = [name for name in edges.get(attribute, ()) if name in state]
        words = [_PLURAL.get(name, name) + ("" if name in named else f" {nodes[name]:.2f}") for name in regions]
        named.update(regions)
        altered = "" if "inconsistency" in attribute else " altered"
        listed = f": {', '.join(words)}" if words else ""
        sentences.append(f"{attribute.capitalize()}{altered} ({nodes[attribute]:.2f}){listed}.")
    if not attributes:
        sentences.append("No attribute stands out.")
    return " ".join(sentences)


def no_face_reason(frames: int, dropped: Mapping[str, int]) -> str:
    """Why nobody could be judged. frames: number of used frames; dropped: reason -> number of faces."""
    where = f"{frames} frames" if frames != 1 else "the picture"
    reasons = ", ".join(f"{number} {_DROPPED[reason]}" for reason, number in dropped.items())
    return f"no face found in {where}" + (f" that can be judged ({reasons})" if reasons else "")


def summary(prediction: Mapping) -> str:
    """The verdicts of a prediction, the content of prediction.json, in one line."""
    words = [track["explanation"] for track in prediction["tracks"]]
    if len(words) > 1:
        small = [" (small)" if track["small"] else "" for track in prediction["tracks"]]
        words = [f"Person {n}{note}: {text}" for n, (note, text) in enumerate(zip(small, words, strict=True), start=1)]
        words.append(f"Person {prediction['decided_by']} decides: {prediction['outcome']}.")
    elif words and prediction["tracks"][0]["small"]:
        words.append(f"The face is small, so the outcome is {prediction['outcome']}.")
    return " ".join(words) or f"{prediction['outcome'].replace('_', ' ').capitalize()}: {prediction['reason']}."
