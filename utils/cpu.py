"""How many CPU cores this process may use, and how many worker processes to start."""

import os

from utils.ranks import local_world_size


def available_cores() -> int:
    """Number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def default_workers() -> int:
    """Default number of worker processes: one per core, at most 32. torchrun's processes share the cores."""
    return min(32, max(1, available_cores() // local_world_size()))
