"""The tokens of the prompts: shared prefixes are encoded once, and only the used embedding rows are trained."""

from collections.abc import Callable, Mapping, Sequence

import open_clip
import torch
from open_clip.tokenizer import HFTokenizer
from torch import nn
from torch.nn import functional as F

from models.checkpoint_file import first_line
from utils.cli import UserError


def tokenise(config: Mapping, prompts: Sequence[str]) -> torch.Tensor:
    """The token ids of the prompts, int64 [prompts, context length], by the tokenizer of a text tower.

    config: open_clip's ``text_cfg``.

    Longer prompts are cut, see ``refuse_long_prompts``. Raises UserError if the tokenizer is Hugging Face's and cannot
    be had.
    """
    return _tokenizer(config)(list(prompts), context_length=config["context_length"])


def refuse_long_prompts(config: Mapping, prompts: Sequence[str]) -> None:
    """Raises UserError for a prompt that ``tokenise`` cuts."""
    length, tokenizer = config["context_length"], _tokenizer(config)
    ids, more = (tokenizer(list(prompts), context_length=n) for n in (length, length + 1))
    for prompt, kept in zip(prompts, (more[:, :length] == ids).all(dim=1).tolist(), strict=True):
        if not kept:
            raise UserError(f"{prompt[:80]!r} has more tokens than the {length} of the text tower; make it shorter")


def _tokenizer(config: Mapping) -> Callable[..., torch.Tensor]:
    name = config.get("hf_tokenizer_name")
    if name is None:
        return open_clip.tokenize
    try:
        return HFTokenizer(name, **config.get("tokenizer_kwargs", {}))
    except (ImportError, OSError, ValueError) as error:
        raise UserError(
            f"the tokenizer of this text tower, {name}, cannot be loaded ({first_line(error)}); it needs `pip install "
            "transformers sentencepiece` and, once, internet: its files are kept in Hugging Face's cache"
        ) from error


def lengths(config: Mapping, tokens: torch.Tensor) -> torch.Tensor:
    """Number of tokens up to the one at which a causal text tower is read, int64 [prompts], see ``tokenise``.

    That is ``eos_id`` if the tower is read there, else the token with the largest id, CLIP's end of text.
    """
    at_end = tokens == config["eos_id"] if config.get("pool_type") == "eos" else tokens
    return at_end.int().argmax(dim=1) + 1


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
        used: ids of the trained rows, int64 [n], ascending.
    """

    def __init__(self, weight: torch.Tensor, used: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight.detach())
        self.register_buffer("used", used, persistent=False)
        self.rows = nn.Parameter(weight.detach()[used])

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """int64 [...] -> float [..., width]."""
        place = torch.searchsorted(self.used, tokens).clamp(max=len(self.used) - 1)
        trained = (self.used[place] == tokens).unsqueeze(-1)
        return torch.where(trained, self.rows[place], F.embedding(tokens, self.weight))

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
