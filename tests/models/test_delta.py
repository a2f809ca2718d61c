"""Checkpoints that hold the trained weights alone."""

import shutil

import pytest
import torch

from models import delta
from models.checkpoint import load_model, save_checkpoint
from models.checkpoint_file import read_checkpoint
from models.delta import describe_base
from models.joint_embedding import JointEmbedding
from models.label_tree import FFPP
from tests.models.test_lora import CONFIG
from training.tuning import tune
from utils.cli import UserError


@pytest.fixture
def base(tmp_path):
    """(file of whole weights, their model)"""
    torch.manual_seed(0)
    model = JointEmbedding(CONFIG, FFPP)
    save_checkpoint(tmp_path / "base.pth", model)
    return tmp_path / "base.pth", model


@pytest.fixture
def saved(tmp_path, base):
    """A function: train some weights, save the delta; (its path, the model)."""

    def save(tuning):
        file, model = base
        model.base = describe_base(model.clip.state_dict(), file)
        for tower in ("text", "image"):
            if tuning != "full":
                tune(model, tower, tuning, seed=0)
        for parameter in model.parameters():
            if parameter.requires_grad:
                torch.nn.init.normal_(parameter, std=0.1)
        save_checkpoint(tmp_path / "delta.pth", model, delta=True, threshold=0.25)
        return tmp_path / "delta.pth", model

    return save


@pytest.mark.parametrize("tuning", ["norm", "bias", "lora:2", "full"])
def test_a_delta_and_its_base_give_the_whole_model(saved, base, tuning):
    path, model = saved(tuning)
    again = load_model(path)
    for name, value in model.clip.state_dict().items():
        assert torch.equal(again.clip.state_dict()[name], value), name
    assert again.base == model.base and again.tree is FFPP
    content = read_checkpoint(path)
    assert "model" not in content and content["threshold"] == 0.25
    assert tuning == "full" or path.stat().st_size < base[0].stat().st_size / 50


def test_the_base_is_looked_for_in_pretrained_too_and_must_be_the_same(saved, base, tmp_path, monkeypatch):
    path, model = saved("norm")
    (tmp_path / "pretrained").mkdir()
    monkeypatch.setattr(delta, "PRETRAINED", tmp_path / "pretrained")
    shutil.move(base[0], tmp_path / "pretrained" / "base.pth")
    assert torch.equal(load_model(path).clip.visual.ln_post.weight, model.clip.visual.ln_post.weight)
    (tmp_path / "pretrained" / "base.pth").unlink()
    with pytest.raises(UserError, match=r"only changes of the weights base.pth, which are not at .*; copy them"):
        load_model(path)
    save_checkpoint(base[0], JointEmbedding(CONFIG, FFPP))
    with pytest.raises(UserError, match="the file of that name holds others; copy the right one to"):
        load_model(path)


def test_torchscript_is_read_only_where_the_user_puts_weights(saved, base, tmp_path, monkeypatch):
    path, _ = saved("norm")
    monkeypatch.setattr(delta, "is_torchscript", lambda file: True)
    with pytest.raises(UserError, match="TorchScript is not read there"):
        load_model(path)
    monkeypatch.setattr(delta, "PRETRAINED", tmp_path)
    load_model(path)


@pytest.fixture(scope="module")
def hostile_start(tmp_path_factory):
    """The content of a delta checkpoint that loads."""
    folder, model = tmp_path_factory.mktemp("start"), JointEmbedding(CONFIG, FFPP)
    save_checkpoint(folder / "base.pth", model)
    model.base = describe_base(model.clip.state_dict(), folder / "base.pth")
    tune(model, "image", "norm", seed=0)
    tune(model, "text", "norm", seed=0)
    save_checkpoint(folder / "delta.pth", model, delta=True)
    load_model(folder / "delta.pth")
    return read_checkpoint(folder / "delta.pth")


A, B = (f"visual.transformer.resblocks.0.attn.in_proj_lora.{factor}" for factor in "ab")
BASES = [None, "x", {"name": "base.pth"}, {"name": 3, "path": "", "sha256": ""}]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"base": value}, "does not say which weights") for value in BASES
    ] + [
        ({"base": {"name": "../\0", "path": "x" * 9999, "sha256": ""}}, "are not at x"),
        ({"delta": None}, "holds no model weights"),
        ({"delta": {"x": "y"}}, "holds no model weights"),
        ({"delta": {"evil": torch.zeros(1)}}, "has unknown 1 weights"),
        ({"delta": {"ln_final.bias": torch.zeros(3)}}, "has wrong shapes"),
        ({"delta": {"ln_final.bias": torch.full((64,), torch.nan)}}, "holds NaN"),
        ({"delta": {"ln_final.bias": torch.zeros(1).expand(64)}}, "claim more numbers"),
        ({"delta": {B: torch.zeros(192, 2)}}, "damaged low-rank updates"),
        ({"delta": {B: torch.zeros(192, 0), A: torch.zeros(0, 64)}}, "damaged low-rank updates"),
        ({"delta": {B: torch.zeros(3), A: torch.zeros(2, 64)}}, "damaged low-rank updates"),
        ({"delta": {B: torch.zeros(192, 2).int(), A: torch.zeros(2, 64).int()}}, "damaged low-rank updates"),
        ({"delta": {f"x.{name}": torch.zeros(2, 2) for name in (A, B)}}, "damaged low-rank updates"),
    ],
)  # fmt: skip
def test_hostile_deltas_are_one_line(hostile_start, tmp_path, change, message):
    torch.save(hostile_start | change, tmp_path / "hostile.pth")
    with pytest.raises(UserError, match=message):
        load_model(tmp_path / "hostile.pth")
