"""NumPy scalars and arrays in pickles, without NumPy's own unpickling.

NumPy trusts the fields of a pickled dtype: a forged one makes it follow pointers that the file holds. These stand-ins
take numbers and texts only.
"""

import pickle
from collections.abc import Callable

import numpy as np

_KINDS = "biufcSU"  # bool, integers, floats, complex, bytes, str


class NumpyType:
    """In place of numpy.dtype."""

    def __init__(self, text: str, align: bool = False, copy: bool = True) -> None:
        if not isinstance(text, str) or len(text) > 30:
            raise TypeError("no name of a NumPy type")
        self.dtype = np.dtype(text)
        if self.dtype.kind not in _KINDS:
            raise pickle.UnpicklingError(f"it wants to load numpy.{self.dtype.name}")

    def __setstate__(self, state: tuple) -> None:
        if state[1] not in ("<", ">", "|"):
            raise TypeError("no byte order of a NumPy type")
        self.dtype = self.dtype.newbyteorder(state[1])


class NumpyArray(np.ndarray):
    """In place of numpy.ndarray."""

    def __new__(cls, *_: object) -> "NumpyArray":
        return super().__new__(cls, (0,), np.int8)

    def __setstate__(self, state: tuple) -> None:
        version, shape, dtype, fortran, data = state
        super().__setstate__((version, shape, dtype.dtype, fortran, data))


def _scalar(dtype: NumpyType, data: bytes) -> np.generic:
    return np.frombuffer(data, dtype.dtype)[0]


def _reconstruct(*_: object) -> NumpyArray:
    return NumpyArray()


def _no_bytes() -> bytes:
    """The content of an empty array."""
    return b""


# Name in pickles -> what stands for it. NumPy 1 calls its package numpy.core, NumPy 2 numpy._core.
_CORE: dict[str, Callable] = {"multiarray.scalar": _scalar, "multiarray._reconstruct": _reconstruct}
NUMPY_CALLS: dict[str, Callable] = {
    "numpy.dtype": NumpyType,
    "numpy.ndarray": NumpyArray,
    "builtins.bytes": _no_bytes,
}
NUMPY_CALLS |= {f"{core}.{name}": call for core in ("numpy.core", "numpy._core") for name, call in _CORE.items()}
