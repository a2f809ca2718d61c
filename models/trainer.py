"""The optimisation of a JointEmbedding: learning rates, one training step, and the state a resumed run needs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from models.auto_lambda import AutoLambda, bilevel_step, weighted_sum
from models.joint_embedding import JointEmbedding
from models.losses import TASKS, fidelity_losses
from models.tree_inference import marginals
from utils.cli import UserError

WEIGHTINGS = ("equal", "autol")


@dataclass(frozen=True)
class TrainerSettings:
    """lr-independent settings of the optimisation; the command line's names and defaults."""

    weight: str = "equal"  # equal | autol
    autol_init: float = 1.0
    autol_lr: float = 1e-3
    lambda_every: int = 1  # one lambda update in this many steps, plain steps between
    hypergrad: str = "exact"  # exact | fd
    task: Sequence[str] = ("binary",)  # primary tasks of the upper level
    weight_decay: float = 1e-3
    unknown: str = "zero"  # zero | mask
    precision: str = "float32"  # float32 | bfloat16


@dataclass
class StepResult:
    """task_losses: float [3]. weights: the task weights the step used. hypergradient: [3], None in plain steps."""

    task_losses: list[float]
    weights: list[float]
    hypergradient: list[float] | None = None


def epoch_learning_rates(initial: float, n_epochs: int, t_max: int = 5) -> list[float]:
    """Learning rate of every epoch: a cosine that falls from ``initial`` to 0 in ``t_max`` epochs and rises again.

    An epoch never runs at rate 0: the schedule then advances once more, as in the reference.
    """
    rates, position = [], 0
    for _ in range(n_epochs):
        if position % (2 * t_max) == t_max:
            position += 1
        rates.append(initial * (1 + math.cos(math.pi * position / t_max)) / 2)
        position += 1
    return rates


class Trainer:
    """Holds the model, its AdamW optimizer and the task weights, and makes training steps.

    Batches are pairs of images (float [B, 3, S, S], CLIP-normalised RGB) and labels (float [B, nodes]) on the model's
    device.
    """

    def __init__(self, model: JointEmbedding, settings: TrainerSettings) -> None:
        if settings.hypergrad == "fd" and settings.precision != "float32":
            raise UserError("--hypergrad fd needs --precision float32: bfloat16 drowns the difference in rounding")
        self.model = model
        self.settings = settings
        # CLIP's logit scale takes no part in the scores: no gradient, no optimizer state, no weight decay for it.
        unused = {id(model.clip.logit_scale)}
        self.parameters = [p for p in model.parameters() if p.requires_grad and id(p) not in unused]
        self.optimizer = torch.optim.AdamW(self.parameters, lr=1.0, weight_decay=settings.weight_decay, fused=True)
        self.auto_lambda = (
            AutoLambda(len(TASKS), settings.autol_init, settings.autol_lr) if settings.weight == "autol" else None
        )
        self._primary = [TASKS.index(task) for task in settings.task]
        self._device_type = next(model.parameters()).device.type
        if settings.hypergrad == "fd":
            torch.backends.cuda.matmul.allow_tf32 = False
            torch.backends.cudnn.allow_tf32 = False

    def set_learning_rate(self, lr: float) -> None:
        """Set the rate of the next steps (the virtual step uses the same)."""
        for group in self.optimizer.param_groups:
            group["lr"] = lr

    @property
    def learning_rate(self) -> float:
        """The rate the next step uses."""
        return self.optimizer.param_groups[0]["lr"]

    @property
    def weights(self) -> list[float]:
        """Present weights of the three tasks."""
        return self.auto_lambda.weights if self.auto_lambda else [1.0] * len(TASKS)

    def needs_second_batch(self, step: int) -> bool:
        """Whether training step ``step`` (counted from 0 over the whole run) updates lambda."""
        return self.auto_lambda is not None and step % self.settings.lambda_every == 0

    def losses(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Task losses float32 [3] of a batch at the present parameters: images and prompts are encoded once each."""
        return self._losses_of(self._marginals(images), labels)

    def _marginals(self, images: torch.Tensor) -> torch.Tensor:
        bfloat16 = self.settings.precision == "bfloat16"
        with torch.autocast(self._device_type, torch.bfloat16, enabled=bfloat16):
            scores = self.model(images)
        return marginals(scores, self.model.tree)

    def _losses_of(self, p: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return fidelity_losses(p, labels, self.model.tree, self.settings.unknown)

    def _gradient(self, losses: torch.Tensor) -> Sequence[torch.Tensor]:
        """Gradient of the losses [3] weighted with the present task weights, by every parameter."""
        total = (losses * torch.tensor(self.weights, device=losses.device)).sum()
        return torch.autograd.grad(total, self.parameters, materialize_grads=True)

    def step(self, batch: Sequence[torch.Tensor], second: Sequence[torch.Tensor] | None = None) -> StepResult:
        """One AdamW step on ``batch``. With a second batch lambda is updated first (the bi-level step).

        Raises UserError, before any weight has changed, when a loss is not finite.
        """
        if second is None:
            losses = self.losses(*batch)
            task_losses = self._checked(losses.detach())
            weights, hypergradient = self.weights, None
            gradients = self._gradient(losses)
        else:
            result = bilevel_step(
                lambda: self.losses(*batch),
                lambda: self.losses(*second)[self._primary].sum(),
                self.parameters,
                self.weights,
                self.learning_rate,
                self.settings.weight_decay,
                self.settings.hypergrad,
            )
            task_losses = self._checked(result.task_losses)
            self._checked(result.hypergradient, "hypergradient")
            self.auto_lambda.update(result.hypergradient)
            weights, hypergradient = self.weights, result.hypergradient.tolist()
            gradients = weighted_sum(result.task_gradients, weights)
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.model.clip.token_embedding.rows.requires_grad:
            self.model.clip.token_embedding.decay(1 - self.learning_rate * self.settings.weight_decay)
        return StepResult(task_losses, weights, hypergradient)

    @staticmethod
    def _checked(of_tasks: torch.Tensor, what: str = "loss") -> list[float]:
        values = of_tasks.tolist()
        if not all(math.isfinite(value) for value in values):
            named = ", ".join(f"{name} {value:g}" for name, value in zip(TASKS, values, strict=True))
            raise UserError(
                f"the {what} is not finite ({named}); lower --initial_lr or check the weights the run started from"
            )
        return values

    def health(self, batch: Sequence[torch.Tensor]) -> dict[str, tuple[int, float, float]]:
        """Per class present in the batch: (images, mean P(real), norm of the weighted loss's gradient).

        The fidelity loss's gradient vanishes as P(real) goes to 0, so a stuck start shows here.
        """
        images, labels = batch
        report = {}
        for name, chosen in (("real", labels[:, 0] == 0), ("fake", labels[:, 0] == 1)):
            if not chosen.any():
                continue
            p = self._marginals(images[chosen])
            gradients = self._gradient(self._losses_of(p, labels[chosen]))
            norm = torch.stack([g.double().square().sum() for g in gradients]).sum().sqrt().item()
            report[name] = (int(chosen.sum()), float(1 - p[:, 0].detach().mean()), norm)
        return report

    def state_dict(self) -> dict:
        """What a resumed run needs beside the weights, as plain types and tensors."""
        state = {"optimizer": self.optimizer.state_dict()}
        return state | ({"auto_lambda": self.auto_lambda.state_dict()} if self.auto_lambda else {})

    def load_state_dict(self, state: dict) -> None:
        """Inverse of ``state_dict``."""
        self.optimizer.load_state_dict(state["optimizer"])
        if self.auto_lambda:
            self.auto_lambda.load_state_dict(state["auto_lambda"])
