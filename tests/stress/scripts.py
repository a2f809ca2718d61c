"""Running a script as a user does, with a time limit and its peak memory measured."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import NamedTuple

from tests.conftest import ROOT


class Outcome(NamedTuple):
    """code: exit code, negative for a signal. megabytes: largest resident set of the process or of one of its
    children."""

    code: int
    out: str
    err: str
    megabytes: float
    seconds: float

    @property
    def reason(self) -> str:
        """The last line of standard error."""
        return (self.err.strip().splitlines() or [""])[-1]


def run_script(folder: Path, script: str, *arguments: object, limit: float = 120, **environment: str) -> Outcome:
    """Run a script of the repository; killed after ``limit`` seconds. folder: for its output."""
    started = time.perf_counter()
    with (folder / "stdout").open("w+") as out, (folder / "stderr").open("w+") as err:
        command = [sys.executable, str(ROOT / script), *map(str, arguments)]
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=ROOT, env=os.environ | environment
        )
        timer = threading.Timer(limit, process.kill)
        timer.start()
        _, status, usage = os.wait4(process.pid, 0)
        timer.cancel()
        process.returncode = os.waitstatus_to_exitcode(status)
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read())
    return Outcome(process.returncode, *texts, usage.ru_maxrss / 1024, time.perf_counter() - started)


def refusal(code: int, err: str) -> str:
    """The reason in one line with which a script ended; fails when it did not end so."""
    assert code == 2, err
    assert "Traceback" not in err, err
    (line,) = [line for line in err.splitlines() if "error: " in line]
    assert len(line) < 2100
    return line.partition("error: ")[2]
