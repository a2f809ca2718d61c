"""The number formats the towers may compute in. Weights, scores, losses and sums over states keep their own."""

import torch

# Whether oneDNN has kernels in bfloat16 for this CPU: fast ones with AVX512_BF16, AMX or Arm's bfloat16, slow ones with
# any other AVX-512. Elsewhere PyTorch does without them. A constant, because torch.compile cannot trace the question.
CPU_HAS_BFLOAT16_KERNELS = torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()


def autocast(device_type: str, precision: str) -> torch.autocast:
    """Context in which the towers compute at ``precision``, one of PRECISIONS. float32 and tf32 change nothing: TF32 is
    a setting of the device (utils.devices.set_tf32)."""
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float16
    return torch.autocast(device_type, dtype, enabled=precision in ("bfloat16", "float16"))


class LossScale:
    """The factor by which losses are multiplied before a float16 backward pass, as in torch.amp.GradScaler.

    Gradients are divided by it again. When one of them is not finite the step is left out and the factor halved; after
    ``interval`` steps without that it is doubled.
    """

    def __init__(self, value: float = 2.0**16, interval: int = 2000) -> None:
        self.value = value
        self._interval = interval
        self._good_steps = 0

    def update(self, finite: bool) -> None:
        """Note whether a step's gradients were finite."""
        self._good_steps = self._good_steps + 1 if finite else 0
        if not finite:
            self.value /= 2
        elif self._good_steps == self._interval:
            self.value, self._good_steps = self.value * 2, 0

    def state_dict(self) -> dict:
        """Plain types; ``load_state_dict`` is the inverse."""
        return {"value": self.value, "good_steps": self._good_steps}

    def load_state_dict(self, state: dict) -> None:
        """Inverse of ``state_dict``."""
        self.value, self._good_steps = state["value"], state["good_steps"]
