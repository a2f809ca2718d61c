"""Time and peak memory of a piece of Python in a process of its own."""

import json
import os
import subprocess
import sys
from typing import NamedTuple

from tests.conftest import ROOT

# Not getrusage: what it tells starts from the memory of the process this one was forked from.
_FRAME = """
import contextlib, io, json, sys, time
def megabytes():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM"))
{setup}
before, started = megabytes(), time.perf_counter()
with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
    {work}
print(json.dumps([time.perf_counter() - started, megabytes() - before]))
"""


class Cost(NamedTuple):
    """seconds: wall clock. megabytes: peak of the resident memory over that before the work."""

    seconds: float
    megabytes: float


def cost(setup: str, work: str) -> Cost:
    """Run ``work``, a single statement, after ``setup``, which is not measured."""
    done = subprocess.run(
        [sys.executable, "-c", _FRAME.format(setup=setup, work=work)],
        cwd=ROOT,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return Cost(*json.loads(done.stdout))


def about_linear(what: str, small: Cost, large: Cost, times: int = 10) -> None:
    """Print both costs; AssertionError when the large one is far more than ``times`` the small one. The first 0.5 s and
    20 MB are free: they are noise."""
    row = f"| {what} | {small.seconds:.2f} s | {large.seconds:.2f} s | {small.megabytes:.0f} MB |"
    print(f"{row} {large.megabytes:.0f} MB |")
    assert large.seconds < 1.6 * times * max(small.seconds, 0.5), what
    assert large.megabytes < 1.3 * times * max(small.megabytes, 20), what
