"""Read checkpoint files of unknown origin safely: no code in them runs, and no size that they claim is trusted.

They are PyTorch's (torch.save) or safetensors. A safetensors file of ours has the content beside its weights as JSON in
its metadata, under METADATA.
"""

import json
import pickle
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import safetensors
import torch

from models.foreign_files import is_safetensors, what_else
from models.torch_files import damaged, read_torch_file
from utils.cli import UserError
from utils.files import whole_file

METADATA = "sjedd"
# In a folder that SJEDD_export.py wrote: all weights, or a delta checkpoint.
WEIGHTS_FILE, DELTA_FILE = "model.safetensors", "delta.safetensors"
CRC32 = "crc32"  # in METADATA: name of each weight -> CRC-32 of its bytes, which safetensors itself does not keep
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
        with path.open("rb") as file:
            content = read_torch_file(file, path.stat().st_size)
    except FileNotFoundError as error:
        raise UserError(f"checkpoint {path} does not exist; check the path") from error
    except IsADirectoryError as error:
        raise UserError(f"checkpoint {path} is a folder without {WEIGHTS_FILE}; name the .pth file in it") from error
    except pickle.UnpicklingError as error:
        raise UserError(
            f"checkpoint {path} is refused: {error}; it may hold only tensors, plain types, NumPy's numbers and "
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
    inside = (Path(path, name) for name in (WEIGHTS_FILE, DELTA_FILE))
    return next((file for file in inside if file.is_file()), Path(path))


def _read_safetensors(path: Path) -> dict:
    """The weights as ``model``, those of a delta checkpoint as ``delta``, beside what our files have as metadata."""
    with safetensors.safe_open(path, framework="pt") as file:
        extra = dict(json.loads((file.metadata() or {}).get(METADATA, "{}")))
        names = file.keys()
        weights = {name: file.get_tensor(name) for name in names}
    for name, expected in extra.pop(CRC32, {}).items():
        if crc32(weights[name]) != expected:
            raise damaged(path, name)
    return extra | {"delta" if "base" in extra else "model": weights}


def crc32(tensor: torch.Tensor) -> int:
    """CRC-32 of a contiguous tensor's bytes."""
    return zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy())


def first_line(error: BaseException) -> str:
    """The first line of an error's message, at most 200 characters."""
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
