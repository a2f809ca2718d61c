"""Semantic label trees: fake -> global face attributes -> local face regions.

A tree is plain data: node names in a fixed order (list codes, checkpoints and CSV columns depend on it), the edges, and
how the codes of list files map to nodes. Everything else (levels, legal states, prompts) follows from that. A new data
set's tree is one more ``LabelTree(...)`` block like the two at the end of this file.
"""

import functools
import graphlib
import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from utils.cli import UserError

UNKNOWN = 2.0  # The value of a node whose state the list does not tell (digit 2 of an FFSC code).


@dataclass(frozen=True, eq=False)
class LabelTree:
    """A three-level label tree.

    name: short name stored in checkpoints. nodes: root first, then global attributes, then local regions.
    edges: parent -> children; every node but the root needs a parent one level above it.
    codes: list code -> names of the nodes that are on, for lists whose digits are not in node order. Without it a
    code has one digit per node in node order: 0 off, 1 on, 2 unknown. digits: length of such a code when it is longer;
    digits beyond the nodes are passed over.

    Raises ValueError with the reason when the data is no such tree.
    """

    name: str
    nodes: tuple[str, ...]
    edges: Mapping[str, tuple[str, ...]]
    codes: Mapping[str, tuple[str, ...]] | None = field(default=None)
    digits: int | None = None

    def __post_init__(self) -> None:
        self._check_names()
        self._check_edges()
        for code, names in (self.codes or {}).items():
            if len(code) != len(next(iter(self.codes))):
                raise ValueError(
                    f"tree {self.name}: code {code} has {len(code)} digits, the first code has another number"
                )
            if not code.isdigit():
                raise ValueError(f"tree {self.name}: code {code} must be digits only")
            if unknown := set(names) - set(self.nodes):
                raise ValueError(f"tree {self.name}: code {code} names unknown nodes {sorted(unknown)}")
            if not self.is_legal([float(node in names) for node in self.nodes]):
                raise ValueError(
                    f"tree {self.name}: code {code} turns on {names}, which the edges do not allow together"
                )

    def _check_names(self) -> None:
        """Names are columns and parts of file names."""
        for name in (self.name, *self.nodes):
            if not (isinstance(name, str) and re.fullmatch(r"\w[\w -]{0,59}", name)):
                raise ValueError(f"{name!r} names no tree and no node: use up to 60 letters, digits, blanks, - and _")

    def _check_edges(self) -> None:
        if len(set(self.nodes)) != len(self.nodes) or not self.nodes:
            raise ValueError(f"tree {self.name}: node names must be there and differ from each other, got {self.nodes}")
        if len(self.nodes) > 20:
            raise ValueError(
                f"tree {self.name}: {len(self.nodes)} nodes are more than the 20 whose states can be summed"
            )
        if len(self.nodes) > 1 and not self.edges.get(self.nodes[0]):
            raise ValueError(f"tree {self.name}: no edge leads from the root {self.nodes[0]!r}")
        for parent, children in self.edges.items():
            for name in (parent, *children):
                if name not in self.nodes:
                    raise ValueError(
                        f"tree {self.name}: the edge {parent} -> {children} leads to the unknown node {name!r}"
                    )
        try:
            tuple(graphlib.TopologicalSorter(self.edges).static_order())
        except graphlib.CycleError as error:
            raise ValueError(f"tree {self.name}: the edges make a cycle, {' -> '.join(error.args[1])}") from error
        root, attributes = self.nodes[0], self.edges.get(self.nodes[0], ())
        regions = set(itertools.chain.from_iterable(self.edges.get(name, ()) for name in attributes))
        if mixed := regions & set(attributes):
            raise ValueError(f"tree {self.name}: {sorted(mixed)} hang from the root and from a global attribute")
        if deeper := sorted(name for name in regions if self.edges.get(name)):
            raise ValueError(f"tree {self.name}: {deeper} are local regions (level 3) and cannot have children")
        if loose := set(self.nodes) - {root} - set(attributes) - regions:
            raise ValueError(f"tree {self.name}: no path from the root {root!r} leads to {sorted(loose)}")
        if childless := [name for name in attributes if not self.edges.get(name)]:
            raise ValueError(f"tree {self.name}: the global attributes {childless} need at least one region below them")
        levels = [1 if name == root else 2 if name in attributes else 3 for name in self.nodes]
        if levels != sorted(levels):
            raise ValueError(
                f"tree {self.name}: list the root first, then all global attributes, then all local regions"
            )

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
        """bool [states, nodes], rows in ascending order; row 0 is the only real state (all nodes off).

        A global attribute that is on needs the root on and at least one of its regions on; a region that is on needs
        at least one of its parents on.
        """
        n = len(self.nodes)
        states = (np.arange(2**n)[:, None] >> np.arange(n - 1, -1, -1)) & 1 == 1
        legal = np.ones(len(states), dtype=bool)
        _, attributes, regions = self.levels
        index = {name: i for i, name in enumerate(self.nodes)}
        parents = {i: [a for a in attributes if self.nodes[i] in self.edges[self.nodes[a]]] for i in regions}
        for i in attributes:
            children = [index[name] for name in self.edges[self.nodes[i]]]
            legal &= ~states[:, i] | (states[:, 0] & states[:, children].any(axis=1))
        for i in regions:
            legal &= ~states[:, i] | states[:, parents[i]].any(axis=1)
        return states[legal]

    def is_legal(self, vector: np.ndarray | list[float]) -> bool:
        """Whether a node vector [nodes] (0, 1 or UNKNOWN) is a legal state, or can be completed to one."""
        vector = np.asarray(vector)
        known = vector != UNKNOWN
        return bool((self.legal_states[:, known] == (vector[known] == 1)).all(axis=1).any())

    @property
    def code_length(self) -> int:
        """Number of digits in a list code."""
        return len(next(iter(self.codes))) if self.codes else self.digits or len(self.nodes)

    @functools.cached_property
    def root_only(self) -> "LabelTree":
        """The tree of the root alone, real or fake without a reason, that reads this tree's list codes."""
        root = self.nodes[:1]
        codes = {code: tuple(name for name in on if name in root) for code, on in (self.codes or {}).items()}
        return LabelTree(f"{self.name}-root", root, {}, codes or None, None if codes else self.code_length)

    def encode(self, code: str) -> np.ndarray:
        """List code -> float32 node vector [nodes] of 0, 1 and UNKNOWN. Raises UserError for a code of no state."""
        if len(code) != self.code_length or not (code.isascii() and code.isdigit()):
            raise UserError(
                f"code {code!r} does not fit the {self.name} tree, whose codes have {self.code_length} digits"
            )
        if self.codes:
            if code not in self.codes:
                raise UserError(f"unknown code {code}; the {self.name} tree knows {', '.join(self.codes)}")
            return np.array([float(node in self.codes[code]) for node in self.nodes], dtype=np.float32)
        vector = np.array([float(digit) for digit in code[: len(self.nodes)]], dtype=np.float32)
        if (vector > UNKNOWN).any():
            raise UserError(f"unknown digit in code {code}: a digit is 0 (off), 1 (on) or 2 (unknown)")
        if not self.is_legal(vector):
            raise UserError(f"code {code} is no legal state of the {self.name} tree: its edges do not allow it")
        return vector

    def to_dict(self) -> dict:
        """The tree as plain types, for checkpoints and JSON; ``from_dict`` turns it back."""
        plain = {"name": self.name, "nodes": list(self.nodes), "edges": {k: list(v) for k, v in self.edges.items()}}
        plain |= {"codes": {k: list(v) for k, v in self.codes.items()}} if self.codes else {}
        return plain | ({"digits": self.digits} if self.digits else {})

    @staticmethod
    def from_dict(plain: Mapping) -> "LabelTree":
        """Inverse of ``to_dict``. A known tree comes back as the very object (FFPP or FFSC, or its ``root_only``)."""
        for known in TREES.values():
            for tree in (known, known.root_only):
                if tree.to_dict() == plain:
                    return tree
        codes = {k: tuple(v) for k, v in plain["codes"].items()} if "codes" in plain else None
        edges = {k: tuple(v) for k, v in plain["edges"].items()}
        return LabelTree(plain["name"], tuple(plain["nodes"]), edges, codes, plain.get("digits"))


_REGIONS = ("eye", "eyebrow", "lip", "mouth", "nose", "skin")

# The digits of an FF++ list code are an older layout, [real, fake | expression, identity, physical inconsistency |
# eye, lip, mouth, nose, skin], so the six codes in use are mapped one by one.
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
