"""A training step of a JointEmbedding, learning rates, and the state that a resumed run needs."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from models.choices import TASKS
from models.joint_embedding import JointEmbedding
from models.losses import task_losses
from models.parameter_rows import ParameterRows, tensor_like
from models.precision import LossScale, RoundedWeights, autocast
from models.tree_inference import marginals
from training.auto_lambda import AutoLambda, Bilevel
from training.cuda_graph import Recorded
from training.ema import WeightAverage
from training.gradient_methods import combine
from training.gradients import Part, mean_gradients
from training.task_weighting import DynamicWeightAverage, TaskWeighting, Uncertainty, load_optimizer
from training.tuning import tower_weights
from utils.cli import UserError
from utils.devices import set_tf32
from utils.distributed import means_and_flags


@dataclass(frozen=True)
class TrainerSettings:
    """The command-line options of these names."""

    weight: str = "equal"  # one of WEIGHTINGS
    grad_method: str = "none"  # one of GRAD_METHODS
    autol_init: float = 1.0
    autol_lr: float = 1e-3
    lambda_every: int = 1  # steps between two lambda updates
    hypergrad: str = "exact"  # exact | fd
    task: Sequence[str] = ("binary",)  # primary tasks
    loss: str = "fidelity"  # one of LOSSES
    weight_decay: float = 1e-3
    unknown: str = "zero"  # zero | mask
    precision: str = "float32"  # one of PRECISIONS
    accum: int = 1  # parts of a batch
    cuda_graph: bool = False
    seed: int = 0  # of the draws of graddrop and pcgrad
    ema: float | None = None  # decay of the running mean of the weights; None: there is none


@dataclass
class StepResult:
    """What a training step did; lists have a value for each task."""

    task_losses: list[float]
    weights: list[float]  # the task weights that the step used
    hypergradient: list[float] | None = None  # None: lambda was not updated
    skipped: bool = False  # nothing changed, because a float16 gradient was not finite
    flags: Sequence[bool] = ()  # see ``Trainer.step``


def task_weighting(settings: TrainerSettings) -> TaskWeighting:
    """The chosen weighting in its initial state."""
    n_tasks = len(TASKS)
    if settings.weight == "autol":
        return AutoLambda(n_tasks, settings.autol_init, settings.autol_lr)
    if settings.weight == "uncert":
        return Uncertainty(n_tasks, settings.autol_lr)
    return DynamicWeightAverage(n_tasks) if settings.weight == "dwa" else TaskWeighting(n_tasks)


class Trainer:
    """Holds the model, its AdamW optimizer and the task weights, and makes training steps.

    Batches are pairs of images (float32 [B, 3, S, S], CLIP-normalised RGB) and labels (float32 [B, nodes] of 0, 1 and
    UNKNOWN) on the model's device. Parameters whose ``requires_grad`` is False are not trained.

    Raises UserError if --hypergrad fd is used with another precision than float32.
    """

    def __init__(self, model: JointEmbedding, settings: TrainerSettings) -> None:
        if settings.hypergrad == "fd" and settings.precision != "float32":
            raise UserError(
                f"--hypergrad fd needs --precision float32: rounding to {settings.precision} hides the difference"
            )
        device = next(model.parameters()).device
        self.model = model
        self.settings = settings
        # No score uses SigLIP's bias, and the paper's does not use CLIP's logit scale, so they are not trained.
        unused = {id(model.clip.logit_bias)} | ({id(model.clip.logit_scale)} if model.score == "product" else set())
        self.parameters = [p for p in model.parameters() if p.requires_grad and id(p) not in unused]
        self.optimizer = torch.optim.AdamW(self.parameters, lr=1.0, weight_decay=settings.weight_decay, fused=True)
        self.weighting = task_weighting(settings)
        self.loss_scale = LossScale() if settings.precision == "float16" else None
        self.ema = WeightAverage(self.parameters, settings.ema) if settings.ema is not None else None
        self._device_type = device.type
        self._each = torch.eye(len(TASKS), device=device)
        self._rounded = RoundedWeights(model.clip.visual, settings.precision)
        # Whether plain steps need only the gradient of the weighted sum of the task losses.
        self._sum_only = settings.grad_method == "none"
        learns = isinstance(self.weighting, AutoLambda)
        self._tasks = ParameterRows(self.parameters, len(TASKS) if learns or not self._sum_only else 0)
        # Holds theta', then d, then the update direction.
        self._scratch = ParameterRows(self.parameters, 2 if learns and settings.accum > 1 else 1)
        self._scratch.free()
        self._bilevel_step = Bilevel(
            self.parameters,
            self._tasks,
            self._scratch,
            primary=torch.tensor([float(task in settings.task) for task in TASKS], device=device),
            weight_decay=settings.weight_decay,
            hypergrad=settings.hypergrad,
            context=self._rounded.in_use,
        )
        functions = (self._bilevel, self._plain) if settings.cuda_graph else ()
        self._recorded = {function.__name__: Recorded(function) for function in functions}
        self._frozen_text = None
        if not any(parameter.requires_grad for _, parameter in tower_weights(model, "text")):
            with torch.no_grad():
                self._frozen_text = model.encode_prompts()
        if settings.hypergrad == "fd":
            set_tf32(False)

    def set_learning_rate(self, lr: float) -> None:
        """Set the rate of the next steps, also of virtual steps."""
        for group in self.optimizer.param_groups:
            group["lr"] = lr

    @property
    def learning_rate(self) -> float:
        """Rate of the next step."""
        return self.optimizer.param_groups[0]["lr"]

    @property
    def weights(self) -> list[float]:
        """Current task weights, [3]."""
        return self.weighting.weights

    def needs_second_batch(self, step: int) -> bool:
        """Whether step ``step`` of the run, from 0, updates lambda."""
        return isinstance(self.weighting, AutoLambda) and step % self.settings.lambda_every == 0

    def scores(self, images: torch.Tensor) -> torch.Tensor:
        """Node scores float32 [B, nodes] of images [B, 3, S, S]."""
        with autocast(self._device_type, self.settings.precision):
            return self.model(images, self._frozen_text)

    def losses(self, scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Task losses float32 [3] of node scores and labels [B, nodes]."""
        return task_losses(self.settings.loss, scores, labels, self.model.tree, self.settings.unknown)

    def parts(self, batch: Sequence[torch.Tensor]) -> list[Part]:
        """Split a batch into ``accum`` parts whose task losses add up to the batch's."""
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
        """Make an AdamW step; with a second batch a bi-level step, which updates lambda first.

        Args:
            run_step: number of the step in the run; seeds the draws of gradient methods.
            flags: called when the gradients are computed. The result tells for each flag whether any process set it.

        Raises UserError if a loss or hypergradient is not finite; then no weight has changed.
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
            if hypergradient and isinstance(self.weighting, AutoLambda):
                self._check(hypergradient, "hypergradient")
                self.weighting.update(torch.tensor(hypergradient))
            weights = self.weights
            if second is not None or not self._sum_only:
                seed = (self.settings.seed, run_step)
                self._scratch.allocate()
                combine(self.settings.grad_method, self._tasks.data, weights, seed, self._scratch.data[-1])
            self._descend()
            if self.ema:
                self.ema.update()
        finally:
            self.optimizer.zero_grad(set_to_none=True)  # the gradients are views of the memory freed below
            if not self._recorded:
                self._scratch.free()
        self.weighting.after_step(losses)
        return StepResult(losses, weights, hypergradient or None, False, asked)

    def _descend(self) -> None:
        """Make an AdamW step along the last scratch row."""
        for parameter, gradient in zip(self.parameters, self._scratch.views[-1], strict=True):
            parameter.grad = gradient
        self.optimizer.step()
        embedding = self.model.text_tower.token_embedding
        if embedding.rows.requires_grad:
            embedding.decay(1 - self.learning_rate * self.settings.weight_decay)

    def _gradients(self, batch: Sequence[torch.Tensor], second: Sequence[torch.Tensor] | None) -> torch.Tensor:
        """Write the step's gradients into the rows; returns what ``_bilevel`` or ``_plain`` returns."""
        function = self._plain if second is None else self._bilevel
        inputs = (tensor_like(self.weights, self._each), *batch, *(second or ()))
        if not self._recorded:
            return function(*inputs)
        return self._recorded[function.__name__](self.learning_rate, *inputs)

    @property
    def _scale(self) -> float | None:
        return self.loss_scale.value if self.loss_scale else None

    def _bilevel(self, weights: torch.Tensor, *batches: torch.Tensor) -> torch.Tensor:
        """Write task gradients and d into the rows; returns float64 losses [3], overflow [1], hypergradient [3].

        batches: images and labels of the training batch, then of the second batch.
        """
        train_parts, second_parts = self.parts(batches[:2]), self.parts(batches[2:])
        figures = self._bilevel_step.step(train_parts, second_parts, weights, self.learning_rate, self._scale)
        return torch.cat([values.double() for values in figures])

    def _plain(self, weights: torch.Tensor, *batch: torch.Tensor) -> torch.Tensor:
        """Write task gradients, or only their weighted sum, into the rows; returns losses [3] and overflow [1]."""
        rows, objectives = (self._scratch, weights.unsqueeze(0)) if self._sum_only else (self._tasks, self._each)
        rows.allocate()
        parts, context = self.parts(batch), self._rounded.in_use
        losses, overflow = mean_gradients(parts, objectives, self.parameters, rows, self._scale, context)
        return torch.cat([losses.double(), overflow.double()])

    @staticmethod
    def _check(of_tasks: Sequence[float], what: str = "loss") -> None:
        if not all(math.isfinite(value) for value in of_tasks):
            named = ", ".join(f"{name} {value:g}" for name, value in zip(TASKS, of_tasks, strict=True))
            raise UserError(
                f"the {what} is not finite ({named}); lower --initial_lr or check the weights the run started from"
            )

    def health(self, batch: Sequence[torch.Tensor]) -> dict[str, tuple[int, float, float]]:
        """Class in the batch (real, fake) -> number of images, mean P(real), norm of the weighted loss's gradient.

        Shows a start that cannot learn: the gradient of the fidelity loss vanishes as P(real) goes to 0.
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
        """What a resumed run needs besides the model's weights, as plain types and tensors."""
        state = {"optimizer": self.optimizer.state_dict(), "weighting": self.weighting.state_dict()}
        state |= {"ema": self.ema.state_dict()} if self.ema else {}
        return state | ({"loss_scale": self.loss_scale.state_dict()} if self.loss_scale else {})

    def load_state_dict(self, state: dict) -> None:
        """Inverse of ``state_dict``. Raises ValueError for the state of another optimizer."""
        load_optimizer(self.optimizer, state["optimizer"])
        self.weighting.load_state_dict(state["weighting"])
        if self.ema:
            self.ema.load_state_dict(state["ema"])
        if self.loss_scale:
            self.loss_scale.load_state_dict(state["loss_scale"])
