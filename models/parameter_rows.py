"""A number for every element of a model's parameters, such as a gradient, as one row of memory.

A model has hundreds of parameters. One kernel on a row does what would take one kernel for each of them.
"""

from collections.abc import Sequence

import torch

from utils.devices import exact_products

_CHUNK = 2**14  # elements whose products are summed in their own type; rows are a whole number of chunks
_SLOT = 64  # elements that a parameter's place begins at a multiple of, so that kernels may read whole cache lines


class ParameterRows:
    """``n`` rows.

    data: [n, P], in the parameters' type and on their device; a row has the parameters one after the other and zeros
    between them. views: for each row a list of its parts in the parameters' shapes, which share its memory.
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

    def claim(self) -> None:
        """Give the rows memory, zeros at first, if they have none."""
        storage = self.data.untyped_storage()
        if not storage.nbytes():
            storage.resize_(self.data.nbytes)
            self.data.zero_()

    def release(self) -> None:
        """Give the rows' memory back until the next ``claim``."""
        self.data.untyped_storage().resize_(0)


def inner_products(rows: torch.Tensor, row: torch.Tensor) -> torch.Tensor:
    """<rows[i], row> for each of rows [T, P] and row [P], float64 [T]: products in the rows' own type (float32 without
    TF32), summed in it over chunks, and in float64 over all."""
    chunks = rows.unflatten(1, (-1, _CHUNK)).permute(1, 2, 0)  # [P / chunk, chunk, T]
    with exact_products():
        return torch.bmm(row.view(-1, 1, _CHUNK), chunks).double().sum((0, 1))


def weighted_sum(rows: torch.Tensor, weights: torch.Tensor, into: torch.Tensor) -> None:
    """Write sum_i weights[i] rows[i] into ``into``. rows: [T, P]; weights: [T]; into: [P], none of the rows."""
    torch.mv(rows.t(), weights, out=into)


def copy_all(into: Sequence[torch.Tensor], values: Sequence[torch.Tensor]) -> None:
    """Copy each of ``values`` to the tensor of its shape in ``into``, with one kernel for all of a type."""
    of_types: dict[torch.dtype, tuple[list[torch.Tensor], list[torch.Tensor]]] = {}
    for target, value in zip(into, values, strict=True):
        targets, sources = of_types.setdefault(value.dtype, ([], []))
        targets.append(target)
        sources.append(value)
    for targets, sources in of_types.values():
        torch._foreach_copy_(targets, sources)


def filled(values: Sequence[float], like: torch.Tensor) -> torch.Tensor:
    """``values`` as a tensor of the type and on the device of ``like``, without waiting for a copy to it."""
    return torch.stack([like.new_full((), float(value)) for value in values])
