"""Time two passes of models/transformer_pass.py against PyTorch's own; prints one line of JSON.

Attention forward and backward: PyTorch's fused function (fused) and two matrix products (plain). Patch embedding with
the gradient of its weights: a convolution (convolution) and one matrix product (product). Milliseconds, by precision.
"""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.train_step import median_times
from models.choices import MODEL_NAMES
from models.joint_embedding import architecture
from models.transformer_pass import embed_patches, plain_attention
from utils.cli import ArgumentParser, positive_int, script
from utils.memory import keep_freed_memory

_HEAD = 64  # width of an attention head


def attention_step(attend: Callable, batch: int, tokens: int, width: int, dtype: torch.dtype) -> Callable[[], object]:
    """Attention of ``batch`` x ``tokens`` random queries, keys and values of one product, and its gradient."""
    x = torch.randn(batch, tokens, 3 * width).to(dtype).requires_grad_()
    gradient = torch.randn(batch, tokens, width).to(dtype)

    def step() -> object:
        q, k, v = (part.unflatten(-1, (-1, _HEAD)).transpose(1, 2) for part in x.chunk(3, dim=-1))
        return torch.autograd.grad(attend(q, k, v, None).transpose(1, 2).flatten(2), x, gradient)

    return step


def patch_step(embed: Callable, batch: int, config: dict, precision: str) -> Callable[[], object]:
    """The patches of ``batch`` random images, and the gradient of the weights."""
    side = config["patch_size"]
    conv = nn.Conv2d(3, config["width"], side, side, bias=False)
    images = torch.randn(batch, 3, config["image_size"], config["image_size"])

    def step() -> object:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            patches = embed(conv, images)
        return torch.autograd.grad(patches, conv.weight, torch.ones_like(patches))

    return step


@script
def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark; see --help."""
    parser = ArgumentParser(description=__doc__)
    vits = [name for name in MODEL_NAMES if name.startswith("ViT")]
    parser.add_argument("--VM", choices=vits, default="ViT-B/32", help="CLIP model whose sizes are taken")
    parser.add_argument("--batch_size", type=positive_int, default=32, help="images")
    parser.add_argument("--runs", type=positive_int, default=20, help="timed runs of each; the median counts")
    args = parser.parse_args(argv)
    keep_freed_memory()
    config = architecture(args.VM)["vision_cfg"]
    tokens = (config["image_size"] // config["patch_size"]) ** 2 + 1
    steps = {}
    for precision, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        for name, attend in (("fused", F.scaled_dot_product_attention), ("plain", plain_attention)):
            sizes = args.batch_size, tokens, config["width"]
            steps[f"attention_{name}_{precision}"] = attention_step(attend, *sizes, dtype)
        for name, embed in (("convolution", lambda conv, x: conv(x)), ("product", embed_patches)):
            steps[f"patches_{name}_{precision}"] = patch_step(embed, args.batch_size, config, precision)
    seconds = median_times(list(steps.values()), args.runs, torch.device("cpu"))
    print(json.dumps({name: round(1000 * each, 2) for name, each in zip(steps, seconds, strict=True)}))


if __name__ == "__main__":
    sys.exit(main())
