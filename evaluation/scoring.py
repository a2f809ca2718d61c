"""Score the images of a loader batch by batch: probabilities of all nodes and log-odds of fake."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from datasets.transforms import normalise
from models.joint_embedding import JointEmbedding
from models.scoring import NodeScorer
from models.tree_inference import logit_fake, marginals
from utils.cli import UserError

_FULL = "the GPU's memory is full; free some of it, or give --precision bfloat16 or a smaller --batch_size"


@dataclass
class ScoredBatch:
    """indices: record indices [B]. marginals: float32 [B, nodes]. logit_fake: float64 [B]. unreadable: (index, reason)
    of images that could not be read."""

    indices: list[int]
    marginals: np.ndarray
    logit_fake: np.ndarray
    unreadable: list[tuple[int, str]]


def score_loader(
    model: JointEmbedding,
    loader: Iterable,
    precision: str = "float32",
    text: torch.Tensor | None = None,
) -> Iterator[ScoredBatch]:
    """Score every batch (images uint8 [B, 3, S, S], indices [B], unreadable) of ``loader``.

    precision: as models/scoring.py has it.
    text: result of ``encode_text`` at that precision, made here when not given.
    """
    device = next(model.parameters()).device
    score = NodeScorer(model, precision, text)
    for images, indices, unreadable in loader:
        if not len(indices):
            yield ScoredBatch([], np.empty((0, len(model.tree.nodes)), np.float32), np.empty(0), unreadable)
            continue
        try:
            with torch.inference_mode():
                scores = score(normalise(images.to(device, non_blocking=True)))
                p, logit = marginals(scores, model.tree).cpu().numpy(), logit_fake(scores, model.tree).cpu().numpy()
        except torch.OutOfMemoryError as error:
            raise UserError(_FULL) from error
        yield ScoredBatch(indices.tolist(), p, logit, unreadable)
