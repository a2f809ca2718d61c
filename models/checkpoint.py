"""Checkpoints: published SJEDD files and our own, CLIP weights to start from; read with ``models.checkpoint_file``.

Our files hold plain types and tensors only: ``model`` (OpenAI CLIP's key names, as in the published files),
``architecture``, ``tree``, ``score``, and whatever else the caller adds. Published files tell neither the tree nor the
architecture; shapes tell the latter.
"""

import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import open_clip
import torch

from models.checkpoint_file import MALFORMED, first_line, read_checkpoint, state_dict_of
from models.joint_embedding import JointEmbedding, openai_tag, weight_shapes
from models.label_tree import FFPP, LabelTree
from utils.cli import UserError
from utils.files import atomic_path

FORMAT = "sjedd-1"
_PRETRAINED = Path(__file__).resolve().parent.parent / "pretrained"


def save_checkpoint(path: Path, model: JointEmbedding, **extra: object) -> None:
    """Write ``model`` and ``extra`` (plain types and tensors) in one step: the old file or the whole new one.

    UserError when there is no space for it.
    """
    content = {
        "format": FORMAT,
        "model": model.clip.state_dict(),
        "architecture": model.architecture,
        "tree": model.tree.to_dict(),
        "score": model.score,
    } | extra
    with atomic_path(path) as temporary:
        try:
            torch.save(content, temporary)
        except RuntimeError as error:  # torch's name for a write that failed
            if "inline_container" not in str(error):
                raise
            raise UserError(f"cannot write {path}, the disk may be full; make room there or choose another folder"
                            ) from error  # fmt: skip


def threshold_of(content: Mapping, path: str | Path) -> float | None:
    """The decision threshold from validation that a checkpoint of ours holds; None in a published one."""
    threshold = content.get("threshold")
    if threshold is not None and not (isinstance(threshold, float) and 0 <= threshold <= 1):
        raise UserError(f"{path} holds a damaged decision threshold ({threshold!r}); use another checkpoint")
    return threshold


def load_model(path: str | Path, device: str | torch.device = "cpu", tree: LabelTree | None = None) -> JointEmbedding:
    """A checkpoint file -> JointEmbedding in eval mode, float32, with ``.tree``.

    tree: the tree of a checkpoint that does not say (published ones do not; FFPP when None); a checkpoint that says
    another one is refused.
    """
    return build_model(read_checkpoint(path), path, tree).to(device)


def build_model(content: Mapping, path: str | Path, tree: LabelTree | None = None) -> JointEmbedding:
    """Content of ``read_checkpoint`` -> JointEmbedding (see ``load_model``); ``path`` is for messages only."""
    state = state_dict_of(content, path)
    try:
        own_tree = LabelTree.from_dict(content["tree"]) if "tree" in content else tree or FFPP
        config = content.get("architecture") or architecture_of(state)
        if _most_layers(config) > len(state):
            raise ValueError("more layers than weights")
        _refuse_misfit(weight_shapes(config), state, path)  # before a claimed size is a size in memory
        model = JointEmbedding(config, own_tree, content.get("score", "product"), empty=True)
    except MALFORMED as error:
        raise UserError(f"{path} is no SJEDD checkpoint: its model cannot be built ({first_line(error)})") from error
    if tree is not None and own_tree is not tree:
        raise UserError(
            f"{path} was trained on the {own_tree.name} tree, not on {tree.name}; use that tree's script or option"
        )
    load_weights(model, state, path)
    return model


def load_weights(model: JointEmbedding, state: Mapping[str, torch.Tensor], path: str | Path) -> None:
    """Copy ``state`` into ``model.clip`` as float32 after checking every key, shape and value."""
    own = model.clip.state_dict()
    state = {key: value for key, value in state.items() if not key.endswith("attn_mask")}
    _refuse_misfit({key: value.shape for key, value in own.items()}, state, path)
    if bad := [key for key, value in state.items() if value.is_floating_point() and not value.isfinite().all()]:
        raise UserError(f"{path} holds NaN or infinite weights, the first in {bad[0]}; use an earlier checkpoint")
    # Into a float32 model: open_clip's own loader of published files rounds biases to fp16 and moves P(fake) by 2e-4.
    model.clip.load_state_dict({key: value.to(own[key].dtype) for key, value in state.items()}, strict=False)


def _refuse_misfit(own: Mapping[str, torch.Size], state: Mapping[str, torch.Tensor], path: str | Path) -> None:
    """UserError when the weights are not those of the model. own: name -> shape of the model's."""
    missing = sorted(set(own) - set(state) - {key for key in own if key.endswith("num_batches_tracked")})
    extra = sorted(key for key in set(state) - set(own) if not key.endswith("attn_mask"))
    wrong = sorted(key for key in set(own) & set(state) if own[key] != state[key].shape)
    for what, keys in (("lacks", missing), ("has unknown", extra), ("has wrong shapes for", wrong)):
        if keys:
            raise UserError(f"{path} does not fit the model: it {what} {len(keys)} weights, the first is {keys[0]}")


def _most_layers(config: Mapping) -> int:
    """The number of layers of the deepest part of a model."""
    vision = config["vision_cfg"]
    of_image = vision["layers"] if "layers" in vision else len(vision["demo_channels"])
    return max(np.max(of_image), config["text_cfg"]["layers"])


def architecture_of(state: Mapping[str, torch.Tensor]) -> dict:
    """open_clip configuration read off the shapes of a state dict with OpenAI CLIP's keys.

    The number of attention heads cannot be told from shapes; it is width // 64, as in all of OpenAI's models.
    """
    width = state["ln_final.weight"].shape[0]
    text = {
        "context_length": state["positional_embedding"].shape[0],
        "vocab_size": state["token_embedding.weight"].shape[0],
        "width": width,
        "heads": width // 64,
        "layers": _count(state, r"transformer\.resblocks\.(\d+)\."),
    }
    if "visual.proj" in state:
        width, _, patch, _ = state["visual.conv1.weight"].shape
        side = round((state["visual.positional_embedding"].shape[0] - 1) ** 0.5)
        vision = {
            "image_size": patch * side,
            "layers": _count(state, r"visual\.transformer\.resblocks\.(\d+)\."),
            "width": width,
            "patch_size": patch,
        }
    else:
        side = round((state["visual.attnpool.positional_embedding"].shape[0] - 1) ** 0.5)
        vision = {
            "image_size": side * 32,
            "layers": [_count(state, rf"visual\.layer{i}\.(\d+)\.") for i in (1, 2, 3, 4)],
            "width": state["visual.layer1.0.conv1.weight"].shape[0],
            "patch_size": None,
        }
    embed_dim = state["text_projection"].shape[1]
    return {"embed_dim": embed_dim, "quick_gelu": True, "vision_cfg": vision, "text_cfg": text}


def _count(state: Mapping[str, torch.Tensor], pattern: str) -> int:
    return len({match[1] for key in state if (match := re.match(pattern, key))})


def clip_state_dict(name: str, weights: str | Path | None = None) -> dict[str, torch.Tensor]:
    """Pre-trained CLIP weights of ``name`` (a --VM name other than demo).

    weights: a local file, OpenAI's TorchScript archive or an open_clip checkpoint (.pt, .pth, .bin, .safetensors)
    trained with QuickGELU, as OpenAI's and those of open_clip's `-quickgelu` models are; shapes do not tell.
    Without it: pretrained/<OpenAI's file name> when it is there, else the cache of the clip package or a download.
    """
    file_name = name.replace("/", "-") + ".pt"
    if weights is None and (_PRETRAINED / file_name).exists():
        weights = _PRETRAINED / file_name
    if weights is None:
        config = open_clip.get_pretrained_cfg(openai_tag(name), "openai")
        try:
            # From OpenAI's own address into ~/.cache/clip, checked by SHA-256; the hub's client retries for a minute.
            weights = open_clip.download_pretrained(config, prefer_hf_hub=False)
        except (OSError, RuntimeError) as error:
            raise UserError(
                f"cannot download the OpenAI weights of {name} ({first_line(error)}); on a machine with internet get "
                f"{file_name} (see pretrained/README.md) into pretrained/{file_name}, or use --clip_weights FILE"
            ) from error
    path = Path(weights)
    if path.suffix == ".safetensors":
        return state_dict_of(_read_safetensors(path), path)
    if _is_torchscript(path):
        with warnings.catch_warnings():  # torch.jit is deprecated, but OpenAI's files are written in its format
            warnings.simplefilter("ignore")
            try:
                state = torch.jit.load(path, map_location="cpu").state_dict()
            except RuntimeError as error:
                raise UserError(f"{path} is a damaged TorchScript archive; download it again") from error
        return state_dict_of(state, path)
    return state_dict_of(read_checkpoint(path), path)


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    import safetensors.torch

    try:
        return safetensors.torch.load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise UserError(f"cannot read {path} ({first_line(error)}); download the file again") from error


def _is_torchscript(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False  # read_checkpoint says what is wrong with it


def rng_state() -> dict:
    """State of torch's generator and NumPy's global one, as plain types and tensors. Training draws nothing from those
    of CUDA devices, so that a run goes on with any number of them."""
    name, keys, position, has_gauss, gauss = np.random.get_state()
    numpy_state = [name, torch.from_numpy(keys.astype(np.int64)), int(position), int(has_gauss), float(gauss)]
    return {"torch": torch.get_rng_state(), "numpy": numpy_state}


def set_rng_state(state: Mapping) -> None:
    """Inverse of ``rng_state``, also of older ones that hold the generators of CUDA devices."""
    torch.set_rng_state(state["torch"])
    name, keys, position, has_gauss, gauss = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, gauss))
