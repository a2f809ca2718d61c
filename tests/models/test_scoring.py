"""The arithmetic of scoring."""

import copy

import pytest
import torch

from models.joint_embedding import JointEmbedding, architecture
from models.label_tree import FFPP
from models.scoring import REFERENCE, NodeScorer, encode_text


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return JointEmbedding(architecture("demo"), FFPP)


def test_float16_is_the_trainings_and_the_references_is_its_own(model):
    """A training's validation computes as its steps: prompts and product in float32."""
    before = copy.deepcopy(model.state_dict())
    images = torch.randn(3, 3, 112, 112, generator=torch.Generator().manual_seed(0))
    scores = {}
    for precision in ("float32", "bfloat16", "float16", REFERENCE):
        text = encode_text(model, precision)
        assert text.dtype == (torch.float16 if precision == REFERENCE else torch.float32)
        with torch.inference_mode():
            scores[precision] = NodeScorer(model, precision, text)(images)
            score = NodeScorer(model, precision)
            assert all(torch.equal(score(images), scores[precision]) for _ in range(2)), "rounded once"
        assert scores[precision].dtype == torch.float32
    exact = scores.pop("float32")
    assert all(1e-6 < (each - exact).abs().max() < 1e-2 for each in scores.values())
    assert torch.equal(scores[REFERENCE], scores[REFERENCE].half().float()), "the product too"
    assert not torch.equal(scores["float16"], scores["float16"].half().float())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(value.dtype == before[name].dtype for name, value in model.state_dict().items())
