"""Exponential moving average (EMA) of the trained weights: --ema."""

import contextlib
from collections.abc import Iterator, Sequence

import torch
from torch import nn

from models.precision import pointing_at


class WeightAverage:
    """A running mean of parameters, in their dtype: mean += (1 - d) (weight - mean) after each step.

    d = min(decay, (1 + t) / (10 + t)) in step t = 0, 1, ...: the first steps forget the initial weights quickly, as in
    TensorFlow's ExponentialMovingAverage.

    Attributes:
        mean: in the order of ``parameters``; at first copies of them.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], decay: float) -> None:
        self.mean = [parameter.detach().clone() for parameter in parameters]
        self._parameters, self._decay, self._updates = parameters, decay, 0

    @torch.no_grad()
    def update(self) -> None:
        """Count a step. One kernel, without waiting for the device."""
        decay = min(self._decay, (1 + self._updates) / (10 + self._updates))
        torch._foreach_lerp_(self.mean, list(self._parameters), 1 - decay)
        self._updates += 1

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """Let the parameters have their mean values inside the block."""
        with pointing_at(self._parameters, self.mean):
            yield

    def state_dict(self) -> dict:
        """What a resumed run needs. A list, so that no reader of a checkpoint takes it for a model's weights."""
        return {"mean": self.mean, "updates": self._updates}

    def load_state_dict(self, state: dict) -> None:
        """Inverse of ``state_dict``. Raises ValueError for the state of other parameters."""
        if [mean.shape for mean in state["mean"]] != [mean.shape for mean in self.mean]:
            raise ValueError("the running mean is of other weights")
        torch._foreach_copy_(self.mean, [mean.to(self.mean[0]) for mean in state["mean"]])
        self._updates = int(state["updates"])
