"""The mean over ranks in one process, and in two gloo processes."""

import os

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing

from utils import distributed


def test_alone_a_process_is_rank_0_of_1_and_keeps_its_values():
    values = [torch.arange(3.0), torch.ones(2, 2)]
    distributed.mean_over_ranks(values)
    assert (distributed.rank(), distributed.world_size()) == (0, 1)
    assert torch.equal(values[0], torch.arange(3.0))
    assert torch.equal(values[1], torch.ones(2, 2))


def _of_two(rank, init_method, queue):
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2"}
    dist.init_process_group("gloo", init_method=init_method, rank=rank, world_size=2)
    distributed._BUCKET = 20  # the first two tensors in one bucket, the third in another
    values = [torch.tensor([1.0, 2.0]) * rank, torch.full((2, 2), 3.0) - rank, torch.tensor(float(rank))]
    transposed = torch.arange(6.0).view(2, 3).t() * (1 + rank)  # not contiguous
    distributed.mean_over_ranks([*values, transposed])
    queue.put((rank, distributed.rank(), distributed.world_size(), [value.tolist() for value in [*values, transposed]]))
    dist.barrier()
    dist.destroy_process_group()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_mean_over_two_ranks_is_the_same_on_both(tmp_path):
    context = torch.multiprocessing.get_context("spawn")
    queue = context.SimpleQueue()
    processes = [context.Process(target=_of_two, args=(rank, f"file://{tmp_path}/init", queue)) for rank in range(2)]
    for process in processes:
        process.start()
    results = sorted(queue.get() for _ in processes)
    for process in processes:
        process.join()
        assert process.exitcode == 0
    transposed = (torch.arange(6.0).view(2, 3).t() * 1.5).tolist()
    expected = [[0.5, 1.0], [[2.5, 2.5], [2.5, 2.5]], 0.5, transposed]
    assert results == [(rank, rank, 2, expected) for rank in range(2)]
