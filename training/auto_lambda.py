"""Bi-level task weighting (auto-lambda): the training step and its hypergradient.

min over lambda of L_primary(theta*(lambda)), theta* = argmin sum_i lambda_i L_i (Liu et al., "Auto-Lambda", TMLR 2022;
section III of the SJEDD paper). One step with learning rate a:

1. virtual step  theta' = theta - a (sum_i lambda_i grad L_i(theta) + wd theta), plain SGD;
2. d = gradient at theta' of the primary tasks' loss on a second training batch;
3. hypergradient of lambda_i = -a <grad L_i(theta), d>, one Adam step on lambda;
4. real step on sum_i lambda'_i grad L_i(theta) with the new lambda.

A batch may come in parts (gradient accumulation) whose losses add up to the batch's: task gradients and d are then the
sums over the parts, and the steps are those of the whole batch. In a data-parallel run the task gradients are means
over the ranks, which travel while the next backward pass runs. d stays where it was computed: the products with it are
linear in it, so the mean of the ranks' hypergradients is that of the mean d.

In float16 all losses are multiplied by one scale before they are differentiated, and the task gradients and d are
divided by it before anything is made of them. When one of them is not finite, neither weights nor lambda move.

The task gradients of one forward and three backwards serve 1, 3 and 4, so nothing is computed twice and no weight is
changed in place before the real step: theta' is a row of its own that the parameters point to for a moment, and d takes
its place.
"""

import contextlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import nn

from models.parameter_rows import ParameterRows, copy_all, inner_products
from models.precision import pointing_at
from training.task_weighting import LearnedValues
from utils.distributed import Reductions

Computing = Callable[[], AbstractContextManager]  # entered while the towers compute and are differentiated


class Part(NamedTuple):
    """A part of a batch. scores: computes its node scores [B, nodes] at the parameters' present values. losses: makes
    of them its share of the batch's task losses [T]."""

    scores: Callable[[], torch.Tensor]
    losses: Callable[[torch.Tensor], torch.Tensor]


@dataclass
class BilevelResult:
    """task_losses: float [T], detached. hypergradient: float64 [T]. Both are this rank's: their means count. overflow:
    float32 [1], 1 where a gradient is not finite (float16)."""

    task_losses: torch.Tensor
    hypergradient: torch.Tensor
    overflow: torch.Tensor


def gradients_of(
    parts: Sequence[Part],
    objectives: torch.Tensor,
    parameters: Sequence[nn.Parameter],
    into: Sequence[Sequence[torch.Tensor]],
    computing: Computing = contextlib.nullcontext,
    done: Callable[[int], object] = lambda _: None,
) -> torch.Tensor:
    """Write the gradients of K weighted sums of a batch's task losses; returns the losses [T], detached.

    parts: their losses add up to the batch's. objectives: [K, T], the weights of each sum, in the losses' type and on
    their device. into: K lists of tensors like the parameters. A parameter that a sum does not use has gradient 0.
    done(i) is called when the gradient of sum i is complete.
    """
    losses = []
    for number, part in enumerate(parts):
        with computing():
            scores = part.scores()
            of_tasks = part.losses(scores)
            losses.append(of_tasks.detach())
            # The losses' small graph is gone through once for all sums, the towers' once for each.
            by_scores = torch.autograd.grad(of_tasks, scores, objectives, is_grads_batched=True)[0]
            for i, gradient in enumerate(into):
                new = torch.autograd.grad(
                    scores, parameters, by_scores[i], retain_graph=i < len(into) - 1, materialize_grads=True
                )
                new = [values.detach() for values in new]  # torch 2.6 makes zeros that want gradients themselves
                if number == 0:
                    copy_all(gradient, new)
                else:
                    torch._foreach_add_(gradient, new)
                if number == len(parts) - 1:
                    done(i)
                del new
            del scores, of_tasks  # the part's graph goes before the next one is built
    return torch.stack(losses).sum(0)


def unscale(rows: torch.Tensor, factor: float, overflow: torch.Tensor | None) -> None:
    """Multiply rows by ``factor`` in place. overflow: float32 [1], set to 1 where a value is not finite; None:
    nobody asks."""
    if overflow is not None:
        inverse = torch.full((1,), factor, dtype=torch.float32, device=rows.device)
        torch._amp_foreach_non_finite_check_and_unscale_([rows], overflow, inverse)
    elif factor != 1.0:
        rows *= factor


def mean_gradients(
    parts: Sequence[Part],
    objectives: torch.Tensor,
    parameters: Sequence[nn.Parameter],
    rows: torch.Tensor,
    views: Sequence[Sequence[torch.Tensor]],
    scale: float | None,
    overflow: torch.Tensor,
    computing: Computing = contextlib.nullcontext,
) -> torch.Tensor:
    """As ``gradients_of``, into rows [K, P] that ``views`` are of, as means over the ranks; each row travels while the
    next one is computed. scale: of float16's losses; None: they are not scaled, and ``overflow`` stays as it is.
    Returns this rank's losses [T]."""
    factor, reductions = scale or 1.0, Reductions()
    losses = gradients_of(parts, objectives * factor, parameters, views, computing, lambda i: reductions.start(rows[i]))
    unscale(rows, reductions.finish() / factor, overflow if scale else None)
    return losses


def virtual_step(
    parameters: Sequence[nn.Parameter],
    tasks: torch.Tensor,
    weights: torch.Tensor,
    lr: float,
    decay: float,
    into: ParameterRows,
) -> None:
    """Write theta' = theta - lr (sum_i weights[i] tasks[i] + decay theta) into row 0. tasks: [T, P]; weights: [T]."""
    copy_all(into.views[0], [parameter.data for parameter in parameters])
    into.data[0].addmv_(tasks.t(), weights, beta=1 - lr * decay, alpha=-lr)


def finite_difference_hypergradient(
    train_parts: Sequence[Part],
    parameters: Sequence[nn.Parameter],
    direction: Sequence[torch.Tensor],
    lr: float,
    eps: float = 0.01,
) -> torch.Tensor:
    """The reference's central difference along d: -lr (L_i(theta + h d) - L_i(theta - h d)) / (2 h), [T].

    h = eps / (||d|| + 1e-6). With eps = 0.01 the step is too long for CLIP towers (values and even signs differ from
    the exact product; benchmarks/RESULTS.md has a table); kept for comparison.
    """
    step = eps / (torch.stack(torch._foreach_norm(direction)).norm().item() + 1e-6)
    losses = []
    with torch.no_grad():
        for sign in (1.0, -1.0):
            moved = torch._foreach_add([p.data for p in parameters], direction, alpha=sign * step)
            with pointing_at(parameters, moved):
                losses.append(torch.stack([part.losses(part.scores()).double() for part in train_parts]).sum(0))
    return -lr * (losses[0] - losses[1]) / (2 * step)


def bilevel_step(
    train_parts: Sequence[Part],
    second_parts: Sequence[Part],
    primary: torch.Tensor,
    parameters: Sequence[nn.Parameter],
    tasks: ParameterRows,
    scratch: ParameterRows,
    weights: torch.Tensor,
    lr: float,
    decay: float,
    hypergrad: str = "exact",
    scale: float | None = None,
    computing: Computing = contextlib.nullcontext,
) -> BilevelResult:
    """Steps 1 to 3 of the module's text, up to the hypergradient; the parameters are left as they were.

    train_parts, second_parts: the two batches. primary: [T], 1 for the tasks of the upper level, 0 for the others.
    tasks: T rows, which receive the task gradients. scratch: a row that receives theta' and then d; where the second
    batch comes in parts, two rows, one for each. weights: lambda [T]. hypergrad: "exact" or
    "fd". scale: of float16's losses, see the module's text; None: they are not scaled, and nobody asks for overflow.
    """
    factor = scale or 1.0
    overflow = torch.zeros(1, dtype=torch.float32, device=tasks.data.device)
    asked = overflow if scale else None
    each = torch.eye(len(weights), dtype=primary.dtype, device=primary.device)
    losses = mean_gradients(train_parts, each, parameters, tasks.data, tasks.views, scale, overflow, computing)
    scratch.claim()  # not before: the graph of the training batch is gone by now
    virtual_step(parameters, tasks.data, weights.to(tasks.data.dtype), lr, decay, scratch)
    with pointing_at(parameters, scratch.views[0]):
        gradients_of(second_parts, primary.unsqueeze(0) * factor, parameters, scratch.views[-1:], computing)
    direction = scratch.data[-1]
    if hypergrad == "exact":
        unscale(direction, 1 / factor, asked)
        hypergradient = -lr * inner_products(tasks.data, direction)
    else:
        reductions = Reductions()
        reductions.start(direction)
        unscale(direction, reductions.finish() / factor, asked)
        hypergradient = finite_difference_hypergradient(train_parts, parameters, scratch.views[-1], lr)
    return BilevelResult(losses, hypergradient, overflow)


class AutoLambda(LearnedValues):
    """The task weights lambda, moved by ``update(hypergradient)``. They are not clamped, as in the reference."""

    @property
    def weights(self) -> list[float]:
        return self.values.tolist()
