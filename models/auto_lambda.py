"""Bi-level task weighting (auto-lambda): the training step and its hypergradient.

min over lambda of L_primary(theta*(lambda)), theta* = argmin sum_i lambda_i L_i (Liu et al., "Auto-Lambda", TMLR 2022;
section III of the SJEDD paper). One step with learning rate a:

1. virtual step  theta' = theta - a (sum_i lambda_i grad L_i(theta) + wd theta), plain SGD;
2. d = gradient at theta' of the primary tasks' loss on a second training batch;
3. hypergradient of lambda_i = -a <grad L_i(theta), d>, one Adam step on lambda;
4. real step on sum_i lambda'_i grad L_i(theta) with the new lambda.

A batch may come in parts (gradient accumulation) whose losses add up to the batch's: task gradients and d are then the
sums over the parts, and the steps are those of the whole batch. In a data-parallel run they are the means over the
ranks; theta', the hypergradient and lambda follow from them and are the same everywhere.

In float16 all losses are multiplied by one scale before they are differentiated, and the task gradients and d are
divided by it before anything is made of them. When one of them is not finite, neither weights nor lambda move.

The task gradients of one forward and three backwards serve 1, 3 and 4, so nothing is computed twice and no weight is
changed in place before the real step: theta' are separate tensors that the parameters point to for a moment.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from models.gradient_methods import Gradients, inner_product
from models.task_weighting import LearnedValues
from utils.distributed import mean_over_ranks

Part = Callable[[], torch.Tensor]  # -> the part's share of a batch's task losses [T], at the parameters' present values


@dataclass
class BilevelResult:
    """task_losses: float [T], detached. task_gradients: T lists of tensors like the parameters. direction: d.
    hypergradient: float64 [T]."""

    task_losses: torch.Tensor
    task_gradients: list[Gradients]
    direction: Gradients
    hypergradient: torch.Tensor


def gradients_of(
    parts: Sequence[Part], objectives: Sequence[Sequence[float]], parameters: Sequence[nn.Parameter], scale: float = 1.0
) -> tuple[torch.Tensor, list[Gradients]]:
    """Task losses [T] of a batch, detached, and the gradients of K weighted sums of them, by every parameter.

    parts: their losses add up to the batch's. objectives: [K, T], the weights of each sum. scale: see the module's
    text. A parameter that a sum does not use has gradient 0. Both results are means over the ranks.
    """
    losses, gradients = [], []
    for part in parts:
        of_tasks = part()
        losses.append(of_tasks.detach())
        last = len(objectives) - 1
        for i, weights in enumerate(objectives):
            total = (of_tasks * of_tasks.new_tensor(weights)).sum() * scale
            new = torch.autograd.grad(total, parameters, retain_graph=i < last, materialize_grads=True)
            # A compiled convolution lays its weight's gradient out channels last, and fused AdamW reads raw memory; the
            # zeros that torch 2.6 makes of missing gradients want gradients themselves.
            new = [gradient.detach().contiguous() for gradient in new]
            if len(gradients) <= i:
                gradients.append(new)
            else:
                torch._foreach_add_(gradients[i], new)
        del of_tasks, total, new  # the part's graph goes before the next one is built
    sums = torch.stack(losses).sum(0)
    mean_over_ranks([sums])
    for gradient in gradients:
        if scale != 1.0:
            torch._foreach_mul_(gradient, 1 / scale)
        mean_over_ranks(gradient)
    return sums, gradients


@contextlib.contextmanager
def pointing_at(parameters: Sequence[nn.Parameter], values: Sequence[torch.Tensor]) -> Iterator[None]:
    """Let the parameters use the storage of ``values`` inside the block; afterwards their own again, bit for bit."""
    originals = [parameter.data for parameter in parameters]
    try:
        for parameter, value in zip(parameters, values, strict=True):
            parameter.data = value
        yield
    finally:
        for parameter, original in zip(parameters, originals, strict=True):
            parameter.data = original


def virtual_parameters(
    parameters: Sequence[nn.Parameter],
    gradients: Sequence[Gradients],
    weights: Sequence[float],
    lr: float,
    decay: float,
) -> list[torch.Tensor]:
    """theta' = theta - lr (sum_i weights[i] gradients[i] + decay theta), in new tensors."""
    virtual = torch._foreach_mul([parameter.data for parameter in parameters], 1.0 - lr * decay)
    for gradient, weight in zip(gradients, weights, strict=True):
        torch._foreach_add_(virtual, gradient, alpha=-lr * weight)
    return virtual


def exact_hypergradient(gradients: Sequence[Gradients], direction: Gradients, lr: float) -> torch.Tensor:
    """-lr <gradients[i], direction> for every task, float64 [T]."""
    return -lr * torch.stack([inner_product(gradient, direction) for gradient in gradients])


def finite_difference_hypergradient(
    train_parts: Sequence[Part],
    parameters: Sequence[nn.Parameter],
    direction: Gradients,
    lr: float,
    eps: float = 0.01,
) -> torch.Tensor:
    """The reference's central difference along ``direction``: -lr (L_i(theta + h d) - L_i(theta - h d)) / (2 h), [T].

    h = eps / (||d|| + 1e-6). With eps = 0.01 the step is too long for CLIP towers (values and even signs differ from
    the exact product; benchmarks/RESULTS.md has a table); kept for comparison.
    """
    step = eps / (inner_product(direction, direction).sqrt().item() + 1e-6)
    losses = []
    with torch.no_grad():
        for sign in (1.0, -1.0):
            moved = torch._foreach_add([p.data for p in parameters], direction, alpha=sign * step)
            with pointing_at(parameters, moved):
                losses.append(torch.stack([part().double() for part in train_parts]).sum(0))
    mean_over_ranks(losses)
    return -lr * (losses[0] - losses[1]) / (2 * step)


def bilevel_step(
    train_parts: Sequence[Part],
    second_parts: Sequence[Part],
    primary: Sequence[float],
    parameters: Sequence[nn.Parameter],
    weights: Sequence[float],
    lr: float,
    decay: float,
    hypergrad: str = "exact",
    scale: float = 1.0,
) -> BilevelResult:
    """Steps 1 to 3 of the module's text, up to the hypergradient; the parameters are left as they were.

    train_parts, second_parts: the two batches. primary: [T], 1 for the tasks of the upper level, 0 for the others.
    weights: lambda [T]. hypergrad: "exact" or "fd". scale: see the module's text.
    """
    each = torch.eye(len(weights)).tolist()
    losses, gradients = gradients_of(train_parts, each, parameters, scale)
    virtual = virtual_parameters(parameters, gradients, weights, lr, decay)
    with pointing_at(parameters, virtual):
        _, (direction,) = gradients_of(second_parts, [primary], parameters, scale)
    del virtual
    if hypergrad == "exact":
        hypergradient = exact_hypergradient(gradients, direction, lr)
    else:
        hypergradient = finite_difference_hypergradient(train_parts, parameters, direction, lr)
    return BilevelResult(losses, gradients, direction, hypergradient)


class AutoLambda(LearnedValues):
    """The task weights lambda, moved by ``update(hypergradient)``. They are not clamped, as in the reference."""

    @property
    def weights(self) -> list[float]:
        return self.values.tolist()
