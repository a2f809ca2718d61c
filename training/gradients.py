"""Gradients of weighted sums of task losses.

- Gradient accumulation: the losses of a batch's parts add up to the batch's, and so do their gradients.
- Several processes: gradients are means over the processes, sent while the next backward pass runs.
- float16: losses are multiplied by a scale before they are differentiated, and the gradients divided by it afterwards.
"""

import contextlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple

import torch
from torch import nn

from models.parameter_rows import ParameterRows, copy_all
from utils.distributed import Reductions

TowerContext = Callable[[], AbstractContextManager]  # entered for the towers' forward and backward passes


class Part(NamedTuple):
    """A part of a batch."""

    scores: Callable[[], torch.Tensor]  # computes its node scores [B, nodes] with the current parameters
    losses: Callable[[torch.Tensor], torch.Tensor]  # maps these scores to its share of the task losses [T]


def gradients_of(
    parts: Sequence[Part],
    objectives: torch.Tensor,
    parameters: Sequence[nn.Parameter],
    into: Sequence[list[torch.Tensor]],
    context: TowerContext = contextlib.nullcontext,
    done: Callable[[int], object] = lambda _: None,
) -> torch.Tensor:
    """Write the gradients of K weighted sums of a batch's task losses.

    Args:
        parts: the parts of the batch.
        objectives: [K, T], the weights of each sum, in the losses' dtype and on their device.
        parameters: those that a sum does not use get the gradient 0.
        into: K lists of tensors with the parameters' shapes, for the gradients.
        context: entered for each part's passes through the towers.
        done: called with i when the gradient of sum i is complete.

    Returns:
        The batch's task losses [T], detached.
    """
    losses = []
    for number, part in enumerate(parts):
        with context():
            scores = part.scores()
            task_losses = part.losses(scores)
            losses.append(task_losses.detach())
            # One backward pass through the losses' small graph for all sums, one through the towers for each sum.
            score_gradients = torch.autograd.grad(task_losses, scores, objectives, is_grads_batched=True)[0]
            for i, total in enumerate(into):
                last = i == len(into) - 1
                computed = torch.autograd.grad(
                    scores, parameters, score_gradients[i], retain_graph=not last, materialize_grads=True
                )
                new = [values.detach() for values in computed]  # torch 2.6: zeros for unused parameters need gradients
                if number == 0:
                    copy_all(total, new)
                else:
                    torch._foreach_add_(total, new)
                if number == len(parts) - 1:
                    done(i)
                del computed, new
            del scores, task_losses  # frees the part's graph before the next one is built
    return torch.stack(losses).sum(0)


def mean_gradients(
    parts: Sequence[Part],
    objectives: torch.Tensor,
    parameters: Sequence[nn.Parameter],
    into: ParameterRows,
    scale: float | None = None,
    context: TowerContext = contextlib.nullcontext,
) -> tuple[torch.Tensor, torch.Tensor]:
    """``gradients_of``, averaged over the processes, into the last K rows of ``into``.

    scale: loss scale of float16; None: not scaled.

    Returns:
        This process's losses [T], and float32 [1]: 1 if a scaled gradient is not finite, else 0.
    """
    overflow = torch.zeros(1, dtype=torch.float32, device=into.data.device)
    rows, views = into.data[-len(objectives) :], into.views[-len(objectives) :]
    factor, reductions = scale or 1.0, Reductions()
    losses = gradients_of(parts, objectives * factor, parameters, views, context, lambda i: reductions.start(rows[i]))
    unscale(rows, reductions.finish() / factor, overflow if scale else None)
    return losses, overflow


def unscale(rows: torch.Tensor, factor: float, overflow: torch.Tensor | None) -> None:
    """Multiply rows by ``factor`` in place. overflow: [1], set to 1 if a value is not finite; None: no check."""
    if overflow is not None:
        inverse = torch.full((1,), factor, dtype=torch.float32, device=rows.device)
        torch._amp_foreach_non_finite_check_and_unscale_([rows], overflow, inverse)
    elif factor != 1.0:
        rows *= factor
