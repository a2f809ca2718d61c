"""Low-rank updates of the attention's matrices (LoRA; Hu et al., ICLR 2022).

y = W x + (16 / r) B (A x): W stays, A [r, in] and B [out, r] are trained, and no gradient of W's size is computed. As
in the paper only attention is updated: queries, keys and values by one update of their joint matrix, and the output.

State dicts hold the sums W + (16 / r) B A under W's names, like those of a model without updates.
"""

from collections.abc import Iterable, Mapping

import torch
from torch import nn
from torch.nn import functional as F

_ALPHA = 16.0  # delta checkpoints rely on it
# Name of an update in nn.MultiheadAttention -> of the matrix to which it is added.
_MATRICES = {"in_proj_lora": "in_proj_weight", "out_proj_lora": "out_proj.weight"}
_FACTORS = tuple(f"{update}.{factor}" for update in _MATRICES for factor in "ab")


class LowRank(nn.Module):
    """The update of a matrix [out, in], 0 at the start: A is drawn, B is 0."""

    def __init__(self, matrix: torch.Tensor, rank: int, generator: torch.Generator) -> None:
        super().__init__()
        bound = matrix.shape[1] ** -0.5
        drawn = torch.empty(rank, matrix.shape[1]).uniform_(-bound, bound, generator=generator)
        self.a = nn.Parameter(drawn.to(matrix))
        self.b = nn.Parameter(matrix.new_zeros(len(matrix), rank))

    def forward(self, x: torch.Tensor, outputs: slice = slice(None)) -> torch.Tensor:
        """What is added to the chosen outputs, [..., in] -> [..., outputs]."""
        return F.linear(F.linear(x, self.a), self.b[outputs] * (_ALPHA / len(self.a)))


def add_updates(layers: Iterable[nn.MultiheadAttention], rank: int, seed: int) -> None:
    """Add an update of this rank to both matrices of each layer. seed: of A."""
    generator = torch.Generator().manual_seed(seed)
    for layer in layers:
        for name, matrix in _MATRICES.items():
            layer.add_module(name, LowRank(layer.get_parameter(matrix), rank, generator))
        layer.register_state_dict_post_hook(_merge)


def _merge(_layer: nn.Module, state: dict[str, torch.Tensor], prefix: str, _metadata: object) -> None:
    state.update(merged(state, {prefix + name: state.pop(prefix + name) for name in _FACTORS}))


def is_factor(name: str) -> bool:
    """Whether a weight's name is that of an A or a B."""
    return name.endswith(_FACTORS)


def _matrix_of(factor: str) -> str:
    stem, update, _ = factor.rsplit(".", 2)
    return f"{stem}.{_MATRICES[update]}"


def merged(weights: Mapping[str, torch.Tensor], factors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The sums W + (16 / r) B A, by W's name.

    Args:
        weights: the matrices (and others), by name.
        factors: A and B by name.

    Raises KeyError or RuntimeError if a B has no A or no W, or the shapes do not fit.
    """
    sums = {}
    for name, b in factors.items():
        if name.endswith(".b"):
            a, matrix = factors[name.removesuffix("b") + "a"], _matrix_of(name)
            sums[matrix] = torch.addmm(weights[matrix], b, a, alpha=_ALPHA / len(a))
    return sums


def unmerged(model: nn.Module, matrices: bool) -> dict[str, torch.Tensor]:
    """Name -> A, B and, if ``matrices``, W of each update: what the sums do not tell. Shares the model's memory."""
    own = {name: value.detach() for name, value in model.named_parameters()}
    names = [name for name in own if is_factor(name)]
    if matrices:
        names += dict.fromkeys(_matrix_of(name) for name in names)
    return {name: own[name] for name in names}


def load_unmerged(model: nn.Module, state: Mapping[str, torch.Tensor], matrices: bool) -> None:
    """Inverse of ``unmerged``. Raises ValueError or RuntimeError if names or shapes differ."""
    own = unmerged(model, matrices)
    if own.keys() != state.keys():
        raise ValueError("low-rank updates of other matrices")
    for name, value in own.items():
        value.copy_(state[name])
