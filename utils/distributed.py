"""Communication between torchrun's processes: gloo for CPU tensors and objects, NCCL for CUDA tensors.

Every function also works in a single process.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist

from utils.cli import PrintedError, UserError
from utils.ranks import is_main, not_numbers, rank, world_size

_TIMEOUT = timedelta(hours=12)  # waiting for a slow process; if one dies, torchrun ends the others
T = TypeVar("T")


@contextlib.contextmanager
def process_group(device: torch.device) -> Iterator[None]:
    """Connect torchrun's processes during the block.

    Raises UserError if something other than torchrun set WORLD_SIZE, or another process ended.
    """
    if world_size() == 1:
        yield
        return
    if missing := not_numbers("RANK", "LOCAL_RANK", "MASTER_PORT"):
        raise UserError(f"WORLD_SIZE is set without {', '.join(missing)}; start several processes with torchrun")
    dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo", timeout=_TIMEOUT)
    try:
        yield
    except RuntimeError as error:  # from gloo or NCCL when another process has ended
        if "onnection" in str(error) or "NCCL" in str(error):
            raise UserError(f"another process ended (its message is above), so process {rank()} ends too") from error
        raise
    dist.barrier()  # gloo of torch 2.6 may wait forever for a process that has left
    # In torch 2.6 destroy_process_group may deadlock: it holds the GIL and waits for gloo's threads, which need the GIL
    # to release the last reduced tensors. The pause gives them time for that.
    time.sleep(0.1)
    dist.destroy_process_group()


class Reductions:
    """Sums over the processes, in the background."""

    def __init__(self) -> None:
        self._running: list[dist.Work] = []

    def start(self, tensor: torch.Tensor) -> None:
        """Start replacing a tensor by its sum over the processes. Do not use it before ``finish``."""
        if world_size() > 1:
            self._running.append(dist.all_reduce(tensor, async_op=True))

    def finish(self) -> float:
        """Wait for all sums. Returns 1 / number of processes, the factor that turns them into means."""
        while self._running:
            self._running.pop().wait()
        return 1 / world_size()


def means_and_flags(figures: torch.Tensor, flags: Sequence[bool]) -> tuple[list[float], list[bool]]:
    """Means of ``figures`` (float [N]) over the processes, and for each flag whether any process has set it.

    All travel in one message, so the CPU waits for the device once.
    """
    if world_size() == 1:
        return figures.tolist(), list(flags)
    sums = torch.cat([figures, *(figures.new_full((1,), float(flag)) for flag in flags)])
    dist.all_reduce(sums)
    values = sums.tolist()
    means = [value / world_size() for value in values[: len(figures)]]
    return means, [value > 0 for value in values[len(figures) :]]


def any_over_ranks(flag: bool) -> bool:
    """Whether any process has set the flag."""
    return means_and_flags(torch.empty(0), [flag])[1][0]


def copy_from_main(tensors: Sequence[torch.Tensor]) -> None:
    """Overwrite the tensors of every process with those of the main process."""
    for tensor in tensors if world_size() > 1 else ():
        dist.broadcast(tensor.detach(), src=0)


def gather(value: T) -> list[T] | None:
    """Returns all processes' values in the main process, in order of rank; None in the others."""
    if world_size() == 1:
        return [value]
    values: list | None = [None] * world_size() if is_main() else None
    dist.gather_object(value, values)
    return values


def on_main(function: Callable[[], T]) -> T:
    """Call a function in the main process. All processes return its result, or raise its UserError."""
    if world_size() == 1:
        return function()
    outcome: list = [None, None]  # result, error message
    if is_main():
        try:
            outcome[0] = function()
        except UserError as error:
            outcome[1] = str(error)
    dist.broadcast_object_list(outcome, src=0)
    result, message = outcome
    if message is not None:
        raise UserError(message) if is_main() else PrintedError(message)
    return result
