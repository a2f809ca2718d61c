"""Fidelity losses of the three levels of a label tree."""

import torch

from models.label_tree import UNKNOWN, LabelTree

TASKS = ("binary", "global", "local")
_EPSILON = 1e-8  # keeps the square roots differentiable at 0, as in the reference


def fidelity_losses(
    marginals: torch.Tensor, labels: torch.Tensor, tree: LabelTree, unknown: str = "zero"
) -> torch.Tensor:
    """Fidelity loss of each task: the level's mean over its nodes, then the mean over the batch.

    One node's loss is 1 - sqrt(p g + 1e-8) - sqrt((1 - p)(1 - g) + 1e-8) (paper, fidelity loss; Tsai et al. 2007).

    marginals: float [B, nodes] in [0, 1]. labels: float [B, nodes] of 0, 1 and UNKNOWN (2).
    unknown: "zero" trains unknown nodes as off; "mask" leaves them out of the means.
    Returns float [3]: binary (level 1), global (level 2), local (level 3).
    """
    weights = torch.ones_like(labels) if unknown == "zero" else (labels != UNKNOWN).to(labels.dtype)
    targets = torch.where(labels == UNKNOWN, 0.0, labels)
    agreement = torch.sqrt(marginals * targets + _EPSILON) + torch.sqrt((1 - marginals) * (1 - targets) + _EPSILON)
    losses = (1 - agreement) * weights  # [B, nodes]
    means = []
    for nodes in tree.levels:
        index = list(nodes)
        # A sample with no known node in this level counts as zero loss, so that the batch mean stays a mean over B.
        means.append((losses[:, index].sum(1) / weights[:, index].sum(1).clamp(min=1)).mean())
    return torch.stack(means)
