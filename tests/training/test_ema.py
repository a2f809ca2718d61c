import copy

import pytest
import torch
from torch import nn

from training.ema import WeightAverage

pytestmark = pytest.mark.numeric


def parameters():
    torch.manual_seed(0)
    return [nn.Parameter(torch.randn(5, 3)), nn.Parameter(torch.randn(7))]


def walk(parameters, average, steps, seed=0):
    """Move the parameters by random steps; returns their values after each."""
    generator, values = torch.Generator().manual_seed(seed), []
    for _ in range(steps):
        for parameter in parameters:
            parameter.data += torch.randn(parameter.shape, generator=generator)
        average.update()
        values.append([parameter.detach().clone() for parameter in parameters])
    return values


def test_running_mean_is_the_naive_one():
    weights = parameters()
    means = [weight.detach().double() for weight in weights]
    average = WeightAverage(weights, 0.9)
    for t, values in enumerate(walk(weights, average, 200)):
        decay = min(0.9, (1 + t) / (10 + t))
        means = [decay * mean + (1 - decay) * value.double() for mean, value in zip(means, values, strict=True)]
    for ours, naive in zip(average.mean, means, strict=True):
        assert ours.dtype == torch.float32
        assert torch.allclose(ours.double(), naive, rtol=0, atol=1e-6 * naive.abs().max().item())


def test_weights_are_swapped_inside_and_the_same_afterwards():
    weights = parameters()
    average = WeightAverage(weights, 0.5)
    walk(weights, average, 3)
    before = [(weight.data_ptr(), weight.detach().clone()) for weight in weights]
    with average.in_use():
        assert all(torch.equal(weight, mean) for weight, mean in zip(weights, average.mean, strict=True))
    assert all(
        weight.data_ptr() == place and torch.equal(weight, value)
        for weight, (place, value) in zip(weights, before, strict=True)
    )


def test_state_continues_to_the_bit_and_fits_its_weights_only():
    weights = parameters()
    average = WeightAverage(weights, 0.99)
    walk(weights, average, 5)
    other = WeightAverage(parameters(), 0.99)
    other.load_state_dict(copy.deepcopy(average.state_dict()))
    for mine, theirs in zip(other._parameters, weights, strict=True):
        mine.data.copy_(theirs)
    walk(weights, average, 5, seed=1)
    walk(other._parameters, other, 5, seed=1)
    assert all(torch.equal(a, b) for a, b in zip(average.mean, other.mean, strict=True))
    with pytest.raises(ValueError, match="other weights"):
        WeightAverage(weights[:1], 0.99).load_state_dict(average.state_dict())
