"""Bi-level task weighting (auto-lambda): the training step up to its hypergradient.

min over lambda of L_primary(theta*(lambda)), theta* = argmin sum_i lambda_i L_i (Liu et al., "Auto-Lambda", TMLR 2022;
section III of the SJEDD paper). One step with learning rate a and weight decay wd:

1. virtual step  theta' = theta - a (sum_i lambda_i grad L_i(theta) + wd theta), plain SGD;
2. d = gradient at theta' of the primary tasks' loss on a second training batch;
3. hypergradient of lambda_i = -a <grad L_i(theta), d>, one Adam step on lambda;
4. real step on sum_i lambda'_i grad L_i(theta) with the new lambda.

The task gradients are computed once, by one forward and three backward passes, and used in 1, 3 and 4. No weight
changes before the real step: during 2 the parameters point to a row of memory that holds theta'. d then overwrites it.

With several processes each keeps its own d. The products are linear in d, so the mean of the hypergradients is the
hypergradient of the mean d.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from models.parameter_rows import ParameterRows, copy_all, inner_products
from models.precision import pointing_at
from training.gradients import Part, TowerContext, gradients_of, mean_gradients, unscale
from training.task_weighting import LearnedValues
from utils.distributed import Reductions


@dataclass(frozen=True)
class Bilevel:
    """The bi-level step, with what is the same in all steps of a run.

    Args:
        parameters: theta.
        tasks: T rows for the task gradients.
        scratch: holds theta', then d: one row, or two if the second batch comes in parts.
        primary: [T], 1 for primary tasks, 0 for the others.
        weight_decay: wd.
        hypergrad: "exact", or "fd" for the reference's finite difference.
        context: entered for the passes through the towers.
    """

    parameters: Sequence[nn.Parameter]
    tasks: ParameterRows
    scratch: ParameterRows
    primary: torch.Tensor
    weight_decay: float
    hypergrad: str = "exact"
    context: TowerContext = contextlib.nullcontext

    def step(
        self,
        train_parts: Sequence[Part],
        second_parts: Sequence[Part],
        weights: torch.Tensor,
        lr: float,
        scale: float | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Steps 1 to 3 up to the hypergradient. The parameters keep their values.

        Args:
            train_parts, second_parts: the two batches.
            weights: lambda, [T].
            lr: a.
            scale: loss scale of float16; None: not scaled.

        Returns:
            Of this process (average them over the processes): task losses [T], detached; overflow, float32 [1], 1 if a
            scaled gradient is not finite; hypergradient, float64 [T].
        """
        parameters, scratch, factor = self.parameters, self.scratch, scale or 1.0
        each = torch.eye(len(weights), dtype=self.primary.dtype, device=self.primary.device)
        losses, overflow = mean_gradients(train_parts, each, parameters, self.tasks, scale, self.context)
        scratch.allocate()  # only now: the graph of the training batch has been freed
        virtual_step(parameters, self.tasks.data, weights.to(self.tasks.data.dtype), lr, self.weight_decay, scratch)
        with pointing_at(parameters, scratch.views[0]):
            objective = self.primary.unsqueeze(0) * factor
            gradients_of(second_parts, objective, parameters, scratch.views[-1:], self.context)
        direction, checked = scratch.data[-1], overflow if scale else None
        if self.hypergrad == "exact":
            unscale(direction, 1 / factor, checked)
            hypergradient = -lr * inner_products(self.tasks.data, direction)
        else:
            reductions = Reductions()
            reductions.start(direction)
            unscale(direction, reductions.finish() / factor, checked)
            hypergradient = finite_difference_hypergradient(train_parts, parameters, scratch.views[-1], lr)
        return losses, overflow, hypergradient


def virtual_step(
    parameters: Sequence[nn.Parameter],
    tasks: torch.Tensor,
    weights: torch.Tensor,
    lr: float,
    weight_decay: float,
    into: ParameterRows,
) -> None:
    """Write theta' = theta - lr (sum_i weights[i] tasks[i] + weight_decay theta) into row 0 of ``into``.

    tasks: task gradients, the data [T, P] of ``ParameterRows``. weights: lambda, [T].
    """
    copy_all(into.views[0], [parameter.data for parameter in parameters])
    into.data[0].addmv_(tasks.t(), weights, beta=1 - lr * weight_decay, alpha=-lr)


def finite_difference_hypergradient(
    train_parts: Sequence[Part],
    parameters: Sequence[nn.Parameter],
    direction: list[torch.Tensor],
    lr: float,
    eps: float = 0.01,
) -> torch.Tensor:
    """The reference's central difference along d: -lr (L_i(theta + h d) - L_i(theta - h d)) / (2 h), float64 [T].

    h = eps / (||d|| + 1e-6). With eps = 0.01 the step is too long for CLIP towers: values and even signs differ from
    the exact product (table in benchmarks/RESULTS.md). Only for comparison.
    """
    step = eps / (torch.stack(torch._foreach_norm(direction)).norm().item() + 1e-6)
    losses = []
    with torch.no_grad():
        for sign in (1.0, -1.0):
            moved = torch._foreach_add([p.data for p in parameters], direction, alpha=sign * step)
            with pointing_at(parameters, moved):
                losses.append(torch.stack([part.losses(part.scores()).double() for part in train_parts]).sum(0))
    return -lr * (losses[0] - losses[1]) / (2 * step)


class AutoLambda(LearnedValues):
    """The task weights lambda, changed by ``update(hypergradient)``. Not clamped, as in the reference."""

    @property
    def weights(self) -> list[float]:
        return self.values.tolist()
