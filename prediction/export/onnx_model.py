"""A model as an ONNX file: normalisation, image tower and label tree, with the prompts' embeddings as constants."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from datasets.transforms import normalise
from models.joint_embedding import JointEmbedding
from models.scoring import encode_text
from models.tree_inference import logit_fake, marginals
from utils.cli import UserError
from utils.files import atomic_path

OUTPUTS = ("p_fake", "logit_fake", "nodes")
_TOLERANCE = 1e-4  # of a probability; kernels differ by 1e-6


class PixelsToProbabilities(nn.Module):
    """uint8 pixels [B, 3, S, S] RGB -> P(fake) [B], log-odds of fake [B], probabilities [B, nodes], all float32."""

    def __init__(self, model: JointEmbedding) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("text", encode_text(model).clone())  # a copy that is no inference tensor

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        scores = self.model(normalise(pixels), self.text)
        nodes = marginals(scores, self.model.tree)
        return nodes[:, 0], logit_fake(scores, self.model.tree).float(), nodes


def _forget_origin(model: Any) -> None:
    """Remove the exporter's notes from an onnxscript.ir.Model: they hold paths of this machine."""
    graphs = [model.graph, *model.functions.values()]
    for part in [model, *graphs, *(node for graph in graphs for node in graph.all_nodes())]:
        part.metadata_props.clear()
        part.doc_string = None


def write_onnx(path: Path, model: JointEmbedding) -> float:
    """Write a model, on the CPU, as ONNX with a dynamic batch, and compare it with PyTorch under onnxruntime.

    Returns the largest difference of a probability on seven random images.
    Raises UserError if a package is missing, the model cannot be exported, or the results differ.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime
        import onnxscript  # noqa: F401
    except ModuleNotFoundError as error:
        raise UserError(f"--format onnx needs {error.name}; pip install -r requirements-export.txt") from error
    module = PixelsToProbabilities(model).eval()
    shape = (7, 3, model.image_size, model.image_size)
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), atomic_path(path) as temporary:
        expected = module(pixels)  # also fills caches of constants, which would keep the exporter's placeholders
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of PyTorch's exporter about itself
            program = torch.onnx.export(
                module,
                (pixels,),
                input_names=["pixels"],
                output_names=list(OUTPUTS),
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                dynamo=True,
                verbose=False,
            )
        _forget_origin(program.model)
        program.save(temporary)
        session = onnxruntime.InferenceSession(temporary, providers=["CPUExecutionProvider"])
        worst = 0.0
        for batch in (7, 1):
            found = session.run(["nodes"], {"pixels": pixels[:batch].numpy()})[0]
            worst = max(worst, float(np.abs(found - expected[2][:batch].numpy()).max()))
        if not worst <= _TOLERANCE:
            raise UserError(
                f"the ONNX model's probabilities differ from PyTorch's by {worst:.1e}; use other package versions"
            )
    return worst
