"""The prompts' prefix tree, and the token embedding of which only the prompts' rows are trained."""

import pytest
import torch
from torch import nn

from models.prompt_tokens import PromptEmbedding, prefix_tree, refuse_long_prompts
from utils.cli import UserError

pytestmark = pytest.mark.numeric


def test_shared_beginnings_stand_once():
    prompts = torch.tensor([[7, 1, 2, 9, 0], [7, 1, 3, 9, 0], [7, 1, 2, 4, 9]])
    tokens, depths, mask, ends = prefix_tree(prompts, torch.tensor([4, 4, 5]))
    assert tokens.tolist() == [7, 1, 2, 9, 3, 9, 4, 9]
    assert depths.tolist() == [0, 1, 2, 3, 2, 3, 3, 4]
    assert ends.tolist() == [3, 5, 7]
    seen = [mask[end].nonzero().flatten().tolist() for end in ends]
    assert seen == [[0, 1, 2, 3], [0, 1, 4, 5], [0, 1, 2, 6, 7]]


@pytest.fixture
def embedding():
    torch.manual_seed(0)
    return PromptEmbedding(nn.Embedding(20, 4).weight, torch.tensor([2, 5, 11]))


def test_state_dict_is_that_of_an_embedding_and_holds_the_trained_rows(embedding):
    with torch.no_grad():
        embedding.rows += 1
    state = embedding.state_dict()
    assert list(state) == ["weight"]
    assert torch.equal(state["weight"][[2, 5, 11]], embedding.rows)
    again = nn.Embedding(20, 4)
    again.load_state_dict(state)
    assert torch.equal(again(torch.arange(20)), embedding(torch.arange(20)))


def test_loading_fills_the_trained_rows(embedding):
    source = nn.Embedding(20, 4)
    assert not embedding.load_state_dict(source.state_dict()).missing_keys
    assert torch.equal(embedding.rows, source.weight[[2, 5, 11]])
    assert torch.equal(embedding(torch.arange(20)), source(torch.arange(20)))


def test_rows_and_decay_together_are_adamw_on_the_whole_embedding(embedding):
    plain = nn.Embedding(20, 4)
    plain.load_state_dict(embedding.state_dict())
    tokens, lr, wd = torch.tensor([5, 2, 2, 11]), 0.1, 0.2
    optimizers = [torch.optim.AdamW(m.parameters(), lr=lr, weight_decay=wd) for m in (embedding, plain)]
    for step in range(3):
        for module, optimizer in zip((embedding, plain), optimizers, strict=True):
            optimizer.zero_grad()
            (module(tokens) * (step + 1)).square().sum().backward()
            optimizer.step()
        embedding.decay(1 - lr * wd)
    assert torch.allclose(embedding.state_dict()["weight"], plain.weight, atol=1e-6)


def test_the_trained_rows_are_used_and_the_others_are_the_weights(embedding):
    with torch.no_grad():
        embedding.rows += 1
    tokens = torch.tensor([[0, 2, 19], [5, 11, 12]])
    expected = embedding.weight[tokens].clone()
    for place, row in {(0, 1): 0, (1, 0): 1, (1, 1): 2}.items():
        expected[place] = embedding.rows[row]
    assert torch.equal(embedding(tokens), expected)
    embedding(tokens).sum().backward()
    assert torch.equal(embedding.rows.grad, torch.ones(3, 4))


def test_decay_too_small_for_float32_changes_no_bit(embedding):
    before = embedding.weight.clone()
    embedding.decay(1 - 6e-10)
    assert torch.equal(embedding.weight, before)


def test_a_prompt_that_does_not_fit_the_tower_is_refused():
    fits = "eye " * 75  # and the tokens of start and end
    refuse_long_prompts({"context_length": 77}, [fits, "short"])
    with pytest.raises(UserError, match="has more tokens than the 77 of the text tower; make it shorter"):
        refuse_long_prompts({"context_length": 77}, ["short", f"{fits} eye"])
