"""Time an exported ONNX model under onnxruntime against PyTorch, from uint8 pixels to probabilities, on this CPU.

The two are timed in turn with the same number of threads, and the medians count. Random weights: the cost does not
depend on them. Prints one line of JSON for each batch size: images per second of both, and their ratio.
"""

import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

import torch

from benchmarks.train_step import median_times
from models.choices import MODEL_NAMES
from models.joint_embedding import JointEmbedding, architecture
from models.label_tree import FFPP
from prediction.export.onnx_model import PixelsToProbabilities, write_onnx
from utils.cli import ArgumentParser, positive_int, script


@script
def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark; see --help."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--VM", choices=MODEL_NAMES, default="ViT-B/32", help="CLIP model, random weights")
    parser.add_argument("--batch_size", type=positive_int, nargs="+", default=[1, 32], help="images per forward")
    parser.add_argument("--runs", type=positive_int, default=9, help="timed runs of each; the median counts")
    args = parser.parse_args(argv)
    torch.manual_seed(0)
    model = JointEmbedding(architecture(args.VM), FFPP)
    module = PixelsToProbabilities(model)
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        path = Path(folder) / "model.onnx"
        difference = write_onnx(path, model)
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        for size in args.batch_size:
            pixels = torch.randint(0, 256, (size, 3, model.image_size, model.image_size), dtype=torch.uint8)
            given = {"pixels": pixels.numpy()}
            work = [lambda given=given: session.run(None, given), lambda pixels=pixels: module(pixels)]
            rates = [size / seconds for seconds in median_times(work, args.runs, torch.device("cpu"))]
            figures = {"batch": size, "onnx_images_per_s": rates[0], "pytorch_images_per_s": rates[1]}
            figures |= {"ratio": rates[0] / rates[1], "largest_difference": difference}
            print(json.dumps({key: float(f"{value:.4g}") for key, value in figures.items()}))


if __name__ == "__main__":
    sys.exit(main())
