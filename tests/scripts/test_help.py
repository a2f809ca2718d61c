"""Every script answers --help and wrong arguments without the imports that take seconds."""

import re
import subprocess
import sys

import pytest

from tests.conftest import ROOT

HEAVY = {"torch", "torchvision", "open_clip", "scipy", "sklearn", "matplotlib", "skimage", "gradio"}
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
    ["SJEDD_check_data", "preprocessing.expand_FFpp", "preprocessing.make_demo_videos", "preprocessing.make_lists"],
)
def test_what_needs_no_torch_does_not_load_it(module):
    """Two seconds and half a gigabyte, in each of their processes."""
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
