"""Fixtures shared by all tests: small real crops and a small checkpoint in the published layout."""

import argparse
import json
import os
import shutil
import signal
import sys
import types
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read once, when NumPy and PyTorch are loaded; children inherit it

import numpy as np
import pytest
import torch

from models.checkpoint import save_checkpoint
from models.joint_embedding import JointEmbedding, architecture
from models.label_tree import FFPP
from preprocessing.extraction.face_crops import one_thread
from tests.layouts import Layouts

# A shell's background jobs ignore Ctrl-C, and so would the processes that the tests start and send it to.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

DATA = Path(__file__).parent / "data"
ROOT = Path(__file__).parent.parent
REAL, SWAP, EXPRESSION = "1000000000", "0101011111", "0110001100"


@pytest.fixture
def single_thread() -> Iterator[None]:
    """The same bits want the same number of threads; of small tensors more are no faster."""
    with one_thread():
        yield


@pytest.fixture(scope="session")
def golden_crops() -> Path:
    """Crops in the Celeb-DF layout: RealCDF/<video>/%04d.png and FakeCDF/<video>/%04d.png, 3 videos each."""
    return DATA / "cdf_tiny"


@pytest.fixture(scope="session")
def golden_expected() -> dict:
    """What the reference scores on the golden crops with the golden checkpoint."""
    return json.loads((DATA / "upstream_layout_tiny_expected.json").read_text())


@pytest.fixture(scope="session")
def golden_tree() -> dict:
    """Random scores, labels, marginals and losses of both trees, from the reference."""
    return json.loads((DATA / "tree_marginals.json").read_text())


@pytest.fixture(scope="session")
def published_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint pickled as the published ones are: yacs CfgNode, Namespace, fp16 weights, OpenAI's key names.

    The repository stores only the rows of the token embedding that the prompts use; the others are zero here.
    """
    stored = dict(np.load(DATA / "upstream_layout_tiny.npz"))
    used = stored.pop("used_tokens")
    rows = stored.pop("token_embedding.weight")
    embedding = np.zeros((49408, rows.shape[1]), dtype=rows.dtype)
    embedding[used] = rows
    model = {key: torch.from_numpy(value) for key, value in stored.items()}
    model["token_embedding.weight"] = torch.from_numpy(embedding)

    module = types.ModuleType("yacs.config")
    module.CfgNode = type("CfgNode", (dict,), {"__module__": "yacs.config", "__qualname__": "CfgNode"})
    config = module.CfgNode(MODEL=module.CfgNode(NAME="x"), OUTPUT="output")
    config.__dict__["__immutable__"] = False
    content = {
        "model": model,
        "optimizer": {"state": {}, "param_groups": []},
        "max_accuracy": 0.0,
        "epoch": 7,
        "config": config,
        "args": argparse.Namespace(VM="ViT-B/32", batch_size=32),
    }
    path = tmp_path_factory.mktemp("published") / "ckpt_best.pth"
    sys.modules["yacs"], sys.modules["yacs.config"] = types.ModuleType("yacs"), module
    try:
        torch.save(content, path)
    finally:
        del sys.modules["yacs"], sys.modules["yacs.config"]
    return path


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """The content of a checkpoint of ours: the demo's model with random weights."""
    path = tmp_path_factory.mktemp("ours") / "ckpt.pth"
    save_checkpoint(path, JointEmbedding(architecture("demo"), FFPP))
    return torch.load(path, weights_only=True)


@pytest.fixture
def crop_lists(tmp_path: Path, golden_crops: Path) -> tuple[Path, Path]:
    """(train.txt, val.txt) over the golden crops: reals, and fakes with two different codes."""
    lines = [f"{path} {REAL}" for path in sorted(golden_crops.glob("RealCDF/*/*.png"))]
    fakes = sorted(golden_crops.glob("FakeCDF/*/*.png"))
    lines += [f"{path} {(SWAP, EXPRESSION)[i % 2]}" for i, path in enumerate(fakes)]
    for name in ("train", "val"):
        (tmp_path / f"{name}.txt").write_text("\n".join(lines) + "\n")
    return tmp_path / "train.txt", tmp_path / "val.txt"


@pytest.fixture
def crops_copy(tmp_path: Path, golden_crops: Path) -> Path:
    """A writable copy of the golden crops."""
    return Path(shutil.copytree(golden_crops, tmp_path / "cdf"))


@pytest.fixture
def layouts(tmp_path: Path, golden_crops: Path) -> Layouts:
    """Makes data sets of golden crops in their official layouts below tmp_path/data."""
    return Layouts(tmp_path / "data", golden_crops)
