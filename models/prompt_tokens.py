"""The tokens of a tree's prompts: what they share is encoded once, and only their rows of the embedding are trained."""

from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F


class PrefixTree(NamedTuple):
    """Prompts packed into one sequence in which a beginning that several share stands once.

    tokens: int64 [T], token of every position. depths: int64 [T], its place in its prompt. mask: bool [T, T], True
    where a position may attend: to its own prompt's beginning, up to itself. ends: int64 [prompts], position of each
    prompt's last token.
    """

    tokens: torch.Tensor
    depths: torch.Tensor
    mask: torch.Tensor
    ends: torch.Tensor


def prefix_tree(prompts: torch.Tensor, lengths: torch.Tensor) -> PrefixTree:
    """prompts: int64 [prompts, L], of which the first ``lengths`` [prompts] tokens count.

    In a causal transformer a position depends on the tokens before it alone: equal beginnings, equal activations.
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
    for (before, _), position in positions.items():  # a position comes after the one before it
        if before >= 0:
            mask[position] |= mask[before]
    tokens = torch.tensor([token for _, token in positions])
    return PrefixTree(tokens, torch.tensor(depths), mask, torch.tensor(ends))


class PromptEmbedding(nn.Module):
    """CLIP's token embedding, of which only the rows that the prompts use are a parameter.

    The gradient of all other rows is zero: as a parameter of 49408 rows the embedding would be a sixth of ViT-B/32's
    gradients and optimizer state for nothing. What AdamW does to a row without gradient is weight decay; ``decay`` does
    that. The state dict is that of nn.Embedding: one ``weight`` [vocabulary, width].
    """

    def __init__(self, weight: torch.Tensor, used: torch.Tensor) -> None:
        """weight: float [vocabulary, width]. used: int64 [n], ids of the trained rows, each once."""
        super().__init__()
        self.register_buffer("weight", weight.detach())
        self.register_buffer("used", used, persistent=False)
        self.rows = nn.Parameter(weight.detach()[used])

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """tokens: int64 [...], any ids of the vocabulary. Returns float [..., width]."""
        return F.embedding(tokens, self.weight.index_copy(0, self.used, self.rows))

    @torch.no_grad()
    def decay(self, factor: float) -> None:
        """Multiply the rows that are not trained. Nothing happens when float32 rounds the factor to 1."""
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
