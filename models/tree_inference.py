"""Scores of a tree's nodes -> probabilities, by exact summation over the tree's legal states.

p(s|x) = exp(s . f) / sum over legal s' of exp(s' . f), and a node's marginal is the mass of the legal states in which
the node is on (the paper's joint distribution over the label tree). All sums run in float64 in log space: in float32
they leave [0, 1] by up to 2e-5 at scores of 50, and sqrt(1 - p) of the loss is then NaN.
"""

import functools

import torch

from models.label_tree import LabelTree


@functools.lru_cache(maxsize=32)
def legal_states(tree: LabelTree, device: torch.device) -> torch.Tensor:
    """The tree's legal states, float64 [states, nodes] of 0 and 1, made once for each device."""
    with torch.inference_mode(False):  # cached for training too, whoever asks first
        return torch.from_numpy(tree.legal_states).to(device=device, dtype=torch.float64)


def state_scores(scores: torch.Tensor, tree: LabelTree) -> torch.Tensor:
    """scores [B, nodes] -> unnormalised log-probability of every legal state, float64 [B, states]."""
    return scores.double() @ legal_states(tree, scores.device).T


def log_marginals(scores: torch.Tensor, tree: LabelTree) -> tuple[torch.Tensor, torch.Tensor]:
    """Logarithms of each node's probabilities of being on and off, both float64 [B, nodes], without the rounding of
    probabilities near 0 and 1. scores: float [B, nodes]; differentiable."""
    with torch.autocast(scores.device.type, enabled=False):
        of_states = state_scores(scores, tree)
        on = legal_states(tree, scores.device).bool()  # [states, nodes]
        spread = of_states[:, :, None] - of_states.logsumexp(1)[:, None, None]  # [B, states, 1]
        return tuple(spread.masked_fill(~chosen, -torch.inf).logsumexp(1) for chosen in (on, ~on))


def state_probabilities(scores: torch.Tensor, tree: LabelTree) -> torch.Tensor:
    """Probability of each legal state, in the order of ``tree.legal_states``.

    scores: float [B, nodes], any finite range. Returns float64 [B, states], rows sum to 1; differentiable.
    """
    with torch.autocast(scores.device.type, enabled=False):
        return torch.softmax(state_scores(scores, tree), dim=1)


def marginals(scores: torch.Tensor, tree: LabelTree) -> torch.Tensor:
    """Probability of each node being on.

    scores: float [B, nodes], any finite range. Returns the same shape and dtype, in [0, 1]; differentiable.
    """
    with torch.autocast(scores.device.type, enabled=False):
        probabilities = state_probabilities(scores, tree)  # [B, states]
        return (probabilities @ legal_states(tree, scores.device)).clamp(0.0, 1.0).to(scores.dtype)


def logit_fake(scores: torch.Tensor, tree: LabelTree) -> torch.Tensor:
    """Log-odds of the root, log(P(fake) / P(real)), without the rounding of P(fake) near 1.

    scores: float [B, nodes]. Returns float64 [B].
    """
    of_states = state_scores(scores, tree)
    return torch.logsumexp(of_states[:, 1:], dim=1) - of_states[:, 0]
