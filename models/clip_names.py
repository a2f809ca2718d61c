"""CLIP's weights by OpenAI's names, also from Hugging Face's; what weights of unknown origin are."""

import re
from collections.abc import Mapping, Sequence

import torch

from models.state_dicts import state_dict_of
from utils.cli import UserError, print_note

# Part of Hugging Face's names -> of OpenAI's. q, k and v are joined afterwards.
_RENAMES = {
    "text_model.embeddings.token_embedding.": "token_embedding.",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.final_layer_norm.": "ln_final.",
    "text_model.encoder.layers.": "transformer.resblocks.",
    "text_projection.weight": "text_projection",
    "vision_model.embeddings.class_embedding": "visual.class_embedding",
    "vision_model.embeddings.patch_embedding.": "visual.conv1.",
    "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
    "vision_model.pre_layrnorm.": "visual.ln_pre.",
    "vision_model.post_layernorm.": "visual.ln_post.",
    "vision_model.encoder.layers.": "visual.transformer.resblocks.",
    "visual_projection.weight": "visual.proj",
    ".self_attn.": ".attn.",
    ".layer_norm": ".ln_",
    ".mlp.fc1.": ".mlp.c_fc.",
    ".mlp.fc2.": ".mlp.c_proj.",
}
_TRANSPOSED = ("text_projection.weight", "visual_projection.weight")
# Width of a ViT -> its letter.
_VITS = {192: "Ti", 384: "S", 768: "B", 1024: "L", 1280: "H"}
# Blocks of a ResNet's four stages -> its depth, and how many times OpenAI scaled it.
_RESNETS = {
    (2, 2, 2, 2): "18",
    (3, 4, 6, 3): "50",
    (3, 4, 23, 3): "101",
    (3, 8, 36, 3): "152",
    (4, 6, 10, 6): "50x4",
    (6, 8, 18, 8): "50x16",
    (3, 15, 36, 10): "50x64",
}
# A name that only these weights have (after any prefix) -> what they are; {vit} and {resnet} follow from shapes.
_KINDS = {
    r"visual\.stages\.0\.weight": "demo weights",
    r"visual\.class_embedding": "{vit}",
    r"visual\.layer1\.0\.conv1\.weight": "RN{resnet} weights",
    r"logit_bias": "SigLIP {vit}",
    r"visual\.trunk\..+": "open_clip weights on a timm tower",
    r"text\.transformer\..+": "open_clip weights with another text tower",
    r"vision_model\.embeddings\.class_embedding": "Hugging Face's {vit}, not a whole CLIP",
    r"relative_position_bias_table": "Swin weights",
    r"patch_embed\.proj\.weight": "timm {vit}",
    r"conv_proj\.weight": "torchvision {vit}",
    r"patch_embeddings\.projection\.weight": "Hugging Face {vit}",
    r"class_embedding": "{vit}, the image tower alone",
    r"ClassHead\.0\..+": "RetinaFace weights",
    r"layer1\.0\.conv1\.weight": "ResNet-{resnet} weights",
    r"block1\.rep\..+": "Xception weights",
    r"_?conv_stem\.weight": "EfficientNet weights",
}
_PATCHES = r"(?:^|\.)(?:conv1|patch_embed\.proj|conv_proj|patch_embedding|patch_embeddings\.projection)\.weight"


def clip_state_of(content: Mapping, path: object) -> dict[str, torch.Tensor]:
    """The CLIP weights in a checkpoint's content by OpenAI's names, see ``state_dict_of``."""
    state = state_dict_of(content, path, mark="logit_scale")
    if "text_model.final_layer_norm.weight" not in state or "logit_bias" in state:
        return state
    try:
        state = from_hugging_face(state)
    except (KeyError, RuntimeError) as error:
        raise UserError(f"{path} holds damaged CLIP weights of Hugging Face's layout; download it again") from error
    print_note(f"{path}: Hugging Face's names of CLIP are converted")
    return state


def from_hugging_face(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights of Hugging Face's CLIPModel with a ViT, by OpenAI's names."""
    converted = {}
    for key, value in state.items():
        if key.endswith(".position_ids"):  # a buffer of older versions
            continue
        name = key
        for old, new in _RENAMES.items():
            name = name.replace(old, new)
        converted[name] = value.t() if key in _TRANSPOSED else value
    for name in [name for name in converted if ".attn.q_proj." in name]:
        parts = [converted.pop(name.replace(".q_proj.", f".{part}_proj.")) for part in "qkv"]
        converted[name.replace(".q_proj.", ".in_proj_")] = torch.cat(parts)
    return converted


def kind_of(shapes: Mapping[str, Sequence[int]]) -> str | None:
    """What weights are, such as "ViT-L/14 weights, 1,024 wide"; None if unknown. shapes: name -> shape."""
    for pattern, kind in _KINDS.items():
        if any(re.search(rf"(?:^|\.){pattern}$", key) for key in shapes):
            return kind.format(vit=_vit(shapes), resnet=_resnet(shapes))
    return None


def _vit(shapes: Mapping[str, Sequence[int]]) -> str:
    patches = (shape for key, shape in shapes.items() if re.search(rf"{_PATCHES}$", key) and len(shape) == 4)
    width, _, _, patch = next(patches, (0, 0, 0, 0))
    if not width:
        return "ViT weights"
    letter = f"-{_VITS[width]}" if width in _VITS else ""
    return f"ViT{letter}/{patch} weights, {width:,} wide"


def _resnet(shapes: Mapping[str, Sequence[int]]) -> str:
    blocks = {match.groups() for key in shapes if (match := re.search(r"(?:^|\.)layer([1-4])\.(\d+)\.", key))}
    stages = tuple(sum(stage == number for stage, _ in blocks) for number in "1234")
    if stages == (3, 4, 6, 3) and not any(key.endswith("layer1.0.conv3.weight") for key in shapes):
        return "34"
    return _RESNETS.get(stages, f"with {'-'.join(map(str, stages))} blocks")
