"""Bi-level task weighting (auto-lambda): the training step and its hypergradient.

min over lambda of L_primary(theta*(lambda)), theta* = argmin sum_i lambda_i L_i (Liu et al., "Auto-Lambda", TMLR 2022;
section III of the SJEDD paper). One step with learning rate a:

1. virtual step  theta' = theta - a (sum_i lambda_i grad L_i(theta) + wd theta), plain SGD;
2. d = gradient at theta' of the primary tasks' loss on a second training batch;
3. hypergradient of lambda_i = -a <grad L_i(theta), d>, one Adam step on lambda;
4. real step on sum_i lambda'_i grad L_i(theta) with the new lambda.

The task gradients of one forward and three backwards serve 1, 3 and 4, so nothing is computed twice and no weight is
changed in place before the real step: theta' are separate tensors that the parameters point to for a moment.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import nn

Gradients = list[torch.Tensor]


@dataclass
class BilevelResult:
    """task_losses: float [T], detached. task_gradients: T lists of tensors like the parameters.
    hypergradient: float [T]."""

    task_losses: torch.Tensor
    task_gradients: list[Gradients]
    hypergradient: torch.Tensor


def task_gradients(losses: torch.Tensor, parameters: Sequence[nn.Parameter]) -> list[Gradients]:
    """Gradient of each loss by every parameter, from one graph. losses: [T]. A parameter that a task does not use has
    gradient 0. Frees the graph."""
    last = len(losses) - 1
    return [
        list(torch.autograd.grad(loss, parameters, retain_graph=i < last, materialize_grads=True))
        for i, loss in enumerate(losses)
    ]


def weighted_sum(gradients: Sequence[Gradients], weights: Sequence[float]) -> Gradients:
    """sum_i weights[i] * gradients[i], parameter by parameter. gradients[0] is overwritten and returned."""
    total = gradients[0]
    torch._foreach_mul_(total, weights[0])
    for gradient, weight in zip(gradients[1:], weights[1:], strict=True):
        torch._foreach_add_(total, gradient, alpha=weight)
    return total


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
    """-lr <gradients[i], direction> for every task, [T]: products in float32 (or wider), their sum in float64."""
    products = [
        sum(torch.dot(g.flatten(), d.flatten()).double() for g, d in zip(gradient, direction, strict=True))
        for gradient in gradients
    ]
    return -lr * torch.stack(products)


def finite_difference_hypergradient(
    train_losses: Callable[[], torch.Tensor],
    parameters: Sequence[nn.Parameter],
    direction: Gradients,
    lr: float,
    eps: float = 0.01,
) -> torch.Tensor:
    """The reference's central difference along ``direction``: -lr (L_i(theta + h d) - L_i(theta - h d)) / (2 h), [T].

    h = eps / (||d|| + 1e-6). With eps = 0.01 the step is too long for CLIP towers (values and even signs differ from
    the exact product; benchmarks/RESULTS.md has a table); kept for comparison.
    """
    norm = torch.stack([d.double().square().sum() for d in direction]).sum().sqrt().item()
    step = eps / (norm + 1e-6)
    losses = []
    with torch.no_grad():
        for sign in (1.0, -1.0):
            moved = torch._foreach_add([p.data for p in parameters], direction, alpha=sign * step)
            with pointing_at(parameters, moved):
                losses.append(train_losses().double())
    return -lr * (losses[0] - losses[1]) / (2 * step)


def bilevel_step(
    train_losses: Callable[[], torch.Tensor],
    primary_loss: Callable[[], torch.Tensor],
    parameters: Sequence[nn.Parameter],
    weights: Sequence[float],
    lr: float,
    decay: float,
    hypergrad: str = "exact",
) -> BilevelResult:
    """Steps 1 to 3 of the module's text, up to the hypergradient; the parameters are left as they were.

    train_losses: losses [T] of the training batch at the parameters' present values. primary_loss: loss [] of the
    primary tasks on the second batch, likewise. hypergrad: "exact" or "fd".
    """
    losses = train_losses()
    gradients = task_gradients(losses, parameters)
    virtual = virtual_parameters(parameters, gradients, weights, lr, decay)
    with pointing_at(parameters, virtual):
        direction = list(torch.autograd.grad(primary_loss(), parameters, materialize_grads=True))
    del virtual
    if hypergrad == "exact":
        hypergradient = exact_hypergradient(gradients, direction, lr)
    else:
        hypergradient = finite_difference_hypergradient(train_losses, parameters, direction, lr)
    return BilevelResult(losses.detach(), gradients, hypergradient)


class AutoLambda:
    """The task weights lambda and their Adam optimizer. Weights are not clamped, as in the reference."""

    def __init__(self, n_tasks: int, init: float, lr: float) -> None:
        self.values = torch.full((n_tasks,), init, dtype=torch.float32)
        self._optimizer = torch.optim.Adam([self.values], lr=lr)

    @property
    def weights(self) -> list[float]:
        """Present weight of each task."""
        return self.values.tolist()

    def update(self, hypergradient: torch.Tensor) -> None:
        """One Adam step along the hypergradient [T]."""
        self.values.grad = hypergradient.to(self.values)
        self._optimizer.step()

    def state_dict(self) -> dict:
        """Weights and optimizer state as plain types and tensors."""
        return {"values": self.values.clone(), "optimizer": self._optimizer.state_dict()}

    def load_state_dict(self, state: dict) -> None:
        """Inverse of ``state_dict``."""
        self.values.copy_(state["values"])
        self._optimizer.load_state_dict(state["optimizer"])
