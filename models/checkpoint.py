"""Write SJEDD checkpoints and weights, and build the model of a published file or one of ours.

Our files hold plain types and tensors only: ``model`` (OpenAI CLIP's key names, as in the published files) or a part of
it (models/delta.py), ``architecture``, ``tree``, ``score``, ``divisor``, and what the caller adds. Published files do
not name the tree; their architecture follows from the shapes of the weights, and their divisor is 10.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import safetensors.torch
import torch

from models.checkpoint_file import CRC32, MALFORMED, METADATA, crc32, first_line, read_checkpoint
from models.clip_names import clip_state_of, kind_of
from models.delta import base_weights, trained_weights, with_delta
from models.joint_embedding import SCORE_DIVISOR, JointEmbedding, weight_shapes
from models.label_tree import FFPP, LabelTree
from utils.cli import UserError
from utils.files import atomic_path

FORMAT = "sjedd-1"
_CANNOT_WRITE = "cannot write {}, the disk may be full; make room or choose another folder"


def save_checkpoint(path: Path, model: JointEmbedding, delta: bool = False, **extra: object) -> None:
    """Write a checkpoint in one step, see ``atomic_path``. Raises UserError if the disk is full.

    Args:
        delta: write only the trained weights and the name of the file of the others, ``model.base``.
        extra: plain types and tensors, written beside the model's weights, architecture, tree and score.
    """
    clip = model.clip
    weights = {"delta": trained_weights(clip), "base": model.base} if delta else {"model": clip.state_dict()}
    content = weights | _description(model) | extra
    with atomic_path(path) as temporary:
        try:
            torch.save(content, temporary)
        except RuntimeError as error:
            if "inline_container" not in str(error):  # torch's message when a write fails
                raise
            raise UserError(_CANNOT_WRITE.format(path)) from error


def save_weights(
    path: Path, model: JointEmbedding, delta: Mapping[str, torch.Tensor] | None = None, **extra: object
) -> None:
    """Write a model as a safetensors file in one step; ``load_model`` builds the same one from it.

    Args:
        delta: write these weights alone; ``extra`` has their ``base`` (models/delta.py).
        extra: what JSON can hold, as for ``save_checkpoint``.

    Raises UserError if the disk is full.
    """
    state = model.clip.state_dict() if delta is None else delta
    weights = {name: weight.contiguous() for name, weight in state.items()}
    sums = {name: crc32(weight) for name, weight in weights.items()}
    described = json.dumps(_description(model) | extra | {CRC32: sums}, allow_nan=False)
    with atomic_path(path) as temporary:
        try:
            safetensors.torch.save_file(weights, temporary, {"format": "pt", METADATA: described})
        except safetensors.SafetensorError as error:
            raise UserError(_CANNOT_WRITE.format(path)) from error


def _description(model: JointEmbedding) -> dict[str, object]:
    """What a file of ours holds beside the weights, as plain types."""
    tree = model.tree.to_dict()
    described = {"format": FORMAT, "architecture": model.architecture, "tree": tree, "score": model.score}
    # With the tokens a model loads where Hugging Face's tokenizer is not at hand.
    tokens = {"tokens": model.prompt_ids} if "hf_tokenizer_name" in model.architecture["text_cfg"] else {}
    return described | {"divisor": model.divisor} | tokens


def threshold_of(content: Mapping, path: str | Path) -> float | None:
    """A checkpoint's decision threshold from validation; None for a published one."""
    threshold = content.get("threshold")
    if threshold is None:
        return None
    if not (isinstance(threshold, float | np.floating) and 0 <= threshold <= 1):
        shown = f"{threshold}" if isinstance(threshold, float) else f"a {type(threshold).__name__}"
        raise UserError(f"{path} holds a damaged decision threshold ({shown}); use another checkpoint")
    return float(threshold)


def load_model(path: str | Path, device: str | torch.device = "cpu", tree: LabelTree | None = None) -> JointEmbedding:
    """Load the model of a checkpoint file.

    Args:
        path: a published checkpoint or one of ours.
        device: for the model.
        tree: label tree of a checkpoint that does not name its own (default: FFPP).

    Returns:
        The model in eval mode, float32, with its ``.tree``.

    Raises UserError if the file is no SJEDD checkpoint, is damaged, or names another tree than ``tree``.
    """
    return build_model(read_checkpoint(path), path, tree).to(device)


def build_model(
    content: Mapping, path: str | Path, tree: LabelTree | None = None, merge: bool = True
) -> JointEmbedding:
    """``load_model`` from the content of a file, whose ``path`` is for error messages.

    merge: add the low-rank updates of a delta checkpoint to its weights; otherwise they are left out.
    """
    is_delta = "delta" in content
    state = base_weights(content, path) if is_delta else clip_state_of(content, path)
    try:
        own_tree = LabelTree.from_dict(content["tree"]) if "tree" in content else tree or FFPP
        config = content.get("architecture") or architecture_of(state)
        if _most_layers(config) > len(state):
            raise ValueError("more layers than weights")
        _check_fit(weight_shapes(config), state, path)  # before memory of the claimed size is allocated
        tokens = content["tokens"] if "hf_tokenizer_name" in config["text_cfg"] else None
        divisor = content.get("divisor", SCORE_DIVISOR)
        model = JointEmbedding(config, own_tree, content.get("score", "product"), True, divisor, tokens)
    except MALFORMED as error:
        raise UserError(f"{path} is no SJEDD checkpoint: its model cannot be built ({first_line(error)})") from error
    if tree is not None and own_tree.to_dict() != tree.to_dict():
        other = f"on {tree.name}" if tree.name != own_tree.name else "with these prompts"
        raise UserError(
            f"{path} was trained on the {own_tree.name} tree, not {other}; use that tree's script or option"
        )
    load_weights(model, state, path)
    if is_delta:
        load_weights(model, with_delta(model.clip.state_dict(), content, path, merge), path)
        model.base = content["base"]
    return model


def load_weights(model: JointEmbedding, state: Mapping[str, torch.Tensor], path: str | Path) -> None:
    """Copy weights into ``model.clip`` as float32.

    Raises UserError if a key is missing or unknown, a shape differs, or a value is not finite.
    """
    own = model.clip.state_dict()
    state = {key: value for key, value in state.items() if not key.endswith("attn_mask")}
    _check_fit({key: value.shape for key, value in own.items()}, state, path)
    if bad := [key for key, value in state.items() if value.is_floating_point() and not value.isfinite().all()]:
        raise UserError(f"{path} holds NaN or infinite weights, the first in {bad[0]}; use an earlier checkpoint")
    # In float32: open_clip's own loader of published files rounds biases to float16, which changes P(fake) by 2e-4.
    model.clip.load_state_dict({key: value.to(own[key].dtype) for key, value in state.items()}, strict=False)


def _check_fit(own: Mapping[str, torch.Size], state: Mapping[str, torch.Tensor], path: str | Path) -> None:
    """Raises UserError unless the weights have the names and shapes of the model's own."""
    kind, wanted = kind_of({key: value.shape for key, value in state.items()}), kind_of(own)
    if kind not in (None, wanted):
        raise UserError(
            f"{path} holds {kind}, but the model takes {wanted}; choose that model with --VM, or other weights"
        )
    missing = sorted(set(own) - set(state) - {key for key in own if key.endswith("num_batches_tracked")})
    extra = sorted(key for key in set(state) - set(own) if not key.endswith("attn_mask"))
    wrong = sorted(key for key in set(own) & set(state) if own[key] != state[key].shape)
    for what, keys in (("lacks", missing), ("has unknown", extra), ("has wrong shapes for", wrong)):
        if keys:
            raise UserError(f"{path} does not fit the model: it {what} {len(keys)} weights, the first is {keys[0]}")


def _most_layers(config: Mapping) -> int:
    vision = config["vision_cfg"]
    image_layers = vision["layers"] if "layers" in vision else len(vision.get("demo_channels", ()))
    return max(np.max(image_layers), config["text_cfg"]["layers"])


def architecture_of(state: Mapping[str, torch.Tensor]) -> dict:
    """open_clip's configuration from the shapes of weights with OpenAI CLIP's names.

    The number of attention heads, which shapes do not tell, is width // 64 in all of OpenAI's models. Raises
    ValueError, which says what they are, for the weights of another model.
    """
    is_vit = "visual.class_embedding" in state
    if "ln_final.weight" not in state or not (is_vit or "visual.layer1.0.conv1.weight" in state):
        kind = kind_of({key: value.shape for key, value in state.items()}) or f"another model, with {min(state)}"
        raise ValueError(f"it holds {kind}")
    width = state["ln_final.weight"].shape[0]
    text = {
        "context_length": state["positional_embedding"].shape[0],
        "vocab_size": state["token_embedding.weight"].shape[0],
        "width": width,
        "heads": width // 64,
        "layers": _count(state, r"transformer\.resblocks\.(\d+)\."),
    }
    if is_vit:
        width, _, patch, _ = state["visual.conv1.weight"].shape
        side = round((state["visual.positional_embedding"].shape[0] - 1) ** 0.5)
        layers = _count(state, r"visual\.transformer\.resblocks\.(\d+)\.")
        vision = {"image_size": patch * side, "layers": layers, "width": width, "patch_size": patch}
    else:  # ResNet
        width = state["visual.layer1.0.conv1.weight"].shape[0]
        side = round((state["visual.attnpool.positional_embedding"].shape[0] - 1) ** 0.5)
        stages = [_count(state, rf"visual\.layer{i}\.(\d+)\.") for i in (1, 2, 3, 4)]
        vision = {"image_size": side * 32, "layers": stages, "width": width, "patch_size": None}
    embed_dim = state["text_projection"].shape[1]
    return {"embed_dim": embed_dim, "quick_gelu": True, "vision_cfg": vision, "text_cfg": text}


def _count(state: Mapping[str, torch.Tensor], pattern: str) -> int:
    return len({match[1] for key in state if (match := re.match(pattern, key))})
