"""Training and test with --crop_cache and --augment_on device, as a user runs them, on a CPU."""

import json
import os
import signal

import numpy as np
import pytest
import torch
from PIL import Image

import SJEDD_test
import SJEDD_train_FFpp
from datasets import crop_cache
from models.checkpoint_file import read_checkpoint
from tests.platforms import posix_only
from training.options import parse_args
from training.resume import resume_settings
from training.trainer import Trainer
from utils.cli import UserError

pytestmark = pytest.mark.usefixtures("single_thread")


@pytest.fixture
def training(crop_lists, tmp_path):
    """A training of 14 steps into the folder a/<--tag, to be given> of tmp_path."""
    line = (
        "--VM demo --weight autol --lambda_every 2 --batch_size 4 --num_epoch 2 --num_workers 0 --aug --aug_probs 0.5 "
    )
    train, val = map(str, crop_lists)
    lists = ["--txt_path_train", train, "--txt_path_val", val]
    return [*line.split(), *lists, "--initial_lr", "1e-3", "--output", str(tmp_path), "--name", "a"]


def settings_of(*argv):
    """All settings of a command with --resume."""
    return resume_settings(parse_args(argv))[0]


def same_weights(*folders):
    one, two = (read_checkpoint(folder / "ckpt_last.pth")["model"] for folder in folders)
    return all(torch.equal(one[name], two[name]) for name in one)


def interrupt_at_step(monkeypatch, number):
    step, calls = Trainer.step, []

    def interrupted(self, *arguments):
        calls.append(1)
        if len(calls) == number:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, *arguments)

    monkeypatch.setattr(Trainer, "step", interrupted)


@posix_only
@pytest.mark.parametrize("where", ["cpu", "device"])
def test_a_training_with_a_cache_resumed_equals_one_without_to_the_bit(training, tmp_path, monkeypatch, where, capsys):
    training += ["--augment_on", where]
    assert SJEDD_train_FFpp.main([*training, "--tag", "files"]) == 0
    cached = ["--crop_cache", str(tmp_path / "cache")]
    with monkeypatch.context() as patch:
        interrupt_at_step(patch, 4)
        assert SJEDD_train_FFpp.main([*training, *cached, "--tag", "cache"]) == 130
    out = capsys.readouterr().out
    assert "crop cache of train: 30 crops" in out and "crop cache of val" not in out, "one cache of the same crops"
    monkeypatch.setattr(crop_cache, "_build", lambda *_: pytest.fail("built again"))
    last = str(tmp_path / "a" / "cache" / "ckpt_last.pth")
    assert SJEDD_train_FFpp.main(["--resume", last, *cached]) == 0
    assert same_weights(tmp_path / "a" / "files", tmp_path / "a" / "cache")
    assert settings_of("--resume", last).crop_cache is None, "another machine has other disks"
    other = {"cpu": "device", "device": "cpu"}[where]
    with pytest.raises(UserError, match=f"was trained with --augment_on {where}"):
        settings_of("--resume", last, "--augment_on", other)


def test_a_checkpoint_older_than_these_options_is_resumed(training, tmp_path):
    assert SJEDD_train_FFpp.main([*training, "--tag", "old", "--num_epoch", "1"]) == 0
    last = tmp_path / "a" / "old" / "ckpt_last.pth"
    content = torch.load(last, weights_only=True)
    for later in ("augment_on", "crop_cache", "cuda_graph"):
        del content["args"][later]
    torch.save(content, last)
    args = settings_of("--resume", str(last))
    assert (args.augment_on, args.crop_cache, args.cuda_graph) == ("cpu", None, None)


def test_what_a_graph_cannot_record_is_refused_also_when_resumed(training, tmp_path, capsys, monkeypatch):
    assert SJEDD_train_FFpp.main([*training, "--tag", "fd", "--hypergrad", "fd", "--num_epoch", "1"]) == 0
    assert SJEDD_train_FFpp.main(["--resume", str(tmp_path / "a" / "fd" / "ckpt_last.pth"), "--cuda_graph"]) == 2
    assert "--cuda_graph is for one process" in capsys.readouterr().err
    assert SJEDD_train_FFpp.main([*training, "--tag", "graph", "--cuda_graph"]) == 2
    assert "--cuda_graph needs a CUDA device" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        SJEDD_train_FFpp.main([*training, "--crop_cache", ""])
    assert "the folder's name is empty" in capsys.readouterr().err


def test_the_automatic_tag_names_the_device(training):
    assert "augment_on" not in parse_args(training).tag
    assert "_augment_on-device_" in parse_args([*training, "--augment_on", "device"]).tag


def test_an_unreadable_training_image_is_named_with_the_device_too(training, crop_lists, tmp_path, capsys):
    (tmp_path / "bad.png").write_bytes(b"no image")
    with crop_lists[0].open("a") as file:
        file.write(f"{tmp_path / 'bad.png'} 1000000000\n")
    arguments = [*training, "--tag", "bad", "--batch_size", "31", "--augment_on", "device"]
    code = SJEDD_train_FFpp.main([*arguments, "--crop_cache", str(tmp_path / "cache")])
    err = capsys.readouterr().err
    assert code == 2 and "bad.png" in err and "unreadable_image" in err


def test_a_full_disk_is_one_line_and_exit_code_2(training, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(crop_cache.shutil, "disk_usage", lambda _: type("usage", (), {"free": 1000}))
    assert SJEDD_train_FFpp.main([*training, "--tag", "full", "--crop_cache", str(tmp_path / "cache")]) == 2
    err = capsys.readouterr().err
    assert "error: the crop cache of train needs" in err and len(err.splitlines()) == 1


@pytest.mark.parametrize("perturb", [[], ["--perturb", "noise:2"], ["--perturb", "compression:1"]])
def test_a_test_with_a_cache_has_the_same_scores(published_checkpoint, crops_copy, tmp_path, perturb):
    bad = crops_copy / "FakeCDF" / "id1_0001" / "0001.png"
    bad.write_bytes(b"no image")
    odd = crops_copy / "RealCDF" / "id0_0000" / "0000.png"
    Image.fromarray(np.asarray(Image.open(odd))[:200]).save(odd)
    command = ["--resume", str(published_checkpoint), "--n_frames", "4", "--num_workers", "0", "--dataset", "CDF"]
    command += ["--datapath", str(crops_copy), *perturb]
    results = []
    for name, extra in {"files": [], "cache": ["--crop_cache", str(tmp_path / "cache")]}.items():
        assert SJEDD_test.main([*command, "--output", str(tmp_path / name), *extra]) == 0
        (metrics,) = (tmp_path / name).rglob("metrics.json")
        results.append((json.loads(metrics.read_text()), (metrics.parent / "predictions.csv").read_bytes()))
    assert results[0] == results[1]
    assert len(results[0][0]["dropped"]) == 1
