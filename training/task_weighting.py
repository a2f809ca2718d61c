"""Weights of the T tasks in the training loss sum_i w_i L_i.

- equal: 1 each.
- uncert (Kendall et al., "Multi-Task Learning Using Uncertainty", CVPR 2018; in the form of Liu et al., "Auto-Lambda",
  TMLR 2022): minimise sum_i L_i / (2 e^s_i) + s_i / 2 over s too; s_i is -0.7 at the start.
- dwa, dynamic weight average (Liu et al., "End-to-End Multi-Task Learning with Attention", CVPR 2019): 1 each in the
  first two epochs, then T softmax(r / 2) with r_i the ratio of task i's mean losses in the last two epochs.
- autol: training/auto_lambda.py.
"""

from collections.abc import Sequence

import numpy as np
import torch


class TaskWeighting:
    """Equal weights; base class of all weightings."""

    def __init__(self, n_tasks: int) -> None:
        self.n_tasks = n_tasks

    @property
    def weights(self) -> list[float]:
        """Current task weights, [T]."""
        return [1.0] * self.n_tasks

    def after_step(self, losses: Sequence[float]) -> None:
        """Update the weights from the task losses [T] of a step."""

    def after_epoch(self, losses: Sequence[float]) -> None:
        """Update the weights from the mean task losses [T] of an epoch."""

    def state_dict(self) -> dict:
        """What a resumed run needs, as plain types and tensors."""
        return {}

    def load_state_dict(self, state: dict) -> None:
        """Inverse of ``state_dict``."""


class LearnedValues(TaskWeighting):
    """A weighting with a learned value per task, float32 [T], and its own Adam optimizer."""

    def __init__(self, n_tasks: int, init: float, lr: float) -> None:
        super().__init__(n_tasks)
        self.values = torch.full((n_tasks,), init, dtype=torch.float32)
        self._optimizer = torch.optim.Adam([self.values], lr=lr)

    def update(self, gradient: torch.Tensor) -> None:
        """Make an Adam step along ``gradient`` [T]."""
        self.values.grad = gradient.to(self.values)
        self._optimizer.step()

    def state_dict(self) -> dict:
        return {"values": self.values.clone(), "optimizer": self._optimizer.state_dict()}

    def load_state_dict(self, state: dict) -> None:
        self.values.copy_(state["values"])
        load_optimizer(self._optimizer, state["optimizer"])


def load_optimizer(optimizer: torch.optim.Optimizer, state: dict) -> None:
    """Load an optimizer's state. Raises ValueError if its weights or settings, except the rate, are other ones."""
    own = [dict(group) for group in optimizer.param_groups]
    optimizer.load_state_dict(state)
    for group, settings in zip(optimizer.param_groups, own, strict=True):
        for key in settings.keys() - {"params", "lr"}:
            if group[key] != settings[key]:
                raise ValueError(f"its optimizer has {key} {group[key]!r}, not {settings[key]!r}")
    for parameter, values in optimizer.state.items():
        shapes = [values[name].shape for name in ("exp_avg", "exp_avg_sq", "step")]
        if shapes != [parameter.shape, parameter.shape, torch.Size()]:
            raise ValueError("its optimizer has the state of other weights")


class Uncertainty(LearnedValues):
    """Weights 1 / (2 e^s_i), s learned at --autol_lr: at the rate of CLIP's towers, 6e-7, it would hardly change."""

    def __init__(self, n_tasks: int, lr: float) -> None:
        super().__init__(n_tasks, init=-0.7, lr=lr)

    @property
    def weights(self) -> list[float]:
        return (0.5 * torch.exp(-self.values)).tolist()

    def after_step(self, losses: Sequence[float]) -> None:
        # The derivative of L / (2 e^s) + s / 2 by s.
        self.update(0.5 - 0.5 * torch.exp(-self.values) * torch.tensor(losses))


class DynamicWeightAverage(TaskWeighting):
    """Larger weights for tasks whose loss falls more slowly."""

    def __init__(self, n_tasks: int) -> None:
        super().__init__(n_tasks)
        self._history: list[list[float]] = []  # mean task losses of the last two epochs

    @property
    def weights(self) -> list[float]:
        if len(self._history) < 2:
            return super().weights
        before, last = np.maximum(np.array(self._history), 1e-12)  # no division by a loss of 0
        exponentials = np.exp(last / before / 2)
        return (self.n_tasks * exponentials / exponentials.sum()).tolist()

    def after_epoch(self, losses: Sequence[float]) -> None:
        self._history = [*self._history, list(losses)][-2:]

    def state_dict(self) -> dict:
        return {"history": self._history}

    def load_state_dict(self, state: dict) -> None:
        self._history = [[float(loss) for loss in losses] for losses in state["history"]]
        if any(len(losses) != self.n_tasks for losses in self._history):
            raise ValueError(f"its losses are not those of {self.n_tasks} tasks")
