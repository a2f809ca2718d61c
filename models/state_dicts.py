"""Find a model's weights in the content of a checkpoint, however deep and under whatever prefix they are."""

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import torch

from utils.cli import UserError, print_note

# What DataParallel, torch.compile, FSDP and activation checkpointing put into the names of weights.
_WRAPPERS = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
# Tensors that are no weights: entries of OpenAI's archives, the counter of torch's AveragedModel.
_NO_WEIGHTS = {"input_resolution", "context_length", "vocab_size", "n_averaged"}
_DEEPEST, _MOST_MODELS = 10, 100  # dictionaries in each other; prefixes in one dictionary: more are an attack
# Dtypes of weights; PyTorch cannot compute with some others.
_DTYPES = {torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.bool, torch.uint8}
_DTYPES |= {torch.int8, torch.int16, torch.int32, torch.int64}


class _Found(NamedTuple):
    """A model's weights in a checkpoint."""

    place: str  # its keys and the prefix, joined by dots
    names: dict[str, str]  # name in the file -> name in the model
    weights: Mapping[str, torch.Tensor]  # by name in the file

    @property
    def is_average(self) -> bool:
        return "ema" in re.split(r"[._]", self.place.lower())


def state_dict_of(content: Mapping, path: object, mark: str) -> dict[str, torch.Tensor]:
    """The weights in a checkpoint's content, by the model's names.

    They may be in dictionaries within dictionaries (model, state_dict, ...), and have any prefix. If there are several
    models, the largest that is no running mean (EMA) is taken. A note tells of prefixes and of other models.

    Args:
        content: of the file.
        path: of the file, for messages.
        mark: name of a weight that the model has. Without it, the largest dictionary of tensors is taken as it is.

    Raises UserError if it holds no weights, or weights other than plain tensors of real numbers.
    """
    tables = list(_tables(content))
    if not tables:
        raise UserError(f"{path} holds no model weights (no dictionary of tensors under 'model' or 'state_dict')")
    models = [found for table in tables for found in _models(*table, mark)]
    models.sort(key=lambda found: (found.is_average, -len(found.names)))
    chosen = models[0] if models else max((_whole(*table) for table in tables), key=lambda found: len(found.names))
    state = {name: chosen.weights[raw] for raw, name in chosen.names.items()}
    if len(state) < len(chosen.names):
        raise UserError(f"{path} holds some weights of {chosen.place or 'its model'} twice, under other prefixes")
    _refuse_odd(state, path)
    if len(models) > 1 or chosen.is_average:
        mean = " (a running mean, EMA)" if chosen.is_average else ""
        others = "".join(f", not {found.place or 'the top'}" for found in models[1:])
        print_note(f"{path}: the weights of {chosen.place or 'the top'}{mean} are taken{others}")
    if models and (changed := next((names for names in chosen.names.items() if names[0] != names[1]), None)):
        print_note(f"{path}: prefixes are dropped from the names of its weights: {changed[0]} is {changed[1]}")
    return state


def _tables(content: Mapping) -> Iterator[tuple[str, dict[str, torch.Tensor]]]:
    """The dictionaries in ``content`` that hold tensors, the outer ones first: (keys joined by dots, the tensors)."""
    queue: list[tuple[tuple[str, ...], Mapping]] = [((), content)]
    seen = set()
    for keys, mapping in queue:  # which grows meanwhile
        if id(mapping) in seen or len(keys) > _DEEPEST:
            continue
        seen.add(id(mapping))
        items = [(key, value) for key, value in mapping.items() if isinstance(key, str)]
        tensors = {key: value for key, value in items if isinstance(value, torch.Tensor) and key not in _NO_WEIGHTS}
        if tensors:
            yield ".".join(keys), tensors
        queue += [((*keys, key), value) for key, value in items if isinstance(value, Mapping)]


def _whole(place: str, tensors: Mapping[str, torch.Tensor]) -> _Found:
    names = {raw: ".".join(part for part in raw.split(".") if part not in _WRAPPERS) for raw in tensors}
    return _Found(place, names, tensors)


def _models(place: str, tensors: Mapping[str, torch.Tensor], mark: str) -> Iterator[_Found]:
    """The models among ``tensors``: one for each prefix of ``mark``. What has no prefix of theirs belongs to each."""
    names = _whole(place, tensors).names
    marks = [name for name in names.values() if f".{name}".endswith(f".{mark}")]
    prefixes = sorted({name.removesuffix(mark) for name in marks}, key=len, reverse=True)[-_MOST_MODELS:]
    owner = {raw: next((prefix for prefix in prefixes if name.startswith(prefix)), None) for raw, name in names.items()}
    for prefix in reversed(prefixes):
        own = {raw: name.removeprefix(prefix) for raw, name in names.items() if owner[raw] in (prefix, None)}
        yield _Found(f"{place}.{prefix}".strip("."), own, tensors)


def _refuse_odd(state: Mapping[str, torch.Tensor], path: object) -> None:
    if odd := next((key for key, value in state.items() if value.dtype not in _DTYPES), None):
        raise UserError(f"{path} is refused: {odd} is no plain tensor of real numbers")
    # An expanded tensor has any shape with a few stored numbers.
    stored = {value.untyped_storage().data_ptr(): value.untyped_storage().nbytes() for value in state.values()}
    if sum(value.nbytes for value in state.values()) > sum(stored.values()):
        raise UserError(f"{path} is refused: its weights claim more numbers than the file holds")
