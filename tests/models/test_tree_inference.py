import math

import pytest
import torch

from models.label_tree import FFPP, FFSC
from models.tree_inference import logit_fake, marginals

pytestmark = pytest.mark.numeric

TREES = pytest.mark.parametrize("tree", [FFPP, FFSC], ids=lambda tree: tree.name)


def enumerated(scores, tree):
    """Marginals by explicit enumeration in Python's exact-sum arithmetic; scores [nodes]."""
    states = tree.legal_states.tolist()
    exponents = [math.fsum(f for f, on in zip(scores, state, strict=True) if on) for state in states]
    top = max(exponents)
    masses = [math.exp(e - top) for e in exponents]
    total = math.fsum(masses)
    nodes = range(len(tree.nodes))
    return [math.fsum(m for m, state in zip(masses, states, strict=True) if state[i]) / total for i in nodes]


@TREES
@pytest.mark.parametrize("scale", [0.0, 1.0, 10.0, 50.0])
def test_marginals_equal_enumeration(tree, scale):
    scores = (torch.rand(6, len(tree.nodes), generator=torch.Generator().manual_seed(1)) * 2 - 1) * scale
    expected = torch.tensor([enumerated(row, tree) for row in scores.double().tolist()], dtype=torch.float64)
    result = marginals(scores, tree)
    assert result.dtype == torch.float32
    assert (result.double() - expected).abs().max() < 1e-6


@TREES
def test_marginals_are_the_references(tree, golden_tree):
    golden = golden_tree[tree.name]
    result = marginals(torch.tensor(golden["scores"]), tree)
    assert (result - torch.tensor(golden["marginals"])).abs().max() < 1e-6


@TREES
@pytest.mark.parametrize("scale", [1.0, 50.0, 1000.0])
def test_marginals_stay_in_range_with_finite_gradients(tree, scale):
    generator = torch.Generator().manual_seed(2)
    scores = ((torch.rand(256, len(tree.nodes), generator=generator) * 2 - 1) * scale).requires_grad_()
    result = marginals(scores, tree)
    assert result.min() >= 0
    assert result.max() <= 1
    (torch.sqrt(result + 1e-8) + torch.sqrt(1 - result + 1e-8)).sum().backward()
    assert scores.grad.isfinite().all()


def test_zero_scores_give_the_share_of_fake_states():
    assert marginals(torch.zeros(1, 10), FFPP)[0, 0].item() == pytest.approx(250 / 251, abs=1e-7)


@TREES
def test_logit_is_the_log_odds_and_does_not_saturate(tree):
    scores = torch.randn(8, len(tree.nodes), generator=torch.Generator().manual_seed(3))
    p = marginals(scores.double(), tree)[:, 0]
    assert torch.allclose(logit_fake(scores, tree), torch.log(p / (1 - p)), atol=1e-6)
    high = torch.full((2, len(tree.nodes)), 20.0)
    high[1] += 1
    assert (marginals(high, tree)[:, 0] == 1).all()
    low, higher = logit_fake(high, tree).tolist()
    assert higher > low > 100


def test_marginals_under_autocast_are_the_same():
    scores = torch.randn(4, 10, generator=torch.Generator().manual_seed(4))
    with torch.autocast("cpu", torch.bfloat16):
        inside = marginals(scores, FFPP)
    assert torch.equal(inside, marginals(scores, FFPP)), "the same computation twice"
