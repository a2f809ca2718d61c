"""Keeping freed memory in the process, for steps on a CPU that allocate and free gigabytes again and again."""

import ctypes
import sys

# Parameters of glibc's mallopt (malloc.h).
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4


def keep_freed_memory() -> None:
    """Tell glibc's allocator not to give freed memory back to the system; without glibc nothing happens.

    A bi-level step of ViT-B/32 frees about 5 GB. Given back, they cost 1.2 million page faults in the next step,
    10 to 20% of its time on 2 cores; the peak of the resident memory stays the same.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, -1)
        mallopt(_M_TOP_PAD, 512 * 2**20)
