"""The tokens of a tree's prompts: shared prefixes are encoded once, only the used embedding rows are trained."""

from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F


class PrefixTree(NamedTuple):
    """Prompts packed into one sequence of T positions as a trie.

    tokens: int64 [T]. depths: int64 [T], place of the token in its prompt. mask: bool [T, T], True where a position may
    attend: to its prompt up to itself. ends: int64 [prompts], position of each prompt's last token.
    """

    tokens: torch.Tensor
    depths: torch.Tensor
    mask: torch.Tensor
    ends: torch.Tensor


def prefix_tree(prompts: torch.Tensor, lengths: torch.Tensor) -> PrefixTree:
    """Pack prompts as a trie. In a causal transformer equal prefixes have equal activations.

    prompts: token ids, int64 [prompts, L]. lengths: how many of each prompt's tokens count, int64 [prompts].
    """
    positions: dict[tuple[int, int], int] = {}  # (position before, token) -> position
    depths, ends = [], []
    for row, length in zip(prompts.tolist(), lengths.tolist(), strict=True):
        position = -1
        for depth, token in enumerate(row[:length]):
            if (position, token) not in positions:
                positions[position, token] = len(depths)
                depths.append(depth)
            position = positions[position, token]
        ends.append(position)
    mask = torch.eye(len(depths), dtype=torch.bool)
    for (before, _), position in positions.items():  # in insertion order: ``before`` is done already
        if before >= 0:
            mask[position] |= mask[before]
    tokens = torch.tensor([token for _, token in positions])
    return PrefixTree(tokens, torch.tensor(depths), mask, torch.tensor(ends))


class PromptEmbedding(nn.Module):
    """CLIP's token embedding, of which only the rows that the prompts use are a parameter.

    The other rows have gradient 0 and would make a sixth of ViT-B/32's gradients and optimizer state. AdamW would only
    apply weight decay to them, as ``decay`` does. The state dict is nn.Embedding's: ``weight`` [vocabulary, width].

    Args:
        weight: float [vocabulary, width].
        used: ids of the trained rows, int64 [n], each once.
    """

    weight: torch.Tensor
    used: torch.Tensor

    def __init__(self, weight: torch.Tensor, used: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight.detach())
        self.register_buffer("used", used, persistent=False)
        self.rows = nn.Parameter(weight.detach()[used])

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Embed any tokens of the vocabulary, int64 [...] -> float [..., width]."""
        return F.embedding(tokens, self.weight.index_copy(0, self.used, self.rows))

    @torch.no_grad()
    def decay(self, factor: float) -> None:
        """Multiply the rows that are not trained, unless their dtype rounds the factor to 1."""
        if torch.tensor(factor, dtype=self.weight.dtype) != 1:
            self.weight.mul_(factor)

    def _save_to_state_dict(self, destination: dict, prefix: str, keep_vars: bool) -> None:
        self.weight.index_copy_(0, self.used, self.rows.detach())
        super()._save_to_state_dict(destination, prefix, keep_vars)
        del destination[prefix + "rows"]

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args: object) -> None:
        if prefix + "weight" in state_dict:
            state_dict = state_dict | {prefix + "rows": state_dict[prefix + "weight"][self.used.cpu()]}
        super()._load_from_state_dict(state_dict, prefix, *args)
