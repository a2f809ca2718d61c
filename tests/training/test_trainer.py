import copy
import math
import os

import numpy as np
import open_clip
import pytest
import torch

from models.choices import GRAD_METHODS, WEIGHTINGS
from models.joint_embedding import JointEmbedding, architecture
from models.label_tree import FFPP
from models.losses import fidelity_losses
from models.parameter_rows import ParameterRows, copy_all
from models.precision import LossScale
from models.tree_inference import marginals
from training.cuda_graph import Recorded
from training.gradient_methods import combine
from training.learning_rates import epoch_learning_rates
from training.model_setup import checkpoint_gradients, compile_towers
from training.trainer import Trainer, TrainerSettings
from training.tuning import freeze, tune
from utils.cli import UserError

pytestmark = pytest.mark.numeric


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


class PlainTraining:
    """The bi-level training written out: open_clip's own forwards over all 77 tokens, one list of gradients per task,
    torch's AdamW over every weight, Adam for lambda."""

    def __init__(self, model, settings, lr):
        self.clip = open_clip.CLIP(**{**model.architecture, "quick_gelu": True}).eval().to(model.clip.visual.proj.dtype)
        self.clip.load_state_dict(model.clip.state_dict())
        self.params = [p for name, p in self.clip.named_parameters() if name != "logit_scale"]
        self.optimizer = torch.optim.AdamW(self.params, lr=lr, weight_decay=settings.weight_decay)
        self.lam = torch.ones(3)
        self.lam_optimizer = torch.optim.Adam([self.lam], lr=settings.autol_lr)
        self.lr, self.decay = lr, settings.weight_decay

    def losses(self, batch):
        text = self.clip.encode_text(open_clip.tokenize(FFPP.prompts))
        scores = self.clip.visual(batch[0]) @ text.T / 10
        return fidelity_losses(marginals(scores, FFPP), batch[1], FFPP)

    def step(self, first, second):
        theta = [p.detach().clone() for p in self.params]
        losses = self.losses(first)
        gradients = [torch.autograd.grad(loss, self.params, retain_graph=True) for loss in losses]
        with torch.no_grad():
            for i, p in enumerate(self.params):
                p -= self.lr * (sum(w * g[i] for w, g in zip(self.lam, gradients, strict=True)) + self.decay * p)
        direction = torch.autograd.grad(self.losses(second)[0], self.params)
        with torch.no_grad():
            for p, old in zip(self.params, theta, strict=True):
                p.copy_(old)
        products = [sum((a * b).sum() for a, b in zip(g, direction, strict=True)) for g in gradients]
        self.hypergradient = -self.lr * torch.stack(products)
        self.lam.grad = self.hypergradient.float()
        self.lam_optimizer.step()
        for i, p in enumerate(self.params):
            p.grad = sum(w * g[i] for w, g in zip(self.lam, gradients, strict=True))
        self.optimizer.step()
        return losses.detach()


@pytest.fixture(scope="module")
def small_vit():
    """A CLIP of OpenAI's layout, small."""
    config = {
        "embed_dim": 64,
        "quick_gelu": True,
        "vision_cfg": {"image_size": 64, "layers": 3, "width": 64, "patch_size": 32},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 2},
    }
    torch.manual_seed(0)
    return JointEmbedding(config, FFPP)


def vit_batch(seed):
    images, labels = batch(seed)
    return images[:, :, :64, :64].contiguous(), labels


def in_float64(model):
    """A copy whose arithmetic rounds at 1e-16: what then differs from an oracle differs in method. (In float32 Adam
    turns the rounding of a gradient that is 0 in theory, such as that of attention's key biases, into whole steps.)"""
    return copy.deepcopy(model).double()


def batch_in_float64(batch):
    return tuple(tensor.double() for tensor in batch)


@pytest.mark.parametrize("accum", [1, 2])
def test_ten_fast_steps_equal_ten_plain_ones(small_vit, accum):
    settings = TrainerSettings(weight="autol", accum=accum)
    plain = PlainTraining(in_float64(small_vit), settings, lr=1e-4)
    trainer, in_float32 = (Trainer(model, settings) for model in (in_float64(small_vit), copy.deepcopy(small_vit)))
    for each in (trainer, in_float32):
        each.set_learning_rate(1e-4)
    for i in range(10):
        batches = vit_batch(2 * i), vit_batch(2 * i + 1)
        losses = plain.step(*map(batch_in_float64, batches))
        result = trainer.step(*map(batch_in_float64, batches))
        assert result.hypergradient == pytest.approx(plain.hypergradient.tolist(), rel=1e-8), f"step {i}"
        assert result.weights == pytest.approx(plain.lam.tolist(), abs=1e-6), f"lambda (float32) of step {i}"
        assert result.task_losses == pytest.approx(losses.tolist(), abs=1e-9), f"losses of step {i}"
        rounded = in_float32.step(*batches)
        assert rounded.weights == pytest.approx(result.weights, abs=1e-4), "a tenth of a step of lambda"
        assert rounded.task_losses == pytest.approx(result.task_losses, abs=1e-4)
    assert max(abs(weight - 1) for weight in trainer.weights) > 5e-3, "lambda moved"
    expected = plain.clip.state_dict()
    for name, value in trainer.model.clip.state_dict().items():
        assert (value - expected[name]).abs().max() < 1e-8, f"{name}; a step moves a weight by up to 1e-4"


@pytest.mark.parametrize("accum", [3, 4, 9])
def test_parts_of_a_batch_follow_the_path_of_the_whole(model, accum):
    trainers = [
        Trainer(copy.deepcopy(model), TrainerSettings(weight="autol", lambda_every=2, accum=n)) for n in (1, accum)
    ]
    for trainer in trainers:
        trainer.set_learning_rate(1e-4)
    for i in range(4):
        second = batch(50 + i) if i % 2 == 0 else None
        whole, parts = (trainer.step(batch(i), second) for trainer in trainers)
        assert parts.weights == pytest.approx(whole.weights, abs=1e-5)
        assert parts.task_losses == pytest.approx(whole.task_losses, abs=1e-5)


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


@pytest.mark.parametrize("weight", WEIGHTINGS)
@pytest.mark.parametrize("method", GRAD_METHODS)
def test_every_weighting_goes_with_every_gradient_method(model, weight, method):
    settings = TrainerSettings(weight=weight, grad_method=method, seed=7)
    trainer = Trainer(in_float64(model), settings)
    trainer.set_learning_rate(1e-3)
    before = copy.deepcopy(trainer.model.state_dict())
    first, second = batch_in_float64(batch(0)), batch_in_float64(batch(1)) if trainer.needs_second_batch(5) else None
    assert (second is not None) == (weight == "autol")
    weights = trainer.weights
    result = trainer.step(first, second, run_step=5)
    if weight != "autol":
        assert result.weights == weights, "the weights from before the step's losses were known"
    # The same step written out: task gradients, the method, AdamW.
    again = in_float64(model)
    params = [p for name, p in again.named_parameters() if name != "clip.logit_scale"]
    losses = fidelity_losses(marginals(again(first[0]), FFPP), first[1], FFPP)
    rows, total = ParameterRows(params, 3), ParameterRows(params, 1)
    for loss, row in zip(losses, rows.views, strict=True):
        copy_all(row, torch.autograd.grad(loss, params, retain_graph=True))
    combine(method, rows.data, result.weights, (7, 5), total.data[0])
    optimizer = torch.optim.AdamW(params, lr=1e-3, weight_decay=settings.weight_decay)
    for p, g in zip(params, total.views[0], strict=True):
        p.grad = g
    optimizer.step()
    again.clip.token_embedding.decay(1 - 1e-6)
    for (name, a), b in zip(trainer.model.state_dict().items(), again.state_dict().values(), strict=True):
        assert (a - b).abs().max() < 1e-8, f"{name}; the step moves a weight by up to 1e-3"
    assert any(not torch.equal(before[name], value) for name, value in trainer.model.state_dict().items())


@pytest.mark.parametrize("weight", WEIGHTINGS)
def test_resumed_state_goes_on_bit_for_bit(model, weight):
    settings = TrainerSettings(weight=weight, grad_method="graddrop", autol_lr=0.01)
    whole = Trainer(copy.deepcopy(model), settings)
    whole.set_learning_rate(1e-3)

    def run(trainer, steps):
        for i in steps:
            trainer.step(batch(i), batch(99 + i) if weight == "autol" else None, i)
            trainer.weighting.after_epoch([1.0 / (i + 1), 2.0 / (i + 2), 3.0])

    run(whole, range(3))
    state = copy.deepcopy((whole.model.state_dict(), whole.state_dict()))
    run(whole, range(3, 5))
    resumed = Trainer(copy.deepcopy(model), settings)
    resumed.model.load_state_dict(state[0])
    resumed.load_state_dict(state[1])
    run(resumed, range(3, 5))
    assert resumed.weights == whole.weights
    assert (weight == "equal") == (whole.weights == [1.0] * 3)
    for (name, a), b in zip(whole.model.state_dict().items(), resumed.model.state_dict().values(), strict=True):
        assert torch.equal(a, b), f"{name}: the same computation twice"


@pytest.mark.parametrize("loss", ["bce", "nll"])
def test_other_losses_train(model, loss):
    trainer = Trainer(copy.deepcopy(model), TrainerSettings(weight="autol", loss=loss))
    trainer.set_learning_rate(1e-3)
    losses = [sum(trainer.step(batch(0), batch(0)).task_losses) for _ in range(8)]
    assert losses[-1] < 0.7 * losses[0]
    assert all(norm > 0 for _, _, norm in trainer.health(batch(0)).values())


def test_root_only_tree_trains_the_binary_task_alone():
    torch.manual_seed(0)
    trainer = Trainer(JointEmbedding(architecture("demo"), FFPP.root_only), TrainerSettings())
    trainer.set_learning_rate(1e-3)
    images, labels = batch(0)
    results = [trainer.step((images, labels[:, :1])) for _ in range(8)]
    assert results[0].task_losses[1:] == [0.0, 0.0]
    assert results[-1].task_losses[0] < results[0].task_losses[0]


def test_cosine_score_trains_clips_scale(model):
    torch.manual_seed(0)
    trainer = Trainer(JointEmbedding(architecture("demo"), FFPP, "cosine"), TrainerSettings(weight="autol"))
    trainer.set_learning_rate(1e-3)
    trainer.step(batch(0), batch(1))
    assert trainer.model.clip.logit_scale.item() != pytest.approx(math.log(1 / 0.07), abs=1e-5)


@pytest.mark.parametrize("tower", ["text", "image"])
def test_frozen_tower_has_no_gradient_and_no_optimizer_state(small_vit, tower, monkeypatch):
    ours = copy.deepcopy(small_vit)
    freeze(ours, tower)
    calls, original = [], JointEmbedding.encode_prompts
    monkeypatch.setattr(JointEmbedding, "encode_prompts", lambda self: calls.append(1) or original(self))
    before = copy.deepcopy(ours.clip.state_dict())
    trainer = Trainer(ours, TrainerSettings(weight="autol", weight_decay=10.0))
    trainer.set_learning_rate(1e-3)
    for i in range(2):
        trainer.step(vit_batch(i), vit_batch(9))
    assert len(calls) == (1 if tower == "text" else 4)
    changed = {name for name, value in ours.clip.state_dict().items() if not torch.equal(before[name], value)}
    of_image = {name for name in before if name.startswith("visual.")}
    assert changed == (of_image if tower == "text" else set(before) - of_image - {"logit_scale"})
    assert sum(state["exp_avg"].numel() for state in trainer.state_dict()["optimizer"]["state"].values()) == sum(
        p.numel() for p in trainer.parameters
    )


def test_gradient_checkpointing_changes_nothing_but_memory(small_vit):
    plain, saving = (Trainer(copy.deepcopy(small_vit), TrainerSettings(weight="autol")) for _ in range(2))
    checkpoint_gradients(saving.model)
    for trainer in (plain, saving):
        trainer.set_learning_rate(1e-3)
    a, b = (trainer.step(vit_batch(0), vit_batch(1)) for trainer in (plain, saving))
    assert a == b
    for value, other in zip(plain.model.state_dict().values(), saving.model.state_dict().values(), strict=True):
        assert torch.equal(value, other), "the same computation twice"


def addresses(trainer):
    """Where the tensors lie that a recorded step uses."""
    rows = [trainer._tasks.data, trainer._scratch.data]
    return [t.data_ptr() for t in (*trainer.model.parameters(), *trainer.model.buffers(), *rows)]


def test_a_step_that_cannot_be_recorded_says_what_to_do(small_vit, monkeypatch):
    def record(function):
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    monkeypatch.setattr("training.cuda_graph.record", record)
    trainer = Trainer(copy.deepcopy(small_vit), TrainerSettings("autol", cuda_graph=True))
    with pytest.raises(
        UserError, match=r"\(operation not permitted when stream is capturing\); run with --no-cuda_graph"
    ):
        trainer.step(vit_batch(0), vit_batch(1))


@pytest.mark.parametrize(
    ("settings", "tuning"),
    [
        ({}, None),
        ({"lambda_every": 2, "accum": 2}, None),
        ({"grad_method": "pcgrad"}, None),
        ({}, "norm"),
        ({}, "lora:2"),
    ],
)
def test_recorded_steps_equal_plain_ones(small_vit, monkeypatch, settings, tuning):
    """With a recorder that does on a CPU what a CUDA graph does: the result stays in one place."""
    recorded = []

    def record(function):
        recorded.append(function)
        result = function()
        return lambda: result.copy_(function()), result

    monkeypatch.setattr("training.cuda_graph.record", record)
    models = [copy.deepcopy(small_vit) for _ in range(2)]
    for ours in models if tuning else ():
        tune(ours, "text", tuning, seed=0)
        tune(ours, "image", tuning, seed=0)
    plain, graphed = (Trainer(ours, TrainerSettings("autol", **settings)) for ours in models)
    graphed._recorded = {name: Recorded(getattr(graphed, name)) for name in ("_bilevel", "_plain")}
    places = None  # the scratch row gets its memory in the first step
    for i in range(6):
        results = []
        for trainer in (plain, graphed):
            trainer.set_learning_rate(1e-3 if i < 4 else 1e-4)
            second = vit_batch(99 + i) if trainer.needs_second_batch(i) else None
            results.append(trainer.step(vit_batch(i), second, i))
        assert results[0] == results[1], "the same computation twice"
        graphed.scores(vit_batch(0)[0])  # as a validation between the steps
        places = places or addresses(graphed)
        assert addresses(graphed) == places, "a recording reads and writes where its tensors were"
    kinds = 2 if "lambda_every" in settings else 1
    assert len(recorded) == 2 * kinds, "once for each learning rate, batch shape and kind of step"
    for value, other in zip(plain.model.state_dict().values(), graphed.model.state_dict().values(), strict=True):
        assert torch.equal(value, other), "the same computation twice"


def test_gradients_go_with_their_memory_when_the_optimizer_fails(model):
    trainer = Trainer(copy.deepcopy(model), TrainerSettings(weight="autol"))
    trainer.set_learning_rate(1e-3)
    trainer.optimizer.step = lambda: 1 / 0
    with pytest.raises(ZeroDivisionError):
        trainer.step(batch(0), batch(1))
    assert all(parameter.grad is None for parameter in trainer.parameters)


def test_gradient_checkpointing_needs_a_vit(model):
    with pytest.raises(UserError, match="needs a ViT"):
        checkpoint_gradients(model)


@pytest.mark.slow
@pytest.mark.skipif("ATEN_CPU_CAPABILITY" in os.environ, reason="the compiler builds for this CPU alone")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("precision", "limit", "rel"), [("float32", 1e-5, 1e-3), ("bfloat16", 0.01, 0.3)])
def test_compiled_towers_make_the_same_step(small_vit, precision, limit, rel):
    vision, text = small_vit.architecture["vision_cfg"], small_vit.architecture["text_cfg"]
    one_layer = {"vision_cfg": vision | {"layers": 1}, "text_cfg": text | {"layers": 1}}
    plain = JointEmbedding(small_vit.architecture | one_layer, FFPP)
    compiled = copy.deepcopy(plain)
    compile_towers(compiled, precision, batch_size=4)
    results = []
    for ours in (plain, compiled):
        trainer = Trainer(ours, TrainerSettings(weight="autol", precision=precision))
        trainer.set_learning_rate(1e-4)
        results.append([trainer.step(vit_batch(i), vit_batch(9)) for i in range(2)])
    for a, b in zip(*results, strict=True):
        assert b.task_losses == pytest.approx(a.task_losses, abs=limit)
        assert b.weights == pytest.approx(a.weights, abs=limit)
        assert b.hypergradient == pytest.approx(a.hypergradient, rel=rel)
    assert compiled.state_dict().keys() == plain.state_dict().keys()


def test_a_compiler_that_makes_other_gradients_is_refused(small_vit, monkeypatch):
    def wrong(function):
        return lambda *inputs: 1.1 * function(*inputs) if function.__name__ == "encode_prompts" else function(*inputs)

    monkeypatch.setattr(torch, "compile", wrong)
    with pytest.raises(UserError, match=r"--compile of torch .* makes another gradient of clip\.\S+; run without it"):
        compile_towers(copy.deepcopy(small_vit))


def test_failed_compilation_is_one_clear_line(small_vit, monkeypatch):
    def broken(*_):
        raise RuntimeError("no compiler\nmore")

    monkeypatch.setattr(torch, "compile", lambda function: broken)
    with pytest.raises(UserError, match=r"--compile failed \(no compiler more\)"):
        compile_towers(copy.deepcopy(small_vit))


def test_float16_leaves_a_step_with_overflow_out_and_halves_the_scale(model):
    trainer = Trainer(copy.deepcopy(model), TrainerSettings(weight="autol", precision="float16", ema=0.9))
    trainer.set_learning_rate(1e-3)
    start = [mean.clone() for mean in trainer.ema.mean]
    trainer.loss_scale.value = 2.0**60  # its gradients overflow float16
    before = copy.deepcopy(trainer.model.state_dict())
    result = trainer.step(batch(0), batch(1))
    assert result.skipped
    assert trainer.loss_scale.value == 2.0**59
    assert trainer.weights == [1.0] * 3, "lambda did not move"
    assert trainer.ema.state_dict()["updates"] == 0
    assert all(torch.equal(before[name], value) for name, value in trainer.model.state_dict().items())
    trainer.loss_scale.value = 2.0**8
    result = trainer.step(batch(0), batch(1))
    assert not result.skipped
    assert any(not torch.equal(before[name], value) for name, value in trainer.model.state_dict().items())
    for mean, first, weight in zip(trainer.ema.mean, start, trainer.parameters, strict=True):
        assert torch.allclose(mean, 0.1 * first + 0.9 * weight, atol=1e-7)
    exact = Trainer(copy.deepcopy(model), TrainerSettings(weight="autol"))
    exact.set_learning_rate(1e-3)
    assert result.hypergradient == pytest.approx(exact.step(batch(0), batch(1)).hypergradient, rel=0.1)


def test_loss_scale_doubles_after_its_interval_and_round_trips():
    scale = LossScale(8.0, interval=3)
    for finite in (True, True, False, True, True):
        scale.update(finite)
    again = LossScale(1.0, interval=3)
    again.load_state_dict(scale.state_dict())
    assert scale.value == again.value == 4.0
    for each in (scale, again):
        each.update(True)
        assert each.value == 8.0


def test_bfloat16_hypergradients_have_the_signs_of_float32(small_vit):
    trainers = [
        Trainer(copy.deepcopy(small_vit), TrainerSettings("autol", precision=p)) for p in ("float32", "bfloat16")
    ]
    for step in range(10):
        found = []
        for trainer in trainers:
            trainer.set_learning_rate(6e-7)
            found.append(trainer.step(vit_batch(2 * step), vit_batch(2 * step + 1), step).hypergradient)
        assert np.array_equal(*np.sign(found)) and np.all(found)


def test_bfloat16_gradients_point_where_float32s_do(small_vit):
    results = []
    for kind in ("float32", "bfloat16"):
        trainer = Trainer(copy.deepcopy(small_vit), TrainerSettings(precision=kind, weight="autol"))
        trainer.set_learning_rate(6e-7)
        trainer.step(vit_batch(0), vit_batch(1))
        results.append(trainer._tasks.data)
    for a, b in zip(*results, strict=True):
        assert torch.nn.functional.cosine_similarity(a.double(), b.double(), dim=0) > 0.99
