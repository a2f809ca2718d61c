"""A run of SJEDD_export.py: read a checkpoint, write the folder."""

import argparse
import copy
from collections.abc import Mapping
from pathlib import Path

import torch

from evaluation.calibration import read_calibration
from models.checkpoint import build_model, load_weights, save_weights
from models.checkpoint_file import DELTA_FILE, WEIGHTS_FILE, read_checkpoint
from models.clip_weights import read_clip_weights
from models.delta import changed_weights, describe_base, stored_weights
from models.joint_embedding import JointEmbedding
from models.label_tree import TREES
from prediction.export.config import config_of, portable
from prediction.export.model_card import model_card
from utils.cli import UserError
from utils.files import TEMPORARY, file_sha256, write_json, write_text
from utils.locks import LOCK, exclusive_folder
from utils.own_files import RECORD, own_files
from utils.terminal import say

ONNX_FILE = "model.onnx"
_FILES = (WEIGHTS_FILE, DELTA_FILE, ONNX_FILE, "calibration.json", "config.json", "README.md")


def export(args: argparse.Namespace) -> None:
    """Export with the options of SJEDD_export.py.

    Raises UserError for a bad checkpoint or calibration, missing packages, or a folder that is not empty.
    """
    output = Path(args.output)
    _require_empty(output)
    calibration = read_calibration(args.calibration) if args.calibration else None
    content = read_checkpoint(args.resume)
    model = build_model(content, args.resume, TREES[args.train_dataset] if args.train_dataset else None)
    kept = portable(content, args.resume)
    config = config_of(model, content, args.resume) | {"calibration": calibration}
    if "delta" in args.format:
        delta, config["base"] = delta_of(model, content, args.resume, args.base)
    with exclusive_folder(output, _FILES) as folder:
        _require_empty(output)
        if "onnx" in args.format:  # first, because it may fail
            from prediction.export.onnx_model import write_onnx

            difference = write_onnx(folder / ONNX_FILE, model)
            say(f"{folder / ONNX_FILE}: on random images its probabilities differ from PyTorch's by {difference:.1e}")
        if "safetensors" in args.format:
            save_weights(folder / WEIGHTS_FILE, model, **kept)
        if "delta" in args.format:
            save_weights(folder / DELTA_FILE, model, delta, base=config["base"], **kept)
        if calibration:
            write_json(folder / "calibration.json", calibration)
        names = [name for name in (WEIGHTS_FILE, DELTA_FILE, ONNX_FILE) if (folder / name).is_file()]
        config["files"] = {name: file_sha256(folder / name) for name in names}
        write_text(folder / "README.md", model_card(config))
        write_json(folder / "config.json", config)
    (folder / RECORD).unlink()  # finished: from now on nothing is replaced
    say(f"{output}: {', '.join([*names, 'config.json', 'README.md'])}; choose a licence in README.md")


def _require_empty(folder: Path) -> None:
    """Raises UserError if the folder holds anything but what an export that was killed has left."""
    if not folder.is_dir():
        return
    left = own_files(folder) | {RECORD, LOCK}
    if any(path.name not in left and not path.name.startswith(TEMPORARY) for path in folder.iterdir()):
        raise UserError(f"{folder} is not empty, and nothing in it is replaced; name a new folder")


def delta_of(
    model: JointEmbedding, content: Mapping, path: str, base: str | None
) -> tuple[Mapping[str, torch.Tensor], dict[str, str]]:
    """The ``delta`` and the ``base`` (models/delta.py) of a checkpoint, without a path of this machine.

    Args:
        model: of the checkpoint.
        content: of the checkpoint.
        path: of the checkpoint, for messages.
        base: file of the weights that the training of a whole checkpoint started from.

    Raises UserError if the base is missing, superfluous, of another model, or has all or no weights in common.
    """
    if "delta" in content:
        if base:
            raise UserError(f"{path} is a delta checkpoint and names its base itself; drop --base")
        delta, described = stored_weights(content, path), content["base"]
    else:
        if not base:
            raise UserError("--format delta needs --base FILE: the weights that the training started from")
        start = copy.deepcopy(model)
        load_weights(start, read_clip_weights(Path(base), model.architecture), base)
        state = start.clip.state_dict()
        delta, described = changed_weights(model.clip.state_dict(), state, base), describe_base(state, base)
    return delta, {key: described[key] for key in ("name", "sha256")}
