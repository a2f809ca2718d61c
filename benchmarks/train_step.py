"""Time one bi-level training step against a no-grad forward of the image tower; prints one line of JSON.

Random weights and images: the cost does not depend on them. ratio = step_s / image_forward_s.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

import torch

from models.choices import MODEL_NAMES, PRECISIONS, TOWERS, WEIGHTINGS
from models.joint_embedding import JointEmbedding, architecture
from models.label_tree import FFPP
from models.precision import autocast
from training.memory import keep_freed_memory
from training.options import tuning
from training.trainer import Trainer, TrainerSettings
from training.tuning import tune
from utils.cli import ArgumentParser, positive_int, script
from utils.devices import choose_device


def peak_memory_gb() -> float | None:
    """Largest resident memory of this process so far, in GB; None on Windows."""
    if sys.platform == "win32":
        return None
    import resource  # not on Windows

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def random_batch(batch_size: int, size: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """(images float [B, 3, S, S], labels float [B, nodes]) drawn at random."""
    codes = list(FFPP.codes)
    labels = torch.stack([torch.from_numpy(FFPP.encode(codes[i % len(codes)])) for i in range(batch_size)])
    return torch.randn(batch_size, 3, size, size, generator=generator), labels


def median_times(functions: Sequence[Callable[[], object]], runs: int, device: torch.device) -> list[float]:
    """Median seconds of each function over ``runs`` calls after a warm-up call.

    The functions take turns, so that a machine whose speed drifts slows all of them.
    """
    times = [[] for _ in functions]
    for _ in range(runs + 1):
        for function, of_function in zip(functions, times, strict=True):
            started = time.perf_counter()
            function()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            of_function.append(time.perf_counter() - started)
    return [statistics.median(of_function[1:]) for of_function in times]


@script
def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark; see --help."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--VM", choices=MODEL_NAMES, default="ViT-B/32", help="CLIP model, random weights")
    parser.add_argument("--batch_size", type=positive_int, default=32, help="images per step")
    parser.add_argument("--runs", type=positive_int, default=3, help="timed runs of each; the median counts")
    parser.add_argument("--weight", choices=WEIGHTINGS, default="autol", help="task weighting")
    parser.add_argument("--hypergrad", choices=("exact", "fd"), default="exact", help="hypergradient")
    parser.add_argument("--precision", choices=PRECISIONS, default="float32", help="of the image tower")
    parser.add_argument("--tune", type=tuning, default="full", help="full, norm, bias or lora[:RANK], of both towers")
    args = parser.parse_args(argv)
    device = choose_device(None, args.precision)
    if device.type == "cpu":
        keep_freed_memory()
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    model = JointEmbedding(architecture(args.VM), FFPP).to(device)
    for tower in TOWERS if args.tune != "full" else ():
        tune(model, tower, args.tune, seed=0)
    settings = TrainerSettings(weight=args.weight, hypergrad=args.hypergrad, precision=args.precision)
    trainer = Trainer(model, settings)
    trainer.set_learning_rate(6e-7)
    batches = [random_batch(args.batch_size, model.image_size, generator) for _ in range(2)]
    batches = [tuple(tensor.to(device) for tensor in batch) for batch in batches]
    second = batches[1] if args.weight == "autol" else None

    def image_forward() -> None:
        with torch.no_grad(), autocast(device.type, args.precision):
            model.clip.visual(batches[0][0])

    def step() -> None:
        trainer.step(batches[0], second)

    forward_s, step_s = median_times([image_forward, step], args.runs, device)
    peak = torch.cuda.max_memory_allocated() / 1e9 if device.type == "cuda" else peak_memory_gb()
    figures = {"step_s": step_s, "image_forward_s": forward_s, "ratio": step_s / forward_s, "peak_rss_gb": peak}
    print(json.dumps({key: value and round(value, 4) for key, value in figures.items()}))


if __name__ == "__main__":
    sys.exit(main())
