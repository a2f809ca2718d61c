"""Towers other than OpenAI's: equal to open_clip's own, in every layout of its CLIPs, small and with random weights."""

import collections
import warnings

import open_clip
import pytest
import torch

from models.checkpoint import load_model, save_checkpoint, save_weights
from models.heat_maps import heat_maps
from models.joint_embedding import JointEmbedding, architecture, weight_shapes
from models.label_tree import FFPP
from models.prompt_tokens import tokenise
from models.scoring import NodeScorer
from models.towers import packs_prompts, passes_image, refusal
from training.model_setup import checkpoint_gradients, measured_divisor
from utils.cli import UserError

VISION = {"image_size": 32, "layers": 2, "width": 64, "patch_size": 16}
TEXT = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 2}
# Prompts of a tokenizer that is not at hand: 49400 + i ends prompt i, 49399 is its end of text, 7 fills the row.
OTHER_IDS = [[2, 300, 40 + i, 49399] + [7] * 28 for i in range(len(FFPP.prompts))]
HUB = {"hf_tokenizer_name": "some/tokenizer", "context_length": 32}
TIMM = {"image_size": 224, "timm_model_name": "vit_tiny_patch16_224", "timm_model_pretrained": False}


def config(vision=None, text=None, **others):
    towers = {"vision_cfg": vision or VISION, "text_cfg": TEXT | (text or {})}
    return {"embed_dim": 32, "quick_gelu": False} | towers | others


SIGLIP_TEXT = HUB | {
    "no_causal_mask": True, "proj_bias": True, "pool_type": "last", "norm_kwargs": {"eps": 1e-6},
    "act_kwargs": {"approximate": "tanh"}, "tokenizer_kwargs": {"clean": "canonicalize"},
}  # fmt: skip
# Layout -> configuration, and what our passes compute: prompts, images.
LAYOUTS = {
    "LAION": (config(), "both"),
    "OpenAI": (config(quick_gelu=True), "both"),
    "H/14": (config(VISION | {"width": 160, "head_width": 80}), "both"),
    "bigG": (config(VISION | {"width": 104, "head_width": 52, "mlp_ratio": 4.9231}), "both"),
    "layer scale": (config(VISION | {"ls_init_value": 0.1}), "both"),
    "CLIPA": (
        config(
            VISION | {"no_ln_pre": True, "pool_type": "avg", "final_ln_after_pool": True},
            HUB | {"pool_type": "last", "no_causal_mask": True},
        ),
        "none",
    ),
    "MetaCLIP 2": (config(text=HUB | {"pool_type": "eos", "eos_id": 49399}), "both"),
    "ResNet": (config({"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None}), "prompts"),
    "PE": (
        config(TIMM | {"timm_pool": "map", "timm_proj": None}, {"context_length": 32}, custom_text=True),
        "prompts",
    ),
    "SigLIP 2": (
        config(
            TIMM | {"timm_pool": "map", "timm_proj": "none"},
            SIGLIP_TEXT,
            custom_text=True, init_logit_bias=-10, embed_dim=192,
            preprocess_cfg={"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]},
        ),
        "none",
    ),
}  # fmt: skip


def build(layout):
    torch.manual_seed(0)
    described = LAYOUTS[layout][0]
    ids = OTHER_IDS if "hf_tokenizer_name" in described["text_cfg"] else None
    return JointEmbedding(described, FFPP, divisor=7.0, tokens=ids)


@pytest.fixture(scope="module", params=LAYOUTS)
def layout(request):
    return request.param


@pytest.fixture(scope="module")
def model(layout):
    return build(layout)


def pictures(model, n=2):
    """Random images as they come (CLIP-normalised), and as the tower is trained on them."""
    side = model.image_size
    pixels = torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(0))
    clips, own = open_clip.OPENAI_DATASET_MEAN, model.architecture.get("preprocess_cfg", {})
    means = [torch.tensor(mean).view(3, 1, 1) for mean in (clips, own.get("mean", clips))]
    stds = [torch.tensor(std).view(3, 1, 1) for std in (open_clip.OPENAI_DATASET_STD,
            own.get("std", open_clip.OPENAI_DATASET_STD))]  # fmt: skip
    return [(pixels - mean) / std for mean, std in zip(means, stds, strict=True)]


def scores_of_open_clip(model, images):
    return model.clip.encode_image(images) @ model.clip.encode_text(torch.tensor(model.prompt_ids)).T / 7


@pytest.mark.numeric
def test_embeddings_equal_open_clips(model, layout):
    given, own = pictures(model)
    with torch.no_grad():
        assert (model.encode_images(given) - model.clip.encode_image(own)).abs().max() < 1e-5
        expected = model.clip.encode_text(torch.tensor(model.prompt_ids))
        assert (model.encode_prompts() - expected).abs().max() < 1e-5
        assert (expected[1:] - expected[:1]).abs().max() > 1e-3, "prompts differ"
    packs, passes = packs_prompts(model.architecture), passes_image(model.architecture)
    assert {(True, True): "both", (True, False): "prompts", (False, False): "none"}[packs, passes] == LAYOUTS[layout][1]


@pytest.mark.numeric
def test_gradients_equal_open_clips_also_with_checkpointing(layout):
    model = build(layout)
    given, own = pictures(model)
    parameters = [p for name, p in model.clip.named_parameters() if name not in ("logit_scale", "logit_bias")]
    expected = torch.autograd.grad(scores_of_open_clip(model, own).square().sum(), parameters)
    if layout != "ResNet":
        checkpoint_gradients(model)
    gradients = torch.autograd.grad(model(given).square().sum(), parameters)
    size = max(gradient.norm() for gradient in expected)
    for gradient, other in zip(gradients, expected, strict=True):
        assert (gradient - other).norm() < 1e-4 * (other.norm() + 1e-2 * size)


@pytest.mark.parametrize("save", [save_checkpoint, save_weights])
def test_checkpoints_hold_all_that_scores_need(model, save, tmp_path):
    save(tmp_path / "ckpt.pth", model)
    again = load_model(tmp_path / "ckpt.pth")
    assert again.divisor == 7 and again.prompt_ids == model.prompt_ids and again.architecture == model.architecture
    given, _ = pictures(model)
    with torch.no_grad():
        assert torch.allclose(again(given), model(given), rtol=0, atol=1e-6)


def test_heat_maps_and_other_precisions(model):
    given, _ = pictures(model)
    with torch.inference_mode():
        exact, text = model(given), model.encode_prompts()
        for precision in ("bfloat16", "reference"):
            assert (NodeScorer(model, precision)(given) - exact).abs().max() < 0.05 * exact.abs().max()
    maps = heat_maps(model, given, text)
    assert maps.shape == (2, 10, model.image_size, model.image_size)
    assert torch.allclose(maps.sum(dim=(2, 3)).amax(dim=1), torch.ones(2), atol=1e-4)


def test_heat_maps_of_a_convolutional_tower():
    tower = {"image_size": 224, "timm_model_name": "convnext_atto", "timm_pool": "", "timm_proj": "linear"}
    torch.manual_seed(0)
    model = JointEmbedding(config(tower), FFPP)
    given, _ = pictures(model, n=1)
    assert heat_maps(model, given, model.encode_prompts().detach()).sum() > 1


@pytest.mark.numeric
def test_the_measured_divisor_makes_scores_ten_cosines():
    model = build("LAION")
    model.clip.visual.proj.data *= 3
    given, _ = pictures(model, n=8)
    with torch.no_grad():
        image, text = model.encode_images(given), model.encode_prompts()
        model.divisor = measured_divisor(model, given)
        lengths = image.norm(dim=1).mean() * text.norm(dim=1).mean()
        assert model.divisor == pytest.approx(lengths.item() / 10, rel=5e-3)
        cosines = torch.nn.functional.cosine_similarity(image[:, None], text[None], dim=-1)
        assert model(given).std().item() == pytest.approx(10 * cosines.std().item(), rel=0.05)


def test_every_configuration_of_open_clip_is_computed_or_refused_with_a_reason():
    found = collections.Counter()
    for name in open_clip.list_models():
        described = architecture(name)
        reason = refusal(described)
        if reason is None:
            vision, text = described["vision_cfg"], described["text_cfg"]
            if passes_image(described):
                assert vision["image_size"] % vision["patch_size"] == 0, "embed_patches cuts whole patches"
            assert text.get("pool_type") != "eos" or "eos_id" in text
        found[reason is None and (packs_prompts(described), passes_image(described))] += 1
    assert found[False] < 20 and found[True, True] > 30 and found[True, False] > 20 and found[False, False] > 20


FAMILIES = {"ViT-B-32": "both", "ViT-B-16": "both", "ViT-L-14-336": "both", "ViT-H-14-quickgelu": "both",
            "ViT-bigG-14": "both", "PE-Core-B-16": "prompts",
            "RN50x4": "prompts", "ViT-B-16-SigLIP2": "none"}  # fmt: skip


@pytest.mark.parametrize("name", FAMILIES)
def test_the_named_families_can_be_built(name):
    described = architecture(name)
    packs, passes = packs_prompts(described), passes_image(described)
    assert FAMILIES[name] == ("both" if passes else "prompts" if packs else "none")
    assert "logit_scale" in weight_shapes(described)


@pytest.mark.slow
def test_supported_configurations_can_be_built():
    supported = [name for name in open_clip.list_models() if refusal(architecture(name)) is None]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of timm
        for name in supported[::8]:
            assert "logit_scale" in weight_shapes(architecture(name)), name


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"vision_cfg": VISION | {"scale_heads": True}}, "settings of no supported CLIP: scale_heads"),
        ({"text_cfg": TEXT | {"hf_model_name": "roberta-base"}}, "roberta-base, needs the transformers library"),
        ({"vision_cfg": TIMM | {"timm_model_name": "hf-hub:some/model"}}, "no features for heat maps"),
        ({"vision_cfg": TIMM | {"timm_model_pretrained": True}}, "no supported CLIP"),
        ({"vision_cfg": VISION | {"image_size": 4096}}, "images of 4096 px"),
        ({"multimodal_cfg": {}}, "CoCa"),
    ],
)
def test_other_models_are_refused(change, reason):
    with pytest.raises(ValueError, match=reason):
        JointEmbedding(config() | change, FFPP)


def test_a_tokenizer_that_cannot_be_loaded(monkeypatch):
    import models.prompt_tokens as module

    def offline(*_, **__):
        raise OSError("we couldn't connect to huggingface.co")

    monkeypatch.setattr(module, "HFTokenizer", offline)
    with pytest.raises(UserError, match=r"some/tokenizer, cannot be loaded \(we couldn't connect.*pip install"):
        tokenise(TEXT | HUB, FFPP.prompts)


def test_a_checkpoint_without_its_tokens_or_with_an_odd_divisor_is_refused(tmp_path):
    model = build("CLIPA")
    save_checkpoint(tmp_path / "ckpt.pth", model)
    for name, change in {"tokens": {"tokens": [[1, 2]]}, "divisor": {"divisor": 0.0}}.items():
        content = torch.load(tmp_path / "ckpt.pth", weights_only=True) | change
        torch.save(content, tmp_path / f"{name}.pth")
        with pytest.raises(UserError, match=rf"cannot be built.*{name}"):
            load_model(tmp_path / f"{name}.pth")
    del content["tokens"]
    torch.save(content, tmp_path / "none.pth")
    with pytest.raises(UserError, match=r"cannot be built.*tokens"):
        load_model(tmp_path / "none.pth")
