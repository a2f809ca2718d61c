"""Semantic label trees: fake -> global face attributes -> local face regions.

A tree is data: node names in a fixed order (list codes, checkpoints and CSV columns depend on it), edges, and the
meaning of list codes. Levels, legal states and prompts follow from them. To add a tree, add a ``LabelTree(...)`` at the
end of this file, and add it to TREES.
"""

import functools
import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from models.choices import LEVELS
from utils.cli import UserError

WORDINGS = {  # of the prompts, by level; {} is the node's name
    "root": "A photo of a {} face",
    "global": "A photo of a face with the global attribute of {} altered",
    "local": "A photo of a face with the local attribute of {} altered",
}
UNKNOWN = 2.0  # value of a node whose state the list does not give (digit 2 of a code)


@dataclass(frozen=True, eq=False)
class LabelTree:
    """A label tree of three levels, or for ablations of fewer.

    Args:
        name: stored in checkpoints.
        nodes: root, then global attributes, then local regions.
        edges: parent -> children. Every node except the root needs a parent one level above it.
        codes: list code -> names of the nodes that are on. Default: one digit per node, 0 off, 1 on, 2 unknown.
        digits: length of codes that have more digits than nodes; the others are ignored.
        places: the digit of each node in such a code (default: the first ones).
        dropped: the level that an ablation leaves out, one of LEVELS, or "". The children of the root are then regions
            (no global level), or attributes without regions (no local level).
        wordings: prompts of levels or of single nodes in place of those of WORDINGS; {} is the node's name.
        partial: list code -> names of the nodes that are on where all others are unknown; beside ``codes``. Not part of
            checkpoints.

    Raises ValueError if the data is no such tree; the message says why.
    """

    name: str
    nodes: tuple[str, ...]
    edges: Mapping[str, tuple[str, ...]]
    codes: Mapping[str, tuple[str, ...]] | None = None
    digits: int | None = None
    places: tuple[int, ...] | None = None
    dropped: str = ""
    wordings: Mapping[str, str] = field(default_factory=dict)
    partial: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        problems = self._problems_of_nodes(), self._problems_of_codes(), self._problems_of_variants()
        if problem := next(itertools.chain(*problems), None):
            raise ValueError(f"tree {self.name}: {problem}")

    def _problems_of_nodes(self) -> Iterator[str]:
        """What is wrong with names and edges. Each check relies on the earlier ones."""
        for name in (self.name, *self.nodes):  # they become columns and parts of file names
            if not re.fullmatch(r"\w[\w -]{0,59}", name):
                yield f"{name!r} is no name for a tree or node: use up to 60 letters, digits, spaces, - and _"
        if not self.nodes or len(set(self.nodes)) != len(self.nodes):
            yield f"a tree needs nodes with different names, got {self.nodes}"
        if len(self.nodes) > 20:
            yield f"{len(self.nodes)} nodes are more than the 20 whose states fit in memory"
        for parent, children in self.edges.items():
            if unknown := next((name for name in (parent, *children) if name not in self.nodes), None):
                yield f"the edge {parent} -> {children} leads to the unknown node {unknown!r}"
        root = self.nodes[0]
        attributes = self.edges.get(root, ())
        if len(self.nodes) > 1 and not attributes:
            yield f"no edge leads from the root {root!r}"
        regions = {region for name in attributes for region in self.edges.get(name, ())}
        if mixed := regions & set(attributes):
            yield f"{sorted(mixed)} are children both of the root and of a global attribute"
        if deeper := sorted(name for name in regions if self.edges.get(name)):
            yield f"{deeper} are local regions (level 3) and cannot have children"
        if loose := set(self.nodes) - {root, *attributes} - regions:
            yield f"no path from the root {root!r} leads to {sorted(loose)}"
        if not self.dropped and (childless := [name for name in attributes if not self.edges.get(name)]):
            yield f"the global attributes {childless} need at least one region below them"
        levels = [1 if name == root else 2 if name in attributes else 3 for name in self.nodes]
        if levels != sorted(levels):
            yield "list the root first, then all global attributes, then all local regions"

    def _problems_of_codes(self) -> Iterator[str]:
        for code, names in {**(self.codes or {}), **self.partial}.items():
            if len(code) != self.code_length:
                yield f"code {code} has {len(code)} digits, the first code {self.code_length}"
            if not code.isdigit():
                yield f"code {code} must be digits only"
            if unknown := set(names) - set(self.nodes):
                yield f"code {code} names unknown nodes {sorted(unknown)}"
            if not self.is_legal(self._vector(code, names)):
                yield f"code {code} turns on {names}, which the edges do not allow together"

    def _problems_of_variants(self) -> Iterator[str]:
        if self.dropped and (self.dropped not in LEVELS or {*self.edges} - {self.nodes[0]}):
            yield f"without the level {self.dropped!r} only the root has children, and the level is global or local"
        if self.places and (
            len(self.places) != len(self.nodes) or not all(0 <= place < self.code_length for place in self.places)
        ):
            yield f"the places {self.places} are not one digit of a code for each node"
        if unknown := set(self.wordings) - {*WORDINGS, *self.nodes}:
            yield f"prompts of {sorted(unknown)}, which are neither levels ({', '.join(WORDINGS)}) nor nodes"
        if empty := [name for name, text in self.wordings.items() if not isinstance(text, str) or not text.strip()]:
            yield f"the prompts of {empty} are no texts"

    @property
    def family(self) -> str:
        """Name of the tree of TREES of which this is a variant: ffpp of ffpp-no-local."""
        return self.name.partition("-")[0]

    @functools.cached_property
    def levels(self) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        """Node indices of level 1 (root), level 2 (global attributes) and level 3 (local regions)."""
        n_global = 0 if self.dropped == "global" else len(self.edges.get(self.nodes[0], ()))
        indices = tuple(range(len(self.nodes)))
        return indices[:1], indices[1 : 1 + n_global], indices[1 + n_global :]

    @functools.cached_property
    def prompts(self) -> list[str]:
        """One text prompt per node, in node order."""
        names = [name for name, level in zip(WORDINGS, self.levels, strict=True) for _ in level]
        wordings = {**WORDINGS, **self.wordings}
        return [
            wordings.get(node, wordings[level]).replace("{}", node)
            for node, level in zip(self.nodes, names, strict=True)
        ]

    @functools.cached_property
    def legal_states(self) -> np.ndarray:
        """The label vectors that the edges allow, bool [states, nodes], in ascending order; row 0 is "real", all off.

        A global attribute that is on needs the root and at least one of its regions on, if it has any. A region that is
        on needs at least one of its parents on.
        """
        n = len(self.nodes)
        states = (np.arange(2**n)[:, None] >> np.arange(n - 1, -1, -1)) & 1 == 1
        legal = np.ones(len(states), dtype=bool)
        _, attributes, regions = self.levels
        for i in attributes:
            children = [j for j in regions if self.nodes[j] in self.edges[self.nodes[i]]]
            legal &= ~states[:, i] | (states[:, 0] & (states[:, children].any(axis=1) | (not children)))
        for i in regions:
            parents = [j for j in (*attributes, 0) if self.nodes[i] in self.edges.get(self.nodes[j], ())]
            legal &= ~states[:, i] | states[:, parents].any(axis=1)
        return states[legal]

    def is_legal(self, vector: np.ndarray | list[float]) -> bool:
        """Whether a node vector [nodes] of 0, 1 and UNKNOWN agrees with a legal state."""
        vector = np.asarray(vector)
        known = vector != UNKNOWN
        return bool((self.legal_states[:, known] == (vector[known] == 1)).all(axis=1).any())

    @property
    def code_length(self) -> int:
        """Number of digits in a list code."""
        return len(next(iter(self.codes))) if self.codes else self.digits or len(self.nodes)

    @functools.cached_property
    def root_only(self) -> "LabelTree":
        """The tree that has only the root (real or fake) and reads this tree's list codes."""
        return self._with_nodes("root", self.nodes[:1], {})

    @functools.cached_property
    def without(self) -> dict[str, "LabelTree"]:
        """Level of LEVELS -> the tree without it, which reads this tree's list codes."""
        _, attributes, regions = self.levels
        root, variants = self.nodes[0], {}
        for dropped, kept in zip(LEVELS, (regions, attributes), strict=True):
            children = tuple(self.nodes[i] for i in kept)
            variants[dropped] = self._with_nodes(f"no-{dropped}", (root, *children), {root: children}, dropped)
        return variants

    def _with_nodes(
        self, name: str, nodes: tuple[str, ...], edges: Mapping[str, tuple[str, ...]], dropped: str = ""
    ) -> "LabelTree":
        """A tree of some of this tree's nodes, in its order, that reads its list codes."""
        codes, partial = (_only_nodes(nodes, meanings) for meanings in (self.codes or {}, self.partial))
        places = tuple(map(self.nodes.index, nodes))
        first = places == tuple(range(len(nodes)))
        return LabelTree(
            name=f"{self.name}-{name}",
            nodes=nodes,
            edges=edges,
            codes=codes or None,
            digits=None if codes else self.code_length,
            partial=partial,
            places=None if codes or first else places,
            dropped=dropped,
        )

    def reworded(self, wordings: object, source: str) -> "LabelTree":
        """The same tree with other prompts, from the JSON file or checkpoint ``source``.

        Raises UserError if they do not fit it.
        """
        try:
            if not isinstance(wordings, dict):
                raise ValueError('the prompts must be a JSON object such as {"root": "A photo of a {} face"}')
            return replace(self, wordings=wordings)
        except ValueError as error:
            raise UserError(f"{source}: {error}") from error

    def encode(self, code: str) -> np.ndarray:
        """List code -> node vector, float32 [nodes] of 0, 1 and UNKNOWN.

        Raises UserError if the code has another length or is no legal state.
        """
        if len(code) != self.code_length or not (code.isascii() and code.isdigit()):
            raise UserError(
                f"code {code!r} does not fit the {self.name} tree, whose codes have {self.code_length} digits"
            )
        if self.codes:
            meanings = {**self.codes, **self.partial}
            if code not in meanings:
                raise UserError(f"unknown code {code}; the {self.name} tree knows {', '.join(meanings)}")
            return self._vector(code, meanings[code])
        places = self.places or range(len(self.nodes))
        vector = np.array([float(code[place]) for place in places], dtype=np.float32)
        if (vector > UNKNOWN).any():
            raise UserError(f"unknown digit in code {code}: a digit is 0 (off), 1 (on) or 2 (unknown)")
        if not self.is_legal(vector):
            raise UserError(f"code {code} is no legal state of the {self.name} tree: its edges do not allow it")
        return vector

    def _vector(self, code: str, on: tuple[str, ...]) -> np.ndarray:
        off = UNKNOWN if code in self.partial else 0.0
        return np.array([1.0 if node in on else off for node in self.nodes], dtype=np.float32)

    def to_dict(self) -> dict:
        """Plain types for checkpoints and JSON."""
        plain = {"name": self.name, "nodes": list(self.nodes), "edges": {k: list(v) for k, v in self.edges.items()}}
        if self.codes:
            plain["codes"] = {k: list(v) for k, v in self.codes.items()}
        more: dict[str, object] = {"digits": self.digits, "places": self.places and list(self.places)}
        more |= {"dropped": self.dropped, "wordings": dict(self.wordings)}
        return plain | {key: value for key, value in more.items() if value}

    @staticmethod
    def from_dict(plain: Mapping) -> "LabelTree":
        """Inverse of ``to_dict``. Returns a tree of TREES or its variant itself if the data is theirs."""
        for tree in known_trees():
            if tree.to_dict() == plain:
                return tree
        codes = {k: tuple(v) for k, v in plain["codes"].items()} if "codes" in plain else None
        edges = {k: tuple(v) for k, v in plain["edges"].items()}
        places = tuple(plain["places"]) if "places" in plain else None
        more = {"places": places, "dropped": plain.get("dropped", ""), "wordings": plain.get("wordings", {})}
        tree = LabelTree(plain["name"], tuple(plain["nodes"]), edges, codes, plain.get("digits"), **more)
        original = TREES.get(tree.family)
        return replace(tree, partial=_only_nodes(tree.nodes, original.partial)) if original and codes else tree


def _only_nodes(nodes: tuple[str, ...], meanings: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """List code -> nodes that are on, of ``nodes`` alone."""
    return {code: tuple(node for node in on if node in nodes) for code, on in meanings.items()}


_REGIONS = ("eye", "eyebrow", "lip", "mouth", "nose", "skin")

# The digits of FF++ list codes have an older order, [real, fake | expression, identity, physical inconsistency | eye,
# lip, mouth, nose, skin], so the six codes are mapped one by one.
FFPP = LabelTree(
    name="ffpp",
    nodes=("fake", "expression", "identity", "physical inconsistency", *_REGIONS),
    edges={
        "fake": ("expression", "identity", "physical inconsistency"),
        "expression": ("lip", "mouth"),
        "identity": _REGIONS,
        "physical inconsistency": ("eye", "lip", "mouth", "nose"),
    },
    codes={
        "1000000000": (),  # real
        "0101011111": ("fake", "identity", "physical inconsistency", *_REGIONS),  # Deepfakes, FaceSwap
        "0110001100": ("fake", "expression", "physical inconsistency", "lip", "mouth"),  # Face2Face, NeuralTextures
        "0100110000": ("fake", "physical inconsistency", "eye"),  # blended eyes
        "0100100010": ("fake", "physical inconsistency", "nose"),  # blended nose
        "0100101100": ("fake", "physical inconsistency", "lip", "mouth"),  # blended mouth
    },
    partial={"0122222222": ("fake",)},  # a fake of which no more is known
)

FFSC = LabelTree(
    name="ffsc",
    nodes=("fake", "age", "expression", "gender", "identity", "pose", *_REGIONS),
    edges={
        "fake": ("age", "expression", "gender", "identity", "pose"),
        "age": ("eye", "skin"),
        "expression": ("eye", "lip", "mouth", "nose", "skin"),
        "gender": ("eye", "eyebrow", "lip", "mouth", "skin"),
        "identity": _REGIONS,
        "pose": _REGIONS,
    },
)

TREES = {tree.name: tree for tree in (FFPP, FFSC)}


def known_trees() -> Iterator[LabelTree]:
    """The trees of TREES, each before its variants."""
    for tree in TREES.values():
        yield from (tree, tree.root_only, *tree.without.values())
