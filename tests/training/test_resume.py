"""The random generators of a resumed run."""

import numpy as np
import torch

from training.resume import rng_state, set_rng_state


def test_rng_state_round_trips():
    state = rng_state()
    assert set(state) == {"torch", "numpy"}
    first = (torch.rand(3), np.random.rand(3))
    set_rng_state(state | {"cuda": [torch.zeros(16, dtype=torch.uint8)] * 8})  # as older ones from 8 GPUs
    assert torch.equal(first[0], torch.rand(3))
    assert np.array_equal(first[1], np.random.rand(3))
