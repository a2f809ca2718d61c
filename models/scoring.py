"""Scoring a loader's images with a JointEmbedding: prompts encoded once, results streamed batch by batch.

A precision is one of PRECISIONS, as in training, or REFERENCE: the weights of both towers, the embeddings and their
product in float16, as the reference tests.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from models.joint_embedding import SCORE_DIVISOR, JointEmbedding
from models.precision import RoundedWeights, autocast
from models.tree_inference import logit_fake, marginals
from utils.cli import UserError

REFERENCE = "reference"
_FULL = "the GPU's memory is full; free some of it, or give --precision bfloat16 or a smaller --batch_size"


@dataclass
class ScoredBatch:
    """indices: record indices [B]. marginals: float32 [B, nodes]. logit_fake: float64 [B]. unreadable: (index, reason)
    of images that could not be read."""

    indices: list[int]
    marginals: np.ndarray
    logit_fake: np.ndarray
    unreadable: list[tuple[int, str]]


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


def score_loader(
    model: JointEmbedding,
    loader: Iterable,
    prepare: Callable[[torch.Tensor], torch.Tensor],
    precision: str = "float32",
    text: torch.Tensor | None = None,
) -> Iterator[ScoredBatch]:
    """Score every batch (images uint8 [B, 3, S, S], indices [B], unreadable) of ``loader``.

    prepare: uint8 images on the model's device -> normalised float images. precision: see above.
    text: result of ``encode_text`` at that precision, made here when not given.
    """
    device = next(model.parameters()).device
    text = encode_text(model, precision) if text is None else text
    for images, indices, unreadable in loader:
        if not len(indices):
            yield ScoredBatch([], np.empty((0, len(model.tree.nodes)), np.float32), np.empty(0), unreadable)
            continue
        try:
            with torch.inference_mode():
                scores = node_scores(model, prepare(images.to(device, non_blocking=True)), text, precision)
                p, logit = marginals(scores, model.tree).cpu().numpy(), logit_fake(scores, model.tree).cpu().numpy()
        except torch.OutOfMemoryError as error:
            raise UserError(_FULL) from error
        yield ScoredBatch(indices.tolist(), p, logit, unreadable)
