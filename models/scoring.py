"""Scoring a loader's images with a JointEmbedding: prompts encoded once, results streamed batch by batch."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from models.joint_embedding import JointEmbedding
from models.tree_inference import logit_fake, marginals


@dataclass
class ScoredBatch:
    """indices: record indices [B]. marginals: float32 [B, nodes]. logit_fake: float64 [B]. unreadable: (index, reason)
    of images that could not be read."""

    indices: list[int]
    marginals: np.ndarray
    logit_fake: np.ndarray
    unreadable: list[tuple[int, str]]


def score_loader(
    model: JointEmbedding, loader: Iterable, prepare: Callable[[torch.Tensor], torch.Tensor], precision: str = "float32"
) -> Iterator[ScoredBatch]:
    """Score every batch (images uint8 [B, 3, S, S], indices [B], unreadable) of ``loader``.

    prepare: uint8 images on the model's device -> normalised float images. precision: float32 or bfloat16 (autocast).
    """
    device = next(model.parameters()).device
    enabled = precision == "bfloat16"
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=enabled):
        text = model.encode_prompts()
    for images, indices, unreadable in loader:
        if not len(indices):
            yield ScoredBatch([], np.empty((0, len(model.tree.nodes)), np.float32), np.empty(0), unreadable)
            continue
        with torch.inference_mode():
            with torch.autocast(device.type, torch.bfloat16, enabled=enabled):
                scores = model(prepare(images.to(device, non_blocking=True)), text)
            p, logit = marginals(scores, model.tree).cpu().numpy(), logit_fake(scores, model.tree).cpu().numpy()
        yield ScoredBatch(indices.tolist(), p, logit, unreadable)
