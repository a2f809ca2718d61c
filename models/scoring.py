"""Scoring a loader's images with a JointEmbedding: prompts encoded once, results streamed batch by batch."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from models.joint_embedding import JointEmbedding
from models.precision import autocast
from models.tree_inference import logit_fake, marginals


@dataclass
class ScoredBatch:
    """indices: record indices [B]. marginals: float32 [B, nodes]. logit_fake: float64 [B]. unreadable: (index, reason)
    of images that could not be read."""

    indices: list[int]
    marginals: np.ndarray
    logit_fake: np.ndarray
    unreadable: list[tuple[int, str]]


def encode_text(model: JointEmbedding, precision: str = "float32") -> torch.Tensor:
    """Embeddings of the model's prompts, for ``score_loader``: one call serves every data set of a run."""
    device = next(model.parameters()).device
    with torch.inference_mode(), autocast(device.type, precision):
        return model.encode_prompts()


def score_loader(
    model: JointEmbedding,
    loader: Iterable,
    prepare: Callable[[torch.Tensor], torch.Tensor],
    precision: str = "float32",
    text: torch.Tensor | None = None,
) -> Iterator[ScoredBatch]:
    """Score every batch (images uint8 [B, 3, S, S], indices [B], unreadable) of ``loader``.

    prepare: uint8 images on the model's device -> normalised float images. precision: of PRECISIONS (autocast).
    text: result of ``encode_text`` at that precision, made here when not given.
    """
    device = next(model.parameters()).device
    text = encode_text(model, precision) if text is None else text
    for images, indices, unreadable in loader:
        if not len(indices):
            yield ScoredBatch([], np.empty((0, len(model.tree.nodes)), np.float32), np.empty(0), unreadable)
            continue
        with torch.inference_mode():
            with autocast(device.type, precision):
                scores = model(prepare(images.to(device, non_blocking=True)), text)
            p, logit = marginals(scores, model.tree).cpu().numpy(), logit_fake(scores, model.tree).cpu().numpy()
        yield ScoredBatch(indices.tolist(), p, logit, unreadable)
