"""Count the GPU operations of a training step and its batches, without a GPU; prints one line of JSON.

kernel_ops: operations that launch at least one kernel; an operation on many tensors counts once.
host_syncs: times the CPU waits for the device (a value is read, a copy is synchronous).

Tensors hold no memory and nothing is computed: the towers run on a stand-in device with CUDA's autocast and attention.
"""

import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from unittest import mock

sys.path[0] = str(Path(__file__).resolve().parent.parent)

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode

from datasets.transforms import normalise
from models.choices import GRAD_METHODS, MODEL_NAMES, WEIGHTINGS
from models.joint_embedding import JointEmbedding, architecture
from models.label_tree import FFPP
from training.trainer import Trainer, TrainerSettings
from utils.cli import ArgumentParser, UserError, non_negative_int, positive_int, script

DEVICE = "gpu"  # the stand-in's name
_AUTOCAST, _AUTOGRAD = torch._C.DispatchKey.AutocastPrivateUse1, torch._C.DispatchKey.AutogradPrivateUse1
# What CUDA's autocast computes in the lower precision and in float32, of the operations in the towers.
_LOW = ("linear", "matmul", "conv2d", "scaled_dot_product_attention")
_FLOAT32 = ("layer_norm", "softmax.int", "exp", "cosine_similarity")
_NO_KERNEL = ("empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "lift_fresh", "detach", "alias",
              "_unsafe_view", "_reshape_alias", "set_", "resize_")  # fmt: skip


def stand_in_device() -> list[torch.library.Library]:
    """Register the device with PyTorch. Its kernels stay registered as long as the result is referenced."""
    if not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"):
        raise UserError(f"torch {torch.__version__} knows no devices made in Python; use a newer one")
    module = backend_registration._DummyBackendModule()
    module.get_amp_supported_dtype = lambda: [torch.bfloat16, torch.float16]
    backend_registration._setup_privateuseone_for_python_backend(DEVICE, backend_module=module)
    torch.autograd.set_multithreading_enabled(False)  # the device has no thread of its own
    library, others = torch.library.Library("aten", "IMPL"), torch.library.Library("_", "IMPL")
    for names, dtype in ((_LOW, lambda: torch.get_autocast_dtype(DEVICE)), (_FLOAT32, lambda: torch.float32)):
        for name in names:
            library.impl(name, _under_autocast(name, dtype), "AutocastPrivateUse1")
    others.fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")
    library.impl("scaled_dot_product_attention", _fused_attention, "AutogradPrivateUse1")
    library.impl("silu_backward", _without(_AUTOGRAD, torch.ops.aten.silu_backward.default), "AutogradPrivateUse1")
    return [library, others]


def _without(key: torch._C.DispatchKey, operation: Callable) -> Callable:
    """The operation below a dispatch key, which would split it into several."""

    def call(*args: object, **settings: object) -> object:
        with torch._C._ExcludeDispatchKeyGuard(torch._C.DispatchKeySet(key)):
            return operation(*args, **settings)

    return call


def _under_autocast(name: str, dtype: Callable[[], torch.dtype]) -> Callable:
    packet, _, overload = name.partition(".")
    below = _without(_AUTOCAST, getattr(getattr(torch.ops.aten, packet), overload or "default"))

    def cast(value: object) -> object:
        return value.to(dtype()) if isinstance(value, torch.Tensor) and value.is_floating_point() else value

    def call(*args: object, **settings: object) -> object:
        return below(*map(cast, args), **settings)

    return call


def _fused_attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None = None, *_args: object, **_kw: object
) -> torch.Tensor:
    """CUDA's choice: with a mask, or in float32, the memory-efficient kernel, else flash attention."""
    if mask is None and q.dtype in (torch.bfloat16, torch.float16):
        return torch.ops.aten._scaled_dot_product_flash_attention(q, k, v)[0]
    if mask is not None and mask.dtype == torch.bool:
        mask = torch.zeros_like(mask, dtype=q.dtype).masked_fill_(mask.logical_not(), -torch.inf)
    bias = mask if mask is None else mask.expand(*q.shape[:3], k.shape[2])
    return torch.ops.aten._scaled_dot_product_efficient_attention(q, k, v, bias, torch.is_grad_enabled())[0]


class _FakeTensors(FakeTensorMode):
    """Fake tensors whose constants are made on the CPU and copied, as with a real device."""

    avoid_device_init = True


class Counting(TorchDispatchMode):
    """Counts kernels and waits inside the ``with`` block."""

    def __init__(self) -> None:
        super().__init__()
        self.kernels: Counter[str] = Counter()
        self.waits: Counter[str] = Counter()

    def __torch_dispatch__(
        self, function: torch._ops.OpOverload, _types: object, args: tuple = (), kwargs: dict | None = None
    ) -> object:
        kwargs = kwargs or {}
        name = function.name().removeprefix("aten::")
        used = {value.device.type for value in torch.utils._pytree.tree_leaves((args, kwargs)) if _is_tensor(value)}
        if name == "_local_scalar_dense":
            self.waits[name] += DEVICE in used
            return float(DEVICE not in used)
        result = function(*args, **kwargs)
        of_result = {value.device.type for value in torch.utils._pytree.tree_leaves(result) if _is_tensor(value)}
        if DEVICE not in used | of_result or name.startswith(("prim::", "profiler::")):
            return result
        if name.partition(".")[0] in ("_to_copy", "copy_") and "cpu" in used | of_result:
            to_cpu = "cpu" in of_result
            self.waits["copy to the CPU" if to_cpu else "copy to the device"] += to_cpu or not _non_blocking(
                args, kwargs
            )
        elif not function.is_view and name.partition(".")[0] not in _NO_KERNEL:
            self.kernels[name] += 1
        return result

    def to_list(self, tensor: torch.Tensor) -> list:
        """Replaces Tensor.tolist: zeros and a wait for the device's tensors (no step overflows), ones for others."""
        of_device = tensor.device.type == DEVICE
        self.waits["tolist"] += of_device
        return _filled(tensor.shape, float(not of_device))


def _filled(shape: Sequence[int], value: float) -> list | float:
    return [_filled(shape[1:], value) for _ in range(shape[0])] if shape else value


def _is_tensor(value: object) -> bool:
    return isinstance(value, torch.Tensor)


def _non_blocking(args: tuple, kwargs: dict) -> bool:
    return bool(kwargs.get("non_blocking") or (len(args) > 2 and args[2]))


def on_stand_in(model: JointEmbedding) -> JointEmbedding:
    """Replace the model's weights and buffers by tensors without memory. Call inside the fake tensor mode."""
    for module in model.modules():
        for name, value in module._parameters.items():
            if value is not None:
                module._parameters[name] = nn.Parameter(torch.empty(value.shape, dtype=value.dtype, device=DEVICE))
        for name, value in module._buffers.items():
            if value is not None:
                module._buffers[name] = torch.empty(value.shape, dtype=value.dtype, device=DEVICE)
    return model


def count(name: str, batch_size: int, settings: TrainerSettings) -> Counting:
    """The counts of the second step of a training."""
    model = JointEmbedding(architecture(name), FFPP)
    kept = stand_in_device()
    with _FakeTensors(allow_non_fake_inputs=True):
        trainer = Trainer(on_stand_in(model), settings)
        trainer.set_learning_rate(6e-7)
        side, second = model.image_size, settings.weight == "autol"

        def batch() -> tuple[torch.Tensor, torch.Tensor]:
            images = torch.empty(batch_size, 3, side, side, dtype=torch.uint8).to(DEVICE, non_blocking=True)
            return normalise(images), torch.empty(batch_size, len(FFPP.nodes)).to(DEVICE, non_blocking=True)

        def step() -> None:
            assert not trainer.step(batch(), batch() if second else None).skipped

        _counted(step)  # creates constants and the optimizer's state
        counting = _counted(step)
    del kept
    return counting


def _counted(function: Callable[[], object]) -> Counting:
    counting = Counting()
    generator = torch.Generator  # the stand-in has none
    with (
        counting,
        mock.patch.object(FakeTensor, "tolist", lambda tensor: counting.to_list(tensor)),
        mock.patch("torch.Generator", lambda _device: generator()),
    ):
        function()
    return counting


@script
def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark; see --help."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--VM", choices=MODEL_NAMES, default="ViT-B/32", help="CLIP model")
    parser.add_argument("--batch_size", type=positive_int, default=32, help="images per step")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="bfloat16", help="of the image tower")
    parser.add_argument("--weight", choices=WEIGHTINGS, default="autol", help="task weighting")
    parser.add_argument("--grad_method", choices=GRAD_METHODS, default="none", help="of conflicting task gradients")
    parser.add_argument(
        "--top", type=non_negative_int, default=0, metavar="N", help="print the N most frequent operations too"
    )
    args = parser.parse_args(argv)
    settings = TrainerSettings(weight=args.weight, grad_method=args.grad_method, precision=args.precision)
    counting = count(args.VM, args.batch_size, settings)
    for name, times in (counting.kernels + counting.waits).most_common(args.top):
        print(f"{times:6d} {name}", file=sys.stderr)
    print(json.dumps({"kernel_ops": counting.kernels.total(), "host_syncs": counting.waits.total()}))


if __name__ == "__main__":
    sys.exit(main())
