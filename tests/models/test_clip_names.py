"""Hugging Face's names of CLIP's weights; what weights are, by their names and shapes."""

import pytest
import torch
from torchvision.models import resnet18, resnet34, resnet50, resnet101

from models.checkpoint import architecture_of, load_model, load_weights
from models.checkpoint_file import read_checkpoint
from models.clip_names import from_hugging_face, kind_of
from models.clip_weights import clip_weights
from models.joint_embedding import JointEmbedding, architecture, weight_shapes
from models.label_tree import FFPP
from preprocessing.detection.retinaface import RetinaFace
from utils.cli import UserError

# OpenAI's name -> Hugging Face's, of what is not in a layer.
OUTSIDE = {
    "logit_scale": "logit_scale",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "ln_final.weight": "text_model.final_layer_norm.weight",
    "ln_final.bias": "text_model.final_layer_norm.bias",
    "text_projection": "text_projection.weight",
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.ln_pre.weight": "vision_model.pre_layrnorm.weight",
    "visual.ln_pre.bias": "vision_model.pre_layrnorm.bias",
    "visual.ln_post.weight": "vision_model.post_layernorm.weight",
    "visual.ln_post.bias": "vision_model.post_layernorm.bias",
    "visual.proj": "visual_projection.weight",
}
IN_LAYERS = {
    "attn.out_proj": "self_attn.out_proj",
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}


def to_hugging_face(state):
    """The weights as Hugging Face's CLIPModel of transformers 4.30 and older saves them."""
    converted = {"text_model.embeddings.position_ids": torch.arange(77)[None]}
    for key, value in state.items():
        if key in OUTSIDE:
            converted[OUTSIDE[key]] = value.T.contiguous() if key in ("text_projection", "visual.proj") else value
            continue
        tower, _, rest = key.partition("transformer.resblocks.")
        layer, _, name = rest.partition(".")
        place = f"{'vision' if tower else 'text'}_model.encoder.layers.{layer}."
        module, _, kind = name.rpartition(".")
        if module == "attn":  # in_proj_weight, in_proj_bias
            for part, rows in zip("qkv", value.chunk(3), strict=True):
                converted[f"{place}self_attn.{part}_proj.{kind.removeprefix('in_proj_')}"] = rows.clone()
        else:
            converted[f"{place}{IN_LAYERS[module]}.{kind}"] = value
    return converted


@pytest.fixture
def published(published_checkpoint):
    return dict(read_checkpoint(published_checkpoint)["model"])


def test_hugging_faces_names_are_converted_to_the_bit(published):
    back = from_hugging_face(to_hugging_face(published))
    assert back.keys() == published.keys()
    assert all(torch.equal(back[key], value) for key, value in published.items())


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_hugging_faces_files_are_clip_weights_and_checkpoints(published, tmp_path, capsys, name):
    import safetensors.torch

    save = safetensors.torch.save_file if name.endswith("safetensors") else torch.save
    save(to_hugging_face(published), tmp_path / name)
    loaded = clip_weights("ViT-B/32", tmp_path / name).state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in published.items())
    assert "Hugging Face's names of CLIP are converted" in capsys.readouterr().err
    assert load_model(tmp_path / name).architecture == architecture_of(published)


@pytest.mark.parametrize("change", [{"layers.0.self_attn.k_proj.weight": None}, {"0.self_attn.k_proj.bias": (2, 2)}])
def test_damaged_files_of_hugging_faces_layout(published, tmp_path, change):
    ((ending, shape),) = change.items()
    state = to_hugging_face(published)
    key = f"text_model.encoder.layers.{ending.removeprefix('layers.')}"
    state.pop(key)
    torch.save(state if shape is None else state | {key: torch.ones(shape)}, tmp_path / "damaged.bin")
    with pytest.raises(UserError, match="damaged CLIP weights of Hugging Face's layout"):
        clip_weights("ViT-B/32", tmp_path / "damaged.bin").state_dict()


def shapes(module):
    return {key: value.shape for key, value in module.state_dict().items()}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("ViT-B/32", "ViT-B/32 weights, 768 wide"),
        ("ViT-L/14", "ViT-L/14 weights, 1,024 wide"),
        ("RN50", "RN50 weights"),
        ("RN101", "RN101 weights"),
        ("demo", "demo weights"),
    ],
)
def test_the_models_of_training_are_named(name, kind):
    assert kind_of(weight_shapes(architecture(name))) == kind


def patches(name, width, side, *others):
    return {name: (width, 3, side, side)} | {other: (1,) for other in others}


OTHERS = {
    "timm ViT-B/16 weights, 768 wide": patches("patch_embed.proj.weight", 768, 16, "cls_token", "head.weight"),
    "torchvision ViT-L/16 weights, 1,024 wide": patches("conv_proj.weight", 1024, 16, "class_token"),
    "Hugging Face ViT-S/16 weights, 384 wide": patches("vit.embeddings.patch_embeddings.projection.weight", 384, 16),
    "SigLIP ViT-B/16 weights, 768 wide": patches(
        "vision_model.embeddings.patch_embedding.weight", 768, 16, "logit_bias", "logit_scale"
    ),
    "ViT-L/14 weights, 1,024 wide, the image tower alone": patches("conv1.weight", 1024, 14, "class_embedding"),
    "Swin weights": patches("patch_embed.proj.weight", 96, 4, "layers.0.blocks.0.attn.relative_position_bias_table"),
    "Xception weights": {"backbone.block1.rep.0.conv1.weight": (1,)},
    "EfficientNet weights": {"efficientnet._conv_stem.weight": (1,)},
}


@pytest.mark.parametrize("kind", OTHERS)
def test_other_models_are_named(kind, tmp_path):
    assert kind_of(OTHERS[kind]) == kind
    torch.save({"model": {key: torch.zeros(shape) for key, shape in OTHERS[kind].items()}}, tmp_path / "other.pth")
    with pytest.raises(UserError, match=rf"no SJEDD checkpoint: its model cannot be built \(it holds {kind}\)"):
        load_model(tmp_path / "other.pth")


def test_convolutional_networks_are_named():
    for depth, network in {18: resnet18, 34: resnet34, 50: resnet50, 101: resnet101}.items():
        assert kind_of(shapes(network())) == f"ResNet-{depth} weights"
    assert kind_of(shapes(RetinaFace())) == "RetinaFace weights"
    assert kind_of({"fc.weight": (2, 2)}) is None


@pytest.mark.parametrize("given", ["ViT-L/14", "RN50"])
def test_weights_of_another_clip_are_named(given):
    model = JointEmbedding(architecture("ViT-B/32"), FFPP, empty=True)
    state = {key: torch.zeros(()).expand(shape) for key, shape in weight_shapes(architecture(given)).items()}
    kind = kind_of(weight_shapes(architecture(given)))
    with pytest.raises(UserError, match=f"x.pt holds {kind}, but the model takes ViT-B/32 weights, 768 wide"):
        load_weights(model, state, "x.pt")
