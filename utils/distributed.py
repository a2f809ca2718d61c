"""What a process shares with the others of a data-parallel run (torch.distributed); alone, every function is trivial.

Every rank works on an equal slice of each batch and a loss is a mean over its batch, so the mean over the ranks of
losses and gradients is that of the whole batch.
"""

from collections.abc import Iterator, Sequence

import torch
import torch.distributed as dist

_BUCKET_BYTES = 64 * 2**20  # gradients travel in buckets of about this size


def is_distributed() -> bool:
    """Whether this process is one of a process group."""
    return dist.is_available() and dist.is_initialized()


def rank() -> int:
    """Number of this process in its group, 0 without one."""
    return dist.get_rank() if is_distributed() else 0


def world_size() -> int:
    """Number of processes in the group, 1 without one."""
    return dist.get_world_size() if is_distributed() else 1


def mean_over_ranks(tensors: Sequence[torch.Tensor]) -> None:
    """Replace every tensor by its mean over the ranks, in place and in flat buckets; nothing happens without a group.

    tensors: any shapes, of one floating dtype and device, in the same order on every rank.
    """
    if world_size() == 1:
        return
    for bucket in _buckets(tensors):
        flat = torch.cat([tensor.flatten() for tensor in bucket])
        dist.all_reduce(flat)
        flat /= world_size()
        for tensor, values in zip(bucket, flat.split([tensor.numel() for tensor in bucket]), strict=True):
            tensor.copy_(values.view_as(tensor))


def _buckets(tensors: Sequence[torch.Tensor]) -> Iterator[list[torch.Tensor]]:
    bucket, size = [], 0
    for tensor in tensors:
        bucket.append(tensor)
        size += tensor.nbytes
        if size >= _BUCKET_BYTES:
            yield bucket
            bucket, size = [], 0
    if bucket:
        yield bucket
