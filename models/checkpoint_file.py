"""Read PyTorch files of unknown origin safely: no code in them runs, and no size that they claim is trusted."""

import argparse
import collections
import pickle
import re
import struct
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch

from utils.cli import UserError
from utils.files import whole_file

_ZIP = b"PK\x03\x04"  # first bytes of torch.save's files, except those of old versions
# What published checkpoints hold besides tensors and plain types. CfgNode loads as a dict, so yacs is not needed.
_ALLOWED_GLOBALS = [argparse.Namespace, (collections.OrderedDict, "yacs.config.CfgNode")]
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
# Dtypes of weights; PyTorch cannot compute with some others.
_DTYPES = {torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.bool, torch.uint8}
_DTYPES |= {torch.int8, torch.int16, torch.int32, torch.int64}
_OPENAI_EXTRAS = ("input_resolution", "context_length", "vocab_size")  # entries of OpenAI's archives, not weights


def read_checkpoint(path: str | Path) -> dict:
    """The content of a checkpoint file, tensors on the CPU.

    Raises:
        UserError: it cannot be read, is no checkpoint, or holds objects other than plain types, tensors,
            argparse.Namespace and yacs' CfgNode.
    """
    path = Path(path)
    try:
        _refuse_bomb(whole_file(path))
        with warnings.catch_warnings(), torch.serialization.safe_globals(_ALLOWED_GLOBALS):
            warnings.simplefilter("ignore")  # about pickles not written by torch.save
            content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise UserError(f"checkpoint {path} does not exist; check the path") from error
    except IsADirectoryError as error:
        raise UserError(f"checkpoint {path} is a folder; name the .pth file in it") from error
    except pickle.UnpicklingError as error:
        foreign = re.search(r"(?:GLOBAL|Unsupported class|operand) ([\w.]+)", str(error))
        what = f"it wants to load {foreign[1]}" if foreign else "it is damaged or no PyTorch checkpoint"
        raise UserError(
            f"checkpoint {path} is refused: {what}; it may hold only tensors, plain types, argparse.Namespace and "
            "yacs CfgNode"
        ) from error
    except (OSError, EOFError, zipfile.BadZipFile, struct.error, *MALFORMED) as error:
        message = f"checkpoint {path} cannot be read, it is truncated or no checkpoint ({first_line(error)})"
        raise UserError(message) from error
    if not isinstance(content, Mapping):
        raise UserError(f"checkpoint {path} holds a {type(content).__name__}, not a dictionary of weights")
    return dict(content)


def _refuse_bomb(path: Path) -> None:
    """Raises UserError for an archive that unpacks to more than its size: torch.save does not compress."""
    with path.open("rb") as file:
        if file.read(4) != _ZIP:
            return
        with zipfile.ZipFile(file) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
    if unpacked > (size := path.stat().st_size):
        raise UserError(f"checkpoint {path} is refused: {size} bytes that unpack to {unpacked}; save it uncompressed")


def state_dict_of(content: Mapping, path: str | Path) -> dict[str, torch.Tensor]:
    """The weights in a checkpoint's content, with or without a wrapper (model, state_dict) and prefix (module.).

    Raises UserError if it holds no weights, or weights other than plain tensors of real numbers.
    """
    state = next((content[key] for key in ("model", "state_dict") if isinstance(content.get(key), Mapping)), content)
    state = {str(key).removeprefix("module."): value for key, value in state.items() if str(key) not in _OPENAI_EXTRAS}
    if not state or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise UserError(f"{path} holds no model weights (no dictionary of tensors under 'model' or 'state_dict')")
    if odd := next((key for key, value in state.items() if not _is_plain(value)), None):
        raise UserError(f"{path} is refused: {odd} is no plain tensor of real numbers")
    # An expanded tensor has any shape with a few stored numbers.
    stored = {value.untyped_storage().data_ptr(): value.untyped_storage().nbytes() for value in state.values()}
    if sum(value.nbytes for value in state.values()) > sum(stored.values()):
        raise UserError(f"{path} is refused: its weights claim more numbers than the file holds")
    return state


def _is_plain(value: torch.Tensor) -> bool:
    on_cpu = value.device.type == "cpu"
    return on_cpu and value.layout is torch.strided and not value.is_nested and value.dtype in _DTYPES


def first_line(error: BaseException) -> str:
    """The first line of an error's message, at most 200 characters."""
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
