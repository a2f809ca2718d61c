"""The command line and the settings that the parts of a training take from it."""

from argparse import Namespace
from dataclasses import fields

import pytest

from training.data import DataSettings
from training.model_setup import ModelSettings
from training.options import get_args_parser, parse_args, settings_for
from training.run import RunSettings
from training.trainer import TrainerSettings

LISTS = ["--txt_path_train", "train.txt", "--txt_path_val", "val.txt"]


@pytest.mark.parametrize("settings", [DataSettings, ModelSettings, RunSettings, TrainerSettings])
def test_settings_are_filled_from_the_options_of_their_names(settings):
    args = parse_args([*LISTS, "--batch_size", "8", "--initial_lr", "0.5", "--weight", "dwa"])
    filled = settings_for(settings, args)
    assert {field.name: getattr(filled, field.name) for field in fields(settings)}.items() <= vars(args).items()


def test_every_option_reaches_a_part_or_names_the_run():
    used = {field.name for cls in (DataSettings, ModelSettings, RunSettings, TrainerSettings) for field in fields(cls)}
    of_run = {"name", "tag", "output", "deterministic", "gpu", "no_tree"}
    aliases = {"auc", "weighting_method"}
    assert used | of_run | aliases == vars(get_args_parser().parse_args([])).keys()


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
