import copy

import pytest
import torch

from models.auto_lambda import AutoLambda
from models.joint_embedding import JointEmbedding, architecture
from models.label_tree import FFPP
from models.losses import fidelity_losses
from models.trainer import Trainer, TrainerSettings, epoch_learning_rates
from models.tree_inference import marginals
from utils.cli import UserError


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return JointEmbedding(architecture("demo"), FFPP)


def batch(seed):
    generator = torch.Generator().manual_seed(seed)
    codes = list(FFPP.codes)[:4]
    return torch.randn(4, 3, 112, 112, generator=generator), torch.stack(
        [torch.from_numpy(FFPP.encode(c)) for c in codes]
    )


def test_learning_rates_of_the_papers_command():
    expected = [6, 5.4, 3.9, 2.1, 0.57, 0.57, 2.1, 3.9, 5.4, 6, 5.4, 3.9, 2.1, 0.57, 0.57, 2.1, 3.9, 5.4, 6, 5.4]
    rates = epoch_learning_rates(6e-7, 20)
    assert [float(f"{rate * 1e7:.2g}") for rate in rates] == expected


def plain_step(model, weights, first, second, lr, settings):
    """The bi-level step written out with autograd and torch's AdamW on a copy; returns (model, new weights)."""
    model = copy.deepcopy(model)
    params = [p for name, p in model.clip.named_parameters() if name != "logit_scale"]

    def losses(b):
        return fidelity_losses(marginals(model(b[0]), FFPP), b[1], FFPP)

    saved = [p.detach().clone() for p in params]
    weighting = AutoLambda(3, 1.0, settings.autol_lr)
    weighting.values.copy_(torch.tensor(weights))
    per_task = [torch.autograd.grad(losses(first)[i], params) for i in range(3)]
    with torch.no_grad():
        for i, p in enumerate(params):
            p -= lr * (sum(w * g[i] for w, g in zip(weights, per_task, strict=True)) + settings.weight_decay * p)
    d = torch.autograd.grad(losses(second)[0], params)
    weighting.update(torch.stack([-lr * sum((a * b).sum() for a, b in zip(g, d, strict=True)) for g in per_task]))
    with torch.no_grad():
        for p, old in zip(params, saved, strict=True):
            p.copy_(old)
    optimizer = torch.optim.AdamW(params, lr=lr, weight_decay=settings.weight_decay)
    (losses(first) * torch.tensor(weighting.weights)).sum().backward()
    optimizer.step()
    return model, weighting.weights


def test_bilevel_step_equals_the_written_out_one(model):
    settings = TrainerSettings(weight="autol")
    expected, weights = plain_step(model, [1.0] * 3, batch(0), batch(1), 1e-3, settings)
    ours = copy.deepcopy(model)
    trainer = Trainer(ours, settings)
    trainer.set_learning_rate(1e-3)
    result = trainer.step(batch(0), batch(1))
    assert result.weights == pytest.approx(weights, abs=1e-6)
    for (name, a), b in zip(ours.state_dict().items(), expected.state_dict().values(), strict=True):
        # A step moves a weight by 1e-3. Adam turns the rounding of a gradient that is 0 in theory (the key biases of
        # attention) into a small step of either sign, hence the mean and not each value.
        assert (a - b).abs().mean() < 1e-5, name


def test_step_without_second_batch_leaves_lambda(model):
    trainer = Trainer(copy.deepcopy(model), TrainerSettings(weight="autol", lambda_every=3))
    trainer.set_learning_rate(1e-3)
    assert [trainer.needs_second_batch(step) for step in range(5)] == [True, False, False, True, False]
    assert trainer.step(batch(0)).hypergradient is None
    assert trainer.weights == [1.0, 1.0, 1.0]
    assert trainer.step(batch(0), batch(1)).weights != [1.0, 1.0, 1.0]


def test_equal_weighting_never_needs_a_second_batch(model):
    trainer = Trainer(copy.deepcopy(model), TrainerSettings(weight="equal"))
    assert not trainer.needs_second_batch(0)
    assert trainer.weights == [1.0, 1.0, 1.0]


def test_training_lowers_the_loss(model):
    trainer = Trainer(copy.deepcopy(model), TrainerSettings(weight="autol"))
    trainer.set_learning_rate(1e-3)
    losses = [sum(trainer.step(batch(0), batch(0)).task_losses) for _ in range(12)]
    assert losses[-1] < 0.5 * losses[0]


def test_frozen_tower_stays_and_the_rest_moves(model):
    frozen = copy.deepcopy(model)
    for parameter in frozen.clip.transformer.parameters():
        parameter.requires_grad_(False)
    before = copy.deepcopy(frozen.state_dict())
    trainer = Trainer(frozen, TrainerSettings(weight="autol"))
    trainer.set_learning_rate(1e-3)
    trainer.step(batch(0), batch(1))
    changed = {name for name, value in frozen.state_dict().items() if not torch.equal(before[name], value)}
    assert not any(name.startswith("clip.transformer.") for name in changed)
    assert any(name.startswith("clip.visual.") for name in changed)
    assert "clip.logit_scale" not in changed


def test_loss_that_is_not_finite_stops_before_the_weights_change(model):
    trainer = Trainer(copy.deepcopy(model), TrainerSettings())
    before = copy.deepcopy(trainer.model.state_dict())
    images, labels = batch(0)
    with pytest.raises(UserError, match="not finite"):
        trainer.step((images * float("nan"), labels))
    assert all(torch.equal(before[name], value) for name, value in trainer.model.state_dict().items())


def test_health_names_both_classes_and_shows_the_start(model):
    health = Trainer(copy.deepcopy(model), TrainerSettings()).health(batch(0))
    assert [(name, count) for name, (count, _, _) in health.items()] == [("real", 1), ("fake", 3)]
    for _, p_real, norm in health.values():
        assert 0 < p_real < 1
        assert norm > 0


def test_finite_difference_needs_float32(model):
    with pytest.raises(UserError, match="float32"):
        Trainer(model, TrainerSettings(hypergrad="fd", precision="bfloat16"))


def test_model_stays_in_eval_mode(model):
    assert not model.training
    assert not any(isinstance(m, torch.nn.modules.batchnorm._BatchNorm) for m in model.clip.visual.modules())


def test_hypergradient_that_is_not_finite_is_named(model):
    trainer = Trainer(copy.deepcopy(model), TrainerSettings(weight="autol"))
    trainer.set_learning_rate(1e-3)
    images, labels = batch(1)
    with pytest.raises(UserError, match="hypergradient is not finite"):
        trainer.step(batch(0), (images * float("nan"), labels))
