"""What a training step asks of a GPU, counted on a stand-in device."""

import json
import subprocess
import sys

import pytest
import torch
from torch.utils import backend_registration

from tests.conftest import ROOT

pytestmark = pytest.mark.skipif(
    not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"),
    reason=f"torch {torch.__version__} knows no devices made in Python",
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "kernels"),
    [
        ("", 3000),
        ("--weight equal", 1000),
        ("--VM demo --precision float32 --weight equal --grad_method graddrop", 700),
        ("--VM demo --precision float32 --weight equal --grad_method pcgrad", 700),
    ],
)
def test_a_step_starts_few_kernels_and_waits_twice_at_most(options, kernels):
    command = [sys.executable, "benchmarks/launches.py", *options.split()]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    counted = json.loads(done.stdout)
    assert kernels / 2 < counted["kernel_ops"] <= kernels, done.stderr
    assert 1 <= counted["host_syncs"] <= 2


def test_what_is_counted():
    """In a process of its own: the stand-in stays registered with PyTorch."""
    program = """
import torch
from benchmarks import launches
kept = launches.stand_in_device()
counting = launches.Counting()
with launches._FakeTensors(), counting:
    x = torch.ones(4, 4, device="gpu")  # 1 kernel
    y = x.t() @ x  # 1 kernel, the view none
    y[:, [0, 2]]  # 1 kernel, and a list that is copied
    torch.ones(3)  # none
    torch.ones(3).to("gpu", non_blocking=True)  # no wait
    y.sum().item()  # 1 kernel, 1 wait
print(counting.kernels.total(), counting.waits.total(), dict(counting.kernels))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.startswith("4 2 "), done.stdout + done.stderr
