"""Losses of the three tasks: binary (level 1 of the label tree), global (level 2) and local (level 3)."""

import itertools

import torch

from models.label_tree import UNKNOWN, LabelTree
from models.tree_inference import legal_states, log_marginals, marginals, state_scores

_EPSILON = 1e-8  # makes the square roots differentiable at 0, as in the reference


def task_losses(
    kind: str, scores: torch.Tensor, labels: torch.Tensor, tree: LabelTree, unknown: str = "zero"
) -> torch.Tensor:
    """The task losses [3] of node scores [B, nodes]. kind: one of LOSSES; other arguments as in the functions below."""
    if kind == "fidelity":
        return fidelity_losses(marginals(scores, tree), labels, tree, unknown)
    if kind == "bce":
        return bce_losses(scores, labels, tree, unknown)
    return nll_losses(scores, labels, tree)


def fidelity_losses(
    marginals: torch.Tensor, labels: torch.Tensor, tree: LabelTree, unknown: str = "zero"
) -> torch.Tensor:
    """Fidelity loss of each task: the mean over the level's nodes, then over the batch.

    A node with probability p and label g has the loss 1 - sqrt(p g + 1e-8) - sqrt((1 - p)(1 - g) + 1e-8) (the paper's
    fidelity loss; Tsai et al., "FRank", SIGIR 2007).

    Args:
        marginals: float [B, nodes] in [0, 1].
        labels: float [B, nodes] of 0, 1 and UNKNOWN.
        unknown: "zero" trains unknown nodes as off; "mask" ignores them.

    Returns:
        float [3]: binary, global, local; 0 for a level without nodes.
    """
    targets = torch.where(labels == UNKNOWN, 0.0, labels)
    agreement = torch.sqrt(marginals * targets + _EPSILON) + torch.sqrt((1 - marginals) * (1 - targets) + _EPSILON)
    return _level_means(1 - agreement, labels, tree, unknown)


def bce_losses(scores: torch.Tensor, labels: torch.Tensor, tree: LabelTree, unknown: str = "zero") -> torch.Tensor:
    """Binary cross-entropy -g log p - (1 - g) log(1 - p) of each node's marginal p; the rest as in ``fidelity_losses``.

    scores: float [B, nodes]. Returns [3] in the scores' dtype.
    """
    log_on, log_off = log_marginals(scores, tree)
    targets = torch.where(labels == UNKNOWN, 0.0, labels)
    return _level_means(torch.where(targets == 1, -log_on, -log_off), labels, tree, unknown).to(scores.dtype)


def nll_losses(scores: torch.Tensor, labels: torch.Tensor, tree: LabelTree) -> torch.Tensor:
    """Negative log-likelihood of the labelled state by levels, means over the batch; [3] in the scores' dtype.

    -log p(level 1), -log p(level 2 | level 1), -log p(level 3 | levels 1, 2). The sum runs over both values of UNKNOWN
    nodes.

    scores: float [B, nodes]. labels: float [B, nodes], legal states, in which nodes may be UNKNOWN.
    """
    of_states = state_scores(scores, tree)  # [B, states]
    states = legal_states(tree, scores.device).bool()
    agrees = (states == (labels[:, None] == 1)) | (labels[:, None] == UNKNOWN)  # [B, states, nodes]
    log_masses, known = [of_states.logsumexp(1)], 0
    for level in tree.levels:  # mass of the states that agree with the labels down to this level
        known += len(level)  # nodes are in level order
        log_masses.append(of_states.masked_fill(~agrees[:, :, :known].all(2), -torch.inf).logsumexp(1))
    terms = [(above - here).mean() for above, here in itertools.pairwise(log_masses)]
    return torch.stack(terms).to(scores.dtype)


def _level_means(losses: torch.Tensor, labels: torch.Tensor, tree: LabelTree, unknown: str) -> torch.Tensor:
    """losses, labels [B, nodes] -> [3]: mean over the nodes of a level, then over the batch."""
    sizes = [len(nodes) for nodes in tree.levels]  # nodes are in level order
    if unknown == "zero":
        return torch.stack([level.sum() / max(level.numel(), 1) for level in losses.split(sizes, dim=1)])
    known = (labels != UNKNOWN).to(labels.dtype)
    levels = zip((losses * known).split(sizes, dim=1), known.split(sizes, dim=1), strict=True)
    # A sample without a known node in a level has loss 0 there; the mean is still over B samples.
    return torch.stack([(level.sum(1) / count.sum(1).clamp(min=1)).mean() for level, count in levels])
