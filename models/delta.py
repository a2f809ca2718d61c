"""Delta checkpoints: the trained weights alone, and the name of the file that holds the others.

They have ``delta``, the trained weights by name (of a low-rank update A and B, see models/lora.py), and ``base``: name,
fingerprint and, unless exported, path of the weights with which the training started.
"""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import open_clip
import torch

from models.checkpoint_file import MALFORMED, first_line
from models.clip_weights import PRETRAINED, read_clip_weights
from models.foreign_files import is_torchscript
from models.lora import is_factor, merged
from models.state_dicts import state_dict_of
from utils.cli import UserError

_OPENAI_CACHE = Path("~/.cache/clip").expanduser()


def describe_base(state: Mapping[str, torch.Tensor], file: str | Path) -> dict[str, str]:
    """The ``base`` of a training that starts with the weights ``state``, which were read from ``file``."""
    file = Path(file)
    return {"name": file.name, "path": str(file.absolute()), "sha256": _fingerprint(state)}


def _fingerprint(state: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 of the weights' names, dtypes, shapes and bytes in the order of the names."""
    digest = hashlib.sha256()
    for name, value in sorted(state.items()):
        digest.update(f"{name} {value.dtype} {list(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def trained_weights(clip: open_clip.CLIP) -> dict[str, torch.Tensor]:
    """The ``delta`` of a model: its trained weights, by the names of its state dict, and its A and B."""
    weights = {name: value.detach() for name, value in clip.named_parameters() if value.requires_grad}
    for rows in [name for name in weights if name.endswith("token_embedding.rows")]:
        del weights[rows]
        table = rows.removesuffix("rows") + "weight"
        weights[table] = clip.state_dict()[table]
    return weights


def changed_weights(
    whole: Mapping[str, torch.Tensor], base: Mapping[str, torch.Tensor], path: str | Path
) -> dict[str, torch.Tensor]:
    """The ``delta`` of whole weights: those that differ from ``base``, which has the same names and shapes.

    Raises UserError if all of them differ, or none. path: of the base, for messages.
    """
    changed = {name: value for name, value in whole.items() if not torch.equal(value, base[name])}
    if not 0 < len(changed) < len(whole):
        which = f"all {len(whole)}" if changed else "no"
        raise UserError(f"{which} weights differ from those in {path}; name another --base, or drop delta")
    return changed


def base_weights(content: Mapping, path: str | Path) -> dict[str, torch.Tensor]:
    """Read the weights that the ``base`` of a checkpoint's content names. path: of the checkpoint, for messages.

    They are looked for at their path, in pretrained/ and in OpenAI's cache. TorchScript files hold code, so they are
    read only from the last two, whose files the user chose.

    Raises UserError if they are not found or cannot be read.
    """
    base, architecture = content.get("base"), content.get("architecture")
    base = {"path": ""} | base if isinstance(base, dict) else {}
    if not all(isinstance(base.get(key), str) for key in ("name", "path", "sha256")):
        raise UserError(f"{path} does not say which weights it changes; use another checkpoint")
    name = Path(base["name"]).name
    own_place = [Path(base["path"]).parent] if base["path"] else []
    for folder in (*own_place, PRETRAINED, _OPENAI_CACHE):
        file = folder / name
        # Path.is_file raises if a name is too long.
        users = folder in (PRETRAINED, _OPENAI_CACHE)
        if os.path.isfile(file) and (users or not is_torchscript(file)):  # noqa: PTH113
            return read_clip_weights(file, architecture if isinstance(architecture, dict) else {})
    place = f"at {base['path']} (TorchScript is not read there), " if own_place else ""
    raise UserError(
        f"{path} holds only changes of the weights {name}, which are not {place}in pretrained/ or in ~/.cache/clip; "
        "copy them to pretrained/"
    )


def stored_weights(content: Mapping, path: str | Path) -> dict[str, torch.Tensor]:
    """The weights that a delta checkpoint's content holds, by the model's names. path: for messages."""
    return state_dict_of({"delta": content.get("delta")}, path, mark="logit_scale")


def with_delta(
    state: Mapping[str, torch.Tensor], content: Mapping, path: str | Path, merge: bool = True
) -> dict[str, torch.Tensor]:
    """The whole weights of a delta checkpoint, neither names nor shapes checked.

    Args:
        state: weights of its base, as the model has them.
        content: of the checkpoint.
        path: of the checkpoint, for messages.
        merge: add the low-rank updates; otherwise they are left out.

    Raises UserError if the weights of the base are others, or the delta is malformed.
    """
    base = content["base"]
    if _fingerprint(state) != base["sha256"]:
        raise UserError(
            f"{path} holds only changes of the weights {base['name']}, but the file of that name holds others; copy "
            f"the right one to {base.get('path') or 'pretrained/'}"
        )
    delta = stored_weights(content, path)
    factors = {name: value for name, value in delta.items() if is_factor(name)}
    whole = {**state, **{name: value for name, value in delta.items() if name not in factors}}
    try:
        return whole | (merged(state, factors) if merge else {})
    except MALFORMED as error:
        raise UserError(f"{path} holds damaged low-rank updates ({first_line(error)})") from error
