"""Node scores of images, in the precision asked for, with the prompts encoded once.

A precision is one of PRECISIONS, as in training, or REFERENCE: the weights of both towers, the embeddings and their
product in float16, as the reference tests.
"""

import torch

from models.joint_embedding import SCORE_DIVISOR, JointEmbedding
from models.precision import RoundedWeights, autocast

REFERENCE = "reference"


def encode_text(model: JointEmbedding, precision: str = "float32") -> torch.Tensor:
    """Embeddings of the model's prompts, for ``score_loader`` at that precision: one call serves every data set of a
    run. Their type is float32, or float16 in the reference's arithmetic."""
    device = next(model.parameters()).device
    if precision != REFERENCE:
        with torch.inference_mode():
            return model.encode_prompts()
    with torch.inference_mode(), RoundedWeights(model.clip, "float16").in_use(), autocast(device.type, "float16"):
        return model.encode_prompts()


def node_scores(
    model: JointEmbedding, images: torch.Tensor, text: torch.Tensor, precision: str = "float32"
) -> torch.Tensor:
    """Node scores float32 [B, nodes] of images as the model takes them. text: of ``encode_text`` at that precision."""
    kind = "float16" if precision == REFERENCE else precision
    with RoundedWeights(model.clip.visual, kind).in_use(), autocast(images.device.type, kind):
        if precision == REFERENCE and model.score == "product":
            return (model.encode_images(images) @ text.T / SCORE_DIVISOR).float()
        return model(images, text)
