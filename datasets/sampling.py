"""Which frames of a video are taken."""


def evenly_spaced_indices(count: int, wanted: int) -> list[int]:
    """At most ``wanted`` of the indices 0..count-1: linspace from first to last cut to integers, duplicates once."""
    import numpy as np  # which --help does without

    return np.unique(np.linspace(0, count - 1, wanted, endpoint=True, dtype=int)).tolist() if count else []
