"""Training a few weights: only they have gradients and state; the hypergradient is second-order autograd's."""

import copy
import os

import open_clip
import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from models.joint_embedding import JointEmbedding, architecture
from models.label_tree import FFPP
from models.lora import merged, unmerged
from models.losses import fidelity_losses
from models.tree_inference import marginals
from tests.models.test_lora import CONFIG
from training.model_setup import checkpoint_gradients, compile_towers
from training.trainer import Trainer, TrainerSettings
from training.tuning import tune
from utils.cli import UserError

pytestmark = pytest.mark.numeric

TUNINGS = ["norm", "bias", "lora:2"]


def tuned(tuning, text=None, seed=0):
    torch.manual_seed(0)
    model = JointEmbedding(CONFIG, FFPP)
    tune(model, "text", text or tuning, seed)
    tune(model, "image", tuning, seed)
    for name, value in model.named_parameters():
        if name.endswith("_lora.b"):  # away from the start, where the gradient of A is 0
            nn.init.normal_(value, std=0.1)
    return model


def batch(seed):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.stack([torch.from_numpy(FFPP.encode(code)) for code in list(FFPP.codes)[:4]])
    return torch.randn(4, 3, 64, 64, generator=generator), labels


def trained_names(model):
    return {name for name, value in model.clip.named_parameters() if value.requires_grad} - {"logit_scale"}


def test_only_the_named_weights_are_trained():
    names = [name for name, _ in JointEmbedding(CONFIG, FFPP).clip.named_parameters()]
    norms = ("ln_1.weight", "ln_1.bias", "ln_2.weight", "ln_2.bias", "ln_pre.weight", "ln_pre.bias", "ln_post.weight",
             "ln_post.bias", "ln_final.weight", "ln_final.bias")  # fmt: skip
    assert trained_names(tuned("norm")) == {name for name in names if name.endswith(norms)}
    assert trained_names(tuned("bias")) == {name for name in names if name.endswith("bias")}
    assert trained_names(tuned("lora:2")) == {
        f"{tower}transformer.resblocks.{i}.attn.{matrix}_lora.{factor}"
        for tower in ("", "visual.")
        for i in range(2)
        for matrix in ("in_proj", "out_proj")
        for factor in "ab"
    }
    mixed = trained_names(tuned("lora:2", text="norm"))
    assert {name for name in mixed if not name.startswith("visual.")} < set(names)


class _Scores(nn.Module):
    """open_clip's own forward over all 77 tokens."""

    def __init__(self):
        super().__init__()
        self.clip = open_clip.CLIP(**CONFIG).eval().double()

    def forward(self, images):
        text = self.clip.encode_text(open_clip.tokenize(FFPP.prompts))
        return self.clip.encode_image(images) @ text.T / 10


def second_order(model, first, second, weights, lr, decay):
    """d L_binary(theta'(lambda)) / d lambda by autograd through the virtual step, of the trained weights alone."""
    scores, fixed = _Scores(), model.clip.state_dict() | unmerged(model.clip, matrices=True)
    names = trained_names(model)
    theta = {name: fixed[name].clone().requires_grad_() for name in names}

    def losses(theta, batch):
        whole = fixed | theta
        whole = whole | merged(whole, {name: value for name, value in theta.items() if "_lora" in name})
        whole = {f"clip.{name}": value for name, value in whole.items() if "_lora" not in name}
        return fidelity_losses(marginals(functional_call(scores, whole, (batch[0],)), FFPP), batch[1], FFPP)

    lam = torch.tensor(weights, dtype=torch.float64, requires_grad=True)
    with sdpa_kernel(SDPBackend.MATH):  # which can be differentiated twice
        total = (lam * losses(theta, first)).sum()
        gradients = torch.autograd.grad(total, list(theta.values()), create_graph=True)
        virtual = {n: p - lr * (g + decay * p) for (n, p), g in zip(theta.items(), gradients, strict=True)}
        return torch.autograd.grad(losses(virtual, second)[0], lam)[0]


@pytest.mark.parametrize("tuning", TUNINGS)
@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_hypergradient_equals_second_order_autograd(tuning, checkpointing):
    model = tuned(tuning).double()
    trainer = Trainer(model, TrainerSettings("autol", weight_decay=0.1, accum=2))
    trainer.set_learning_rate(0.01)
    first, second = (tuple(tensor.double() for tensor in batch(seed)) for seed in (0, 1))
    expected = second_order(model, first, second, trainer.weights, lr=0.01, decay=0.1)
    if checkpointing:
        checkpoint_gradients(model)
    result = trainer.step(first, second)
    assert result.hypergradient == pytest.approx(expected.tolist(), rel=1e-6)
    assert min(map(abs, result.hypergradient)) > 1e-8


@pytest.mark.parametrize("tuning", TUNINGS)
@pytest.mark.parametrize("settings", [{}, {"hypergrad": "fd"}, {"precision": "bfloat16", "grad_method": "pcgrad"}])
def test_other_weights_keep_every_bit_and_have_no_state(tuning, settings):
    model = tuned(tuning)
    before = copy.deepcopy(model.clip.state_dict() | unmerged(model.clip, matrices=True))
    trainer = Trainer(model, TrainerSettings("autol", weight_decay=10.0, **settings))
    trainer.set_learning_rate(1e-3)
    for i in range(2):
        trainer.step(batch(i), batch(9))
    after, names = model.clip.state_dict() | unmerged(model.clip, matrices=True), trained_names(model)
    sums = {name for name in before if name.endswith(("in_proj_weight", "out_proj.weight"))}
    changed = {name for name, value in after.items() if not torch.equal(before[name], value)}
    assert changed == names and changed.isdisjoint(sums)
    n = sum(value.numel() for name, value in model.clip.named_parameters() if name in names)
    state = trainer.state_dict()["optimizer"]["state"].values()
    assert sum(values["exp_avg"].numel() for values in state) == n
    assert n <= trainer._tasks.data.shape[1] < n + 64 * len(names) + 2**14


@pytest.mark.parametrize("tuning", ["norm", "bias"])
def test_the_demo_tower_has_norms_and_biases_and_no_attention(tuning):
    model = JointEmbedding(architecture("demo"), FFPP)
    tune(model, "image", tuning, seed=0)
    names = {name.removeprefix("visual.") for name in trained_names(model) if name.startswith("visual.")}
    norms = {f"stages.{i}.{part}" for i in (1, 4, 7, 10, 13, 16, 19, 22) for part in ("weight", "bias")}
    biases = {name for name in norms if name.endswith("bias")} | {"squeeze.bias", "proj.bias"}
    assert names == (norms if tuning == "norm" else biases)
    with pytest.raises(UserError, match="no ViT or text transformer"):
        tune(model, "image", "lora:8", seed=0)
    tune(model, "text", "lora:8", seed=0)


def test_of_a_resnet_the_norms_are_trained_with_fixed_statistics():
    config = {"image_size": 32, "layers": [1, 1, 1, 1], "width": 16, "patch_size": None}
    model = JointEmbedding(CONFIG | {"vision_cfg": config}, FFPP)
    tune(model, "image", "norm", seed=0)
    names = {name for name in trained_names(model) if name.startswith("visual.")}
    assert names and all(".bn" in name or ".downsample.1" in name for name in names)


@pytest.mark.parametrize("tuning", TUNINGS)
def test_saved_weights_score_as_the_trained_ones(tuning):
    model = tuned(tuning)
    trainer = Trainer(model, TrainerSettings("autol"))
    trainer.set_learning_rate(1e-2)
    trainer.step(batch(0), batch(1))
    again = JointEmbedding(CONFIG, FFPP)
    again.clip.load_state_dict(model.clip.state_dict())
    assert torch.allclose(again(batch(2)[0]), model(batch(2)[0]), rtol=0, atol=1e-4)


@pytest.mark.slow
@pytest.mark.skipif("ATEN_CPU_CAPABILITY" in os.environ, reason="the compiler builds for this CPU alone")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("tuning", ["lora:2"])
def test_compiled_towers_make_the_same_step(tuning):
    plain, compiled = tuned(tuning), tuned(tuning)
    compile_towers(compiled, batch_size=4)
    results = []
    for model in (plain, compiled):
        trainer = Trainer(model, TrainerSettings("autol"))
        trainer.set_learning_rate(1e-4)
        results.append(trainer.step(batch(0), batch(1)))
    assert results[1].task_losses == pytest.approx(results[0].task_losses, abs=1e-5)
    assert results[1].hypergradient == pytest.approx(results[0].hypergradient, rel=1e-3)
