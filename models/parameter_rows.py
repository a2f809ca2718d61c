"""Values for all parameters of a model, such as gradients, in one row of memory.

A model has hundreds of parameters; with rows one kernel replaces a kernel for each of them.
"""

from collections.abc import Sequence

import torch

from utils.devices import exact_products

_CHUNK = 2**14  # elements that ``inner_products`` sums in the rows' dtype; a row's length is a multiple
_SLOT = 64  # elements to which parameters are aligned, so that kernels read whole cache lines


class ParameterRows:
    """``n`` rows for the parameters, with their dtype and device.

    Attributes:
        data: [n, P]. A row holds a value for each parameter element, padded with zeros.
        views: for each row its parts in the parameters' shapes, which share the row's memory.
    """

    def __init__(self, parameters: Sequence[torch.Tensor], n: int) -> None:
        starts, size = [], 0
        for parameter in parameters:
            starts.append(size)
            size += -(-parameter.numel() // _SLOT) * _SLOT
        size = -(-size // _CHUNK) * _CHUNK
        self.data = torch.zeros(n, size, dtype=parameters[0].dtype, device=parameters[0].device)
        self.views = [
            [row.narrow(0, at, p.numel()).view(p.shape) for at, p in zip(starts, parameters, strict=True)]
            for row in self.data
        ]

    def allocate(self) -> None:
        """Allocate the rows' memory, filled with zeros, after ``free``."""
        storage = self.data.untyped_storage()
        if not storage.nbytes():
            storage.resize_(self.data.nbytes)
            self.data.zero_()

    def free(self) -> None:
        """Free the rows' memory until the next ``allocate``."""
        self.data.untyped_storage().resize_(0)


def inner_products(rows: torch.Tensor, row: torch.Tensor) -> torch.Tensor:
    """<rows[i], row> for rows [T, P] and row [P], float64 [T].

    Products and sums over chunks are in the rows' dtype (without TF32), the sum over chunks in float64.
    """
    chunks = rows.unflatten(1, (-1, _CHUNK)).permute(1, 2, 0)  # [P / chunk, chunk, T]
    with exact_products():
        return torch.bmm(row.view(-1, 1, _CHUNK), chunks).double().sum((0, 1))


def copy_all(into: Sequence[torch.Tensor], values: Sequence[torch.Tensor]) -> None:
    """Copy each of ``values`` into the tensor at its place in ``into``, by one kernel per dtype."""
    for dtype in {value.dtype for value in values}:
        pairs = [(target, value) for target, value in zip(into, values, strict=True) if value.dtype == dtype]
        targets, sources = zip(*pairs, strict=True)
        torch._foreach_copy_(targets, sources)


def tensor_like(values: Sequence[float], like: torch.Tensor) -> torch.Tensor:
    """``values`` as a tensor with the dtype and device of ``like``, made without waiting for the device."""
    return torch.stack([like.new_full((), float(value)) for value in values])
