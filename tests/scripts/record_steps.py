"""Train with a script of the project and write each step's task losses and weights: OUT.json SCRIPT ARGUMENTS."""

import importlib
import json
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parent.parent.parent)

from training.trainer import Trainer
from utils.ranks import is_main


def main(out: str, script: str, *argv: str) -> int:
    steps, step = [], Trainer.step

    def recorded(self, *arguments):
        result = step(self, *arguments)
        steps.append({"losses": result.task_losses, "weights": result.weights})
        return result

    Trainer.step = recorded
    try:
        return importlib.import_module(script).main(argv)
    finally:
        Trainer.step = step
        if is_main():
            Path(out).write_text(json.dumps(steps))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
