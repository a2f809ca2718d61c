"""Score the images of a loader, batch by batch: probability of every node, and log-odds of fake."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from datasets.transforms import normalise
from models.joint_embedding import JointEmbedding
from models.scoring import NodeScorer
from models.tree_inference import logit_fake, marginals
from utils.cli import UserError


@dataclass
class ScoredBatch:
    indices: list[int]  # [B] record indices
    marginals: np.ndarray  # float32 [B, nodes] probabilities, root first
    logit_fake: np.ndarray  # float64 [B] log-odds of fake
    unreadable: list[tuple[int, str]]  # (record index, reason)


def score_loader(
    model: JointEmbedding, loader: Iterable, precision: str = "float32", text: torch.Tensor | None = None
) -> Iterator[ScoredBatch]:
    """Score every batch of a loader. Raises UserError if the GPU's memory is full.

    Args:
        model: In eval mode.
        loader: Yields (images uint8 [B, 3, S, S] RGB, record indices int64 [B], unreadable).
        precision: One of models.choices.PRECISIONS, or models.scoring.REFERENCE.
        text: Result of ``encode_text`` at that precision; None: encode the prompts here.
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
            raise UserError(
                "the GPU's memory is full; free some of it, or give --precision bfloat16 or a smaller --batch_size"
            ) from error
        yield ScoredBatch(indices.tolist(), p, logit, unreadable)
