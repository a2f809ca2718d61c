"""The optimisation of a JointEmbedding: learning rates, one training step, and the state a resumed run needs."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from models.choices import TASKS
from models.joint_embedding import JointEmbedding
from models.losses import task_losses
from models.parameter_rows import ParameterRows, filled
from models.precision import LossScale, RoundedWeights, autocast
from models.tree_inference import marginals
from training.auto_lambda import AutoLambda, Part, bilevel_step, mean_gradients
from training.cuda_graph import Recorded
from training.gradient_methods import combine
from training.task_weighting import DynamicWeightAverage, TaskWeighting, Uncertainty, load_optimizer
from utils.cli import UserError
from utils.devices import set_tf32
from utils.distributed import means_and_flags


@dataclass(frozen=True)
class TrainerSettings:
    """lr-independent settings of the optimisation; the command line's names and defaults."""

    weight: str = "equal"  # of task_weighting.WEIGHTINGS
    grad_method: str = "none"  # of gradient_methods.GRAD_METHODS
    autol_init: float = 1.0
    autol_lr: float = 1e-3
    lambda_every: int = 1  # one lambda update in this many steps, plain steps between
    hypergrad: str = "exact"  # exact | fd
    task: Sequence[str] = ("binary",)  # primary tasks of the upper level
    loss: str = "fidelity"  # of losses.LOSSES
    weight_decay: float = 1e-3
    unknown: str = "zero"  # zero | mask
    precision: str = "float32"  # of precision.PRECISIONS
    accum: int = 1  # parts that a batch is computed in
    cuda_graph: bool = False  # record the kernels that make a step's gradients
    seed: int = 0  # of the draws of graddrop and pcgrad


@dataclass
class StepResult:
    """task_losses: float [3]. weights: the task weights the step used. hypergradient: [3], None in plain steps.
    skipped: the step changed nothing, because float16 gradients were not finite. flags: see ``Trainer.step``."""

    task_losses: list[float]
    weights: list[float]
    hypergradient: list[float] | None = None
    skipped: bool = False
    flags: Sequence[bool] = ()


def task_weighting(settings: TrainerSettings) -> TaskWeighting:
    """The weighting that the settings name, at its start."""
    n_tasks = len(TASKS)
    if settings.weight == "autol":
        return AutoLambda(n_tasks, settings.autol_init, settings.autol_lr)
    if settings.weight == "uncert":
        return Uncertainty(n_tasks, settings.autol_lr)
    return DynamicWeightAverage(n_tasks) if settings.weight == "dwa" else TaskWeighting(n_tasks)


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
    device. What the model does not train has ``requires_grad`` off before the trainer is made.
    """

    def __init__(self, model: JointEmbedding, settings: TrainerSettings) -> None:
        if settings.hypergrad == "fd" and settings.precision != "float32":
            raise UserError(f"--hypergrad fd needs --precision float32: {settings.precision} rounds it away")
        device = next(model.parameters()).device
        self.model = model
        self.settings = settings
        # The paper's score leaves CLIP's logit scale out: no gradient, no optimizer state, no weight decay for it.
        unused = {id(model.clip.logit_scale)} if model.score == "product" else set()
        self.parameters = [p for p in model.parameters() if p.requires_grad and id(p) not in unused]
        self.optimizer = torch.optim.AdamW(self.parameters, lr=1.0, weight_decay=settings.weight_decay, fused=True)
        self.weighting = task_weighting(settings)
        self.loss_scale = LossScale() if settings.precision == "float16" else None
        self._device_type = device.type
        self._primary = torch.tensor([float(task in settings.task) for task in TASKS], device=device)
        self._each = torch.eye(len(TASKS), device=device)
        self._rounded = RoundedWeights(model.clip.visual, settings.precision)
        learns = isinstance(self.weighting, AutoLambda)
        self._tasks = ParameterRows(self.parameters, len(TASKS) if learns or not self._one_sum else 0)
        # theta', d and in the end the direction of the update, in turn.
        self._scratch = ParameterRows(self.parameters, 2 if learns and settings.accum > 1 else 1)
        self._scratch.release()
        functions = (self._bilevel, self._plain) if settings.cuda_graph else ()
        self._recorded = {function.__name__: Recorded(function) for function in functions}
        self._frozen_text = None
        if not model.clip.text_projection.requires_grad:
            with torch.no_grad():
                self._frozen_text = model.encode_prompts()
        if settings.hypergrad == "fd":
            set_tf32(False)

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
        return self.weighting.weights

    def needs_second_batch(self, step: int) -> bool:
        """Whether training step ``step`` (counted from 0 over the whole run) updates lambda."""
        return isinstance(self.weighting, AutoLambda) and step % self.settings.lambda_every == 0

    def scores(self, images: torch.Tensor) -> torch.Tensor:
        """Node scores float32 [B, nodes] at the present parameters: images and prompts are encoded once each."""
        with autocast(self._device_type, self.settings.precision):
            return self.model(images, self._frozen_text)

    def losses(self, scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Task losses float32 [3] of a batch with these node scores."""
        return task_losses(self.settings.loss, scores, labels, self.model.tree, self.settings.unknown)

    def parts(self, batch: Sequence[torch.Tensor]) -> list[Part]:
        """The batch as parts whose task losses add up to the batch's; one, unless --accum asks for more."""
        pieces = zip(*(tensor.chunk(self.settings.accum) for tensor in batch), strict=True)

        def losses(labels: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
            return self.losses(scores, labels) * (len(labels) / len(batch[1]))

        return [Part(partial(self.scores, images), partial(losses, labels)) for images, labels in pieces]

    def step(
        self,
        batch: Sequence[torch.Tensor],
        second: Sequence[torch.Tensor] | None = None,
        run_step: int = 0,
        flags: Callable[[], Sequence[bool]] = tuple,
    ) -> StepResult:
        """One AdamW step on ``batch``. With a second batch lambda is updated first (the bi-level step).

        run_step: the step's number in the run, which seeds what gradient methods draw. flags: asked when the gradients
        are there; the result tells for each flag whether it is set in any process. Raises UserError, before any weight
        has changed, when a loss is not finite.
        """
        n = len(TASKS)
        try:
            local = self._gradients(batch, second)
            figures, asked = means_and_flags(local, flags())  # the step's one wait for the device
            losses, overflow, hypergradient = figures[:n], figures[n] > 0, figures[n + 1 :]
            self._check(losses)
            if self.loss_scale:
                self.loss_scale.update(not overflow)
            if overflow:
                return StepResult(losses, self.weights, None, True, asked)
            if hypergradient:
                self._check(hypergradient, "hypergradient")
                self.weighting.update(torch.tensor(hypergradient))
            weights = self.weights
            if second is not None or not self._one_sum:
                seed = (self.settings.seed, run_step)
                self._scratch.claim()
                combine(self.settings.grad_method, self._tasks.data, weights, seed, self._scratch.data[-1])
            self._descend()
        finally:
            self.optimizer.zero_grad(set_to_none=True)  # its gradients are views of what is released
            if not self._recorded:
                self._scratch.release()
        self.weighting.after_step(losses)
        return StepResult(losses, weights, hypergradient or None, False, asked)

    def _descend(self) -> None:
        """An AdamW step along the last row."""
        for parameter, gradient in zip(self.parameters, self._scratch.views[-1], strict=True):
            parameter.grad = gradient
        self.optimizer.step()
        if self._frozen_text is None:
            self.model.clip.token_embedding.decay(1 - self.learning_rate * self.settings.weight_decay)

    @property
    def _one_sum(self) -> bool:
        """Whether a plain step differentiates the weighted sum of the task losses alone."""
        return self.settings.grad_method == "none"

    def _gradients(self, batch: Sequence[torch.Tensor], second: Sequence[torch.Tensor] | None) -> torch.Tensor:
        """The step's gradients into the rows; figures of this rank, see ``_bilevel`` and ``_plain``."""
        function = self._plain if second is None else self._bilevel
        inputs = (filled(self.weights, self._primary), *batch, *(second or ()))
        if not self._recorded:
            return function(*inputs)
        return self._recorded[function.__name__](self.learning_rate, *inputs)

    def _bilevel(
        self,
        weights: torch.Tensor,
        images: torch.Tensor,
        labels: torch.Tensor,
        second_images: torch.Tensor,
        second_labels: torch.Tensor,
    ) -> torch.Tensor:
        """Task gradients and d into the rows; this rank's losses [3], overflow [1] and hypergradient [3], float64."""
        result = bilevel_step(
            self.parts((images, labels)),
            self.parts((second_images, second_labels)),
            self._primary,
            self.parameters,
            self._tasks,
            self._scratch,
            weights,
            self.learning_rate,
            self.settings.weight_decay,
            self.settings.hypergrad,
            self.loss_scale and self.loss_scale.value,
            self._rounded.in_use,
        )
        return torch.cat([result.task_losses.double(), result.overflow.double(), result.hypergradient])

    def _plain(self, weights: torch.Tensor, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Task gradients into the first rows, or their weighted sum into the last one; this rank's losses [3] and
        overflow [1], float64."""
        rows = self._scratch if self._one_sum else self._tasks
        rows.claim()
        objectives = weights.unsqueeze(0) if self._one_sum else self._each
        data, views = rows.data[-len(objectives) :], rows.views[-len(objectives) :]
        overflow = torch.zeros(1, device=data.device)
        losses = mean_gradients(
            self.parts((images, labels)),
            objectives,
            self.parameters,
            data,
            views,
            self.loss_scale and self.loss_scale.value,
            overflow,
            self._rounded.in_use,
        )
        return torch.cat([losses.double(), overflow.double()])

    @staticmethod
    def _check(of_tasks: Sequence[float], what: str = "loss") -> None:
        if not all(math.isfinite(value) for value in of_tasks):
            named = ", ".join(f"{name} {value:g}" for name, value in zip(TASKS, of_tasks, strict=True))
            raise UserError(
                f"the {what} is not finite ({named}); lower --initial_lr or check the weights the run started from"
            )

    def health(self, batch: Sequence[torch.Tensor]) -> dict[str, tuple[int, float, float]]:
        """Per class present in the batch: (images, mean P(real), norm of the weighted loss's gradient).

        The fidelity loss's gradient vanishes as P(real) goes to 0, so a stuck start shows here.
        """
        images, labels = batch
        report = {}
        for name, chosen in (("real", labels[:, 0] == 0), ("fake", labels[:, 0] == 1)):
            if not chosen.any():
                continue
            scores = self.scores(images[chosen])
            total = (self.losses(scores, labels[chosen]) * scores.new_tensor(self.weights)).sum()
            gradient = torch.autograd.grad(total, self.parameters, materialize_grads=True)
            norm = torch.stack(torch._foreach_norm(gradient)).norm().item()
            p_real = 1 - marginals(scores.detach(), self.model.tree)[:, 0].mean().item()
            report[name] = (int(chosen.sum()), p_real, norm)
        return report

    def state_dict(self) -> dict:
        """What a resumed run needs beside the weights, as plain types and tensors."""
        state = {"optimizer": self.optimizer.state_dict(), "weighting": self.weighting.state_dict()}
        return state | ({"loss_scale": self.loss_scale.state_dict()} if self.loss_scale else {})

    def load_state_dict(self, state: dict) -> None:
        """Inverse of ``state_dict``. ValueError for the state of another optimizer."""
        load_optimizer(self.optimizer, state["optimizer"])
        self.weighting.load_state_dict(state["weighting"])
        if self.loss_scale:
            self.loss_scale.load_state_dict(state["loss_scale"])
