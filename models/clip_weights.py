"""Pre-trained CLIP weights for training: a local file, OpenAI's cache or a download."""

import warnings
from pathlib import Path

import open_clip
import torch

from models.checkpoint_file import first_line, read_checkpoint
from models.choices import OPEN_CLIP_CONFIGS
from models.clip_names import clip_state_of
from models.foreign_files import is_torchscript
from utils.cli import UserError

PRETRAINED = Path(__file__).resolve().parent.parent / "pretrained"


def clip_state_dict(name: str, weights: str | Path | None = None) -> dict[str, torch.Tensor]:
    """Load pre-trained CLIP weights: OpenAI CLIP's name -> weight. See ``clip_weights_file``."""
    return read_clip_weights(clip_weights_file(name, weights))


def clip_weights_file(name: str, weights: str | Path | None = None) -> Path:
    """The file of pre-trained CLIP weights.

    Args:
        name: a --VM name other than demo.
        weights: a local file, OpenAI's TorchScript archive, or a checkpoint of open_clip or Hugging Face's CLIPModel
            (PyTorch or safetensors).
            It must have been trained with QuickGELU, like OpenAI's and open_clip's `-quickgelu` models (the file does
            not tell). Default: pretrained/<OpenAI's file name> if it exists, else OpenAI's cache or a download.

    Raises UserError if the download fails.
    """
    file_name = name.replace("/", "-") + ".pt"
    if weights is None and (PRETRAINED / file_name).exists():
        weights = PRETRAINED / file_name
    if weights is None:
        config = open_clip.get_pretrained_cfg(OPEN_CLIP_CONFIGS[name], "openai")
        try:
            # From OpenAI into ~/.cache/clip, checked by SHA-256. The hub's client would retry for a minute.
            weights = open_clip.download_pretrained(config, prefer_hf_hub=False)
        except (OSError, RuntimeError) as error:
            raise UserError(
                f"cannot download the OpenAI weights of {name} ({first_line(error)}); download them elsewhere to "
                f"pretrained/{file_name} (see pretrained/README.md), or use --clip_weights FILE"
            ) from error
    return Path(weights)


def read_clip_weights(path: Path) -> dict[str, torch.Tensor]:
    """The weights in a file of ``clip_weights_file``. Raises UserError if it cannot be read."""
    return clip_state_of(_read_torchscript(path) if is_torchscript(path) else read_checkpoint(path), path)


def _read_torchscript(path: Path) -> dict[str, torch.Tensor]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit, the format of OpenAI's files, is deprecated
        try:
            return torch.jit.load(path, map_location="cpu").state_dict()
        except RuntimeError as error:
            raise UserError(f"{path} is a damaged TorchScript archive; download it again") from error
