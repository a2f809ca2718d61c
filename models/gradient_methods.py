"""One update direction from the gradients of several tasks: their sum, or a method that settles their conflicts.

Each method takes the gradients already weighted by the task weights, so it goes with every weighting.

- graddrop (Chen et al., "Just Pick a Sign", NeurIPS 2020): per element, keep only one sign, drawn with the probability
  P = (1 + sum_i g_i / sum_i |g_i|) / 2 of the positive one.
- pcgrad (Yu et al., "Gradient Surgery", NeurIPS 2020): from each g_i remove, for the other tasks in random order, its
  component along every g_j it conflicts with; then sum.
- cagrad (Liu et al., "Conflict-Averse Gradient Descent", NeurIPS 2021): g_0 + (c |g_0| / |g_w|) g_w with g_0 the mean
  gradient and g_w = sum_i w_i g_i for the w of the simplex that minimises g_w . g_0 + c |g_0| |g_w|; c = 0.4.

pcgrad and cagrad give linear combinations of the gradients, whose factors follow from the scalar products alone.
"""

from collections.abc import Sequence

import numpy as np
import torch
from scipy.optimize import minimize

CAGRAD_C = 0.4
Gradients = list[torch.Tensor]  # one tensor per parameter


def inner_product(a: Gradients, b: Gradients) -> torch.Tensor:
    """<a, b> over all parameters, float64 []: products in the tensors' own type, their sum in float64."""
    return torch.stack([torch.dot(x.flatten(), y.flatten()).double() for x, y in zip(a, b, strict=True)]).sum()


def gram_matrix(gradients: Sequence[Gradients]) -> np.ndarray:
    """Scalar products of every two tasks' gradients, float64 [T, T]."""
    gram = np.empty((len(gradients), len(gradients)))
    for i, a in enumerate(gradients):
        for j in range(i + 1):
            gram[i, j] = gram[j, i] = inner_product(a, gradients[j]).item()
    return gram


def weighted_sum(gradients: Sequence[Gradients], weights: Sequence[float]) -> Gradients:
    """sum_i weights[i] * gradients[i], parameter by parameter. gradients[0] is overwritten and returned."""
    total = gradients[0]
    torch._foreach_mul_(total, weights[0])
    for gradient, weight in zip(gradients[1:], weights[1:], strict=True):
        torch._foreach_add_(total, gradient, alpha=weight)
    return total


def pcgrad_factors(gram: np.ndarray, orders: Sequence[Sequence[int]]) -> np.ndarray:
    """Factors [T] of the task gradients in pcgrad's sum.

    gram: float [T, T]. orders: for every task the other tasks in the order in which conflicts with them are removed.
    """
    factors = np.eye(len(gram))  # row i: the projected gradient of task i as a combination of all gradients
    for row, others in zip(factors, orders, strict=True):
        for j in others:
            product = row @ gram[j]
            if product < 0:
                row[j] -= product / gram[j, j]
    return factors.sum(axis=0)


def cagrad_factors(gram: np.ndarray, c: float = CAGRAD_C) -> np.ndarray:
    """Factors [T] of the task gradients in cagrad's direction. gram: float [T, T]."""
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


def graddrop(values: Sequence[torch.Tensor], uniform: torch.Tensor) -> torch.Tensor:
    """One parameter's gradient, any shape: sum_i of the values of the sign that ``uniform`` in [0, 1) draws.

    values: T tensors of the parameter's shape. uniform: of that shape. Elements where all tasks are 0 give 0.
    """
    total, size = torch.zeros_like(uniform), torch.zeros_like(uniform)
    for value in values:
        total += value
        size += value.abs()
    positive = (1 + total / size.clamp(min=torch.finfo(size.dtype).tiny)) / 2
    # The sum of the positive values is (size + total) / 2, that of the negative ones (total - size) / 2.
    return torch.where(positive > uniform, total + size, total - size) / 2


def combine(method: str, gradients: Sequence[Gradients], weights: Sequence[float], seed: tuple[int, int]) -> Gradients:
    """The update direction of ``method`` for the gradients of T tasks times their weights; gradients[0] is overwritten.

    seed: (seed of the run, number of the step); what is drawn depends on nothing else.
    """
    if method == "none":
        return weighted_sum(gradients, weights)
    if method == "graddrop":
        device = gradients[0][0].device
        generator = torch.Generator(device).manual_seed(int(np.random.SeedSequence(seed).generate_state(1)[0]))
        for of_parameter in zip(*gradients, strict=True):
            values = [value * weight for value, weight in zip(of_parameter, weights, strict=True)]
            drawn = torch.rand(values[0].shape, generator=generator, device=device, dtype=values[0].dtype)
            of_parameter[0].copy_(graddrop(values, drawn))
        return gradients[0]
    gram = gram_matrix(gradients) * np.outer(weights, weights)
    if method == "pcgrad":
        rng, tasks = np.random.default_rng(seed), range(len(gradients))
        factors = pcgrad_factors(gram, [rng.permutation([j for j in tasks if j != i]) for i in tasks])
    else:
        factors = cagrad_factors(gram)
    return weighted_sum(gradients, (factors * weights).tolist())
