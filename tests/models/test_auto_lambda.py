"""The bi-level step on a tiny double-precision model, against second-order autograd and plain arithmetic."""

import copy

import pytest
import torch
from torch import nn
from torch.func import functional_call

from models.auto_lambda import AutoLambda, bilevel_step, gradients_of
from models.gradient_methods import weighted_sum

pytestmark = pytest.mark.numeric

LR, DECAY = 0.05, 0.1


@pytest.fixture
def problem():
    """(model, train losses [3] as a function, primary loss as a function, weights)."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)).double()
    model.register_parameter("unused", nn.Parameter(torch.ones(2, dtype=torch.float64)))
    x, y = torch.randn(2, 16, 4, dtype=torch.float64), torch.randn(2, 16, 3, dtype=torch.float64)

    def losses(which):
        return ((model(x[which]) - y[which]) ** 2).mean(0)

    return model, losses, x, y, [1.0, 0.7, -0.4]


def second_order(model, x, y, weights):
    """d L_primary(theta'(lambda)) / d lambda by autograd through the virtual step."""
    params = dict(model.named_parameters())
    used = {name: p for name, p in params.items() if name != "unused"}
    lam = torch.tensor(weights, dtype=torch.float64, requires_grad=True)
    losses = ((functional_call(model, params, (x[0],)) - y[0]) ** 2).mean(0)
    gradients = torch.autograd.grad((lam * losses).sum(), list(used.values()), create_graph=True)
    virtual = {n: p - LR * (g + DECAY * p) for (n, p), g in zip(used.items(), gradients, strict=True)}
    primary = ((functional_call(model, params | virtual, (x[1],)) - y[1]) ** 2).mean(0)[0]
    return torch.autograd.grad(primary, lam)[0]


def step(problem, hypergrad="exact"):
    model, losses, _, _, weights = problem
    return bilevel_step(
        [lambda: losses(0)], [lambda: losses(1)], [1, 0, 0], list(model.parameters()), weights, LR, DECAY, hypergrad
    )


def test_exact_hypergradient_equals_second_order_autograd(problem):
    model, _, x, y, weights = problem
    expected = second_order(model, x, y, weights)
    assert ((step(problem).hypergradient - expected).abs() / expected.abs()).max() < 1e-6


def test_finite_difference_with_a_small_step_is_near_and_the_references_step_is_the_default(problem, monkeypatch):
    import models.auto_lambda as module

    model, _, x, y, weights = problem
    expected = second_order(model, x, y, weights)
    original = module.finite_difference_hypergradient
    assert original.__defaults__ == (0.01,)
    monkeypatch.setattr(module, "finite_difference_hypergradient", lambda *a: original(*a, eps=1e-4))
    assert ((step(problem, "fd").hypergradient - expected).abs() / expected.abs()).max() < 1e-2


@pytest.mark.parametrize("hypergrad", ["exact", "fd"])
def test_parameters_are_left_bit_identical(problem, hypergrad):
    model = problem[0]
    before = copy.deepcopy(model.state_dict())
    pointers = [p.data_ptr() for p in model.parameters()]
    step(problem, hypergrad)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert pointers == [p.data_ptr() for p in model.parameters()]


def test_parameters_come_back_when_a_pass_fails(problem):
    model, losses, *_ = problem
    before = copy.deepcopy(model.state_dict())

    def broken():
        raise RuntimeError("second batch")

    with pytest.raises(RuntimeError, match="second batch"):
        bilevel_step([lambda: losses(0)], [broken], [1, 0, 0], list(model.parameters()), [1.0] * 3, LR, DECAY)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_task_gradients_and_their_weighted_sum(problem):
    model, losses, *_ = problem
    result = step(problem)
    parameters = list(model.parameters())
    expected = torch.autograd.grad(
        (losses(0) * torch.tensor([0.5, -2.0, 3.0])).sum(), parameters, materialize_grads=True
    )
    total = weighted_sum(result.task_gradients, [0.5, -2.0, 3.0])
    assert all(torch.allclose(a, b, atol=1e-12) for a, b in zip(total, expected, strict=True))
    assert torch.equal(total[0], torch.zeros(2, dtype=torch.float64)), "the unused parameter comes first, gradient 0"


@pytest.mark.parametrize("hypergrad", ["exact", "fd"])
def test_parts_of_a_batch_give_what_the_whole_gives(problem, hypergrad):
    model, _, x, y, weights = problem

    def parts(which, sizes):
        pieces = zip(x[which].split(sizes), y[which].split(sizes), strict=True)
        return [lambda a=a, b=b: ((model(a) - b) ** 2).mean(0) * (len(a) / 16) for a, b in pieces]

    parameters, whole = list(model.parameters()), step(problem, hypergrad)
    ours = bilevel_step(
        parts(0, [5, 5, 6]), parts(1, [8, 8]), [1, 0, 0], parameters, weights, LR, DECAY, hypergrad, scale=1024.0
    )
    assert torch.allclose(ours.hypergradient, whole.hypergradient, rtol=1e-9)
    assert torch.allclose(ours.task_losses, whole.task_losses)
    for mine, theirs in zip(
        [*ours.task_gradients, ours.direction], [*whole.task_gradients, whole.direction], strict=True
    ):
        assert all(torch.allclose(a, b, atol=1e-12) for a, b in zip(mine, theirs, strict=True))


def test_gradients_of_weighted_sums(problem):
    model, losses, *_ = problem
    parameters = list(model.parameters())
    values, (first, second) = gradients_of([lambda: losses(0)], [[1, 0, 0], [0.5, -2, 3]], parameters)
    assert torch.equal(values, losses(0)), "the same computation twice"
    expected = torch.autograd.grad(losses(0)[0], parameters, materialize_grads=True)
    assert all(torch.allclose(a, b, atol=1e-12) for a, b in zip(first, expected, strict=True))
    total = (losses(0) * torch.tensor([0.5, -2.0, 3.0])).sum()
    expected = torch.autograd.grad(total, parameters, materialize_grads=True)
    assert all(torch.allclose(a, b, atol=1e-12) for a, b in zip(second, expected, strict=True))


def test_lambda_takes_adam_steps_along_the_hypergradient():
    weighting = AutoLambda(3, init=1.0, lr=1e-3)
    reference = torch.ones(3, requires_grad=True)
    optimizer = torch.optim.Adam([reference], lr=1e-3)
    for gradient in (torch.tensor([1.0, -2.0, 0.0]), torch.tensor([-0.5, -1.0, 1e-9])):
        weighting.update(gradient.double())
        reference.grad = gradient
        optimizer.step()
    assert weighting.weights == reference.tolist()


def test_lambda_state_round_trips():
    first, second = AutoLambda(3, 1.0, 1e-2), AutoLambda(3, 5.0, 1e-2)
    first.update(torch.tensor([1.0, -2.0, 0.5]))
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for weighting in (first, second):
        weighting.update(torch.tensor([0.3, -2.0, 0.5]))
    assert first.weights == second.weights
