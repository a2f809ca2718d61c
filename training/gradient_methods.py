"""Combine the gradients of several tasks into one update direction: their sum, or a method that resolves conflicts.

The gradients g_i are multiplied by the task weights first, so each method works with every weighting.

- graddrop (Chen et al., "Just Pick a Sign", NeurIPS 2020): per element, sum the values of one sign only, the positive
  one with probability P = (1 + sum_i g_i / sum_i |g_i|) / 2.
- pcgrad (Yu et al., "Gradient Surgery", NeurIPS 2020): from each g_i remove its component along every g_j it conflicts
  with, the other tasks in random order; then sum.
- cagrad (Liu et al., "Conflict-Averse Gradient Descent", NeurIPS 2021): g_0 + (c |g_0| / |g_w|) g_w with the mean
  gradient g_0 and g_w = sum_i w_i g_i, w on the simplex minimising g_w . g_0 + c |g_0| |g_w|; c = 0.4.

The directions of pcgrad and cagrad are linear combinations whose factors follow from the inner products of the g_i.
"""

from collections.abc import Sequence

import numpy as np
import torch
from scipy.optimize import minimize

from models.parameter_rows import inner_products, tensor_like

CAGRAD_C = 0.4
_PIECE = 2**24  # elements that graddrop draws at a time


def gram_matrix(rows: torch.Tensor) -> np.ndarray:
    """Inner products of all pairs of rows [T, P], float64 [T, T]."""
    return np.array(torch.stack([inner_products(rows, row) for row in rows]).tolist())


def pcgrad_factors(gram: np.ndarray, orders: Sequence[Sequence[int]]) -> np.ndarray:
    """Factors [T] of the task gradients in pcgrad's direction.

    gram: inner products [T, T]. orders: for each task the other tasks, in the order in which conflicts are removed.
    """
    factors = np.eye(len(gram))  # row i: factors of the projected gradient of task i
    for row, others in zip(factors, orders, strict=True):
        for j in others:
            product = row @ gram[j]
            if product < 0:
                row[j] -= product / gram[j, j]
    return factors.sum(axis=0)


def cagrad_factors(gram: np.ndarray, c: float = CAGRAD_C) -> np.ndarray:
    """Factors [T] of the task gradients in cagrad's direction. gram: inner products [T, T]."""
    mean = np.full(len(gram), 1 / len(gram))
    size = np.trace(gram)
    if size == 0:
        return mean
    gram = gram / size
    radius = c * np.sqrt(mean @ gram @ mean)

    def norm(w: np.ndarray) -> float:
        return np.sqrt(max(w @ gram @ w, 1e-16))

    solution = minimize(
        lambda w: w @ gram @ mean + radius * norm(w),
        mean,
        jac=lambda w: gram @ mean + radius * (gram @ w) / norm(w),
        bounds=[(0, 1)] * len(gram),
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1, "jac": np.ones_like},
        method="SLSQP",
        options={"ftol": 1e-12},
    )
    return mean + radius / norm(solution.x) * solution.x


def graddrop(values: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """Per element the sum of the values of one sign, [N]; 0 where all values are 0.

    values: [T, N]. uniform: [N], random numbers in [0, 1) that choose the sign.
    """
    total, size = values.sum(0), values.abs().sum(0)
    positive = (1 + total / size.clamp(min=torch.finfo(size.dtype).tiny)) / 2
    # The sum of the positive values is (size + total) / 2, that of the negative ones (total - size) / 2.
    return torch.where(positive > uniform, total + size, total - size) / 2


def combine(
    method: str, rows: torch.Tensor, weights: Sequence[float], seed: tuple[int, int], into: torch.Tensor
) -> None:
    """Write the update direction of ``method`` (one of GRAD_METHODS) into ``into`` [P], which is not one of the rows.

    rows: task gradients, the data [T, P] of ``ParameterRows``. seed: the run's seed and the number of the step.
    """
    if method == "graddrop":
        generator = torch.Generator(rows.device).manual_seed(int(np.random.SeedSequence(seed).generate_state(1)[0]))
        factors = tensor_like(weights, rows).unsqueeze(1)
        for piece, target in zip(rows.split(_PIECE, dim=1), into.split(_PIECE), strict=True):
            uniform = torch.rand(target.shape, generator=generator, device=rows.device, dtype=rows.dtype)
            target.copy_(graddrop(piece * factors, uniform))
        return
    if method != "none":
        gram = gram_matrix(rows) * np.outer(weights, weights)
        tasks = range(len(rows))
        if method == "pcgrad":
            rng = np.random.default_rng(seed)
            factors = pcgrad_factors(gram, [rng.permutation([j for j in tasks if j != i]).tolist() for i in tasks])
        else:
            factors = cagrad_factors(gram)
        weights = (factors * weights).tolist()
    torch.mv(rows.t(), tensor_like(weights, rows), out=into)
