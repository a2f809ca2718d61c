"""A training that is killed at a random step."""

import contextlib
import os
import random
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from models.checkpoint_file import read_checkpoint
from tests.conftest import ROOT


def family(pid: int) -> list[int]:
    """A process and all that it and they have started, from Linux's /proc. (torchrun puts each of its processes into a
    group of its own.)"""
    texts = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    return [pid] + [each for text in texts for child in text.split() for each in family(int(child))]


def kill_at_a_random_step(command: Sequence[str], folder: Path, epochs: int, steps: int) -> int:
    """Start a training that writes ckpt_last.pth into ``folder`` after every step, and kill -9 it and its processes
    before its end. Returns how many of its steps were saved. SJEDD_KILL_SEED repeats a kill; its value is printed."""
    seed = os.environ.get("SJEDD_KILL_SEED") or str(random.SystemRandom().randrange(2**32))
    wanted, saved = random.Random(seed).randrange(1, epochs * steps - 1), 0
    print(f"SJEDD_KILL_SEED={seed}: to be killed after step {wanted}")
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    last = folder / "ckpt_last.pth"
    while saved < wanted and process.poll() is None:
        time.sleep(0.01)
        progress = read_checkpoint(last)["progress"] if last.exists() else {"epoch": 0, "step": 0}
        saved = progress["epoch"] * steps + progress["step"]
    killed = process.poll() is None
    if killed:
        for pid in family(process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    process.wait()
    assert killed, "the training ended before it was killed"
    return saved
