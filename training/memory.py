"""Reuse freed CPU memory in the next training step."""

import ctypes
import sys

# Parameters of glibc's mallopt (malloc.h).
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4


def keep_freed_memory() -> None:
    """Tell glibc's allocator not to return freed memory to the system. Does nothing without glibc.

    A bi-level step of ViT-B/32 frees about 5 GB. Getting them back costs the next step 1.2 million page faults, 10 to
    20% of its time on 2 cores. The peak memory stays the same.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, -1)
        mallopt(_M_TOP_PAD, 512 * 2**20)
