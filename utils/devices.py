"""Choose the device to compute on; switches for TF32 and deterministic kernels."""

import contextlib
import os
from collections.abc import Iterator

import torch

from utils.cli import UserError
from utils.ranks import local_rank, world_size


def set_tf32(allowed: bool) -> None:
    """Allow or forbid TF32: CUDA then rounds the factors of float32 products and convolutions to 10 bits."""
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed


@contextlib.contextmanager
def exact_products() -> Iterator[None]:
    """Forbid TF32 for float32 products inside the block."""
    matmul = torch.backends.cuda.matmul
    allowed, matmul.allow_tf32 = matmul.allow_tf32, False
    try:
        yield
    finally:
        matmul.allow_tf32 = allowed


def choose_device(gpu: int | None, precision: str = "float32") -> torch.device:
    """Choose this process's device (the CPU without CUDA) and set TF32 for ``precision``, one of PRECISIONS.

    gpu: number of the CUDA device; None: the first one, or under torchrun one for each process.

    Raises UserError if the device does not exist or lacks the precision, or ``gpu`` is given under torchrun.
    """
    if gpu is not None and world_size() > 1:
        raise UserError("--gpu is for a single process; under torchrun set CUDA_VISIBLE_DEVICES instead")
    set_tf32(precision == "tf32")
    if not torch.cuda.is_available():
        if precision in ("tf32", "float16"):
            raise UserError(f"--precision {precision} needs a CUDA device; without one use bfloat16 or float32")
        return torch.device("cpu")
    number = gpu or local_rank()
    if number >= torch.cuda.device_count():
        what = f"--gpu {gpu}" if gpu is not None else f"process {number} of torchrun has no CUDA device of its own"
        raise UserError(f"{what}: this machine has {torch.cuda.device_count()} CUDA devices, numbered from 0")
    torch.cuda.set_device(number)
    if precision == "bfloat16" and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise UserError(f"--precision bfloat16: {torch.cuda.get_device_name(number)} only emulates it; use float16")
    return torch.device("cuda", number)


def describe(device: torch.device) -> str:
    """The device in words, for messages."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"the CPU ({torch.get_num_threads()} threads; no CUDA device was found)"


@contextlib.contextmanager
def deterministic(wanted: bool) -> Iterator[None]:
    """Use deterministic kernels inside the block if ``wanted``. PyTorch warns of operations that have none.

    Enter before the first computation: cuBLAS reads its setting only once.
    """
    if wanted:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # required by cuBLAS since CUDA 10.2
        torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        if wanted:
            torch.use_deterministic_algorithms(False)
