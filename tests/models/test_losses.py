import math

import pytest
import torch

from models.label_tree import FFPP, FFSC
from models.losses import fidelity_losses
from models.tree_inference import marginals


@pytest.mark.parametrize("tree", [FFPP, FFSC], ids=lambda tree: tree.name)
def test_losses_are_the_references(tree, golden_tree):
    golden = golden_tree[tree.name]
    labels = torch.tensor(golden["labels"], dtype=torch.float32)
    losses = fidelity_losses(marginals(torch.tensor(golden["scores"]), tree), labels, tree)
    expected = torch.tensor(golden["losses_binary_global_local"]).flatten()
    assert (losses - expected).abs().max() < 1e-6


def by_hand(p, g, unknown, tree):
    """Losses of one sample by the formula, in Python."""
    result = []
    for nodes in tree.levels:
        values = []
        for i in nodes:
            if g[i] == 2 and unknown == "mask":
                continue
            target = 0.0 if g[i] == 2 else g[i]
            same = math.sqrt(p[i] * target + 1e-8) + math.sqrt((1 - p[i]) * (1 - target) + 1e-8)
            values.append(1 - same)
        result.append(sum(values) / len(values) if values else 0.0)
    return result


@pytest.mark.parametrize("unknown", ["zero", "mask"])
def test_unknown_digit_is_zero_or_masked(unknown):
    labels = torch.stack([torch.from_numpy(FFSC.encode(c)) for c in ("120110111101", "120010111111", "110000100001")])
    p = torch.rand(3, 12, generator=torch.Generator().manual_seed(0))
    rows = zip(p.tolist(), labels.tolist(), strict=True)
    expected = torch.tensor([by_hand(row, label, unknown, FFSC) for row, label in rows]).mean(0)
    assert torch.allclose(fidelity_losses(p, labels, FFSC, unknown), expected, atol=1e-6)


def test_level_without_a_known_node_counts_as_zero_when_masked():
    labels = torch.tensor([[1.0] + [2.0] * 5 + [1.0] * 6])
    losses = fidelity_losses(torch.full((1, 12), 0.5), labels, FFSC, "mask")
    assert losses[1] == 0
    assert losses[0] > 0.2


def test_perfect_prediction_has_no_loss_and_finite_gradient():
    labels = torch.from_numpy(FFPP.encode("0101011111"))[None]
    p = labels.clone().requires_grad_()
    losses = fidelity_losses(p, labels, FFPP)
    assert losses.abs().max() < 2e-4
    losses.sum().backward()
    assert p.grad.isfinite().all()
