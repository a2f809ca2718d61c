"""The scripts as torchrun starts them, two processes on the CPU (gloo), against one process."""

import csv
import json
import os
import subprocess
import sys

import numpy as np
import pytest

import SJEDD_test
from tests.conftest import ROOT


def torchrun(*arguments):
    """(exit code of torchrun, stdout, stderr) of a script in two processes."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, *map(str, arguments)], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout, done.stderr


def rows_of(folder):
    with (folder / "predictions.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def arguments(published_checkpoint, crops_copy):
    (crops_copy / "FakeCDF" / "id1_0001" / "0001.png").write_bytes(b"no image")
    common = ["--resume", published_checkpoint, "--n_frames", 4, "--num_workers", 0, "--test_log", "--auc"]
    return [*common, "--dataset", "CDF", "--datapath", crops_copy]


def test_two_processes_give_the_results_of_one(arguments, tmp_path):
    assert SJEDD_test.main([*map(str, arguments), "--output", str(tmp_path / "one")]) == 0
    code, out, err = torchrun(ROOT / "SJEDD_test.py", *arguments, "--output", tmp_path / "two")
    assert code == 0, err
    one, two = (tmp_path / name / "SJEDD_test" / "CDF" for name in ("one", "two"))
    assert out.count(" * AUC") == 1, "one process speaks"
    assert {path.name for path in two.iterdir()} == {"log.txt", "test_log.txt", "metrics.json", "predictions.csv"}
    rows = rows_of(one), rows_of(two)
    assert [row["path"] for row in rows[1]] == [row["path"] for row in rows[0]], "each once, in the same order"
    scores = [[float(row["logit_fake"]) for row in table] for table in rows]
    assert np.allclose(*scores, atol=1e-4)
    metrics = [json.loads((folder / "metrics.json").read_text()) for folder in (one, two)]
    for key in ("videos", "frames", "coverage", "coverage_fake", "dropped", "crops"):
        assert metrics[1][key] == metrics[0][key]
    assert metrics[1]["video_auc"] == pytest.approx(metrics[0]["video_auc"], abs=1e-6)
    assert len(metrics[1]["dropped"]) == 1


def test_bad_input_is_told_once(arguments, tmp_path):
    for path in arguments[-1].glob("*/*/*.png"):
        path.write_bytes(b"no image")
    code, _, err = torchrun(ROOT / "SJEDD_test.py", *arguments, "--output", tmp_path)
    assert code != 0
    assert err.count("error: CDF: none of the images could be read") == 1


@pytest.mark.parametrize(
    ("environment", "extra", "message"),
    [
        ({"WORLD_SIZE": "2", "RANK": "0"}, ["--gpu", 0], "under torchrun set CUDA_VISIBLE_DEVICES instead"),
        ({"WORLD_SIZE": "2", "RANK": "1"}, [], "no number LOCAL_RANK, MASTER_PORT; start several processes"),
    ],
)
def test_what_torchrun_does_not_allow_is_one_line(
    arguments, extra, environment, message, monkeypatch, tmp_path, capsys
):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    code = SJEDD_test.main([*map(str, [*arguments, *extra]), "--output", str(tmp_path)])
    err = capsys.readouterr().err
    assert code == 2 and message in err and len(err.splitlines()) == 1
