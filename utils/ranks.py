"""Which of the processes that torchrun started this is; without torchrun, the only one. (Needs no torch.)

Variables that hold no number count as not set.
"""

import os


def _number(name: str, default: int) -> int:
    text = os.environ.get(name, "")
    return int(text) if text.isdecimal() else default


def world_size() -> int:
    """Number of processes."""
    return _number("WORLD_SIZE", 1)


def rank() -> int:
    """Number of this process, from 0."""
    return _number("RANK", 0) if world_size() > 1 else 0


def local_rank() -> int:
    """Number of this process on its machine, from 0: its CUDA device."""
    return _number("LOCAL_RANK", 0)


def local_world_size() -> int:
    """Number of processes on this machine."""
    return _number("LOCAL_WORLD_SIZE", 1)


def is_main() -> bool:
    """Whether this process is the one that writes files and speaks."""
    return rank() == 0


def share(n: int) -> range:
    """The part of ``range(n)`` that is this process's: contiguous, in order of rank, sizes differ by at most one."""
    return range(n * rank() // world_size(), n * (rank() + 1) // world_size())
