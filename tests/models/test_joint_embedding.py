import copy
from contextlib import nullcontext

import open_clip
import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F

from models.choices import MODEL_NAMES
from models.joint_embedding import JointEmbedding, architecture
from models.label_tree import FFPP, FFSC
from models.precision import RoundedWeights
from models.transformer_pass import attention, mlp, plain_attention
from utils.devices import deterministic

pytestmark = pytest.mark.numeric


@pytest.fixture(scope="module")
def small_clip():
    """A CLIP of OpenAI's layout, small, in float64: other orders of summing differ by 1e-15, errors by far more."""
    config = {
        "embed_dim": 64,
        "quick_gelu": True,
        "vision_cfg": {"image_size": 64, "layers": 2, "width": 64, "patch_size": 32},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 128, "heads": 2, "layers": 3},
    }
    torch.manual_seed(0)
    return JointEmbedding(config, FFPP).double()


def random_images(n, size=64, seed=0):
    return torch.randn(n, 3, size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("tree", [FFPP, FFSC], ids=lambda tree: tree.name)
def test_packed_text_pass_equals_all_77_positions(small_clip, tree):
    model = JointEmbedding(small_clip.architecture, tree).double()
    with torch.no_grad():
        full = model.clip.encode_text(open_clip.tokenize(tree.prompts))
        packed = model.encode_prompts()
    assert len(model.prompt_rows) < 60, "against 10 or 12 prompts of 15 tokens"
    assert (full - packed).abs().max() < 1e-12


@pytest.mark.parametrize("name", ["small", "ViT-B/16"])
def test_image_pass_equals_open_clips(small_clip, name):
    model = small_clip if name == "small" else JointEmbedding(architecture(name), FFPP).double()
    images = random_images(2, model.image_size)
    with torch.no_grad():
        assert (model.encode_images(images) - model.clip.visual(images)).abs().max() < 1e-12


def test_gradients_equal_open_clips(small_clip):
    images = random_images(3)
    clip = small_clip.clip
    tokens = open_clip.tokenize(FFPP.prompts)
    parameters = [p for p in clip.parameters() if p is not clip.logit_scale]
    ours = small_clip(images).square().sum()
    theirs = (clip.visual(images) @ clip.encode_text(tokens).T / 10).square().sum()
    for a, b in zip(torch.autograd.grad(ours, parameters), torch.autograd.grad(theirs, parameters), strict=True):
        assert (a - b).abs().max() < 1e-12 * (1 + b.abs().max())


def test_plain_attention_is_pytorchs_attention_and_keeps_its_mask():
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, 3, n, 8, dtype=torch.float64, generator=generator) for n in (4, 9, 9))
    causal = torch.full((9, 9), -torch.inf, dtype=torch.float64).triu(1)[[2, 4, 5, 8]]
    for mask in (None, causal):
        inputs = [x.clone().requires_grad_() for x in (q, k, v)]
        results = [attend(*inputs, mask) for attend in (plain_attention, F.scaled_dot_product_attention)]
        gradients = [torch.autograd.grad(result.square().sum(), inputs) for result in results]
        assert torch.allclose(*results, rtol=0, atol=1e-12)
        assert all(torch.allclose(a, b, rtol=0, atol=1e-12) for a, b in zip(*gradients, strict=True))
    assert not torch.allclose(plain_attention(q, k, v, None), plain_attention(q, k, v, causal), rtol=0, atol=1e-2)


@pytest.mark.skipif(
    tuple(map(int, torch.__version__.split(".")[:2])) < (2, 10), reason="older fake CUDA tensors ask for a driver"
)
def test_deterministic_attention_on_a_gpu_avoids_the_fused_kernels(monkeypatch):
    fused = []
    original = F.scaled_dot_product_attention
    monkeypatch.setattr(F, "scaled_dot_product_attention", lambda *inputs: fused.append(1) or original(*inputs))
    with FakeTensorMode():  # shapes and devices alone: no GPU is needed
        for device, wanted, calls in (("cuda", False, 1), ("cuda", True, 0), ("cpu", True, 1)):
            fused.clear()
            layer = nn.MultiheadAttention(64, 4, batch_first=True, device=device)
            with deterministic(wanted):
                attended = attention(layer, torch.zeros(2, 5, 64, device=device), None, None)
            assert attended.device.type == device and len(fused) == calls


def test_bfloat16_passes_are_near_float32s(small_clip):
    model = copy.deepcopy(small_clip).float()
    images = random_images(8).float()
    with torch.no_grad():
        exact = torch.cat([model.encode_images(images), model.encode_prompts()])
        with torch.autocast("cpu", torch.bfloat16):
            near = torch.cat([model.encode_images(images), model.encode_prompts()])
    assert near.dtype == torch.bfloat16
    assert 1e-4 < (near - exact).norm() / exact.norm() < 0.02, "bfloat16 keeps 8 bits, one part in 256"


def test_the_kernels_of_a_bfloat16_pass_on_a_cpu(small_clip):
    model = copy.deepcopy(small_clip).float()
    with torch.profiler.profile() as profile, torch.autocast("cpu", torch.bfloat16):
        model.encode_images(random_images(2).float()).sum().backward()
    kernels = {event.key for event in profile.key_averages()}
    assert not {name for name in kernels if "convolution" in name}, "a matrix product is faster everywhere"
    plain = {"aten::bmm", "aten::_softmax"} <= kernels and not {name for name in kernels if "attention" in name}
    assert plain == torch.ops.mkldnn._is_mkldnn_bf16_supported()


def test_the_two_layers_of_a_block_and_their_gradients(small_clip):
    layers = copy.deepcopy(small_clip.clip.transformer.resblocks[0].mlp)
    x = torch.randn(2, 3, 128, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    inputs = [x, *layers.parameters()]
    ours, theirs = mlp(layers, x), layers(x)
    assert torch.allclose(ours, theirs, rtol=0, atol=1e-12)
    gradients = [torch.autograd.grad(result.square().sum(), inputs) for result in (ours, theirs)]
    assert all(torch.allclose(a, b, rtol=0, atol=1e-12) for a, b in zip(*gradients, strict=True))
    layers.requires_grad_(False)
    assert torch.equal(torch.autograd.grad(mlp(layers, x).square().sum(), x)[0], gradients[0][0])


def test_weights_rounded_at_once_make_autocasts_gradients(small_clip):
    """Where autocast rounds a weight by itself nothing else happens; in_use leaves weights as they were."""
    model = copy.deepcopy(small_clip).float()
    images, parameters = random_images(4).float(), list(model.clip.visual.parameters())
    before = [parameter.clone() for parameter in parameters]
    results = []
    for context in (nullcontext, RoundedWeights(model.clip.visual, "bfloat16").in_use):
        with context():
            with torch.autocast("cpu", torch.bfloat16):
                embedded = model.encode_images(images)
            results.append([embedded, *torch.autograd.grad(embedded.square().sum(), parameters)])
    rounded = [parameter for parameter, gradient in zip(parameters, results[1][1:], strict=True)
               if gradient.dtype == torch.bfloat16]  # fmt: skip
    assert {p.dim() for p in rounded} == {1, 2, 4}, "biases, products, the patches' convolution"
    assert all(torch.equal(a, b.to(a.dtype)) for a, b in zip(*results, strict=True)), "the same computation twice"
    assert all(torch.equal(a, b) for a, b in zip(before, parameters, strict=True))
    assert all(parameter.dtype == torch.float32 for parameter in parameters)


def test_cosine_score_is_scaled_by_clips_learned_scale(small_clip):
    model = JointEmbedding(small_clip.architecture, FFPP, score="cosine").double()
    images = random_images(3)
    scores = model(images)
    image, text = model.encode_images(images), model.encode_prompts()
    cosine = torch.nn.functional.cosine_similarity(image[:, None], text[None], dim=-1)
    assert torch.allclose(scores, cosine / 0.07, rtol=1e-6), "the scale is stored in float32"
    (gradient,) = torch.autograd.grad(scores.square().sum(), model.clip.logit_scale)
    assert gradient.item() == pytest.approx(2 * scores.square().sum().item(), rel=1e-12)


def test_score_is_the_unnormalised_product_over_ten(small_clip):
    images = random_images(3)
    with torch.no_grad():
        text, image = small_clip.encode_prompts(), small_clip.clip.encode_image(images)
        scores = small_clip(images)
    assert torch.allclose(scores, image @ text.T / 10, rtol=0, atol=1e-12)
    assert image.norm(dim=1).max() > 1.5, "not normalised"


def test_given_text_embeddings_are_used_and_no_text_pass_runs(small_clip, monkeypatch):
    images = random_images(2)
    with torch.no_grad():
        text, expected = small_clip.encode_prompts(), small_clip(images)
        monkeypatch.setattr(JointEmbedding, "encode_prompts", None)
        assert torch.equal(small_clip(images, text), expected), "the same computation twice"


def test_one_image_encoding_and_one_text_pass_per_scoring(small_clip):
    calls = []
    hooks = [
        small_clip.clip.visual.ln_post.register_forward_hook(lambda *_: calls.append("image")),
        small_clip.clip.ln_final.register_forward_hook(lambda *_: calls.append("text")),
    ]
    with torch.no_grad():
        small_clip(random_images(2))
    for hook in hooks:
        hook.remove()
    assert sorted(calls) == ["image", "text"]


def test_product_is_float32_outside_autocast(small_clip):
    model, images = copy.deepcopy(small_clip).float(), random_images(2).float()
    with torch.no_grad():
        text = model.encode_prompts()
        with torch.autocast("cpu", torch.bfloat16):
            embedding, scores = model.encode_images(images), model(images)
    assert scores.dtype == torch.float32
    assert torch.equal(scores, embedding.float() @ text.T / 10), "the same computation twice"


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_every_model_uses_quick_gelu_and_its_own_size(name):
    config = architecture(name)
    assert config["quick_gelu"] is True
    assert config["vision_cfg"]["image_size"] == (112 if name == "demo" else 224)


@pytest.mark.parametrize(("name", "width"), [("RN50", 1024), ("ViT-B/16", 512)])
def test_real_architectures_score_images(name, width):
    model = JointEmbedding(architecture(name), FFPP)
    with torch.no_grad():
        assert model.encode_prompts().shape == (10, width)
        assert model(torch.zeros(1, 3, 224, 224)).isfinite().all()


def test_demo_tower_tells_left_from_right():
    torch.manual_seed(0)
    tower = JointEmbedding(architecture("demo"), FFPP).clip.visual
    image = torch.randn(1, 3, 112, 112, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert not torch.allclose(tower(image), tower(image.flip(3)), atol=1e-2)


@pytest.mark.parametrize("name", ["demo", "RN50"])
def test_an_empty_model_is_the_random_one_once_its_weights_are_loaded(name):
    made, empty = (JointEmbedding(architecture(name), FFPP, empty=empty) for empty in (False, True))
    empty.clip.load_state_dict(made.clip.state_dict())
    for parts in (nn.Module.named_parameters, nn.Module.named_buffers):
        own, other = dict(parts(made)), dict(parts(empty))
        assert own.keys() == other.keys()
        assert all(torch.equal(value, other[key]) and value.requires_grad == other[key].requires_grad
                   for key, value in own.items())  # fmt: skip
