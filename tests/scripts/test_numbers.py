"""Numbers beyond all sense are errors of one line, in every script."""

import argparse
import importlib

import pytest

from preprocessing.extraction.options import get_args_parser as extraction_parser
from tests.conftest import ROOT
from training.options import get_args_parser as training_parser
from utils.cli import UserError

SENSELESS = ("1" + "0" * 400, "1" + "0" * 30, "-1" + "0" * 400, "nan", "inf", "-inf", "1e400", "-1e400", "9" * 5000)


def parsers():
    """The parser of every script, by the script's name."""
    found = {"SJEDD_train_FFpp": training_parser(), "extract_faces": extraction_parser()}
    for path in [*ROOT.glob("SJEDD_*.py"), *ROOT.glob("preprocessing/*.py")]:
        module = importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
        if hasattr(module, "get_args_parser"):
            found[path.stem] = module.get_args_parser()
    return found


PARSERS = parsers()


def takes_numbers(action):
    for text in ("1", "2", "0.5"):
        try:
            if type(action.type(text)) in (int, float):
                return True
        except (TypeError, ValueError, argparse.ArgumentTypeError, UserError):  # no type, or not this number
            continue
    return False


OPTIONS = [
    (name, action.option_strings[0])
    for name, parser in sorted(PARSERS.items())
    for action in parser._actions
    if takes_numbers(action)
]


def test_options_of_all_scripts_are_found():
    assert len({name for name, _ in OPTIONS}) >= 9 and len(OPTIONS) > 60


@pytest.mark.parametrize(("script", "option"), OPTIONS)
def test_senseless_numbers_are_one_line(script, option, capsys):
    parser = PARSERS[script]
    (action,) = (action for action in parser._actions if option in action.option_strings)
    count = action.nargs if isinstance(action.nargs, int) else 1
    for text in SENSELESS:
        with pytest.raises(SystemExit, match="2"):
            parser.parse_args([option, *[text] * count])
        said = capsys.readouterr().err
        assert said.count("\n") == 1 and f"error: argument {option}" in said and len(said) < 2200
