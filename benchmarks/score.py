"""Time scoring face crops from PNG files against bare forwards of the image tower; prints one line of JSON.

Scoring is what SJEDD_test.py does with a data set: the loader's processes start, decode and resize the crops; prompts
are encoded once; every image's marginals are computed. Random weights: the cost does not depend on them. The two are
timed in turn, and the medians count. ratio = frames_per_s / image_forward_frames_per_s.
"""

import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

import torch

from benchmarks.load import write_crops
from benchmarks.train_step import median_times
from datasets.frames import Frames, scoring_loader
from datasets.records import Record
from datasets.transforms import normalise
from evaluation.scoring import score_loader
from models.choices import MODEL_NAMES
from models.joint_embedding import JointEmbedding, architecture
from models.label_tree import FFPP
from models.precision import autocast
from utils.cli import ArgumentParser, non_negative_int, positive_int, script
from utils.cpu import default_workers
from utils.devices import choose_device


@script
def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark; see --help."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--VM", choices=MODEL_NAMES, default="ViT-B/32", help="CLIP model, random weights")
    parser.add_argument("--batch_size", type=positive_int, default=32, help="images per forward")
    parser.add_argument("--frames", type=positive_int, default=512, help="crops scored in a run")
    parser.add_argument("--runs", type=positive_int, default=3, help="timed runs of each; the median counts")
    parser.add_argument("--num_workers", type=non_negative_int, default=default_workers(), help="reading processes")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32", help="of the image tower")
    args = parser.parse_args(argv)
    device = choose_device(None, args.precision)
    torch.manual_seed(0)
    model = JointEmbedding(architecture(args.VM), FFPP).to(device)
    size = model.image_size
    ready = normalise(torch.randint(0, 256, (args.batch_size, 3, size, size), dtype=torch.uint8).to(device))

    def forward() -> None:
        # In inference mode open_clip's attention takes twice as long in bfloat16 on a CPU.
        with torch.no_grad(), autocast(device.type, args.precision):
            for start in range(0, args.frames, args.batch_size):
                model.clip.visual(ready[: args.frames - start])

    def score(records: Sequence[Record]) -> None:
        loader = scoring_loader(Frames(records, size), args.batch_size, args.num_workers, device.type == "cuda")
        scored = sum(len(batch.indices) for batch in score_loader(model, loader, args.precision))
        assert scored == len(records)

    with tempfile.TemporaryDirectory() as folder:
        records = write_crops(Path(folder), args.frames)
        times = median_times([forward, lambda: score(records)], args.runs, device)
    forward_rate, rate = (args.frames / seconds for seconds in times)
    figures = {"frames_per_s": rate, "image_forward_frames_per_s": forward_rate, "ratio": rate / forward_rate}
    print(json.dumps({key: round(value, 4) for key, value in figures.items()}))


if __name__ == "__main__":
    sys.exit(main())
