"""Read checkpoint files of unknown origin safely: no code in them runs, and no size that they claim is trusted.

They are PyTorch's (torch.save) or safetensors. A safetensors file of ours has the content beside its weights as JSON in
its metadata, under METADATA.
"""

import argparse
import collections
import json
import pickle
import re
import struct
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path

import safetensors
import torch

from models.foreign_files import ZIP, is_safetensors, what_else
from models.numpy_pickles import NUMPY_GLOBALS
from utils.cli import UserError
from utils.files import whole_file

METADATA = "sjedd"
WEIGHTS_FILE = "model.safetensors"  # in a folder that SJEDD_export.py wrote
# What published checkpoints hold besides tensors and plain types. CfgNode loads as a dict, so yacs is not needed.
_ALLOWED_GLOBALS = [argparse.Namespace, (collections.OrderedDict, "yacs.config.CfgNode"), *NUMPY_GLOBALS]
# What our code, open_clip or torch may raise when a model is built from malformed content.
MALFORMED = (
    LookupError,
    TypeError,
    AttributeError,
    ValueError,
    RuntimeError,
    AssertionError,
    ArithmeticError,
    MemoryError,
)


def read_checkpoint(path: str | Path) -> dict:
    """The content of a checkpoint file or of an exported folder, tensors on the CPU.

    Raises:
        UserError: it cannot be read, is no checkpoint, or holds objects other than plain types, tensors, numbers and
            texts of NumPy, argparse.Namespace and yacs' CfgNode.
    """
    path = weights_file(path)
    try:
        if is_safetensors(whole_file(path)):
            return _read_safetensors(path)
        if what := what_else(path):
            raise UserError(f"checkpoint {path} cannot be read, it is {what}")
        _refuse_bomb(path)
        with warnings.catch_warnings(), torch.serialization.safe_globals(_ALLOWED_GLOBALS):
            warnings.simplefilter("ignore")  # about pickles not written by torch.save
            content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise UserError(f"checkpoint {path} does not exist; check the path") from error
    except IsADirectoryError as error:
        raise UserError(f"checkpoint {path} is a folder without {WEIGHTS_FILE}; name the .pth file in it") from error
    except pickle.UnpicklingError as error:
        foreign = re.search(r"(?:GLOBAL|Unsupported class) ([\w.]+)", str(error))
        what = f"it wants to load {foreign[1]}" if foreign else "it is damaged or no PyTorch checkpoint"
        raise UserError(
            f"checkpoint {path} is refused: {what}; it may hold only tensors, plain types, NumPy's numbers and "
            "texts, argparse.Namespace and yacs CfgNode"
        ) from error
    except (OSError, EOFError, zipfile.BadZipFile, struct.error, safetensors.SafetensorError, *MALFORMED) as error:
        what = f"it is truncated or no checkpoint ({first_line(error)}); download or copy it again"
        raise UserError(f"checkpoint {path} cannot be read, {what}") from error
    if not isinstance(content, Mapping):
        raise UserError(f"checkpoint {path} holds a {type(content).__name__}, not a dictionary of weights")
    return dict(content)


def weights_file(path: str | Path) -> Path:
    """The file with the weights: that of an exported folder, else ``path`` itself."""
    inside = Path(path, WEIGHTS_FILE)
    return inside if inside.is_file() else Path(path)


def _read_safetensors(path: Path) -> dict:
    """The weights as ``model``, beside what our files have in their metadata."""
    with safetensors.safe_open(path, framework="pt") as file:
        extra = json.loads((file.metadata() or {}).get(METADATA, "{}"))
        names = file.keys()
        return dict(extra) | {"model": {name: file.get_tensor(name) for name in names}}


def _refuse_bomb(path: Path) -> None:
    """Raises UserError for an archive that unpacks to more than its size: torch.save does not compress."""
    with path.open("rb") as file:
        if file.read(4) != ZIP:
            return
        with zipfile.ZipFile(file) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
    if unpacked > (size := path.stat().st_size):
        raise UserError(f"checkpoint {path} is refused: {size} bytes that unpack to {unpacked}; save it uncompressed")


def first_line(error: BaseException) -> str:
    """The first line of an error's message, at most 200 characters."""
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
