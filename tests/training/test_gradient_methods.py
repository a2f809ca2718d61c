"""Gradient methods against their papers' formulas: by hand, and against slow versions on flat gradients."""

import itertools

import numpy as np
import pytest
import torch

from models.choices import GRAD_METHODS
from models.parameter_rows import ParameterRows
from training.gradient_methods import cagrad_factors, combine, graddrop, gram_matrix, pcgrad_factors

pytestmark = pytest.mark.numeric


def rows_of(gradients):
    """Flat gradients [T, 9] as rows of two parameters, [2, 2] and the rest."""
    rows = ParameterRows([torch.zeros(2, 2, dtype=torch.float64), torch.zeros(5, dtype=torch.float64)], len(gradients))
    for values, (first, rest) in zip(gradients, rows.views, strict=True):
        first.copy_(torch.tensor(values[:4]).view(2, 2))
        rest.copy_(torch.tensor(values[4:]))
    return rows


def flat(views):
    return torch.cat([tensor.flatten() for tensor in views]).numpy()


@pytest.fixture
def gradients():
    """Task gradients [3, 9] with conflicts."""
    values = np.random.default_rng(0).normal(size=(3, 9))
    values[1] -= 1.5 * values[0]
    return values


def test_gram_matrix_is_that_of_the_flat_gradients(gradients):
    assert np.allclose(gram_matrix(rows_of(gradients).data), gradients @ gradients.T)


def test_pcgrad_by_hand():
    # g1 = (1, 0), g2 = (-1, 1): g1.g2 = -1. g1 loses -1/2 g2: (1/2, 1/2). g2 loses -1/1 g1: (0, 1). Sum (1/2, 3/2).
    g = np.array([[1.0, 0.0], [-1.0, 1.0]])
    assert np.allclose(pcgrad_factors(g @ g.T, [[1], [0]]) @ g, [0.5, 1.5])


def test_pcgrad_without_conflict_is_the_sum():
    g = np.array([[1.0, 0.0], [0.5, 1.0]])
    assert np.allclose(pcgrad_factors(g @ g.T, [[1], [0]]), [1, 1])


def slow_pcgrad(gradients, orders):
    """Algorithm 1 of the paper."""
    total = np.zeros_like(gradients[0])
    for i, order in enumerate(orders):
        projected = gradients[i].copy()
        for j in order:
            product = projected @ gradients[j]
            if product < 0:
                projected -= product / (gradients[j] @ gradients[j]) * gradients[j]
        total += projected
    return total


@pytest.mark.parametrize("orders", list(itertools.product([[1, 2], [2, 1]], [[0, 2], [2, 0]], [[0, 1]])))
def test_pcgrad_is_the_papers_algorithm(gradients, orders):
    ours = pcgrad_factors(gradients @ gradients.T, orders) @ gradients
    assert np.allclose(ours, slow_pcgrad(gradients, orders))


def test_cagrad_by_hand():
    # g1 = (1, 0), g2 = (0, 1): g0 = (1/2, 1/2), by symmetry w = (1/2, 1/2) and g_w = g0; so g0 + 0.4 g0 = (0.7, 0.7).
    assert np.allclose(cagrad_factors(np.eye(2), c=0.4), [0.7, 0.7], atol=1e-6)
    # g1 = (1, 0), g2 = (1, 0): d = g0 + 0.4 g0 = 1.4 (1, 0) whatever w.
    assert cagrad_factors(np.ones((2, 2)), c=0.4).sum() == pytest.approx(1.4)


def slow_cagrad(gradients, c):
    """The paper's dual by a fine grid over the simplex."""
    g0 = gradients.mean(0)
    steps = np.linspace(0, 1, 401)
    best = min(
        (np.array([a, b, 1 - a - b]) for a in steps for b in steps if a + b <= 1 + 1e-12),
        key=lambda w: (w @ gradients) @ g0 + c * np.linalg.norm(g0) * np.linalg.norm(w @ gradients),
    )
    g_w = best @ gradients
    return g0 + c * np.linalg.norm(g0) / np.linalg.norm(g_w) * g_w


@pytest.mark.parametrize("size", [1.0, 1e-6, 1e6])
def test_cagrad_is_the_papers_dual(gradients, size):
    scaled = gradients * size
    ours = cagrad_factors(scaled @ scaled.T, c=0.4) @ scaled
    assert np.abs(ours / size - slow_cagrad(gradients, 0.4)).max() < 1e-2
    g0 = scaled.mean(0)
    assert np.linalg.norm(ours - g0) == pytest.approx(0.4 * np.linalg.norm(g0), rel=1e-6), "on the paper's ball"
    assert (scaled @ ours).min() > (scaled @ g0).min(), "the worst task gains more than under the mean"


def test_cagrad_of_zero_gradients_is_finite():
    assert np.isfinite(cagrad_factors(np.zeros((3, 3)))).all()


def test_graddrop_by_hand():
    # Elements: (1, -3): P = (1 - 2/4)/2 = 0.25. (2, 1): P = 1. (-1, -1): P = 0. (0, 0): 0 whatever is drawn.
    values = torch.tensor([[1.0, 2.0, -1.0, 0.0], [-3.0, 1.0, -1.0, 0.0]])
    low, high = torch.full((4,), 0.2), torch.full((4,), 0.3)
    assert graddrop(values, low).tolist() == [1.0, 3.0, -2.0, 0.0]
    assert graddrop(values, high).tolist() == [-3.0, 3.0, -2.0, 0.0]


def test_graddrop_is_the_papers_mask(gradients):
    uniform = np.random.default_rng(1).uniform(size=9)
    p = 0.5 * (1 + gradients.sum(0) / np.abs(gradients).sum(0))
    mask = (p > uniform) * (gradients > 0) + (p < uniform) * (gradients < 0)
    ours = graddrop(torch.tensor(gradients), torch.tensor(uniform))
    assert np.allclose(ours.numpy(), (mask * gradients).sum(0))


@pytest.mark.parametrize("method", GRAD_METHODS)
def test_combination_weighs_the_gradients_first_and_depends_on_seed_and_step_alone(gradients, method):
    weights = [1.0, 0.7, -0.4]

    def run(seed, rows=gradients, factors=weights):
        into = rows_of(np.full((1, 9), np.nan))
        combine(method, rows_of(rows).data, factors, seed, into.data[0])
        return flat(into.views[0])

    weighted = gradients * np.array(weights)[:, None]
    assert np.allclose(run((0, 3)), run((0, 3), weighted, [1.0] * 3))
    draws = [run((0, step)) for step in range(12)]
    assert np.allclose(draws[3], run((0, 3)))
    varies = not all(np.allclose(draw, draws[0]) for draw in draws)
    assert varies == (method == "graddrop") or method == "pcgrad"
    if method == "none":
        assert np.allclose(draws[0], weighted.sum(0))
    if method == "cagrad":
        assert np.allclose(draws[0], cagrad_factors(weighted @ weighted.T) @ weighted)
    if method == "pcgrad":
        orders = itertools.product([[1, 2], [2, 1]], [[0, 2], [2, 0]], [[0, 1], [1, 0]])
        assert any(np.allclose(draws[0], slow_pcgrad(weighted, order)) for order in orders)
