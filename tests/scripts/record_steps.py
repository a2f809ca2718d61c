"""Run scripts of the project one after the other, also under torchrun: OUT.json RUNS.json.

RUNS.json: a list of [script, argument, ...]. OUT.json gets for each run its exit code and, for trainings, each step's
task losses and weights. The runs share one process group, so that torchrun starts once for all of them.
"""

import importlib
import json
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parent.parent.parent)

import torch.distributed as dist

from training.trainer import Trainer
from utils.ranks import is_main


def record(script: str, *argv: str) -> dict:
    """The exit code of a script's main, and the steps that it trained."""
    steps, step = [], Trainer.step

    def recorded(self, *arguments):
        result = step(self, *arguments)
        steps.append({"losses": result.task_losses, "weights": result.weights})
        return result

    Trainer.step = recorded
    try:
        return {"code": importlib.import_module(script).main(argv), "steps": steps}
    finally:
        Trainer.step = step


def main(out: str, runs: str) -> None:
    init, destroy = dist.init_process_group, dist.destroy_process_group
    dist.init_process_group = lambda *a, **b: None if dist.is_initialized() else init(*a, **b)
    dist.destroy_process_group = lambda: None
    results = []
    for number, run in enumerate(json.loads(Path(runs).read_text())):
        if is_main():
            print(f"== run {number}", flush=True)
        results.append(record(*run))
    if is_main():
        Path(out).write_text(json.dumps(results))
    if dist.is_initialized():
        destroy()


if __name__ == "__main__":
    main(*sys.argv[1:])
