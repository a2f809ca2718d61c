"""Task weightings against their papers' formulas."""

import math

import pytest
import torch

from training.task_weighting import DynamicWeightAverage, TaskWeighting, Uncertainty, load_optimizer

pytestmark = pytest.mark.numeric


def test_equal_weights_are_ones():
    assert TaskWeighting(3).weights == [1.0, 1.0, 1.0]


def test_uncertainty_starts_at_half_of_e_to_the_seven_tenths():
    assert Uncertainty(3, lr=0.1).weights == pytest.approx([1.0068763] * 3)


def test_uncertainty_follows_autograd_on_its_objective():
    weighting = Uncertainty(3, lr=0.05)
    s = torch.full((3,), -0.7, requires_grad=True)
    optimizer = torch.optim.Adam([s], lr=0.05)
    for losses in ([0.2, 1.0, 3.0], [0.3, 0.9, 2.0]):
        objective = sum(loss / (2 * torch.exp(s[i])) + s[i] / 2 for i, loss in enumerate(losses))
        optimizer.zero_grad()
        objective.backward()
        optimizer.step()
        weighting.after_step(losses)
    assert weighting.weights == pytest.approx([1 / (2 * math.exp(value)) for value in s.tolist()], rel=1e-6)
    assert weighting.weights[0] > weighting.weights[2], "a large loss is trusted less"


def test_uncertainty_settles_where_e_to_s_is_the_loss():
    weighting = Uncertainty(1, lr=0.05)
    for _ in range(400):
        weighting.after_step([0.25])
    assert weighting.weights[0] == pytest.approx(1 / (2 * 0.25), rel=1e-3)


def test_dwa_by_hand():
    weighting = DynamicWeightAverage(3)
    assert weighting.weights == [1.0] * 3
    weighting.after_epoch([1.0, 2.0, 4.0])
    assert weighting.weights == [1.0] * 3
    weighting.after_epoch([0.5, 2.0, 6.0])
    # r = 0.5, 1, 1.5; e^(r / 2) = 1.2840, 1.6487, 2.1170, their sum 5.0497; times 3.
    assert weighting.weights == pytest.approx([0.7628, 0.9795, 1.2577], abs=1e-4)
    weighting.after_epoch([0.5, 2.0, 6.0])
    assert weighting.weights == pytest.approx([1.0] * 3), "only the last two epochs count"


def test_dwa_of_a_task_without_loss_is_finite():
    weighting = DynamicWeightAverage(3)
    for _ in range(2):
        weighting.after_epoch([1.0, 0.0, 0.0])
    assert weighting.weights == pytest.approx([1.0] * 3)


def test_dwa_history_round_trips():
    first, second = DynamicWeightAverage(2), DynamicWeightAverage(2)
    first.after_epoch([1.0, 2.0])
    second.load_state_dict(first.state_dict())
    for weighting in (first, second):
        weighting.after_epoch([0.5, 1.9])
    assert first.weights == second.weights != [1.0, 1.0]


@pytest.mark.parametrize("change", ["shape", "setting"])
def test_the_state_of_another_optimizer_is_refused(change):
    weighting = Uncertainty(3, lr=0.05)
    weighting.after_step([0.1, 0.2, 0.3])
    state = weighting.state_dict()["optimizer"]
    load_optimizer(Uncertainty(3, lr=0.1)._optimizer, state)  # the learning rate may differ
    if change == "shape":
        state["state"][0]["exp_avg"] = torch.zeros(2)
    else:
        state["param_groups"][0]["betas"] = "x"
    with pytest.raises(ValueError, match="its optimizer has"):
        load_optimizer(Uncertainty(3, lr=0.05)._optimizer, state)
