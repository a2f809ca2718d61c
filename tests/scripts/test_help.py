"""Every script answers --help and wrong arguments without the imports that take seconds."""

import re
import subprocess
import sys

import pytest

from tests.conftest import ROOT

HEAVY = {"torch", "torchvision", "open_clip", "scipy", "sklearn", "matplotlib", "skimage", "starlette"}
SLOW = {"numpy", "cv2"}  # some tenths of a second, in which Ctrl-C would be a traceback
SCRIPTS = sorted(
    str(path.relative_to(ROOT))
    for path in [*ROOT.glob("SJEDD_*.py"), *ROOT.glob("preprocessing/*.py")]
    if "def main(" in path.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_needs_no_heavy_import(script):
    done = subprocess.run(
        [sys.executable, "-X", "importtime", script, "--help"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    imported = set(re.findall(r"\| +([\w.]+)$", done.stderr, re.MULTILINE))
    assert done.returncode == 0 and done.stdout.startswith("usage: ")
    heavy = HEAVY | (SLOW if script.startswith("preprocessing/") else set())
    assert "argparse" in imported and not imported & heavy


def test_a_wrong_argument_is_one_line_without_waiting():
    command = [sys.executable, "-X", "importtime", "SJEDD_test.py", "--dataset", "CDF", "--n_frames", "0"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "SJEDD_test.py: error: argument --n_frames: 0 is not a positive whole number" in done.stderr
    assert not re.search(r"\| +torch$", done.stderr, re.MULTILINE)


@pytest.mark.parametrize(
    "module",
    ["SJEDD_check_data", "preprocessing.expansion.output", "preprocessing.demo.videos", "preprocessing.lists.ffpp"]
    + ["preprocessing.lists.ffsc", "preprocessing.expansion.preview"],
)
def test_what_needs_no_torch_does_not_load_it(module):
    """Two seconds and half a gigabyte, in each of their processes."""
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


@pytest.mark.parametrize(
    ("script", "words", "advice"),
    [
        ("SJEDD_train_FFpp.py", "--lambda_epoch 3", "--lambda_every K updates lambda"),
        ("SJEDD_train_FFpp.py", "--task all", "give --task binary global local"),
        ("SJEDD_train_FFpp.py", "--zip --cache-mode=part", "--crop_cache DIR keeps the decoded crops"),
        ("SJEDD_train_FFpp.py", "--opts TRAIN.LR 1", "each setting is an option of its own"),
        ("SJEDD_test.py", "--resume x --dataset diffusion", "give DiffusionFace or DiFF"),
        ("SJEDD_test.py", "--resume x --dataset CDF --VM ViT-B/32", "the checkpoint knows its model"),
    ],
)
def test_a_refused_option_of_the_reference_says_what_to_use_instead(script, words, advice):
    command = [sys.executable, script, *words.split()]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert advice in done.stderr and done.stderr.count("\n") == 1


def test_aliases_of_older_commands_are_not_in_the_help():
    command = [sys.executable, "SJEDD_train_FFpp.py", "--help"]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout
    assert "--weighting_method" not in printed and "--auc" not in printed
    assert "--hypergrad" in printed.partition("ablation and parity with the reference:")[2]
