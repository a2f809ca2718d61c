"""What a checkpoint knows of itself, as plain types for config.json."""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from datasets.transforms import preprocessing
from models.checkpoint import FORMAT, threshold_of
from models.joint_embedding import JointEmbedding
from prediction.predictor import crop_parameters
from training.provenance import versions
from utils.cli import UserError

# What a checkpoint of ours holds beside its weights and its description, and a model without its training needs.
_KEPT = ("crops", "preprocessing", "threshold", "validation", "epoch", "data_hash", "versions", "revision")


def config_of(model: JointEmbedding, content: Mapping, path: str | Path) -> dict[str, Any]:
    """The content of config.json, but for the files. content: that of the checkpoint, read from ``path``.

    Raises UserError if the checkpoint holds damaged settings.
    """
    kept, tree = portable(content, path), model.tree
    size, scale = crop_parameters(content, path)
    crops = kept.get("crops") or {}
    return {
        "model_type": "sjedd",
        "format": FORMAT,
        "architecture": model.architecture,
        "tree": tree.to_dict(),
        "prompts": dict(zip(tree.nodes, tree.prompts, strict=True)),
        "score": model.score,
        "score_divisor": model.divisor if model.score == "product" else None,
        "crops": crops | {"size": size, "scale": scale},
        "preprocessing": preprocessing(model),
        "threshold": threshold_of(content, path),
        **{key: kept.get(key) for key in ("validation", "epoch", "data_hash", "versions", "revision")},
        "training": kept.get("training"),
        "exported_with": versions(),
    }


def portable(content: Mapping, path: str | Path) -> dict[str, Any]:
    """What the exported weights keep of a checkpoint's content, as JSON's types.

    ``training`` has the options of the training run, without those that hold a path.

    Raises UserError if it holds something else than JSON's types.
    """
    kept = {key: content[key] for key in _KEPT if content.get(key) is not None}
    options = content.get("training") or content.get("args")
    options = vars(options) if isinstance(options, argparse.Namespace) else options
    if isinstance(options, Mapping):
        kept["training"] = {key: value for key, value in options.items() if key == "VM" or not _is_path(value)}
    try:
        return json.loads(json.dumps(kept, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise UserError(f"{path} holds settings that JSON cannot hold ({error}); use another checkpoint") from error


def _is_path(value: object) -> bool:
    if isinstance(value, list | tuple):
        return any(map(_is_path, value))
    return isinstance(value, str) and ("/" in value or "\\" in value)
