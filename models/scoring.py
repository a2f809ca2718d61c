"""Node scores of images at a chosen precision.

A precision is one of PRECISIONS, or REFERENCE: weights of both towers, embeddings and their product in float16, as in
the reference's test.
"""

import torch

from models.joint_embedding import JointEmbedding
from models.precision import RoundedWeights, autocast

REFERENCE = "reference"


def encode_text(model: JointEmbedding, precision: str = "float32") -> torch.Tensor:
    """Embeddings of the model's prompts, [nodes, D], float32 or (REFERENCE) float16, for ``NodeScorer``."""
    precision = "float16" if precision == REFERENCE else "float32"
    device = next(model.parameters()).device
    with torch.inference_mode(), RoundedWeights(model.clip, precision).in_use(), autocast(device.type, precision):
        return model.encode_prompts()


class NodeScorer:
    """Scores images. Encodes the prompts and rounds the weights once, so the weights must not change afterwards.

    text: result of ``encode_text`` at that precision (default: computed here).
    """

    def __init__(self, model: JointEmbedding, precision: str = "float32", text: torch.Tensor | None = None) -> None:
        self._model, self._by_reference = model, precision == REFERENCE
        self._precision = "float16" if self._by_reference else precision
        self._text = encode_text(model, precision) if text is None else text
        self._weights = RoundedWeights(model.clip.visual, self._precision)
        self._rounded = self._weights.rounded()

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """images: float32 [B, 3, S, S], CLIP-normalised RGB. Returns float32 [B, nodes]."""
        with self._weights.in_use(self._rounded), autocast(images.device.type, self._precision):
            if self._by_reference and self._model.score == "product":
                return (self._model.encode_images(images) @ self._text.T / self._model.divisor).float()
            return self._model(images, self._text)
