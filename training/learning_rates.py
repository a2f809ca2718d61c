"""The learning-rate schedule."""

import math


def epoch_learning_rates(initial: float, n_epochs: int, t_max: int = 5) -> list[float]:
    """Learning rate of every epoch: a cosine that falls from ``initial`` to 0 in ``t_max`` epochs and rises again.

    The epochs with rate 0 are left out, as in the reference.
    """
    rates, position = [], 0
    for _ in range(n_epochs):
        if position % (2 * t_max) == t_max:
            position += 1
        rates.append(initial * (1 + math.cos(math.pi * position / t_max)) / 2)
        position += 1
    return rates
