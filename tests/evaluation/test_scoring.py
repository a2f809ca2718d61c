"""Scoring a loader."""

import pytest
import torch

from evaluation import scoring
from models.joint_embedding import JointEmbedding, architecture
from models.label_tree import FFPP
from utils.cli import UserError


def test_a_full_gpu_is_one_line(monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(scoring.NodeScorer, "__call__", full)
    model = JointEmbedding(architecture("demo"), FFPP)
    loader = [(torch.zeros(2, 3, 112, 112, dtype=torch.uint8), torch.arange(2), [])]
    with pytest.raises(UserError, match="memory is full; free some of it"):
        list(scoring.score_loader(model, loader))
