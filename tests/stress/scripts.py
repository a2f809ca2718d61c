"""Running a script as a user does, with a time limit and its peak memory measured."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from tests.conftest import ROOT

# A process counts the memory of the one it was forked from as its own until it starts: a small one stands between.
_MEASURED = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[2:])
with open(sys.argv[1], "w") as file:
    file.write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(code if code >= 0 else 128 - code)
"""


class Outcome(NamedTuple):
    """code: exit code, 128 + the signal where one ended it. megabytes: largest resident set of the process or of one of
    its children."""

    code: int
    out: str
    err: str
    megabytes: float
    seconds: float


def run_script(folder: Path, script: str, *arguments: object, limit: float = 120, **environment: str) -> Outcome:
    """Run a script of the repository; killed, and an error, after ``limit`` seconds. folder: for its output."""
    started = time.perf_counter()
    out, err, peak = (folder / name for name in ("stdout", "stderr", "peak"))
    command = [sys.executable, str(ROOT / script), *map(str, arguments)]
    with out.open("w") as to_out, err.open("w") as to_err:
        process = subprocess.Popen(
            [sys.executable, "-c", _MEASURED, str(peak), *command], stdin=subprocess.DEVNULL, stdout=to_out,
            stderr=to_err, cwd=ROOT, env=os.environ | environment, start_new_session=True,
        )  # fmt: skip
        try:
            code = process.wait(limit)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    seconds = time.perf_counter() - started
    return Outcome(code, out.read_text(), err.read_text(), int(peak.read_text()) / 1024, seconds)


def refusal(code: int, err: str) -> str:
    """The reason in one line with which a script ended; fails when it did not end so."""
    assert code == 2, err
    assert "Traceback" not in err, err
    (line,) = [line for line in err.splitlines() if "error: " in line]
    assert len(line) < 2100
    return line.partition("error: ")[2]
