"""Several processes, as torchrun starts them; without torchrun every function does what one process needs.

Tensors go through gloo on the CPU and through NCCL between CUDA devices, Python objects through gloo.
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist

from utils.cli import ToldError, UserError
from utils.ranks import is_main, rank, world_size

_TIMEOUT = timedelta(hours=12)  # of waiting for a slower process; torchrun ends all when one dies
T = TypeVar("T")


@contextlib.contextmanager
def process_group(device: torch.device) -> Iterator[None]:
    """Join the processes that torchrun started, for the time of the block. device: of this process.

    UserError where WORLD_SIZE is set by something else than torchrun.
    """
    if world_size() == 1:
        yield
        return
    missing = [name for name in ("RANK", "LOCAL_RANK", "MASTER_PORT") if not os.environ.get(name, "").isdecimal()]
    if missing:
        raise UserError(f"WORLD_SIZE is set, but no number {', '.join(missing)}; start several processes with torchrun")
    dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo", timeout=_TIMEOUT)
    try:
        yield
    except RuntimeError as error:  # what gloo and NCCL raise when another process is gone
        if "onnection" in str(error) or "NCCL" in str(error):
            raise UserError(
                f"another process of the run ended (its message is above); process {rank()} ends"
            ) from error
        raise
    dist.barrier()  # where another process has left already, gloo of torch 2.6 may wait for it for ever
    # There the end of the group also waits, holding Python's lock, for gloo's threads, which need that lock to let go
    # of the tensors they reduced last: they do so now.
    time.sleep(0.1)
    dist.destroy_process_group()


class Reductions:
    """Sums over the processes that run while something else is computed."""

    def __init__(self) -> None:
        self._running: list[dist.Work] = []

    def start(self, tensor: torch.Tensor) -> None:
        """Begin to replace a tensor by its sum over the processes. Until ``finish`` nothing else may touch it."""
        if world_size() > 1:
            self._running.append(dist.all_reduce(tensor, async_op=True))

    def finish(self) -> float:
        """Wait for all. Returns the factor that makes means of the sums; all processes then have the same bits."""
        while self._running:
            self._running.pop().wait()
        return 1 / world_size()


def means_and_flags(figures: torch.Tensor, flags: Sequence[bool]) -> tuple[list[float], list[bool]]:
    """The means of ``figures`` [N] over the processes, and for each flag whether it is set in any of them. One message
    for both, and the CPU waits for the device once."""
    if world_size() == 1:
        return figures.tolist(), list(flags)
    sums = torch.cat([figures, *(figures.new_full((1,), float(flag)) for flag in flags)])
    dist.all_reduce(sums)
    values = sums.tolist()
    means = [value / world_size() for value in values[: len(figures)]]
    return means, [value > 0 for value in values[len(figures) :]]


def sum_over_ranks(tensor: torch.Tensor) -> None:
    """Replace a tensor by its sum over the processes."""
    if world_size() > 1:
        dist.all_reduce(tensor)


def any_over_ranks(flag: bool) -> bool:
    """Whether the flag is set in any process."""
    if world_size() == 1:
        return flag
    flags = torch.tensor([int(flag)])
    dist.all_reduce(flags)
    return bool(flags.item())


def copy_from_main(tensors: Sequence[torch.Tensor]) -> None:
    """Give every process the values of the main process."""
    for tensor in tensors if world_size() > 1 else ():
        dist.broadcast(tensor.detach(), src=0)


def gather(value: T) -> list[T] | None:
    """The values of all processes in order of rank, in the main process; None in the others."""
    if world_size() == 1:
        return [value]
    values: list[T | None] | None = [None] * world_size() if is_main() else None
    dist.gather_object(value, values)
    return values


def on_main(function: Callable[[], T]) -> T:
    """The result of ``function``, called in the main process only, in all of them; so is a UserError it raises."""
    if world_size() == 1:
        return function()
    outcome: list = [None, None]
    if is_main():
        try:
            outcome[0] = function()
        except UserError as error:
            outcome[1] = str(error)
    dist.broadcast_object_list(outcome, src=0)
    if outcome[1] is not None:
        raise UserError(outcome[1]) if is_main() else ToldError(outcome[1])
    return outcome[0]
