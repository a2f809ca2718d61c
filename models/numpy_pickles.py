"""NumPy scalars and arrays in pickles, without NumPy's own unpickling.

NumPy trusts the fields of a pickled dtype: a forged one makes it follow pointers that the file holds. These stand-ins
take numbers and texts only.
"""

import pickle
from typing import Any

import numpy as np

_KINDS = "biufcSU"  # bool, integers, floats, complex, bytes, str


class _DType:
    """In place of numpy.dtype."""

    def __init__(self, text: str, align: bool = False, copy: bool = True) -> None:
        self.dtype = np.dtype(str(text))
        if self.dtype.kind not in _KINDS:
            raise pickle.UnpicklingError(f"Unsupported class numpy.{self.dtype.name}")

    def __setstate__(self, state: tuple) -> None:
        self.dtype = self.dtype.newbyteorder(state[1])


class _Array(np.ndarray):
    """In place of numpy.ndarray."""

    def __new__(cls, *_: object) -> "_Array":
        return super().__new__(cls, (0,), np.int8)

    def __setstate__(self, state: Any) -> None:
        version, shape, dtype, fortran, data = state
        super().__setstate__((version, shape, dtype.dtype, fortran, data))


def _scalar(dtype: _DType, data: bytes) -> np.generic:
    return np.frombuffer(data, dtype.dtype)[0]


def _reconstruct(*_: object) -> _Array:
    return _Array()


def _no_bytes() -> bytes:
    """The content of an empty array."""
    return b""


# For torch.serialization.safe_globals. NumPy 1 calls its package numpy.core, NumPy 2 numpy._core.
_CORE = {"multiarray.scalar": _scalar, "multiarray._reconstruct": _reconstruct}
NUMPY_GLOBALS: list[tuple[Any, str]] = [
    (_DType, "numpy.dtype"),
    (_Array, "numpy.ndarray"),
    (_no_bytes, "builtins.bytes"),
]
NUMPY_GLOBALS += [(call, f"{core}.{name}") for core in ("numpy.core", "numpy._core") for name, call in _CORE.items()]
