"""Which configurations of open_clip are computed, and by what: our passes (transformer_pass) or open_clip's modules."""

import re
from collections.abc import Mapping

from models.choices import OPEN_CLIP_CONFIGS

_VISION_KEYS = {
    "image_size", "layers", "width", "patch_size", "demo_channels", "head_width", "mlp_ratio", "ls_init_value",
    "no_ln_pre", "final_ln_after_pool", "pool_type", "timm_model_name", "timm_model_pretrained", "timm_pool",
    "timm_proj", "timm_drop", "timm_drop_path",
}  # fmt: skip
_TEXT_KEYS = {
    "context_length", "vocab_size", "width", "heads", "layers", "mlp_ratio", "hf_tokenizer_name", "tokenizer_kwargs",
    "no_causal_mask", "pool_type", "eos_id", "proj_bias", "proj_type", "act_kwargs", "norm_kwargs",
}  # fmt: skip
_KEYS = {"embed_dim", "vision_cfg", "text_cfg", "quick_gelu", "custom_text", "init_logit_bias", "preprocess_cfg"}
# timm's families with features that heat maps can show. Nothing else is looked up, on disk or on a hub.
_TIMM_FAMILIES = re.compile(r"(convnext|eva|fastvit|vit)\w*")
_LONGEST_PROMPT, _LARGEST_SIDE = 77, 1024  # tokens, px


def config_name(name: str) -> str:
    """open_clip's name of the configuration of --VM ``name``."""
    return OPEN_CLIP_CONFIGS.get(name, name)


def refusal(config: Mapping) -> str | None:
    """Why a model of open_clip's configuration is not computed; None if it is."""
    vision, text = config["vision_cfg"], config["text_cfg"]
    if "multimodal_cfg" in config:
        return "it is a CoCa, whose text decoder is not used"
    if "hf_model_name" in text:
        return f"its text tower, {text['hf_model_name']}, needs the transformers library"
    if odd := sorted(config.keys() - _KEYS | vision.keys() - _VISION_KEYS | text.keys() - _TEXT_KEYS):
        return f"settings of no supported CLIP: {', '.join(odd)}"
    if "timm_model_name" in vision and not _TIMM_FAMILIES.fullmatch(vision["timm_model_name"]):
        return f"its image tower, {vision['timm_model_name']}, has no features for heat maps"
    if vision.get("timm_model_pretrained") or not (
        0 < text["context_length"] <= _LONGEST_PROMPT and 0 < vision["image_size"] <= _LARGEST_SIDE
    ):
        return f"no supported CLIP: prompts of {text['context_length']} tokens, images of {vision['image_size']} px"
    return None


def packs_prompts(config: Mapping) -> bool:
    """Whether the text tower is causal and read at the last token of a prompt, so that prompts share prefixes."""
    text = config["text_cfg"]
    read_at_end = text.get("pool_type", "argmax") in ("argmax", "eos")
    plain = not text.get("proj_bias") and text.get("proj_type", "linear") == "linear"
    return read_at_end and plain and not text.get("no_causal_mask")


def passes_image(config: Mapping) -> bool:
    """Whether the image tower is open_clip's VisionTransformer, read at its class token."""
    vision = config["vision_cfg"]
    return isinstance(vision.get("layers"), int) and vision.get("pool_type", "tok") == "tok"
