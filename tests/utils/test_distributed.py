"""The mean over ranks in one process, and in two gloo processes."""

import os

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing

from utils import distributed


def test_alone_a_process_is_rank_0_of_1_and_keeps_its_values():
    values, reductions = torch.arange(3.0), distributed.Reductions()
    reductions.start(values)
    assert reductions.finish() == 1
    assert torch.equal(values, torch.arange(3.0))
    assert (distributed.rank(), distributed.world_size()) == (0, 1)
    assert distributed.means_and_flags(torch.tensor([1.5, 2.0]), [False, True]) == ([1.5, 2.0], [False, True])


def _of_two(rank, init_method, queue):
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2"}
    dist.init_process_group("gloo", init_method=init_method, rank=rank, world_size=2)
    rows = torch.arange(6.0).view(2, 3) * (1 + rank)
    reductions = distributed.Reductions()
    for row in rows:
        reductions.start(row)
    rows *= reductions.finish()
    figures = distributed.means_and_flags(torch.tensor([1.0, 5.0]) * rank, [rank == 1, False])
    unusable = distributed.means_and_flags(torch.tensor([float("nan") if rank else 1.0]), [])
    queue.put((rank, distributed.rank(), distributed.world_size(), rows.tolist(), figures, str(unusable)))
    dist.barrier()
    dist.destroy_process_group()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_means_over_two_ranks_are_the_same_on_both(tmp_path):
    context = torch.multiprocessing.get_context("spawn")
    queue = context.SimpleQueue()
    processes = [context.Process(target=_of_two, args=(rank, f"file://{tmp_path}/init", queue)) for rank in range(2)]
    for process in processes:
        process.start()
    results = sorted(queue.get() for _ in processes)
    for process in processes:
        process.join()
        assert process.exitcode == 0
    rows = (torch.arange(6.0).view(2, 3) * 1.5).tolist()
    figures = ([0.5, 2.5], [True, False])
    assert results == [(rank, rank, 2, rows, figures, "([nan], [])") for rank in range(2)]
