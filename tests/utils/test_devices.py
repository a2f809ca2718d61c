"""Choosing a device, on a machine that is made to look as if it had two GPUs."""

import pytest
import torch

from preprocessing.detection.detectors import build_detector
from utils.cli import UserError
from utils.devices import choose_device, set_tf32


@pytest.fixture(autouse=True)
def tf32_as_before():
    before = tf32()
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


@pytest.fixture
def gpus(monkeypatch):
    """Two GPUs without bfloat16; the list of those made the present one."""
    chosen = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda number: "Tesla V100")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    return chosen


def tf32():
    return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32


def test_the_device_asked_for_is_the_present_one(gpus, monkeypatch):
    assert [choose_device(gpu) for gpu in (None, 1)] == [torch.device("cuda", 0), torch.device("cuda", 1)]
    assert gpus == [0, 1]
    with pytest.raises(UserError, match="--gpu 2: this machine has 2 CUDA devices"):
        choose_device(2)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert choose_device(None) == torch.device("cuda", 1) and gpus == [0, 1, 1]


def test_float32_is_float32_unless_tf32_is_asked_for(gpus):
    for precision, expected in (("tf32", True), ("float32", False), ("float16", False)):
        choose_device(None, precision)
        assert tf32() == (expected, expected)
    set_tf32(True)
    build_detector("mtcnn")
    assert tf32() == (False, False), "detectors find the same on both devices"


def test_precisions_that_the_device_lacks_are_refused(gpus, monkeypatch):
    with pytest.raises(UserError, match="bfloat16: Tesla V100 only emulates it; use float16"):
        choose_device(None, "bfloat16")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for precision in ("tf32", "float16"):
        with pytest.raises(UserError, match=f"{precision} needs a CUDA device"):
            choose_device(None, precision)
    assert choose_device(None, "bfloat16") == torch.device("cpu")
