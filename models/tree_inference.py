"""Node scores -> probabilities, by exact sums over the legal states of a label tree.

p(s|x) = exp(s . f) / sum over legal s' of exp(s' . f) for the node scores f; a node's marginal is the mass of the legal
states in which it is on (the paper's joint distribution over the label tree). Sums are in float64 and log space: in
float32 they leave [0, 1] by up to 2e-5 at scores of 50, and sqrt(1 - p) in the loss is then NaN. Autocast does not
change float64.
"""

import functools

import torch

from models.label_tree import LabelTree


@functools.lru_cache(maxsize=32)
def legal_states(tree: LabelTree, device: torch.device) -> torch.Tensor:
    """The tree's legal states on a device, float64 [states, nodes] of 0 and 1."""
    with torch.inference_mode(False):  # the cached tensor serves training too
        return torch.from_numpy(tree.legal_states).to(device=device, dtype=torch.float64)


def state_scores(scores: torch.Tensor, tree: LabelTree) -> torch.Tensor:
    """Unnormalised log-probability of every legal state, float64 [B, states]. scores: float [B, nodes]."""
    return scores.double() @ legal_states(tree, scores.device).T


def log_marginals(scores: torch.Tensor, tree: LabelTree) -> tuple[torch.Tensor, torch.Tensor]:
    """Logarithms of each node's probabilities of being on and off, also accurate near 0 and 1; differentiable.

    scores: float [B, nodes]. Returns two float64 [B, nodes].
    """
    of_states = state_scores(scores, tree)
    on = legal_states(tree, scores.device).bool()  # [states, nodes]
    log_p = of_states[:, :, None] - of_states.logsumexp(1)[:, None, None]  # [B, states, 1]
    return tuple(log_p.masked_fill(~chosen, -torch.inf).logsumexp(1) for chosen in (on, ~on))


def state_probabilities(scores: torch.Tensor, tree: LabelTree) -> torch.Tensor:
    """Probability of each legal state, in the order of ``tree.legal_states``; differentiable.

    scores: float [B, nodes], finite. Returns float64 [B, states]; rows sum to 1.
    """
    return torch.softmax(state_scores(scores, tree), dim=1)


def marginals(scores: torch.Tensor, tree: LabelTree) -> torch.Tensor:
    """Probability of each node being on; differentiable.

    scores: float [B, nodes], finite. Returns the same shape and dtype, in [0, 1].
    """
    probabilities = state_probabilities(scores, tree)  # [B, states]
    return (probabilities @ legal_states(tree, scores.device)).clamp(0.0, 1.0).to(scores.dtype)


def logit_fake(scores: torch.Tensor, tree: LabelTree) -> torch.Tensor:
    """Log-odds of the root, log(P(fake) / P(real)), which still differ where P(fake) is rounded to 1.

    scores: float [B, nodes]. Returns float64 [B].
    """
    of_states = state_scores(scores, tree)
    return torch.logsumexp(of_states[:, 1:], dim=1) - of_states[:, 0]
