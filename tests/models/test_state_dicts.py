"""The weights are found in whatever other programs wrap them in, and a note tells what was taken."""

import re

import pytest
import torch

from models.checkpoint import build_model, load_model
from utils.cli import UserError


def prefixed(state, prefix):
    return {prefix + key: value for key, value in state.items()}


def compiled_tower(state):
    return {key.replace("visual.", "visual._orig_mod."): value for key, value in state.items()}


WRAPPED = {
    "torch.compile": lambda s: {"model": prefixed(s, "_orig_mod.")},
    "DataParallel of torch.compile": lambda s: {"model": prefixed(s, "module._orig_mod.")},
    "torch.compile of one tower": lambda s: {"model": compiled_tower(s)},
    "Lightning": lambda s: {"state_dict": prefixed(s, "model.")},
    "Lightning of a module with a CLIP": lambda s: {"state_dict": prefixed(s, "model.module.clip.")},
    "bare with a prefix": lambda s: prefixed(s, "net."),
    "JointEmbedding's own": lambda s: {"model_state_dict": prefixed(s, "clip.")},
}
NESTED = {
    "model_state_dict": lambda s: {"model_state_dict": s, "optimizer_state_dict": {"state": {0: {"step": s}}}},
    "weights": lambda s: {"weights": s},
    "state_dict of model": lambda s: {"model": {"state_dict": s}},
    "deep": lambda s: {"a": {"checkpoint": {"net": {"weights": s}}}, "epoch": 3},
    "beside plain values": lambda s: s | {"epoch": 3, "notes": "mine"},
}
EMA = {
    "model_ema": lambda s, mean: {"model_ema": mean, "model": s},
    "state_dict_ema": lambda s, mean: {"state_dict_ema": prefixed(mean, "module."), "state_dict": s},
    "ema of a dictionary": lambda s, mean: {"ema": {"state_dict": mean}, "model": s},
    "ema_state_dict": lambda s, mean: {"ema_state_dict": mean, "model_state_dict": prefixed(s, "module.")},
    "one dictionary": lambda s, mean: {"state_dict": prefixed(mean, "ema_model.ema.") | prefixed(s, "model.")},
}


@pytest.fixture
def load(ours, tmp_path, capsys):
    """Save a changed checkpoint and load it; returns (whether it has the right weights, the notes)."""

    def call(content):
        torch.save({key: ours[key] for key in ("architecture", "tree")} | content, tmp_path / "changed.pth")
        state = load_model(tmp_path / "changed.pth").clip.state_dict()
        return all(torch.equal(state[key], value) for key, value in ours["model"].items()), capsys.readouterr().err

    return call


@pytest.mark.parametrize("case", WRAPPED)
def test_prefixes_are_dropped_and_told(ours, load, case):
    same, notes = load(WRAPPED[case](ours["model"]))
    assert same
    assert re.fullmatch(r"note: \S+: prefixes are dropped from the names of its weights: (\S+) is (\S+)\n", notes)


@pytest.mark.parametrize("case", NESTED)
def test_dictionaries_in_dictionaries_need_no_note(ours, load, case):
    assert load(NESTED[case](ours["model"])) == (True, "")


@pytest.mark.parametrize("case", EMA)
def test_the_plain_model_is_taken_rather_than_its_running_mean(ours, load, case):
    same, notes = load(EMA[case](ours["model"], {key: value + 1 for key, value in ours["model"].items()}))
    assert same
    assert re.search(r"the weights of \S+ are taken, not \S*ema", notes)


def test_a_running_mean_alone_is_taken_and_told(ours, load):
    mean = prefixed(ours["model"], "module.") | {"n_averaged": torch.tensor(7)}
    same, notes = load({"model_ema": mean})
    assert same
    assert "the weights of model_ema (a running mean, EMA) are taken\n" in notes


def test_a_part_with_a_weight_of_the_same_name_is_not_the_model(ours, load):
    same, notes = load({"state_dict": prefixed(ours["model"], "model.") | {"loss.logit_scale": torch.zeros(())}})
    assert same
    assert "the weights of state_dict.model are taken, not state_dict.loss\n" in notes


def test_what_stands_beside_the_model_is_not_left_out_in_silence(ours, load):
    head = {"head.weight": torch.ones(2, 2)}
    with pytest.raises(UserError, match=r"unknown 1 weights, the first is head\.weight"):
        load({"state_dict": prefixed(ours["model"], "model.") | head})
    twice = ours["model"] | {"module.logit_scale": torch.zeros(())}
    with pytest.raises(UserError, match="some weights of model twice"):
        load({"model": twice})


def test_a_dictionary_that_holds_itself(ours, load):
    content = {"model": dict(ours["model"])}
    content["model"]["self"] = content["model"]
    with pytest.raises(UserError, match="nests more than 100 containers"):
        load(content)


def test_absurd_nesting_takes_no_time(ours):
    deep = dict(ours["model"])
    for _ in range(100_000):
        deep = {"x" * 100: deep}
    with pytest.raises(UserError, match="holds no model weights"):
        build_model({"model": deep}, "deep.pth")
    many = {f"{i}.logit_scale": value for i, value in enumerate(torch.zeros(50_000).unbind())}
    with pytest.raises(UserError, match="cannot be built"):
        build_model({"model": many}, "many.pth")
