"""Gradients of weighted sums of task losses, for batches in parts, over several processes, with float16's loss scale.

A batch may come in parts (gradient accumulation) whose losses add up to the batch's; its gradients are the sums over
the parts. In a data-parallel run gradients are means over the processes, which travel while the next backward pass
runs. In float16 all losses are multiplied by one scale before they are differentiated, and the gradients are divided by
it before they are used.
"""

import contextlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple

import torch
from torch import nn

from models.parameter_rows import ParameterRows, copy_all
from utils.distributed import Reductions

TowerContext = Callable[[], AbstractContextManager]  # entered while the towers compute and are differentiated


class Part(NamedTuple):
    """A part of a batch.

    scores: computes its node scores [B, nodes] at the parameters' present values.
    losses: maps these scores to the part's share of the batch's task losses [T].
    """

    scores: Callable[[], torch.Tensor]
    losses: Callable[[torch.Tensor], torch.Tensor]


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
        parts: of the batch.
        objectives: [K, T], the weights of each sum, in the losses' dtype and on their device.
        parameters: the gradient of one that a sum does not use is 0.
        into: K lists of tensors with the parameters' shapes, which receive the gradients.
        context: entered for each part's passes through the towers.
        done: called with i when the gradient of sum i is complete.

    Returns:
        The batch's task losses [T], detached.
    """
    losses = []
    for number, part in enumerate(parts):
        with context():
            scores = part.scores()
            of_tasks = part.losses(scores)
            losses.append(of_tasks.detach())
            # The losses' small graph is differentiated once for all sums, the towers' graph once for each.
            by_scores = torch.autograd.grad(of_tasks, scores, objectives, is_grads_batched=True)[0]
            for i, gradient in enumerate(into):
                last = i == len(into) - 1
                computed = torch.autograd.grad(
                    scores, parameters, by_scores[i], retain_graph=not last, materialize_grads=True
                )
                new = [values.detach() for values in computed]  # torch 2.6: zeros for unused parameters need gradients
                if number == 0:
                    copy_all(gradient, new)
                else:
                    torch._foreach_add_(gradient, new)
                if number == len(parts) - 1:
                    done(i)
                del computed, new
            del scores, of_tasks  # frees the part's graph before the next one is built
    return torch.stack(losses).sum(0)


def mean_gradients(
    parts: Sequence[Part],
    objectives: torch.Tensor,
    parameters: Sequence[nn.Parameter],
    into: ParameterRows,
    scale: float | None = None,
    context: TowerContext = contextlib.nullcontext,
) -> tuple[torch.Tensor, torch.Tensor]:
    """As ``gradients_of``, means over the processes, into the last K rows of ``into``.

    Args:
        scale: of float16's losses; None: not scaled.

    Returns:
        This process's losses [T] and float32 [1]: 1 if losses are scaled and a gradient is not finite, else 0.
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
