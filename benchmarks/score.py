"""Time scoring (image tower, cached prompts, marginals) against a bare image-tower forward; prints one line of JSON.

Random weights and images, no loading: the cost does not depend on them.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

import torch

from benchmarks.train_step import median_times
from datasets.transforms import normalise
from models.joint_embedding import MODEL_NAMES, JointEmbedding, architecture
from models.label_tree import FFPP
from models.scoring import score_loader
from utils.cli import ArgumentParser, positive_int, script


@script
def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark; see --help."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--VM", choices=MODEL_NAMES, default="ViT-B/32", help="CLIP model, random weights")
    parser.add_argument("--batch_size", type=positive_int, default=64, help="images per forward")
    parser.add_argument("--batches", type=positive_int, default=4, help="batches per run; prompts are encoded once")
    parser.add_argument("--runs", type=positive_int, default=3, help="timed runs of each; the median counts")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32", help="of the towers")
    args = parser.parse_args(argv)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    model = JointEmbedding(architecture(args.VM), FFPP).to(device)
    shape = (args.batch_size, 3, model.image_size, model.image_size)
    images = torch.randint(0, 256, shape, dtype=torch.uint8)
    batches = [(images, torch.arange(args.batch_size), [])] * args.batches
    ready = normalise(images.to(device))

    def forward() -> None:
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=args.precision == "bfloat16"):
            for _ in batches:
                model.clip.visual(ready)

    def score() -> None:
        for _ in score_loader(model, batches, normalise, args.precision):
            pass

    frames = args.batch_size * args.batches
    forward_rate, rate = (frames / seconds for seconds in median_times([forward, score], args.runs, device))
    figures = {"frames_per_s": rate, "image_forward_frames_per_s": forward_rate, "ratio": forward_rate / rate}
    print(json.dumps({key: round(value, 4) for key, value in figures.items()}))


if __name__ == "__main__":
    sys.exit(main())
