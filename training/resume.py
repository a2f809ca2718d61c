"""Continue a run exactly: its settings and random generators, from its ckpt_last.pth."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

import numpy as np
import torch

from models.checkpoint import FORMAT
from models.checkpoint_file import read_checkpoint
from training.options import get_args_parser
from utils.cli import UserError

# Options that --resume may change: where files are, how fast and how long the run trains; not what it computes.
_FREE = {"resume", "num_epoch", "num_workers", "gpu", "output", "name", "tag", "patience", "auc", "keep"}
_FREE |= {"txt_path_train", "txt_path_val", "save_minutes", "tracker", "preview"}
_OF_THE_MACHINE = {"crop_cache", "cuda_graph"}  # not taken from the checkpoint, which may be of another machine
# Missing in older checkpoints, whose runs used today's default.
_ADDED_LATER = {"augment_on", "divisor", "drop_level", "pretrained", "prompts", "self_blend", "real_only"}
_ADDED_LATER |= {"jpeg", "flip", "pairs", "balance_methods", "ema", "save", "tune", "tune_text", "tune_image"}


def resume_settings(given: argparse.Namespace) -> tuple[argparse.Namespace, dict]:
    """Complete the options ``given`` beside --resume from its checkpoint, see ``parse_args``.

    Returns:
        All options of the run (its folder stays the same unless given) and the content of the checkpoint.

    Raises UserError if the file is no ckpt_last.pth of ours, or the command contradicts the run's settings.
    """
    path = given.resume
    content = read_checkpoint(path)
    if content.get("format") != FORMAT or not {"trainer", "args", "progress", "rng", "data_hash"} <= content.keys():
        raise UserError(f"{path} cannot be resumed, only ckpt_last.pth can; use --init_from for its weights")
    saved, defaults = content["args"], vars(get_args_parser().parse_args([]))
    free = _FREE | _OF_THE_MACHINE
    if not isinstance(saved, dict) or not defaults.keys() - free - _ADDED_LATER <= saved.keys():
        raise UserError(f"{path} lacks settings of its run and cannot be resumed; use --init_from for its weights")
    saved = defaults | {key: value for key, value in saved.items() if key not in _OF_THE_MACHINE}
    _check_settings({key: saved[key] for key in defaults}, path)
    for key, value in sorted(vars(given).items()):
        if key not in free and value != saved[key]:
            raise UserError(f"{path} was trained with --{key} {saved[key]}, which cannot change; drop --{key}")
    folder = Path(path).resolve().parent
    places = {"output": str(folder.parent.parent), "name": folder.parent.name, "tag": folder.name}
    return argparse.Namespace(**(saved | places | vars(given))), content


def _check_settings(saved: dict, path: str) -> None:
    """Raises UserError unless a command line gives the saved settings: they are written as one and parsed again."""

    def refuse(message: str) -> NoReturn:
        raise UserError(f"{path} holds damaged settings ({message}); use --init_from for its weights")

    parser, words = get_args_parser(), []
    parser.error = refuse
    checked = {key: value for key, value in saved.items() if key != "VM"}  # with --init_from it is "init"
    for key, value in checked.items():
        if isinstance(value, list):
            words += [f"--{key}", *map(str, value)] if value else []
        elif value is not None and value is not False:
            words.append(f"--{key}" if value is True else f"--{key}={value}")
    parsed = vars(parser.parse_args(words))
    for key, value in checked.items():
        if parsed[key] != value:
            refuse(f"{key} {value!r}")


def rng_state() -> dict:
    """The states of torch's CPU generator and NumPy's global one, as plain types and tensors.

    Training does not use CUDA generators, so a run may continue on another number of devices.
    """
    numpy = np.random.get_state(legacy=False)
    keys, position = torch.from_numpy(numpy["state"]["key"].astype(np.int64)), int(numpy["state"]["pos"])
    numpy_state = [numpy["bit_generator"], keys, position, int(numpy["has_gauss"]), float(numpy["gauss"])]
    return {"torch": torch.get_rng_state(), "numpy": numpy_state}


def set_rng_state(state: Mapping) -> None:
    """Inverse of ``rng_state``; ignores the states of CUDA generators in older checkpoints."""
    torch.set_rng_state(state["torch"])
    name, keys, position, has_gauss, gauss = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, gauss))
