"""The command line and the settings that the parts of a training take from it."""

import re
from argparse import Namespace
from dataclasses import fields

import pytest

from tests.conftest import ROOT
from training.options import get_args_parser, parse_args, uses_cuda_graph
from training.trainer import TrainerSettings
from utils.cli import UserError

LISTS = ["--txt_path_train", "train.txt", "--txt_path_val", "val.txt"]


def test_every_option_reaches_a_part_or_names_the_run():
    modules = [path for path in (ROOT / "training").glob("*.py") if path.name not in ("options.py", "resume.py")]
    used = {name for path in modules for name in re.findall(r"(?<!\")args\.(\w+)", path.read_text())}
    settings = {field.name for field in fields(TrainerSettings)}
    aliases = {"auc", "weighting_method"}
    assert used | settings | aliases == vars(get_args_parser().parse_args([])).keys()


def test_the_trainers_defaults_are_the_command_lines():
    args, defaults = parse_args(LISTS), TrainerSettings()
    for field in fields(TrainerSettings):
        if field.name not in ("weight", "cuda_graph"):  # equal, False without a command line
            default = getattr(defaults, field.name)
            assert getattr(args, field.name) == (list(default) if isinstance(default, tuple) else default)


def test_with_resume_only_what_was_given_is_there():
    given = parse_args(["--resume", "last.pth", "--num_epoch", "3"])
    assert given == Namespace(resume="last.pth", num_epoch=3)


def test_the_automatic_tag_tells_runs_apart():
    assert parse_args(LISTS).tag == "ViT-B-32_autol_lr6e-07_bz32_noaug_seed0"
    assert parse_args([*LISTS, "--tune", "lora"]).tag == "ViT-B-32_autol_lr6e-07_bz32_noaug_tune-lora8_seed0"
    more = ["--aug", "--freeze", "text", "--no_tree", "--seed", "3"]
    assert parse_args([*LISTS, *more]).tag == "ViT-B-32_equal_lr6e-07_bz32_aug0.3_freeze-text_no_tree-True_seed3"
    assert parse_args([*LISTS, "--self_blend", "0.5"]).tag == "ViT-B-32_autol_lr6e-07_bz32_noaug_self_blend-0.5_seed0"


@pytest.mark.parametrize(
    ("given", "device", "expected"),
    [
        ([], "cuda", True),
        ([], "cpu", False),
        (["--no-cuda_graph"], "cuda", False),
        (["--precision", "float16"], "cuda", False),
        (["--hypergrad", "fd"], "cuda", False),
        (["--compile"], "cuda", False),
        (["--compile", "--cuda_graph"], "cuda", True),
        (["--precision", "float16", "--cuda_graph"], "cuda", "is for one process"),
        (["--hypergrad", "fd", "--cuda_graph"], "cuda", "is for one process"),
        (["--cuda_graph"], "cpu", "needs a CUDA device"),
    ],
)
def test_steps_are_recorded_wherever_they_can_be(given, device, expected):
    args = parse_args([*LISTS, *given])
    if isinstance(expected, bool):
        assert uses_cuda_graph(args, device) is expected
    else:
        with pytest.raises(UserError, match=expected):
            uses_cuda_graph(args, device)


def test_steps_of_several_processes_are_not_recorded(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert uses_cuda_graph(parse_args(LISTS), "cuda") is False
    with pytest.raises(UserError, match="is for one process"):
        uses_cuda_graph(parse_args([*LISTS, "--cuda_graph"]), "cuda")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--jpeg 40 90", "add --aug"),
        ("--aug --jpeg 90 40", "the lower quality comes first"),
        ("--aug --jpeg 0 40", "is not between 1 and 100"),
        ("--pairs --batch_size 7", "needs an even --batch_size, not 7"),
        ("--ema 1", "1 is not between 0 and 1"),
    ],
)
def test_settings_of_batches_that_cannot_be(options, message, capsys):
    with pytest.raises(SystemExit):
        parse_args([*LISTS, *options.split()])
    assert message in capsys.readouterr().err


def test_the_tag_names_the_settings_of_batches():
    options = "--aug --jpeg 40 90 --flip 0.5 --pairs --balance_methods --ema 0.999"
    tag = "aug0.3_jpeg-40-90_flip-0.5_pairs-True_balance_methods-True_ema-0.999_seed0"
    assert parse_args([*LISTS, *options.split()]).tag.endswith(tag)
