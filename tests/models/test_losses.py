import math

import pytest
import torch

from models.label_tree import FFPP, FFSC
from models.losses import bce_losses, fidelity_losses, nll_losses, task_losses
from models.tree_inference import marginals

pytestmark = pytest.mark.numeric


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


CODES = ("120110111101", "120010111111", "110000100001", "000000000000")


@pytest.fixture
def ffsc_batch():
    """(scores [4, 12], labels [4, 12]) with unknown nodes."""
    scores = 3 * torch.randn(4, 12, generator=torch.Generator().manual_seed(0))
    return scores, torch.stack([torch.from_numpy(FFSC.encode(code)) for code in CODES])


@pytest.mark.parametrize("unknown", ["zero", "mask"])
def test_bce_is_the_cross_entropy_of_the_marginals(ffsc_batch, unknown):
    scores, labels = ffsc_batch
    expected = []
    for nodes in FFSC.levels:
        rows = []
        for p, g in zip(marginals(scores.double(), FFSC).tolist(), labels.tolist(), strict=True):
            known = [i for i in nodes if g[i] != 2 or unknown == "zero"]
            rows.append(sum(-math.log(p[i] if g[i] == 1 else 1 - p[i]) for i in known) / len(known))
        expected.append(sum(rows) / len(rows))
    assert bce_losses(scores, labels, FFSC, unknown).tolist() == pytest.approx(expected, rel=1e-5)


def test_nll_terms_are_conditional_and_add_up_to_that_of_the_state(ffsc_batch):
    scores, labels = ffsc_batch
    states = FFSC.legal_states.astype(float).tolist()
    expected = []
    for f, g in zip(scores.double().tolist(), labels.tolist(), strict=True):
        masses = [math.exp(sum(a * b for a, b in zip(f, state, strict=True))) for state in states]

        def mass(n_nodes, masses=masses, g=g):
            """Of the states that agree with the first nodes of the label; unknown nodes agree with both."""
            agree = [all(g[i] in (2, s[i]) for i in range(n_nodes)) for s in states]
            return sum(m for m, fits in zip(masses, agree, strict=True) if fits)

        expected.append([math.log(mass(a) / mass(b)) for a, b in ((0, 1), (1, 6), (6, 12))])
        assert sum(expected[-1]) == pytest.approx(-math.log(mass(12) / sum(masses)))
    expected = torch.tensor(expected).mean(0)
    assert torch.allclose(nll_losses(scores, labels, FFSC), expected.float(), rtol=1e-5)


@pytest.mark.parametrize("kind", ["fidelity", "bce", "nll"])
def test_losses_and_gradients_are_finite_at_extreme_scores(ffsc_batch, kind):
    scores, labels = ffsc_batch
    scores = (100 * scores).requires_grad_()
    losses = task_losses(kind, scores, labels, FFSC)
    losses.sum().backward()
    assert losses.dtype == torch.float32
    assert losses.isfinite().all()
    assert scores.grad.isfinite().all()


@pytest.mark.parametrize("kind", ["fidelity", "bce", "nll"])
def test_root_only_tree_has_the_binary_loss_alone(kind):
    scores, labels = torch.tensor([[2.0], [-1.0]]), torch.tensor([[1.0], [0.0]])
    losses = task_losses(kind, scores, labels, FFPP.root_only)
    p = torch.sigmoid(torch.tensor([2.0, 1.0]))  # of the labels
    expected = (1 - torch.sqrt(p)).mean() if kind == "fidelity" else -torch.log(p).mean()
    assert losses.tolist() == pytest.approx([expected.item(), 0, 0], abs=2e-4)
