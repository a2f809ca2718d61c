"""The command line and the settings that the parts of a training take from it."""

import re
from argparse import Namespace
from dataclasses import fields

from tests.conftest import ROOT
from training.options import get_args_parser, parse_args
from training.trainer import TrainerSettings

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
        if field.name != "weight":  # equal without a command line
            default = getattr(defaults, field.name)
            assert getattr(args, field.name) == (list(default) if isinstance(default, tuple) else default)


def test_with_resume_only_what_was_given_is_there():
    given = parse_args(["--resume", "last.pth", "--num_epoch", "3"])
    assert given == Namespace(resume="last.pth", num_epoch=3)


def test_the_automatic_tag_tells_runs_apart():
    assert parse_args(LISTS).tag == "ViT-B-32_autol_lr6e-07_bz32_noaug_seed0"
    more = ["--aug", "--freeze", "text", "--no_tree", "--seed", "3"]
    assert parse_args([*LISTS, *more]).tag == "ViT-B-32_equal_lr6e-07_bz32_aug0.3_freeze-text_no_tree-True_seed3"
