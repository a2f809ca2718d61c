"""The rank of this process among torchrun's processes; without torchrun, 0 of 1. Does not import torch."""

import os


def not_numbers(*names: str) -> list[str]:
    """The environment variables among ``names`` that are not set to a number; they count as not set."""
    return [name for name in names if not os.environ.get(name, "").isdecimal()]


def _number(name: str, default: int) -> int:
    return default if not_numbers(name) else int(os.environ[name])


def world_size() -> int:
    """Number of processes."""
    return _number("WORLD_SIZE", 1)


def rank() -> int:
    """Number of this process among all, from 0."""
    return _number("RANK", 0) if world_size() > 1 else 0


def local_rank() -> int:
    """Number of this process on its machine, from 0; also that of its CUDA device."""
    return _number("LOCAL_RANK", 0)


def local_world_size() -> int:
    """Number of processes on this machine."""
    return _number("LOCAL_WORLD_SIZE", 1)


def is_main() -> bool:
    """Whether this is the process that writes files and prints."""
    return rank() == 0


def share(n: int) -> range:
    """This process's part of ``range(n)``: contiguous, in rank order, sizes differ by at most one."""
    return range(n * rank() // world_size(), n * (rank() + 1) // world_size())
