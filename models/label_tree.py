"""Semantic label trees: fake -> global face attributes -> local face regions.

A tree is data: node names in a fixed order (list codes, checkpoints and CSV columns depend on it), edges, and the
meaning of list codes. Levels, legal states and prompts follow from them. To add a tree, add a ``LabelTree(...)`` at the
end of this file, and add it to TREES.
"""

import functools
import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from utils.cli import UserError

UNKNOWN = 2.0  # value of a node whose state the list does not give (digit 2 of a code)


@dataclass(frozen=True, eq=False)
class LabelTree:
    """A label tree of three levels.

    Args:
        name: stored in checkpoints.
        nodes: root, then global attributes, then local regions.
        edges: parent -> children. Every node except the root needs a parent one level above it.
        codes: list code -> names of the nodes that are on. Default: one digit per node, 0 off, 1 on, 2 unknown.
        digits: length of codes that have more digits than nodes; the others are ignored.
        partial: list code -> names of the nodes that are on where all others are unknown; beside ``codes``. Not part of
            checkpoints.

    Raises ValueError if the data is no such tree; the message says why.
    """

    name: str
    nodes: tuple[str, ...]
    edges: Mapping[str, tuple[str, ...]]
    codes: Mapping[str, tuple[str, ...]] | None = None
    digits: int | None = None
    partial: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if problem := next(itertools.chain(self._problems_of_nodes(), self._problems_of_codes()), None):
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
        if childless := [name for name in attributes if not self.edges.get(name)]:
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

    @functools.cached_property
    def levels(self) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        """Node indices of level 1 (root), level 2 (global attributes) and level 3 (local regions)."""
        n_global = len(self.edges.get(self.nodes[0], ()))
        indices = tuple(range(len(self.nodes)))
        return indices[:1], indices[1 : 1 + n_global], indices[1 + n_global :]

    @functools.cached_property
    def prompts(self) -> list[str]:
        """One text prompt per node, in node order."""
        _, attributes, regions = self.levels
        return (
            [f"A photo of a {self.nodes[0]} face"]
            + [f"A photo of a face with the global attribute of {self.nodes[i]} altered" for i in attributes]
            + [f"A photo of a face with the local attribute of {self.nodes[i]} altered" for i in regions]
        )

    @functools.cached_property
    def legal_states(self) -> np.ndarray:
        """The label vectors that the edges allow, bool [states, nodes], in ascending order; row 0 is "real", all off.

        A global attribute that is on needs the root and at least one of its regions on. A region that is on needs at
        least one of its parents on.
        """
        n = len(self.nodes)
        states = (np.arange(2**n)[:, None] >> np.arange(n - 1, -1, -1)) & 1 == 1
        legal = np.ones(len(states), dtype=bool)
        _, attributes, regions = self.levels
        for i in attributes:
            children = [j for j in regions if self.nodes[j] in self.edges[self.nodes[i]]]
            legal &= ~states[:, i] | (states[:, 0] & states[:, children].any(axis=1))
        for i in regions:
            parents = [j for j in attributes if self.nodes[i] in self.edges[self.nodes[j]]]
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
        root = self.nodes[:1]
        codes, partial = (
            {code: tuple(name for name in on if name in root) for code, on in meanings.items()}
            for meanings in (self.codes or {}, self.partial)
        )
        return LabelTree(f"{self.name}-root", root, {}, codes or None, None if codes else self.code_length, partial)

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
        vector = np.array([float(digit) for digit in code[: len(self.nodes)]], dtype=np.float32)
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
        return plain | ({"digits": self.digits} if self.digits else {})

    @staticmethod
    def from_dict(plain: Mapping) -> "LabelTree":
        """Inverse of ``to_dict``. Returns FFPP, FFSC or their ``root_only`` itself if the data is theirs."""
        for known in TREES.values():
            for tree in (known, known.root_only):
                if tree.to_dict() == plain:
                    return tree
        codes = {k: tuple(v) for k, v in plain["codes"].items()} if "codes" in plain else None
        edges = {k: tuple(v) for k, v in plain["edges"].items()}
        return LabelTree(plain["name"], tuple(plain["nodes"]), edges, codes, plain.get("digits"))


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
