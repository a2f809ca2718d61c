"""Which of a video's frames are taken."""

import numpy as np


def evenly_spaced_indices(count: int, wanted: int) -> list[int]:
    """At most ``wanted`` of the indices 0..count-1: linspace from first to last cut to integers, duplicates once."""
    return np.unique(np.linspace(0, count - 1, wanted, endpoint=True, dtype=int)).tolist() if count else []
