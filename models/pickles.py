"""Read the pickles in PyTorch's checkpoints into plain types and tensors.

Nothing that a pickle names is imported: a few names stand for functions of this module, all others are refused. Unlike
torch.load, in all versions, time and memory stay in proportion to the file, and no memory is read that the file did
not fill.
"""

import argparse
import pickle
import pickletools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, BinaryIO, NamedTuple

import torch

from models.numpy_pickles import NUMPY_CALLS, NumpyArray, NumpyType

_MOST_OPERATIONS = 500_000  # of a pickle; a ViT-L/14 with its optimizer has 70,000
_DEEPEST = 100  # containers in each other
_KEYS = (str, bytes, bool, float, type(None))  # types of keys, beside small integers: others may share one hash


Load = Callable[[str, int, int], torch.Tensor]  # (name of a storage, number of values, bytes of each) -> uint8 [bytes]


class Storage(NamedTuple):
    """Memory that tensors of a checkpoint share."""

    memory: torch.Tensor  # uint8 [bytes]
    dtype: torch.dtype  # of the tensors that do not name theirs


class _Function(NamedTuple):
    """Stands for a function or a class that a pickle names."""

    call: Callable


def unpickle(stream: BinaryIO, size: int, load: Load) -> object:
    """The next object of a stream.

    Args:
        size: bytes of the pickle, at most.
        load: gives the memory of a storage.

    Raises UnpicklingError, whose text begins with "it", for a pickle that is refused; ValueError, LookupError,
    TypeError, AttributeError, EOFError or RuntimeError for a damaged one.
    """
    stack: list[Any] = []
    marks: list[int] = []  # lengths of the stack
    memo: dict[int, Any] = {}
    value: Any
    work = 0  # bytes and items that calls may copy

    def since_mark() -> list:
        start = marks.pop()
        items = stack[start:]
        del stack[start:]
        return items

    for number, (opcode, value, _) in enumerate(pickletools.genops(stream)):
        name = opcode.name
        if name in _VALUES:
            stack.append(value)
        elif name in ("BINPUT", "LONG_BINPUT"):
            memo[value] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[value])
        elif name == "MARK":
            marks.append(len(stack))
        elif name in _TUPLES:
            stack[-_TUPLES[name] :] = [tuple(stack[-_TUPLES[name] :])]
        elif name == "TUPLE":
            stack.append(tuple(since_mark()))
        elif name in _EMPTY:
            stack.append(_EMPTY[name]())
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name == "GLOBAL":
            stack.append(_named(value))
        elif name in ("REDUCE", "NEWOBJ", "BUILD"):
            target, arguments = stack[-2:]
            work += len(arguments) + sum(len(part) for part in arguments if isinstance(part, _COPIED))
            if work > 4 * size:
                raise pickle.UnpicklingError("it copies its content again and again")
            if name == "BUILD":
                _set_state(target, arguments)
                stack.pop()
            else:
                stack[-2:] = [target.call(*_of_type(arguments, tuple))]
        elif name == "BINPERSID":
            stack.append(_storage(stack.pop(), load))
        elif name in ("APPEND", "APPENDS"):
            items = since_mark() if name == "APPENDS" else [stack.pop()]
            _of_type(stack[-1], list).extend(items)
        elif name in ("SETITEM", "SETITEMS"):
            items = since_mark() if name == "SETITEMS" else [stack.pop(-2), stack.pop()]
            keys = _hashable(items[::2])
            _of_type(stack[-1], dict).update(zip(keys, items[1::2], strict=True))
        elif name not in ("PROTO", "STOP"):
            raise pickle.UnpicklingError(_DAMAGED)
        if number > _MOST_OPERATIONS:
            raise pickle.UnpicklingError(f"it holds more than {_MOST_OPERATIONS:,} values")
    content = stack.pop()
    _refuse_tangled(content, 10**7 + 4 * size)
    return content


_DAMAGED = "it is damaged or no PyTorch checkpoint"
_VALUES = {"BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINSTRING"}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_COPIED = str | bytes | list | dict | tuple
_EMPTY: dict[str, Callable] = {"EMPTY_TUPLE": tuple, "EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_SET": set}


def _named(value: str) -> object:
    """What stands for a global, "module name"."""
    name = ".".join(value.split(" ")).replace("__builtin__.", "builtins.")
    if name in _CONSTANT_GLOBALS:
        return _CONSTANT_GLOBALS[name]
    if name not in _CALLS:
        raise pickle.UnpicklingError(f"it wants to load {name[:100]}")
    return _Function(_CALLS[name])


def _of_type(value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        raise TypeError(f"a {type(value).__name__}, not a {kind.__name__}")
    return value


def _hashable(keys: Sequence) -> Sequence:
    """``keys`` if a dictionary of them is quick."""
    for key in keys:
        if not isinstance(key, _KEYS) and not (isinstance(key, int) and abs(key) < 2**60):
            raise pickle.UnpicklingError(f"it has a key of type {type(key).__name__}")
    return keys


def _set_state(target: object, state: Any) -> None:
    if isinstance(target, argparse.Namespace):
        vars(target).update(_of_type(state, dict))
    elif isinstance(target, NumpyType | NumpyArray):
        target.__setstate__(state)
    elif not isinstance(target, dict):  # the attributes of a dictionary are dropped
        raise pickle.UnpicklingError(_DAMAGED)


def _storage(claim: object, load: Load) -> Storage:
    """claim: a persistent id of torch.save; its last item, in the older format, is a view of version 0.3."""
    match claim:
        case ("storage", torch.dtype() as dtype, str() as key, _, int() as count, *view) if view in ([], [None]):
            if 0 <= count < 2**60:
                return Storage(load(key, count, dtype.itemsize), dtype)
    raise pickle.UnpicklingError(_DAMAGED)


def _refuse_tangled(content: object, longest: int) -> None:
    """Raises UnpicklingError for deep nesting, or for content that as text has more than ``longest`` characters."""
    known: dict[int, tuple[int, int]] = {}

    def extent(value: Any, depth: int) -> tuple[int, int]:
        """(length as text, about; containers in each other). Parts that are shared count each time."""
        if isinstance(value, str | bytes):
            return len(value), 0
        if isinstance(value, argparse.Namespace):
            value = vars(value)
        if not isinstance(value, dict | list | tuple | set) or isinstance(value, Storage):
            return 1, 0
        if id(value) not in known:
            if depth > _DEEPEST:
                raise pickle.UnpicklingError(f"it nests more than {_DEEPEST} containers in each other")
            parts = [*value, *value.values()] if isinstance(value, dict) else value
            extents = [extent(part, depth + 1) for part in parts]
            known[id(value)] = 1 + sum(n for n, _ in extents), 1 + max((height for _, height in extents), default=0)
        length, height = known[id(value)]
        if length > longest or depth + height > _DEEPEST + 1:
            raise pickle.UnpicklingError("it repeats its own parts without end")
        return length, height

    extent(content, 0)


def _tensor(storage: Storage, offset: int, size: tuple, stride: tuple, *_: object, dtype: Any = None) -> torch.Tensor:
    """A tensor in a storage, without requires_grad and hooks."""
    storage, numbers = _of_type(storage, Storage), (offset, *_of_type(size, tuple), *_of_type(stride, tuple))
    dtype = _of_type(dtype or storage.dtype, torch.dtype)
    if not all(isinstance(n, int) and 0 <= n < 2**62 for n in numbers) or len(size) != len(stride):
        raise ValueError("a tensor has an impossible shape")
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if all(size) and (last + 1) * dtype.itemsize > len(storage.memory):
        raise pickle.UnpicklingError("it has a tensor that is larger than its storage")
    return torch.empty(0, dtype=dtype).set_(storage.memory.untyped_storage(), offset, size, stride)


def _tensor_of_dtype(storage: Storage, offset: int, size: tuple, stride: tuple, *rest: Any) -> torch.Tensor:
    """rest: requires_grad, hooks, dtype."""
    return _tensor(storage, offset, size, stride, dtype=rest[2])


def _dictionary() -> dict:
    return {}


def _namespace() -> argparse.Namespace:
    return argparse.Namespace()


def _parameter(data: torch.Tensor, *_: object) -> torch.Tensor:
    return _of_type(data, torch.Tensor)


def _encode(text: str, encoding: str) -> bytes:
    """bytes, as protocol 2 writes them."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(_DAMAGED)
    return _of_type(text, str).encode("latin1")


def _set(items: list) -> set:
    return set(_hashable(_of_type(items, list)))


def _counter(counts: dict) -> Mapping:
    return _of_type(counts, dict)


def _size(numbers: tuple) -> tuple:
    return _of_type(numbers, tuple)


def _device(*parts: object) -> str:
    return ":".join(str(part) for part in parts if isinstance(part, str | int))


_CALLS: dict[str, Callable] = {
    "argparse.Namespace": _namespace,
    "builtins.set": _set,
    "collections.Counter": _counter,
    "collections.OrderedDict": _dictionary,
    "yacs.config.CfgNode": _dictionary,
    "_codecs.encode": _encode,
    "torch.Size": _size,
    "torch.device": _device,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_of_dtype,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    **NUMPY_CALLS,
}
_DTYPES = {f"torch.{name}": value for name, value in vars(torch).items() if isinstance(value, torch.dtype)}
_STORAGES = {
    "Double": torch.float64,
    "Float": torch.float32,
    "Half": torch.float16,
    "BFloat16": torch.bfloat16,
    "Long": torch.int64,
    "Int": torch.int32,
    "Short": torch.int16,
    "Char": torch.int8,
    "Byte": torch.uint8,
    "Bool": torch.bool,
    "ComplexDouble": torch.complex128,
    "ComplexFloat": torch.complex64,
}
_CONSTANT_GLOBALS: dict[str, torch.dtype] = {f"torch.{name}Storage": dtype for name, dtype in _STORAGES.items()}
_CONSTANT_GLOBALS |= _DTYPES | {"torch.storage.UntypedStorage": torch.uint8}
