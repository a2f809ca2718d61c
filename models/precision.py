"""The number formats in which the towers compute; weights, scores and losses keep their own."""

import contextlib
from collections.abc import Iterator, Sequence

import torch
from torch import nn

from models.lora import LowRank
from models.parameter_rows import copy_all

# Whether oneDNN has bfloat16 kernels for this CPU: fast ones with AVX512_BF16, AMX or Arm's bfloat16, slow ones with
# other AVX-512. On other CPUs PyTorch uses its own. A constant, because torch.compile cannot trace the call.
CPU_HAS_BFLOAT16_KERNELS = torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()


def autocast(device_type: str, precision: str) -> torch.autocast:
    """Context in which the towers compute in bfloat16 or float16; for other precisions it does nothing.

    (tf32 is a setting of the device, utils.devices.set_tf32.)
    """
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float16
    return torch.autocast(device_type, dtype, enabled=precision in ("bfloat16", "float16"))


def _product_weights(tower: nn.Module) -> list[nn.Parameter]:
    """The weights that autocast rounds: those of products, not of normalisations and embeddings."""
    of_products = (nn.Linear, nn.Conv2d, nn.MultiheadAttention, LowRank)
    chosen = [
        p for module in tower.modules() if isinstance(module, of_products) for p in module.parameters(recurse=False)
    ]
    return chosen + [p for name, p in tower.named_parameters() if name in ("proj", "text_projection")]


class RoundedWeights:
    """A tower's product weights, rounded to bfloat16 or float16 by one kernel; none at other precisions.

    Autocast alone would round each weight by a kernel of its own. Values and gradients are the same, except that the
    gradients are rounded.
    """

    def __init__(self, tower: nn.Module, precision: str) -> None:
        rounds = precision in ("bfloat16", "float16")
        self._weights = _product_weights(tower) if rounds else []
        self._dtype = getattr(torch, precision) if rounds else None

    def rounded(self) -> list[torch.Tensor]:
        """Rounded copies of the weights' current values."""
        with torch.inference_mode(False):
            copies = [torch.empty(weight.shape, dtype=self._dtype, device=weight.device) for weight in self._weights]
            copy_all(copies, [weight.data for weight in self._weights])
        return copies

    @contextlib.contextmanager
    def in_use(self, rounded: Sequence[torch.Tensor] | None = None) -> Iterator[None]:
        """Let the tower use ``rounded`` (default: its weights, rounded now) inside the block."""
        with pointing_at(self._weights, self.rounded() if rounded is None else rounded):
            yield


@contextlib.contextmanager
def pointing_at(parameters: Sequence[nn.Parameter], values: Sequence[torch.Tensor]) -> Iterator[None]:
    """Let the parameters use the memory of ``values`` inside the block, and their own again afterwards."""
    originals = [parameter.data for parameter in parameters]
    try:
        for parameter, value in zip(parameters, values, strict=True):
            parameter.data = value
        yield
    finally:
        for parameter, original in zip(parameters, originals, strict=True):
            parameter.data = original


class LossScale:
    """The factor by which losses are multiplied before a float16 backward pass, as in torch.amp.GradScaler.

    It is halved if a gradient is not finite (the step is then skipped), and doubled after ``interval`` finite steps.
    """

    def __init__(self, value: float = 2.0**16, interval: int = 2000) -> None:
        self.value = value
        self._interval = interval
        self._good_steps = 0

    def update(self, finite: bool) -> None:
        """Count a step. finite: whether all its gradients are."""
        self._good_steps = self._good_steps + 1 if finite else 0
        if not finite:
            self.value /= 2
        elif self._good_steps == self._interval:
            self.value, self._good_steps = self.value * 2, 0

    def state_dict(self) -> dict:
        """The state as plain types."""
        return {"value": self.value, "good_steps": self._good_steps}

    def load_state_dict(self, state: dict) -> None:
        """Inverse of ``state_dict``."""
        self.value, self._good_steps = state["value"], state["good_steps"]
