"""A verdict in words. A region is named only under an attribute that explains it, so the words agree with the tree."""

from collections.abc import Collection, Mapping, Sequence

OUTCOMES = ("fake", "uncertain", "real", "no_face", "unreadable")  # of several people the first one counts
_PLURAL = {"eye": "eyes", "eyebrow": "eyebrows", "lip": "lips"}


def outcome_of(p_fake: float, band: tuple[float, float]) -> str:
    """real below the band, fake from its upper end on, else uncertain. band: (low, high), equal for no band."""
    low, high = band
    return "fake" if p_fake >= high else "real" if p_fake < low else "uncertain"


def calibrated_nodes(nodes: Mapping[str, float], p_fake: float, p_calibrated: float) -> dict[str, float]:
    """The probabilities of all nodes that go with a calibrated P(fake): each keeps its share of the fakes."""
    return {name: p * p_calibrated / max(p_fake, 1e-300) for name, p in nodes.items()}


def explain(
    outcome: str,
    p_fake: float,
    nodes: Mapping[str, float],
    state: Collection[str],
    edges: Mapping[str, Sequence[str]],
) -> str:
    """Sentences such as "Fake (0.97). Identity altered (0.91): eyes 0.93, nose 0.88, mouth 0.90."

    outcome: fake, uncertain or real. nodes: probability of every node. state: the nodes that are on, a legal state of
    the tree with these edges (parent -> children). A region's probability is told once, at its likeliest attribute.
    """
    if not state:
        return f"{outcome.capitalize()} (P(fake) {p_fake:.2f})."
    root = next(iter(edges))
    sentences = [f"{outcome.capitalize()} ({p_fake:.2f})."] + ([] if outcome == "fake" else ["If it is fake:"])
    attributes = sorted((name for name in edges[root] if name in state), key=lambda name: -nodes[name])
    told: set[str] = set()
    for attribute in attributes:
        regions = [name for name in edges[attribute] if name in state]
        words = [_region(name) if name in told else f"{_region(name)} {nodes[name]:.2f}" for name in regions]
        told.update(regions)
        sentences.append(f"{_attribute(attribute)} ({nodes[attribute]:.2f}): {', '.join(words)}.")
    if not attributes:
        sentences.append("No attribute stands out.")
    return " ".join(sentences)


def _region(name: str) -> str:
    return _PLURAL.get(name, name)


def _attribute(name: str) -> str:
    name = name.capitalize()
    return name if "inconsistency" in name else f"{name} altered"
