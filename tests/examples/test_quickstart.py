"""The notebook runs from top to bottom, and is stored without outputs."""

import json
import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT

NOTEBOOK = ROOT / "examples" / "quickstart.ipynb"


@pytest.fixture
def code_cells():
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


def test_the_notebook_is_stored_without_outputs(code_cells):
    assert code_cells
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code_cells)


def test_the_notebook_runs_from_top_to_bottom(code_cells):
    code = "\n".join("".join(cell["source"]) for cell in code_cells)
    environment = os.environ | {"MPLBACKEND": "agg", "PYTHONIOENCODING": "utf-8", "CUDA_VISIBLE_DEVICES": ""}
    pipes = {"capture_output": True, "encoding": "utf-8", "check": False}
    done = subprocess.run([sys.executable, "-c", code], cwd=NOTEBOOK.parent, env=environment, **pipes)
    assert done.returncode == 0, done.stderr
    assert "1 face, score 1.000, crop (317, 317, 3)" in done.stdout
    assert "10 nodes, 251 legal states" in done.stdout
    assert "face swap  binary" in done.stdout
