"""Communication between the processes that torchrun started; every function also works in a single process.

Tensors travel by gloo on the CPU and by NCCL between CUDA devices, Python objects by gloo.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist

from utils.cli import ToldError, UserError
from utils.ranks import is_main, not_numbers, rank, world_size

_TIMEOUT = timedelta(hours=12)  # for a slower process; torchrun ends all of them when one dies
T = TypeVar("T")


@contextlib.contextmanager
def process_group(device: torch.device) -> Iterator[None]:
    """Join the processes that torchrun started, for the block. device: of this process.

    Raises:
        UserError: Something other than torchrun set WORLD_SIZE, or another process ended.
    """
    if world_size() == 1:
        yield
        return
    if missing := not_numbers("RANK", "LOCAL_RANK", "MASTER_PORT"):
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
    dist.barrier()  # gloo of torch 2.6 may wait for ever for a process that has left
    # There destroy_process_group may deadlock: it holds the GIL and waits for gloo's threads, which need the GIL to
    # release the tensors they reduced last. This gives them the time.
    time.sleep(0.1)
    dist.destroy_process_group()


class Reductions:
    """Sums over the processes, in the background."""

    def __init__(self) -> None:
        self._running: list[dist.Work] = []

    def start(self, tensor: torch.Tensor) -> None:
        """Start to replace a tensor by its sum over the processes. Do not use it until ``finish``."""
        if world_size() > 1:
            self._running.append(dist.all_reduce(tensor, async_op=True))

    def finish(self) -> float:
        """Wait for all sums, the same bits in all processes. Returns the factor that turns them into means."""
        while self._running:
            self._running.pop().wait()
        return 1 / world_size()


def means_and_flags(figures: torch.Tensor, flags: Sequence[bool]) -> tuple[list[float], list[bool]]:
    """Reduce numbers and flags in one message, so that the CPU waits for the device once.

    Args:
        figures: [N] float.
        flags: Any number of them.

    Returns:
        The means of ``figures`` over the processes, and for each flag whether any process has set it.
    """
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
    """Whether any process has set the flag."""
    if world_size() == 1:
        return flag
    flags = torch.tensor([int(flag)])
    dist.all_reduce(flags)
    return bool(flags.item())


def copy_from_main(tensors: Sequence[torch.Tensor]) -> None:
    """Overwrite the tensors of every process with those of the main process."""
    for tensor in tensors if world_size() > 1 else ():
        dist.broadcast(tensor.detach(), src=0)


def gather(value: T) -> list[T] | None:
    """In the main process the values of all processes, in order of rank; None in the others."""
    if world_size() == 1:
        return [value]
    values: list | None = [None] * world_size() if is_main() else None
    dist.gather_object(value, values)
    return values


def on_main(function: Callable[[], T]) -> T:
    """Call a function in the main process. All processes return its result, or raise its UserError."""
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
