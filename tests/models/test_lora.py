"""Low-rank updates against their sums with the matrices."""

import copy

import pytest
import torch

from models.joint_embedding import JointEmbedding
from models.label_tree import FFPP
from models.lora import add_updates, load_unmerged, unmerged
from models.precision import RoundedWeights, autocast

pytestmark = pytest.mark.numeric

CONFIG = {
    "embed_dim": 64,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 64, "layers": 2, "width": 64, "patch_size": 32},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 2},
}


def with_updates(model, rank=3, seed=0):
    model = copy.deepcopy(model)
    for tower in (model.clip, model.clip.visual):
        add_updates([block.attn for block in tower.transformer.resblocks], rank, seed)
    return model


def factors(model, name):
    return [value for key, value in model.named_parameters() if key.endswith(f"_lora.{name}")]


@pytest.fixture(scope="module")
def base():
    torch.manual_seed(0)
    return JointEmbedding(CONFIG, FFPP)


@pytest.fixture
def trained(base):
    """A model in float64 whose B are not 0."""
    model = with_updates(base).double()
    for b in factors(model, "b"):
        torch.nn.init.normal_(b, std=0.1, generator=torch.Generator().manual_seed(1))
    return model


IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def test_at_the_start_nothing_changes_and_a_is_drawn_from_the_seed(base):
    model, again, other = with_updates(base), with_updates(base), with_updates(base, seed=1)
    assert torch.equal(model(IMAGES), base(IMAGES))
    state, expected = model.clip.state_dict(), base.clip.state_dict()
    assert list(state) == list(expected) and all(torch.equal(state[name], expected[name]) for name in state)
    assert [a.shape for a in factors(model, "a")] == [(3, 64)] * 8
    assert [b.shape for b in factors(model, "b")] == [(192, 3), (64, 3)] * 4
    for a, same, another in zip(factors(model, "a"), factors(again, "a"), factors(other, "a"), strict=True):
        assert torch.equal(a, same) and not torch.equal(a, another)
        assert 0.1 < a.abs().max() <= 64**-0.5


def test_a_model_with_updates_equals_one_with_the_sums(base, trained):
    merged = JointEmbedding(CONFIG, FFPP).double()
    merged.clip.load_state_dict(trained.clip.state_dict())
    images = IMAGES.double()
    assert (trained(images) - merged(images)).abs().max() < 1e-12
    assert (trained(images) - base.double()(images)).abs().max() > 1e-3
    layer = trained.clip.visual.transformer.resblocks[1].attn
    expected = layer.in_proj_weight + 16 / 3 * layer.in_proj_lora.b @ layer.in_proj_lora.a
    name = "visual.transformer.resblocks.1.attn.in_proj_weight"
    assert torch.allclose(trained.clip.state_dict()[name], expected, rtol=0, atol=1e-14)


def test_gradients_are_those_of_the_sum(trained):
    """Of W' = W + s B A: dA = s B' dW', dB = s dW' A'."""
    merged = JointEmbedding(CONFIG, FFPP).double()
    merged.clip.load_state_dict(trained.clip.state_dict())
    layers = [model.clip.visual.transformer.resblocks[1].attn for model in (trained, merged)]
    update = layers[0].in_proj_lora
    of_a, of_b = torch.autograd.grad(trained(IMAGES.double()).square().sum(), [update.a, update.b])
    of_sum = torch.autograd.grad(merged(IMAGES.double()).square().sum(), layers[1].in_proj_weight)[0]
    assert torch.allclose(of_a, 16 / 3 * update.b.T @ of_sum, rtol=1e-9, atol=1e-12)
    assert torch.allclose(of_b, 16 / 3 * of_sum @ update.a.T, rtol=1e-9, atol=1e-12)


def test_factors_are_rounded_with_the_weights(trained):
    model = trained.float()
    exact = model(IMAGES)
    with torch.no_grad(), RoundedWeights(model.clip.visual, "bfloat16").in_use(), autocast("cpu", "bfloat16"):
        assert {value.dtype for value in factors(model.clip.visual, "a")} == {torch.bfloat16}
        assert (model(IMAGES) - exact).abs().max() < 0.05 * exact.abs().max()


@pytest.mark.parametrize("matrices", [True, False])
def test_what_the_sums_lose_round_trips(base, trained, matrices):
    kept = copy.deepcopy(unmerged(trained, matrices))
    other = with_updates(base, seed=7).double()
    load_unmerged(other, kept, matrices)
    assert torch.equal(other(IMAGES.double()), trained(IMAGES.double()))
    assert unmerged(base, matrices) == {}
    for damaged in ({}, dict(list(kept.items())[1:])):
        with pytest.raises(ValueError, match="other matrices"):
            load_unmerged(other, damaged, matrices)
