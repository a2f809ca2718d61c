"""Starting a script as a user does, and ending it from outside."""

import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.conftest import ROOT

Command = Sequence[object]  # script, arguments


class Ended(NamedTuple):
    """How a script ended. code: negative for a signal."""

    code: int
    out: str
    err: str

    @property
    def told(self) -> list[str]:
        """The lines of standard error but those of progress bars and warnings."""
        lines = self.err.replace("\r", "\n").splitlines()
        return [line for line in lines if line.startswith(("error", "stopped", "Traceback", "process ", "Exception"))]


def start(command: Command, limit: int | None = None) -> subprocess.Popen:
    """Start a script in a process group of its own. limit: bytes of the largest file that it can write."""

    def restrict() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    return subprocess.Popen(
        [sys.executable, *map(str, command)],
        cwd=ROOT,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=restrict if limit else None,
    )


def ended(process: subprocess.Popen, seconds: float = 120) -> Ended:
    """Wait for a script; its group is killed after ``seconds``."""
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
    return Ended(process.returncode, out, err)


def run(command: Command, limit: int | None = None) -> Ended:
    """Run a script to its end."""
    return ended(start(command, limit))


def wait_for(process: subprocess.Popen, ready: Callable[[], object], seconds: float = 60) -> None:
    """Until ``ready()`` is true or the process ends."""
    deadline = time.monotonic() + seconds
    while not ready() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)


def kill_at(command: Command, delay: float, ready: Callable[[], object]) -> bool:
    """Start a script and kill -9 its whole group ``delay`` seconds after ``ready()``; whether it was still at work."""
    process = start(command)
    wait_for(process, ready)
    time.sleep(delay)
    at_work = process.poll() is None
    if at_work:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    return at_work


def files(folder: Path, but: Sequence[str] = ("log.txt", ".tfevents")) -> dict[str, bytes]:
    """Path below the folder -> content, of all files but those that hold times."""
    paths = [path for path in folder.rglob("*") if path.is_file() and not any(word in path.name for word in but)]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def some_delays(seed: int, number: int, longest: float) -> list[float]:
    """Random moments, s."""
    draw = random.Random(seed)
    return [draw.uniform(0, longest) for _ in range(number)]


def removed(folder: Path) -> None:
    """Remove a folder in which a process may be writing."""
    for _ in range(100):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
