"""Compare the exact hypergradient with finite differences at several steps; prints a Markdown table.

Random weights and images, as in benchmarks/train_step.py; lambda and weights move between the rows as in training.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

import torch

from benchmarks.train_step import random_batch
from models.choices import MODEL_NAMES, TASKS
from models.joint_embedding import JointEmbedding, architecture
from models.label_tree import FFPP
from models.parameter_rows import ParameterRows, inner_products, tensor_like
from models.precision import pointing_at
from training.auto_lambda import finite_difference_hypergradient, virtual_step
from training.gradients import gradients_of
from training.trainer import Trainer, TrainerSettings
from utils.cli import ArgumentParser, positive_float, positive_int, script


@script
def main(argv: Sequence[str] | None = None) -> None:
    """Run the comparison; see --help."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--VM", choices=MODEL_NAMES, default="ViT-B/32", help="CLIP model, random weights")
    parser.add_argument("--batch_size", type=positive_int, default=32, help="images per step")
    parser.add_argument("--steps", type=positive_int, default=5, help="training steps, a row for each task of each")
    parser.add_argument("--eps", type=positive_float, nargs="+", default=[1e-2, 1e-4], help="finite difference steps")
    args = parser.parse_args(argv)
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    model = JointEmbedding(architecture(args.VM), FFPP)
    trainer = Trainer(model, TrainerSettings(weight="autol"))
    trainer.set_learning_rate(lr := 6e-7)
    tasks, scratch = ParameterRows(trainer.parameters, len(TASKS)), ParameterRows(trainer.parameters, 1)
    print("| step | task | exact <g, d> |" + "".join(f" fd, eps {eps:g} |" for eps in args.eps))
    print("|---|---|---|" + "---|" * len(args.eps))
    for step in range(args.steps):
        first, second = (random_batch(args.batch_size, model.image_size, generator) for _ in range(2))
        parts, second_parts = trainer.parts(first), trainer.parts(second)
        gradients_of(parts, torch.eye(len(TASKS)), trainer.parameters, tasks.views)
        weights = tensor_like(trainer.weights, tasks.data)
        virtual_step(trainer.parameters, tasks.data, weights, lr, trainer.settings.weight_decay, scratch)
        with pointing_at(trainer.parameters, scratch.views[0]):
            gradients_of(second_parts, torch.eye(len(TASKS))[:1], trainer.parameters, scratch.views)
        columns = [inner_products(tasks.data, scratch.data[0])]
        for eps in args.eps:
            columns.append(finite_difference_hypergradient(parts, trainer.parameters, scratch.views[0], -1.0, eps))
        for i, task in enumerate(TASKS):
            print(f"| {step} | {task} |" + "".join(f" {column[i]:.5g} |" for column in columns), flush=True)
        trainer.step(first, second)


if __name__ == "__main__":
    sys.exit(main())
