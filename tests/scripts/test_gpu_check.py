"""The check of the CUDA path, run small on a CPU, and what it makes of checks that fail."""

import json

import pytest
import torch

from benchmarks import cuda_checks, gpu_check
from tests.platforms import posix_only

# All but those that run other benchmarks or a compiler for half a minute.
QUICK = ("parity", "float16", "deterministic", "graph", "speed", "augmentation", "detection", "reductions")


@pytest.mark.slow
@posix_only
def test_the_checks_run_small_on_a_cpu(tmp_path, monkeypatch, capsys):
    for name, value in (("CUDA_VISIBLE_DEVICES", ""), ("OMP_NUM_THREADS", "1")):  # two processes share two cores
        monkeypatch.setenv(name, value)
    assert gpu_check.main(["--device", "cpu", "--quick", "--only", *QUICK, "--output", str(tmp_path)]) == 0
    written = json.loads((tmp_path / "gpu_check.json").read_text())
    assert {figure["check"] for figure in written["figures"]} == set(QUICK)
    judged = [figure for figure in written["figures"] if figure["passed"] is not None]
    assert len(judged) >= 16 and all(figure["passed"] for figure in judged)
    table = (tmp_path / "gpu_check.md").read_text().splitlines()
    assert len([line for line in table if line.startswith("|")]) == len(written["figures"]) + 2
    printed = capsys.readouterr().out
    assert all(figure["what"] in printed and figure["value"] in printed for figure in written["figures"])


def test_without_a_gpu_it_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu_check.main(["--output", str(tmp_path)]) == 2
    assert "error: no CUDA device was found; --device cpu --quick" in capsys.readouterr().err


def test_every_check_has_its_name():
    names = {name.removeprefix("check_") for name in vars(cuda_checks) if name.startswith("check_")}
    assert names == set(gpu_check.NAMES)


def test_a_check_that_fails_is_told_and_the_others_go_on(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(gpu_check, "machine", lambda device: "nothing")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert gpu_check.main(["--only", "parity", "reductions", "--output", str(tmp_path)]) == 2
    figures = json.loads((tmp_path / "gpu_check.json").read_text())["figures"]
    figures = [figure for figure in figures if figure["passed"] is not None]
    assert [(figure["check"], figure["passed"]) for figure in figures] == [("parity", False), ("reductions", False)]
    assert all("no CUDA device was found" in figure["value"] for figure in figures)
    assert "2 figures miss their bars" in capsys.readouterr().err


def test_a_check_that_takes_too_long_is_told(tmp_path):
    *_, figure = gpu_check.run_check("parity", "cpu", quick=True, seconds=0.01, log=tmp_path / "log")
    assert figure["value"] == "not finished after 0 s" and figure["passed"] is False


@pytest.mark.parametrize(("a", "b", "expected"), [([1.0, 2.0], [1.0, 2.0], 0.0), ([1.1, 2.0], [1.0, 2.0], 0.1)])
def test_the_largest_difference_is_relative(a, b, expected):
    steps = [[cuda_checks.StepResult(values, [])] for values in (a, b)]
    assert cuda_checks.largest_difference(*steps, "task_losses") == pytest.approx(expected)
