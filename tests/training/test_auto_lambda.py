"""The bi-level step on a tiny double-precision model, against second-order autograd and plain arithmetic."""

import copy
from collections import namedtuple

import pytest
import torch
from torch import nn
from torch.func import functional_call

from models.parameter_rows import ParameterRows
from training.auto_lambda import AutoLambda, Bilevel
from training.gradient_methods import combine
from training.gradients import Part, gradients_of

pytestmark = pytest.mark.numeric

LR, DECAY = 0.05, 0.1
Result = namedtuple("Result", "task_losses overflow hypergradient")


@pytest.fixture
def problem():
    """(model, a batch's losses [3] as a function, inputs, targets, weights)."""
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


def parts_of(problem, which, sizes=(16,)):
    """The batch as parts; the model's outputs are what stands for scores."""
    model, _, x, y, _ = problem
    pieces = zip(x[which].split(sizes), y[which].split(sizes), strict=True)
    return [Part(lambda a=a: model(a), lambda out, b=b: ((out - b) ** 2).mean(0) * (len(b) / 16)) for a, b in pieces]


def step(problem, hypergrad="exact", first=(16,), second=(16,), scale=None):
    """(result, task gradients [3, P], d as a list of tensors)"""
    parameters = list(problem[0].parameters())
    tasks, scratch = ParameterRows(parameters, 3), ParameterRows(parameters, len(second))
    parts = parts_of(problem, 0, first), parts_of(problem, 1, second)
    primary = torch.tensor([1.0, 0, 0], dtype=torch.float64)
    weights = torch.tensor(problem[4], dtype=torch.float64)
    figures = Bilevel(parameters, tasks, scratch, primary, DECAY, hypergrad).step(*parts, weights, LR, scale)
    return Result(*figures), tasks, scratch.views[-1]


def test_exact_hypergradient_equals_second_order_autograd(problem):
    model, _, x, y, weights = problem
    expected = second_order(model, x, y, weights)
    assert ((step(problem)[0].hypergradient - expected).abs() / expected.abs()).max() < 1e-6


def test_finite_difference_with_a_small_step_is_near_and_the_references_step_is_the_default(problem, monkeypatch):
    import training.auto_lambda as module

    model, _, x, y, weights = problem
    expected = second_order(model, x, y, weights)
    original = module.finite_difference_hypergradient
    assert original.__defaults__ == (0.01,)
    monkeypatch.setattr(module, "finite_difference_hypergradient", lambda *a: original(*a, eps=1e-4))
    assert ((step(problem, "fd")[0].hypergradient - expected).abs() / expected.abs()).max() < 1e-2


@pytest.mark.parametrize("hypergrad", ["exact", "fd"])
def test_parameters_are_left_bit_identical(problem, hypergrad):
    model = problem[0]
    before = copy.deepcopy(model.state_dict())
    pointers = [p.data_ptr() for p in model.parameters()]
    step(problem, hypergrad)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert pointers == [p.data_ptr() for p in model.parameters()]


def test_parameters_come_back_when_a_pass_fails(problem):
    before = copy.deepcopy(problem[0].state_dict())
    second = Part(problem[0], lambda _: 1 / 0)
    parameters = list(problem[0].parameters())
    tasks, scratch = ParameterRows(parameters, 3), ParameterRows(parameters, 1)
    primary = torch.tensor([1.0, 0, 0], dtype=torch.float64)
    with pytest.raises(TypeError, match="input"):
        Bilevel(parameters, tasks, scratch, primary, DECAY).step(parts_of(problem, 0), [second], primary, LR)
    assert all(torch.equal(before[name], value) for name, value in problem[0].state_dict().items())


def test_task_gradients_and_their_weighted_sum(problem):
    model, losses, *_ = problem
    _, tasks, _ = step(problem)
    parameters, weights = list(model.parameters()), [0.5, -2.0, 3.0]
    expected = torch.autograd.grad((losses(0) * torch.tensor(weights)).sum(), parameters, materialize_grads=True)
    total = ParameterRows(parameters, 1)
    combine("none", tasks.data, weights, (0, 0), total.data[0])
    assert all(torch.allclose(a, b, atol=1e-12) for a, b in zip(total.views[0], expected, strict=True))
    unused = [name for name, _ in model.named_parameters()].index("unused")
    assert torch.equal(total.views[0][unused], torch.zeros(2, dtype=torch.float64))


@pytest.mark.parametrize("hypergrad", ["exact", "fd"])
def test_parts_of_a_batch_give_what_the_whole_gives(problem, hypergrad):
    whole, gradients, direction = step(problem, hypergrad)
    ours, our_gradients, our_direction = step(problem, hypergrad, (5, 5, 6), (8, 8), scale=1024.0)
    assert torch.allclose(ours.hypergradient, whole.hypergradient, rtol=1e-9)
    assert torch.allclose(ours.task_losses, whole.task_losses)
    assert ours.overflow.item() == 0
    assert torch.allclose(our_gradients.data, gradients.data, atol=1e-12)
    assert all(torch.allclose(a, b, atol=1e-12) for a, b in zip(our_direction, direction, strict=True))


def test_a_gradient_that_is_not_finite_is_told_where_losses_are_scaled(problem):
    with torch.no_grad():
        problem[0][2].bias[0] = 1e100  # the gradient of its square is finite, times the scale it is not
    assert step(problem, scale=1.0)[0].overflow.item() == 0
    assert step(problem, scale=1e250)[0].overflow.item() == 1


def test_gradients_of_weighted_sums(problem):
    model, losses, *_ = problem
    parameters, objectives = list(model.parameters()), torch.tensor([[1, 0, 0], [0.5, -2, 3]], dtype=torch.float64)
    rows, complete = ParameterRows(parameters, 2), []
    values = gradients_of(parts_of(problem, 0, (4, 12)), objectives, parameters, rows.views, done=complete.append)
    assert torch.allclose(values, losses(0))
    assert complete == [0, 1]
    for weights, ours in zip(objectives, rows.views, strict=True):
        expected = torch.autograd.grad((losses(0) * weights).sum(), parameters, materialize_grads=True)
        assert all(torch.allclose(a, b, atol=1e-12) for a, b in zip(ours, expected, strict=True))


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
