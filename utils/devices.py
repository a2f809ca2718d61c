"""Choosing the device and number of loader workers."""

import os

import torch

from utils.cli import UserError
from utils.cpu import available_cores


def choose_device(gpu: int) -> torch.device:
    """CUDA device number ``gpu``, or the CPU on a machine without CUDA.

    UserError for a number that is not there, and under torchrun: the scripts are one process so far, and several would
    do the same work and write the same files.
    """
    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise UserError(
            "several processes (torchrun) are not supported yet; start the script with python, on one device"
        )
    if not torch.cuda.is_available():
        return torch.device("cpu")
    if gpu >= torch.cuda.device_count():
        raise UserError(f"--gpu {gpu}: this machine has {torch.cuda.device_count()} CUDA devices, numbered from 0")
    return torch.device("cuda", gpu)


def describe(device: torch.device) -> str:
    """The device in words, for the log."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"the CPU ({torch.get_num_threads()} threads; no CUDA device was found)"


def default_workers() -> int:
    """Loader processes when none are asked for: one per CPU core this process may use, at most 8."""
    return min(8, available_cores())
