"""How many CPU cores there are to use, and processes to use them."""

import os

from utils.ranks import local_world_size


def available_cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def default_workers() -> int:
    """Loader processes when none are asked for: one per CPU core this process may use, at most 32, which feed any GPU;
    under torchrun the processes of a machine share its cores."""
    return min(32, max(1, available_cores() // local_world_size()))
