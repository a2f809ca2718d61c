"""Starting a script as a user does, and ending it from outside."""

import contextlib
import os
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
        import resource  # not on Windows

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


def working(process: subprocess.Popen, folder: Path) -> bool:
    """Whether a process holds a lock below the folder: it is past its imports and not yet done."""
    held = [line.split() for line in Path("/proc/locks").read_text().splitlines() if "->" not in line]
    inodes = {int(words[5].split(":")[2]) for words in held if int(words[4]) == process.pid}
    return any(path.is_file() and path.stat().st_ino in inodes for path in folder.rglob(".*lock"))


def seconds_of_work(command: Command, folder: Path) -> float:
    """Run a script to its end; from its taking the folder to its end."""
    process = start(command)
    wait_for(process, lambda: working(process, folder))
    begun = time.monotonic()
    last = ended(process)
    assert last.code == 0, last.err
    return time.monotonic() - begun


def at_work(command: Command, folder: Path, delay: float) -> subprocess.Popen:
    """Start a script; return ``delay`` seconds after it took its folder, or when it has ended before."""
    process = start(command)
    wait_for(process, lambda: working(process, folder))
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(delay)
    return process


def killed_at(command: Command, folder: Path, delay: float) -> bool:
    """kill -9 of a script's whole group ``delay`` seconds after it took its folder; False when it was done before."""
    process = at_work(command, folder, delay)
    alive = process.poll() is None
    if alive:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    return alive


def files(folder: Path, but: Sequence[str] = ("log.txt", ".tfevents")) -> dict[str, bytes]:
    """Path below the folder -> content, of all files but those that hold times."""
    paths = [path for path in folder.rglob("*") if path.is_file() and not any(word in path.name for word in but)]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def removed(folder: Path) -> None:
    """Remove a folder in which a process may be writing."""
    for _ in range(100):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
