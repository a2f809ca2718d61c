"""The scripts as torchrun starts them, two processes on the CPU (gloo), against one process."""

import contextlib
import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import SJEDD_test
import SJEDD_train_FFpp
from models.checkpoint_file import read_checkpoint
from tests.conftest import REAL, ROOT
from tests.platforms import linux_only
from tests.scripts import record_steps
from tests.scripts.killing import kill_at_a_random_step
from training import run
from utils.own_files import RECORD

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]


def torchrun(*arguments):
    """(exit code of torchrun, stdout, stderr) of a script in two processes."""
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*TORCHRUN, *map(str, arguments)], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
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


@pytest.mark.parametrize(
    ("environment", "extra", "message"),
    [
        ({"WORLD_SIZE": "2", "RANK": "0"}, ["--gpu", 0], "under torchrun set CUDA_VISIBLE_DEVICES instead"),
        ({"WORLD_SIZE": "2", "RANK": "1"}, [], "is set without LOCAL_RANK, MASTER_PORT; start several processes"),
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


@pytest.fixture
def training(crop_lists, tmp_path):
    """A training of 21 steps into the folder SJEDD/<--tag, to be given> of tmp_path."""
    line = "--VM demo --weight autol --batch_size 4 --num_workers 0 --aug --initial_lr 1e-4 --num_epoch 3"
    train, val = map(str, crop_lists)
    return [*line.split(), "--txt_path_train", train, "--txt_path_val", val, "--output", str(tmp_path)]


def epochs(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def torchrun_all(tmp_path, *runs):
    """Start scripts one after the other in the same two processes: for each its exit code and its steps, what the two
    printed meanwhile; and all their errors."""
    (tmp_path / "runs.json").write_text(json.dumps([list(map(str, run)) for run in runs]))
    code, out, err = torchrun(record_steps.__file__, tmp_path / "steps.json", tmp_path / "runs.json")
    assert code == 0, err
    results = json.loads((tmp_path / "steps.json").read_text())
    printed = re.split(r"== run \d+\n", out)[1:]
    return [(result["code"], result["steps"], text) for result, text in zip(results, printed, strict=True)], err


def same_test_results(one, two, printed):
    assert printed.count(" * AUC") == 1, "one process speaks"
    names = {RECORD, "log.txt", "test_log.txt", "metrics.json", "predictions.csv"}
    assert {path.name for path in two.iterdir()} == names
    rows = rows_of(one), rows_of(two)
    assert [row["path"] for row in rows[1]] == [row["path"] for row in rows[0]], "each once, in the same order"
    scores = [[float(row["logit_fake"]) for row in table] for table in rows]
    assert np.allclose(*scores, atol=1e-4)
    metrics = [json.loads((folder / "metrics.json").read_text()) for folder in (one, two)]
    for key in ("videos", "frames", "coverage", "coverage_fake", "dropped", "crops"):
        assert metrics[1][key] == metrics[0][key]
    assert metrics[1]["video_auc"] == pytest.approx(metrics[0]["video_auc"], abs=1e-6)
    assert len(metrics[1]["dropped"]) == 1


def same_training(one, two, steps, printed):
    assert printed.count("best epoch") == 1, "one process speaks"
    assert len(steps[0]) == len(steps[1]) >= 20
    for name in ("losses", "weights"):
        assert np.allclose([step[name] for step in steps[0]], [step[name] for step in steps[1]], atol=1e-4)
    names = [{path.name for path in folder.iterdir() if "tfevents" not in path.name} for folder in (one, two)]
    assert names[0] == names[1]
    for a, b in zip(epochs(one), epochs(two), strict=True):
        for key in ("loss_binary", "val_loss", "val_video_auc", "val_frame_auc"):
            assert a[key] == pytest.approx(b[key], abs=1e-4)


def same_weights(*folders):
    one, two = (read_checkpoint(folder / "ckpt_last.pth")["model"] for folder in folders)
    return all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.slow
@linux_only
def test_two_processes_do_what_one_does(training, arguments, tmp_path, monkeypatch):
    """Testing, a test without any image, training with self-blends, also from a crop cache on the device; and a
    training resumed from a kill to the bit."""
    training += ["--self_blend", "0.5"]
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # the same bits want the same number of threads, as torchrun() has
    no_image = shutil.copytree(arguments[-1], tmp_path / "no_image")
    for path in no_image.glob("*/*/*.png"):
        path.write_bytes(b"no image")
    tuned = [*training, "--tune_text", "lora:4", "--tune_image", "norm"]
    on_device = [*training, "--augment_on", "device", "--num_epoch", 1, "--tag"]
    in_pairs = [*training, *["--pairs", "--balance_methods", "--flip", "0.5", "--ema", "0.9", "--tag"]]
    cached = ["--crop_cache", tmp_path / "cache", "--num_workers", 1]
    results, err = torchrun_all(
        tmp_path,
        ["SJEDD_test", *arguments, "--output", tmp_path / "two"],
        ["SJEDD_test", *arguments[:-1], no_image, "--output", tmp_path / "none"],
        ["SJEDD_train_FFpp", *training, "--tag", "two"],
        ["SJEDD_train_FFpp", *on_device, "files"],
        ["SJEDD_train_FFpp", *on_device, "cache", *cached],
        ["SJEDD_train_FFpp", *in_pairs, "two-pairs"],
        ["SJEDD_train_FFpp", *tuned, "--tag", "tuned-two"],
    )
    assert [code for code, _, _ in results] == [0, 2, 0, 0, 0, 0, 0], err
    assert err.count("error: CDF: none of the images could be read") == 1

    assert SJEDD_test.main([*map(str, arguments), "--output", str(tmp_path / "one")]) == 0
    folders = [tmp_path / name / "SJEDD_test" / "CDF" for name in ("one", "two")]
    same_test_results(*folders, printed=results[0][2])

    one, two = record_steps.record("SJEDD_train_FFpp", *training, "--tag", "one"), results[2]
    runs = tmp_path / "SJEDD"
    assert one["code"] == 0
    same_training(runs / "one", runs / "two", [one["steps"], two[1]], printed=two[2])

    pairs = record_steps.record("SJEDD_train_FFpp", *in_pairs, "one-pairs")
    same_training(runs / "one-pairs", runs / "two-pairs", [pairs["steps"], results[5][1]], printed=results[5][2])
    for a, b in zip(*(epochs(runs / name) for name in ("one-pairs", "two-pairs")), strict=True):
        assert a["val_ema_loss"] == pytest.approx(b["val_ema_loss"], abs=1e-4)

    one = record_steps.record("SJEDD_train_FFpp", *tuned, "--tag", "tuned-one")
    same_training(runs / "tuned-one", runs / "tuned-two", [one["steps"], results[6][1]], printed=results[6][2])

    assert results[4][2].count("crop cache of train: 30 crops") == 1
    assert same_weights(runs / "files", runs / "cache")

    folder = runs / "killed"
    command = [*TORCHRUN, str(ROOT / "SJEDD_train_FFpp.py"), *training, "--tag", folder.name, "--save_minutes", "0"]
    step = kill_at_a_random_step(command, folder, epochs=3, steps=len(two[1]) // 3)
    code, _, err = torchrun(ROOT / "SJEDD_train_FFpp.py", "--resume", folder / "ckpt_last.pth", "--num_workers", 2)
    assert code == 0, err
    assert same_weights(folder, runs / "two"), f"killed after step {step}"


SLOW_STEPS = """
import sys, time
sys.path[0] = {root!r}
import SJEDD_train_FFpp
from training.trainer import Trainer

step = Trainer.step
Trainer.step = lambda *arguments: time.sleep(1) or step(*arguments)
sys.exit(SJEDD_train_FFpp.main())
"""


@pytest.mark.slow
@linux_only
def test_signals_to_a_process_and_then_to_torchrun_save_the_run(training, tmp_path):
    script = tmp_path / "slow_steps.py"
    script.write_text(SLOW_STEPS.format(root=str(ROOT)))
    command = [*TORCHRUN, str(script), *training, "--tag", "stopped", "--save_minutes", "0"]
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=ROOT, env=environment, **pipes) as process:
        folder = tmp_path / "SJEDD" / "stopped"
        while not (folder / "ckpt_last.pth").exists():
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.05)
        (folder / "ckpt_last.pth").unlink()  # of the first step: the signals come in the second one
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(children[1]), signal.SIGTERM)
        time.sleep(0.2)
        process.send_signal(signal.SIGTERM)  # torchrun passes it on to both
        out, err = process.communicate(timeout=60)
    assert out.count("stopped; continue with --resume") == 1
    assert err.count("stopped by SIGTERM") == 2, "both processes end with 143, torchrun with its own code"
    assert read_checkpoint(folder / "ckpt_last.pth")["progress"]["step"] == 2


def test_a_process_that_finds_a_bad_image_ends_them_all(training, crop_lists, tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    with crop_lists[0].open("a") as file:
        file.write(f"{bad} {REAL}\n")
    code, _, err = torchrun(ROOT / "SJEDD_train_FFpp.py", *training, "--tag", "bad")
    assert code != 0
    assert f"error: {bad}" in err and "fix the image or remove its line" in err


def test_a_batch_that_cannot_be_shared_is_refused(training, monkeypatch, capsys):
    for name, value in {"WORLD_SIZE": "3", "RANK": "0", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(run, "process_group", lambda device: contextlib.nullcontext())
    assert SJEDD_train_FFpp.main([*training, "--tag", "three"]) == 2
    assert "a batch of 4 images cannot be divided among 3 processes" in capsys.readouterr().err
