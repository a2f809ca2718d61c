"""Pre-trained CLIP weights for training: a local file, a cache or a download, and the model that they belong to."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import open_clip
import torch
from open_clip.model import convert_to_custom_text_state_dict

from models.checkpoint_file import first_line, read_checkpoint
from models.choices import OPEN_CLIP_CONFIGS
from models.clip_names import clip_state_of
from models.foreign_files import is_torchscript
from models.joint_embedding import architecture
from models.towers import config_name, refusal
from utils.cli import UserError, print_note

PRETRAINED = Path(__file__).resolve().parent.parent / "pretrained"
_ENDINGS = (".pt", ".bin", ".safetensors")
_OPENAI = "openai"  # tag


@dataclass(frozen=True)
class ClipWeights:
    """Pre-trained weights: a local file, or (path None) those of a tag, which must be downloaded.

    Attributes:
        name: open_clip's name of the model.
        tag: open_clip's name of the weights; None for any other file.
        architecture: open_clip's configuration of the model, with the activation and the normalisation of images that
            the weights were trained with.
        are_openais: whether they are OpenAI's, as far as can be told.
    """

    name: str
    tag: str | None
    path: Path | None
    architecture: dict
    are_openais: bool

    def state_dict(self) -> dict[str, torch.Tensor]:
        """The weights by the names of the model. Raises UserError if they cannot be downloaded or read."""
        if self.architecture["quick_gelu"] and not architecture(self.name)["quick_gelu"]:
            print_note(f"{self.name} has GELU in open_clip; {self.tag} was trained with QuickGELU, which is used")
        return read_clip_weights(self.file(), self.architecture)

    def file(self) -> Path:
        """The file of the weights. Raises UserError if it cannot be downloaded."""
        return self.path or _downloaded(self.name, str(self.tag))


def clip_weights(name: str, pretrained: str | Path | None = None) -> ClipWeights:
    """The weights that --VM and --pretrained name.

    Args:
        name: one of OPEN_CLIP_CONFIGS, or open_clip's name of a model.
        pretrained: open_clip's tag of weights, or a local file: OpenAI's TorchScript archive, or a checkpoint of
            open_clip or Hugging Face's CLIPModel (PyTorch or safetensors). A file does not tell how it was trained: it
            is taken to have the activation of ``name`` (OPEN_CLIP_CONFIGS: QuickGELU) and the normalisation of
            open_clip's first weights of ``name``. Default: OpenAI's weights of a model of OPEN_CLIP_CONFIGS.

    Raises UserError if there is no such model or weights, or the model is not supported.
    """
    config, short = architecture(name), name in OPEN_CLIP_CONFIGS
    if reason := refusal(config):
        raise UserError(f"--VM {name} is not supported: {reason}")
    full = config_name(name)
    plain = full.removesuffix("-quickgelu")
    if pretrained is None and not short:
        raise UserError(f"--VM {name} needs --pretrained: a local file, or {_tags(full)}")
    tag = _clean(str(pretrained or _OPENAI))
    # Our short names do not say which activation, so they have the tags of both of open_clip's names.
    found = next((n for n in ((full, plain) if short else (full,)) if open_clip.is_pretrained_cfg(n, tag)), None)
    if found is None:
        path = Path(str(pretrained))
        if not path.is_file():
            other = f"; it is one of {plain}, which has GELU" if open_clip.is_pretrained_cfg(plain, tag) else ""
            what = f"no file and no weights of {name}{other}"
            raise UserError(f"--pretrained {pretrained} is {what}; there are {_tags(full)}")
        tags = open_clip.list_pretrained_tags_by_model(full)
        return ClipWeights(full, None, path, _with_normalisation(config, full, tags[0]) if tags else config, short)
    quick = bool(open_clip.get_pretrained_cfg(found, tag).get("quick_gelu"))
    config = _with_normalisation(config | {"quick_gelu": quick}, found, tag)
    places = (PRETRAINED / f"{_stem(found, tag)}{ending}" for ending in _ENDINGS)
    local = next((path for path in places if path.exists()), None)
    return ClipWeights(found, tag, local, config, tag == _OPENAI)


def _clean(tag: str) -> str:
    """open_clip's spelling of a tag."""
    return tag.lower().replace("-", "_")


def _tags(name: str) -> str:
    tags = open_clip.list_pretrained_tags_by_model(name)
    return f"open_clip's weights {', '.join(tags)}" if tags else "no weights in open_clip"


def _with_normalisation(config: dict, name: str, tag: str) -> dict:
    own = {key: open_clip.get_pretrained_cfg(name, tag)[key] for key in ("mean", "std")}
    if own == {"mean": open_clip.OPENAI_DATASET_MEAN, "std": open_clip.OPENAI_DATASET_STD}:
        return config
    return config | {"preprocess_cfg": {key: list(values) for key, values in own.items()}}


def _stem(name: str, tag: str) -> str:
    """Name, without its ending, of a tag's file in pretrained/."""
    return name.removesuffix("-quickgelu") if tag == _OPENAI else f"{name}-{tag}"


def _downloaded(name: str, tag: str) -> Path:
    """A tag's file from open_clip's caches: ~/.cache/clip (OpenAI's, checked by SHA-256) or Hugging Face's."""
    config, from_hub = open_clip.get_pretrained_cfg(name, tag), tag != _OPENAI
    try:
        # The hub's client would retry OpenAI's for a minute.
        return Path(open_clip.download_pretrained(config, prefer_hf_hub=from_hub))
    except (OSError, RuntimeError) as error:
        repository, _, file = config["hf_hub"].rpartition("/")
        file, place = file or "open_clip_model.safetensors", f" of https://huggingface.co/{repository}"
        if not (from_hub and repository):
            file, place = config["url"], ""
        raise UserError(
            f"cannot download the weights {tag} of {name} ({first_line(error)}); download {file}{place} elsewhere to "
            f"pretrained/{_stem(name, tag)}{Path(file).suffix} (see pretrained/README.md), or use --pretrained FILE"
        ) from error


def read_clip_weights(path: Path, architecture: Mapping) -> dict[str, torch.Tensor]:
    """The weights in a file by the names of the model. Raises UserError if it cannot be read."""
    state = clip_state_of(_read_torchscript(path) if is_torchscript(path) else read_checkpoint(path), path)
    if architecture.get("custom_text"):  # older files name the text tower's weights as OpenAI's do
        state = convert_to_custom_text_state_dict(state)
    for key in {"logit_scale", "logit_bias"} & state.keys():  # of one dimension in some files
        state[key] = state[key].reshape(())
    return state


def _read_torchscript(path: Path) -> dict[str, torch.Tensor]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit, the format of OpenAI's files, is deprecated
        try:
            return torch.jit.load(path, map_location="cpu").state_dict()
        except RuntimeError as error:
            raise UserError(f"{path} is a damaged TorchScript archive; download it again") from error
