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
    """A process and all its descendants, from /proc (torchrun puts each of its processes into a group of its own)."""
    texts = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    return [pid] + [each for text in texts for child in text.split() for each in family(int(child))]


def kill_at_a_random_step(command: Sequence[str], folder: Path, epochs: int, steps: int) -> int:
    """Start a training that saves ``folder``/ckpt_last.pth after every step; kill -9 all its processes before its end.

    The step is drawn with a new seed each time. If the test fails, pytest prints the seed; KILL_SEED=<seed> draws the
    same step. Returns how many steps were saved.
    """
    seed = int(os.environ.get("KILL_SEED") or random.SystemRandom().randrange(2**32))
    wanted, saved = random.Random(seed).randrange(1, epochs * steps - 1), 0
    print(f"kill -9 after step {wanted} of {epochs * steps}; KILL_SEED={seed} kills there again")
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
