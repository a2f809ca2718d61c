"""The tokens of the prompts: shared prefixes are encoded once, and only the used embedding rows are trained."""

import torch
from torch import nn
from torch.nn import functional as F


def prefix_tree(
    prompts: torch.Tensor, lengths: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Pack prompts as a trie of T positions. In a causal transformer equal prefixes have equal activations.

    Args:
        prompts: token ids, int64 [prompts, L].
        lengths: number of tokens in each prompt, int64 [prompts].

    Returns:
        tokens: int64 [T].
        depths: int64 [T], each token's place in its prompt.
        mask: bool [T, T], True where a position may attend: to the tokens of its prompt up to itself.
        ends: int64 [prompts], position of each prompt's last token.
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
    for (before, _), position in positions.items():  # insertion order: the row of ``before`` is complete
        if before >= 0:
            mask[position] |= mask[before]
    tokens = torch.tensor([token for _, token in positions])
    return tokens, torch.tensor(depths), mask, torch.tensor(ends)


class PromptEmbedding(nn.Module):
    """CLIP's token embedding, with only the rows that the prompts use as a parameter.

    The other rows have gradient 0, and would be a sixth of ViT-B/32's gradients and optimizer state. AdamW only applies
    weight decay to them, which ``decay`` does here. The state dict is that of nn.Embedding: ``weight``.

    Args:
        weight: float [vocabulary, width].
        used: ids of the trained rows, int64 [n], each once.
    """

    def __init__(self, weight: torch.Tensor, used: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight.detach())
        self.register_buffer("used", used, persistent=False)
        self.rows = nn.Parameter(weight.detach()[used])

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """int64 [...] -> float [..., width]."""
        return F.embedding(tokens, self.weight.index_copy(0, self.used, self.rows))

    @torch.no_grad()
    def decay(self, factor: float) -> None:
        """Multiply the rows that are not trained by ``factor``, unless their dtype rounds it to 1."""
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
