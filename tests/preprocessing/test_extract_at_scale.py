"""Killed, sharded and simultaneous runs give the files of one quiet run."""

import os
import shutil
import signal
import subprocess
import sys
import time

import cv2
import pytest

from datasets.readers.ffpp import METHOD_CODES, compression_dir
from preprocessing.extract_faces import main
from tests.conftest import ROOT
from tests.platforms import posix_only


def snapshot(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def videos(raw_demo, tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    for method in ("real", *METHOD_CODES):
        for path in (compression_dir(raw_demo, method, "c23") / "videos").glob("*.mp4"):
            shutil.copy(path, folder / f"{method}-{path.name}")
    return folder


@pytest.fixture(scope="module")
def quiet(videos, tmp_path_factory):
    out = tmp_path_factory.mktemp("quiet")
    assert main(arguments(videos, out)) == 0
    return snapshot(out)


def arguments(videos, out, *more):
    options = ["--dataset", "videos", "--video_path", str(videos), "--save_path", str(out)]
    return [*options, "--n_frames", "4", "--workers", "1", *more]


def start(videos, out, **environment):
    command = [sys.executable, "preprocessing/extract_faces.py", *arguments(videos, out)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(command, cwd=ROOT, env={**os.environ, **environment}, **quiet)


@posix_only
def test_killed_in_the_middle_and_run_again(videos, quiet, tmp_path):
    process = start(videos, tmp_path)
    while len(list(tmp_path.rglob("*.png"))) < 3:
        assert process.poll() is None
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    left = snapshot(tmp_path)
    assert len(left) < len(quiet)
    for name, content in left.items():  # nothing half-written under its final name
        # .new: begun, an empty mark
        if not name.split("/")[-1].startswith(".") and not name.endswith((".new", ".lock")):
            assert content == quiet[name]
    hidden = tmp_path / ".manifest"
    leftovers = [
        hidden / ".claim-0.lock",
        hidden / ".run-0.lock",
        hidden / ".sjedd-tmp-0.csv",
        tmp_path / ".sjedd-tmp-0.csv",
    ]
    for path in leftovers:  # of other kills
        path.touch()
    assert main(arguments(videos, tmp_path)) == 0
    assert snapshot(tmp_path) == quiet
    assert not any(path.exists() for path in leftovers)


@pytest.mark.parametrize("first", [0, 1])
def test_shards_add_up_to_the_single_run(videos, quiet, tmp_path, first, capsys):
    for number in range(first, first + 3):
        assert main(arguments(videos, tmp_path, "--shard", f"{number}/3")) == 0
    assert "shard 2 of 3" in capsys.readouterr().out
    assert snapshot(tmp_path) == quiet


def test_ranks_of_torchrun_are_shards(videos, quiet, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert main(arguments(videos, tmp_path)) == 0
    assert "videos not done yet" in capsys.readouterr().out
    assert snapshot(tmp_path) != quiet
    monkeypatch.setenv("RANK", "0")
    assert main(arguments(videos, tmp_path)) == 0
    assert snapshot(tmp_path) == quiet
    monkeypatch.setenv("RANK", "many")
    assert main(arguments(videos, tmp_path)) == 2
    assert "RANK is 'many'" in capsys.readouterr().err


def test_two_runs_at_once_share_the_work(videos, quiet, tmp_path):
    processes = [start(videos, tmp_path), start(videos, tmp_path)]
    assert [process.wait() for process in processes] == [0, 0]
    assert snapshot(tmp_path) == quiet


def test_other_settings_wait_for_the_end_of_a_run(videos, tmp_path, capsys):
    process = start(videos, tmp_path)
    while not list(tmp_path.rglob("*.png")):
        assert process.poll() is None
        time.sleep(0.002)
    assert main(arguments(videos, tmp_path, "--size", "112", "--overwrite")) == 2
    assert "another run is working in" in capsys.readouterr().err
    process.terminate()
    assert process.wait() == 143
    assert main(arguments(videos, tmp_path, "--size", "112", "--overwrite")) == 0
    assert {cv2.imread(str(path)).shape for path in tmp_path.rglob("*.png")} == {(112, 112, 3)}
