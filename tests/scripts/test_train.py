"""The training script through main([...]), as a user runs it, on a CPU."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import open_clip
import pytest
import torch
from PIL import Image

import SJEDD_test
import SJEDD_train_FFpp
import SJEDD_train_FFSC
from models.checkpoint import FORMAT, load_model, save_checkpoint, save_weights
from models.checkpoint_file import read_checkpoint
from models.joint_embedding import JointEmbedding, architecture
from models.label_tree import FFPP, FFSC
from tests.conftest import EXPRESSION, REAL, ROOT, SWAP
from tests.models.test_lora import CONFIG
from tests.platforms import linux_only, posix_only
from tests.scripts.killing import kill_at_a_random_step
from training import data, model_setup, run
from training.options import get_args_parser, parse_args
from training.trainer import Trainer

main = SJEDD_train_FFpp.main


@pytest.fixture
def command(crop_lists, tmp_path):
    """A short run of the demo tower with every part switched on; --name and --tag are a/b."""
    train, val = crop_lists
    line = "--name a --tag b --aug --aug_probs 0.5 --batch_size 8 --num_epoch 2 --num_workers 0 --initial_lr 1e-3 "
    line += f"--VM demo --weight autol --lambda_every 2 --output {tmp_path}/out "
    return [*line.split(), "--txt_path_train", str(train), "--txt_path_val", str(val)]


def weights(path):
    return torch.load(path, weights_only=True)["model"]


def same_weights(a, b):
    first, second = weights(a), weights(b)
    return all(torch.equal(value, second[key]) for key, value in first.items())


def rows(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_run_folder_has_all_that_the_contract_names(command, tmp_path, capsys):
    assert main(command) == 0
    folder = tmp_path / "out" / "a" / "b"
    names = {path.name.split(".tfevents")[0] for path in folder.iterdir()}
    assert names >= {"args.json", "log.txt", "metrics.jsonl", "ckpt_last.pth", "ckpt_best.pth", "events.out"}
    first, second = rows(folder)
    keys = [
        "epoch",
        "lr",
        "loss_binary",
        "loss_global",
        "loss_local",
        "lambdas",
        "val_frame_auc",
        "val_video_auc",
        "seconds",
    ]
    assert set(first) >= set(keys)
    assert [first["epoch"], second["epoch"]] == [0, 1]
    assert len(first["lambdas"]) == 3
    assert first["lr"] == 1e-3
    assert second["lr"] == pytest.approx(9.045e-4, rel=1e-3)
    printed = capsys.readouterr().out
    assert "mean P(real)" in printed
    assert "gradient norm" in printed
    assert "learning rates 0.001 0.000905" in printed
    best = torch.load(folder / "ckpt_best.pth", weights_only=True)
    assert "trainer" not in best, "the best checkpoint holds no optimizer state"
    assert 0 < best["threshold"] < 1


@pytest.mark.slow
def test_seed_command_word_for_word_runs_on_the_cpu(crop_lists, tmp_path, monkeypatch):
    """The README's training command; only the tower is swapped for the small one, its weights being a download."""
    train, val = crop_lists
    without_download(monkeypatch, _small_tower())
    monkeypatch.chdir(tmp_path)
    line = (
        "--name lr6e-7_lambdaInit_1.0_lambdaLr1e-3_aug0.3_bz32 --aug --aug_probs 0.3 "
        "--batch_size 32 --num_epoch 20 --output ./output/train_process/autoL-FFppHalf-SO-unnorm-noAnton "
        f"--txt_path_train {train} --txt_path_val {val} "
        "--weighting_method auto-l --task binary "
        "--weight autol --gpu 0 --autol_lr 1e-3 --autol_init 1.0 --initial_lr 6e-7"
    )
    assert main(line.split()) == 0
    (folder,) = Path("output/train_process/autoL-FFppHalf-SO-unnorm-noAnton").glob("*/*")
    assert folder.parent.name == "lr6e-7_lambdaInit_1.0_lambdaLr1e-3_aug0.3_bz32"
    assert not set(folder.name) & set(": "), "a tag without colons or spaces"
    assert len(rows(folder)) == 20


def without_download(monkeypatch, architecture):
    """CLIP models are this architecture with random weights."""
    weights = SimpleNamespace(architecture=architecture, are_openais=True, state_dict=dict)
    monkeypatch.setattr(model_setup, "clip_weights", lambda name, pretrained: weights)
    monkeypatch.setattr(model_setup.checkpoint, "load_weights", lambda *_: None)


def _small_tower():
    text = {"context_length": 77, "vocab_size": 49408, "width": 8, "heads": 1, "layers": 1}
    vision = {"image_size": 32, "demo_channels": [8, 8]}
    return {"embed_dim": 16, "quick_gelu": True, "vision_cfg": vision, "text_cfg": text}


def interrupt_at(monkeypatch, method, call):
    """Ctrl-C reaches the run during the given call of Trainer.step or of validate."""
    owner = Trainer if method == "step" else run
    original, calls = getattr(owner, method), []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == call:
            os.kill(os.getpid(), signal.SIGINT)
        return original(*arguments)

    monkeypatch.setattr(owner, method, interrupted)


@posix_only
@pytest.mark.parametrize("options", ["", "--self_blend 0.6"])
def test_resumed_run_ends_in_bit_identical_weights(command, tmp_path, monkeypatch, options):
    command += options.split()
    assert main(command) == 0
    whole = tmp_path / "out" / "a" / "b"
    interrupt_at(monkeypatch, "step", call=4)
    interrupted = [*command, "--output", str(tmp_path / "cut")]
    assert main(interrupted) == 130
    monkeypatch.undo()
    folder = tmp_path / "cut" / "a" / "b"
    content = torch.load(folder / "ckpt_last.pth", weights_only=True)
    assert (content["progress"]["epoch"], content["progress"]["step"]) == (1, 1)
    assert not same_weights(whole / "ckpt_last.pth", folder / "ckpt_last.pth")
    assert main(["--resume", str(folder / "ckpt_last.pth")]) == 0
    for name in ("ckpt_last.pth", "ckpt_best.pth"):
        assert same_weights(whole / name, folder / name)
    pairs = zip(rows(whole), rows(folder), strict=True)
    assert all({**a, "seconds": 0} == {**b, "seconds": 0} for a, b in pairs)


@posix_only
@pytest.mark.parametrize("options", ["norm", "bias --save delta", "lora:2", "lora:2 --save delta"])
def test_resumed_tuning_ends_in_bit_identical_weights_and_is_tested(
    command, tmp_path, monkeypatch, golden_crops, options
):
    save_checkpoint(tmp_path / "start.pth", JointEmbedding(CONFIG, FFPP))
    command = [part for part in command if part not in ("--VM", "demo")]
    command += ["--init_from", str(tmp_path / "start.pth"), "--tune", *options.split()]
    whole, folder = tmp_path / "out" / "a" / "b", tmp_path / "cut" / "a" / "b"
    assert main(command) == 0
    interrupt_at(monkeypatch, "step", call=4)
    assert main([*command, "--output", str(tmp_path / "cut")]) == 130
    monkeypatch.undo()
    assert main(["--resume", str(folder / "ckpt_last.pth")]) == 0
    for name in ("ckpt_last.pth", "ckpt_best.pth"):
        ours, expected = (load_model(path / name).clip.state_dict() for path in (folder, whole))
        assert all(torch.equal(value, ours[key]) for key, value in expected.items())
    assert [row["val_loss"] for row in rows(whole)] == [row["val_loss"] for row in rows(folder)]
    best = read_checkpoint(whole / "ckpt_best.pth")
    assert scored(whole, golden_crops, tmp_path)["frame_auc"] == rows(whole)[best["epoch"]]["val_frame_auc"]
    assert ("delta" in best) == ("delta" in options)
    assert "delta" not in options or (whole / "ckpt_last.pth").stat().st_size < 10**6
    main([*command, "--output", str(tmp_path / "more"), "--init_from", str(whole / "ckpt_best.pth"), "--save", "full"])
    assert (tmp_path / "more" / "a" / "b" / "ckpt_best.pth").exists()


@posix_only
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_save_and_give_their_exit_code(command, tmp_path, signum, code):
    command[command.index("--num_epoch") + 1] = "500"
    command[command.index("--num_workers") + 1] = "1"
    process = subprocess.Popen(
        [sys.executable, "SJEDD_train_FFpp.py", *command],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    metrics = tmp_path / "out" / "a" / "b" / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (metrics.exists() and metrics.read_text()):
        time.sleep(0.1)
    os.killpg(process.pid, signum)  # as a terminal or a job scheduler does: workers get it too
    out, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert "continue with --resume" in out
    assert "Traceback" not in err
    assert "stopped by" in err
    assert "trainer" in torch.load(metrics.parent / "ckpt_last.pth", weights_only=True)


def test_resume_goes_on_for_more_epochs_and_refuses_other_settings(command, tmp_path, capsys):
    assert main(command) == 0
    last = tmp_path / "out" / "a" / "b" / "ckpt_last.pth"
    assert main(["--resume", str(last), "--num_epoch", "3"]) == 0
    assert [row["epoch"] for row in rows(last.parent)] == [0, 1, 2]
    content = torch.load(last, weights_only=True)
    del content["args"]["save_minutes"], content["args"]["keep"]
    torch.save(content, last)
    assert main(["--resume", str(last), "--num_epoch", "4"]) == 0, "a run from before there were these options"
    assert main(["--resume", str(last), "--batch_size", "4"]) == 2
    assert "--batch_size 8" in capsys.readouterr().err
    assert main(["--resume", str(last.parent / "ckpt_best.pth")]) == 2
    assert "cannot be resumed" in capsys.readouterr().err


@posix_only
def test_run_killed_while_validating_loses_no_step(command, tmp_path, monkeypatch):
    assert main(command) == 0
    whole = tmp_path / "out" / "a" / "b"

    def killed(*_):
        raise SystemExit(9)

    monkeypatch.setattr(run, "validate", killed)
    with pytest.raises(SystemExit):
        main([*command, "--output", str(tmp_path / "cut")])
    monkeypatch.undo()
    folder = tmp_path / "cut" / "a" / "b"
    assert torch.load(folder / "ckpt_last.pth", weights_only=True)["progress"]["step"] == 3
    assert main(["--resume", str(folder / "ckpt_last.pth")]) == 0
    assert same_weights(whole / "ckpt_last.pth", folder / "ckpt_last.pth")
    assert [row["loss_binary"] for row in rows(whole)] == [row["loss_binary"] for row in rows(folder)]


@posix_only
def test_interrupt_while_validating_finishes_the_epoch(command, tmp_path, monkeypatch):
    interrupt_at(monkeypatch, "validate", call=1)
    assert main(command) == 130
    folder = tmp_path / "out" / "a" / "b"
    assert len(rows(folder)) == 1
    assert torch.load(folder / "ckpt_last.pth", weights_only=True)["progress"]["epoch"] == 1


def test_resume_into_another_folder_takes_the_history_along_and_overwrites_nothing(command, tmp_path, capsys):
    assert main(command) == 0
    first = tmp_path / "out" / "a" / "b"
    more = ["--resume", str(first / "ckpt_last.pth"), "--num_epoch", "3", "--tag", "c"]
    assert main(more) == 0
    assert [row["epoch"] for row in rows(tmp_path / "out" / "a" / "c")] == [0, 1, 2]
    assert (tmp_path / "out" / "a" / "c" / "ckpt_best.pth").exists()
    assert [row["epoch"] for row in rows(first)] == [0, 1]
    assert main(more) == 2
    assert "holds a run already" in capsys.readouterr().err


@pytest.mark.slow
@linux_only
def test_train_killed_at_a_random_step_resumed_and_tested(command, tmp_path, golden_crops):
    """The chain of a user whose machine goes down: kill -9, resume, test. The weights are the uninterrupted run's."""
    command += ["--num_epoch", "6", "--num_workers", "2"]
    assert main(command) == 0
    whole, folder = tmp_path / "out" / "a" / "b", tmp_path / "cut" / "a" / "b"
    cut = [*command, "--output", str(tmp_path / "cut"), "--save_minutes", "0"]
    step = kill_at_a_random_step([sys.executable, "SJEDD_train_FFpp.py", *cut], folder, epochs=6, steps=3)
    assert main(["--resume", str(folder / "ckpt_last.pth"), "--save_minutes", "10"]) == 0
    assert same_weights(whole / "ckpt_last.pth", folder / "ckpt_last.pth"), f"killed after step {step}"
    assert [{**row, "seconds": 0} for row in rows(folder)] == [{**row, "seconds": 0} for row in rows(whole)]
    test = f"--auc --dataset CDF --num_workers 0 --datapath {golden_crops} --output {tmp_path} --resume"
    assert SJEDD_test.main([*test.split(), str(folder / "ckpt_best.pth")]) == 0
    assert json.loads((tmp_path / "SJEDD_test" / "CDF" / "metrics.json").read_text())["video_auc"] == 1.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"args": None}, "lacks settings"),
        ({"args": {"VM": "demo"}}, "lacks settings"),
        ({"progress": {"epoch": 1, "what": 2}}, "damaged"),
        ({"progress": {"epoch": "x"}}, "damaged"),
        ({"progress": {"step": 10**9}}, "step 1000000000 of an epoch"),
        ({"trainer": {}}, "damaged"),
        ({"rng": None}, "damaged"),
        ({"data_hash": ["x", "y"]}, "not the lists"),
    ],
)
def test_damaged_checkpoints_are_not_resumed(command, tmp_path, capsys, change, message):
    assert main([*command, "--num_epoch", "1"]) == 0
    last = tmp_path / "out" / "a" / "b" / "ckpt_last.pth"
    torch.save(torch.load(last, weights_only=True) | change, last)
    assert message in refused(["--resume", str(last), "--num_epoch", "2"], capsys)


@pytest.mark.parametrize(
    ("setting", "value"), [("batch_size", "8"), ("batch_size", -1), ("weight", "x"), ("freeze", 3), ("aug", "yes")]
)
def test_settings_that_no_command_line_gives_are_not_resumed(tmp_path, capsys, setting, value):
    saved = vars(get_args_parser().parse_args([])) | {setting: value}
    content = dict.fromkeys(("trainer", "progress", "rng", "data_hash")) | {"format": FORMAT, "args": saved}
    torch.save(content, tmp_path / "last.pth")
    message = refused(["--resume", str(tmp_path / "last.pth")], capsys)
    assert "holds damaged settings" in message and setting in message


@pytest.mark.parametrize(
    "options",
    [
        "--hypergrad fd",
        "--precision bfloat16",
        "--weight equal --grad_method graddrop",
        "--weight uncert --grad_method pcgrad",
        "--weight dwa --grad_method cagrad",
        "--accum 4",
        "--loss bce",
        "--loss nll --unknown mask",
        "--score cosine",
        "--freeze text",
        "--freeze image --score cosine",
    ],
)
def test_options_of_the_step_train_and_their_checkpoints_test(command, tmp_path, golden_crops, options):
    assert main([*command, "--num_epoch", "1", *options.split()]) == 0
    folder = tmp_path / "out" / "a" / "b"
    assert rows(folder)[0]["loss_binary"] > 0
    assert load_model(folder / "ckpt_best.pth").score == ("cosine" if "cosine" in options else "product")
    metrics = scored(folder, golden_crops, tmp_path)
    assert metrics["frame_auc"] == pytest.approx(rows(folder)[0]["val_frame_auc"])


def scored(folder, golden_crops, tmp_path):
    """metrics.json of SJEDD_test.py over the golden crops, which are the validation images."""
    test = f"--dataset CDF --num_workers 0 --datapath {golden_crops} --output {tmp_path} --resume"
    assert SJEDD_test.main([*test.split(), str(folder / "ckpt_best.pth")]) == 0
    return json.loads((tmp_path / "SJEDD_test" / "CDF" / "metrics.json").read_text())


def test_without_a_tree_the_root_alone_is_trained_and_tested(command, crop_lists, tmp_path, golden_crops):
    command[command.index("--weight") : command.index("--weight") + 2] = ["--no_tree"]
    assert main(command) == 0
    folder = tmp_path / "out" / "a" / "b"
    assert [row["loss_global"] for row in rows(folder)] == [0, 0]
    assert load_model(folder / "ckpt_best.pth").tree is FFPP.root_only
    metrics = scored(folder, golden_crops, tmp_path)
    assert metrics["tree"] == "ffpp-root"
    assert 0 <= metrics["video_auc"] <= 1
    listed = f"--dataset list --datapath {crop_lists[1]} --num_workers 0 --output {tmp_path}/list --resume"
    assert SJEDD_test.main([*listed.split(), str(folder / "ckpt_best.pth")]) == 0
    assert main(["--resume", str(folder / "ckpt_last.pth"), "--num_epoch", "3"]) == 0


@pytest.mark.parametrize("dropped", ["global", "local"])
def test_without_a_level_the_others_are_trained_and_tested(command, crop_lists, tmp_path, golden_crops, dropped):
    (tmp_path / "p.json").write_text('{"root": "a {} portrait"}')
    assert main([*command, "--drop_level", dropped, "--prompts", str(tmp_path / "p.json")]) == 0
    folder = tmp_path / "out" / "a" / "b"
    kept = "local" if dropped == "global" else "global"
    assert all(row[f"loss_{dropped}"] == 0 < row[f"loss_{kept}"] for row in rows(folder))
    tree = load_model(folder / "ckpt_best.pth").tree
    assert tree.nodes == FFPP.without[dropped].nodes and tree.prompts[0] == "a fake portrait"
    assert scored(folder, golden_crops, tmp_path)["tree"] == f"ffpp-no-{dropped}"
    listed = f"--dataset list --datapath {crop_lists[1]} --num_workers 0 --output {tmp_path}/list --resume"
    assert SJEDD_test.main([*listed.split(), str(folder / "ckpt_best.pth")]) == 0
    metrics = json.loads((tmp_path / "list" / "SJEDD_test" / "list" / "metrics.json").read_text())
    assert tuple(metrics["nodes"]) == tree.nodes[1:] and None not in metrics["nodes"].values()
    (tmp_path / "p.json").unlink()
    assert main(["--resume", str(folder / "ckpt_last.pth"), "--num_epoch", "3"]) == 0, "the prompts are in it"


def test_gradient_checkpointing_trains_a_vit_and_is_refused_elsewhere(command, tmp_path, monkeypatch, capsys):
    assert "needs a ViT" in refused([*command, "--grad_checkpointing"], capsys)
    vision = {"image_size": 64, "layers": 2, "width": 64, "patch_size": 32}
    without_download(monkeypatch, _small_tower() | {"vision_cfg": vision})
    command[command.index("demo")] = "ViT-B/32"
    assert main([*command, "--grad_checkpointing", "--num_epoch", "1"]) == 0


def test_a_model_of_open_clip_with_a_local_file(command, tmp_path, monkeypatch, capsys):
    """The divisor is measured, stored, and used by a resumed run and by the test."""
    text = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 1}
    vision = {"image_size": 64, "layers": 2, "width": 64, "patch_size": 32}
    small = {"embed_dim": 16, "vision_cfg": vision, "text_cfg": text}
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "ViT-tiny", small)
    torch.manual_seed(1)
    clip = open_clip.create_model("ViT-tiny")
    torch.save(clip.state_dict(), tmp_path / "clip.pt")
    command[command.index("demo")] = "ViT-tiny"
    assert "--VM ViT-tiny needs --pretrained" in refused(command, capsys)
    command += ["--clip_weights", str(tmp_path / "clip.pt")]
    assert "--divisor is for the product score" in refused([*command, "--score", "cosine", "--divisor", "3"], capsys)
    assert main(command) == 0
    whole = tmp_path / "out" / "a" / "b"
    interrupt_at(monkeypatch, "step", call=4)
    assert main([*command, "--output", str(tmp_path / "cut")]) == 130
    monkeypatch.undo()
    cut = tmp_path / "cut" / "a" / "b" / "ckpt_last.pth"
    assert main(["--resume", str(cut)]) == 0, "the checkpoint holds the configuration"
    assert same_weights(whole / "ckpt_last.pth", cut)
    model = load_model(cut)
    assert model.divisor == load_model(whole / "ckpt_last.pth").divisor != 10
    assert f"scores are the products of the embeddings / {model.divisor:g}" in (whole / "log.txt").read_text()
    assert model.architecture == small | {"quick_gelu": False}
    own = [*command[: command.index("--VM")], *command[command.index("--VM") + 2 : -2], "--tag", "c", "--divisor", "3"]
    assert main([*own, "--init_from", str(cut), "--num_epoch", "1"]) == 0
    assert load_model(tmp_path / "out" / "a" / "c" / "ckpt_last.pth").divisor == 3


def test_deterministic_kernels_are_taken_for_the_time_of_the_run(command, tmp_path, monkeypatch):
    asked, step = [], Trainer.step

    def watched(self, *arguments):
        asked.append(torch.are_deterministic_algorithms_enabled())
        return step(self, *arguments)

    monkeypatch.setattr(Trainer, "step", watched)
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    assert main([*command, "--deterministic", "--num_epoch", "1"]) == 0
    assert asked and all(asked) and not torch.are_deterministic_algorithms_enabled()


def test_compile_reaches_the_model(command, tmp_path, monkeypatch):
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda function: compiled.append(function.__name__) or function)
    assert main([*command, "--compile", "--num_epoch", "1"]) == 0
    assert compiled == ["encode_images", "encode_prompts"]


@posix_only
@pytest.mark.parametrize("weight", ["uncert", "dwa"])
def test_weightings_resume_in_the_middle_of_an_epoch(command, tmp_path, monkeypatch, weight):
    command = [*command, "--weight", weight, "--grad_method", "graddrop", "--num_epoch", "4", "--autol_lr", "0.05"]
    assert main(command) == 0
    whole = tmp_path / "out" / "a" / "b"
    interrupt_at(monkeypatch, "step", call=8)
    assert main([*command, "--output", str(tmp_path / "cut")]) == 130
    monkeypatch.undo()
    folder = tmp_path / "cut" / "a" / "b"
    assert main(["--resume", str(folder / "ckpt_last.pth")]) == 0
    assert same_weights(whole / "ckpt_last.pth", folder / "ckpt_last.pth")
    assert [row["lambdas"] for row in rows(whole)] == [row["lambdas"] for row in rows(folder)]
    assert rows(whole)[-1]["lambdas"] != [1.0] * 3


@posix_only
def test_pairs_methods_flips_and_the_running_mean_resume_in_the_middle_of_an_epoch(
    command, tmp_path, monkeypatch, golden_crops, capsys
):
    options = "--pairs --balance_methods --flip 0.5 --jpeg 40 95 --ema 0.9"
    command += options.split()
    assert main(command) == 0
    printed = capsys.readouterr().out
    whole = tmp_path / "out" / "a" / "b"
    steps = torch.load(whole / "ckpt_last.pth", weights_only=True)["trainer"]["ema"]["updates"] // 2
    interrupt_at(monkeypatch, "step", call=steps + 2)
    assert main([*command, "--output", str(tmp_path / "cut")]) == 130
    monkeypatch.undo()
    folder = tmp_path / "cut" / "a" / "b"
    assert main(["--resume", str(folder / "ckpt_last.pth")]) == 0
    assert all(same_weights(whole / name, folder / name) for name in ("ckpt_last.pth", "ckpt_best_ema.pth"))
    means = [torch.load(f / "ckpt_last.pth", weights_only=True)["trainer"]["ema"]["mean"] for f in (whole, folder)]
    assert all(torch.equal(a, b) for a, b in zip(*means, strict=True))
    assert [{**row, "seconds": 0} for row in rows(whole)] == [{**row, "seconds": 0} for row in rows(folder)]
    assert "equal shares of the methods; the list has" in printed and "pairs per epoch" in printed
    assert "of the running mean frame AUC" in printed

    best = max(rows(whole), key=lambda row: (row["val_ema_video_auc"], -row["val_ema_loss"]))
    content = torch.load(whole / "ckpt_best_ema.pth", weights_only=True)
    assert (content["epoch"], content["threshold"]) == (best["epoch"], best["val_ema_threshold"])
    (whole / "ckpt_best_ema.pth").replace(whole / "ckpt_best.pth")
    assert scored(whole, golden_crops, tmp_path)["frame_auc"] == pytest.approx(best["val_ema_frame_auc"])
    capsys.readouterr()
    raw = load_model(whole / "ckpt_last.pth").clip.state_dict()
    assert not capsys.readouterr().err, "no note: the mean is not taken for a model"
    assert all(torch.equal(raw[name], value) for name, value in weights(whole / "ckpt_last.pth").items())
    assert not same_weights(whole / "ckpt_last.pth", whole / "ckpt_best.pth")


def test_a_running_mean_changes_nothing_else(command, tmp_path):
    assert main([*command, "--num_epoch", "1"]) == 0
    assert main([*command, "--num_epoch", "1", "--tag", "ema", "--ema", "0.99"]) == 0
    folders = [tmp_path / "out" / "a" / tag for tag in ("b", "ema")]
    assert same_weights(*(folder / "ckpt_last.pth" for folder in folders))
    kept = {key: value for key, value in rows(folders[1])[0].items() if "_ema_" not in key}
    assert kept | {"seconds": 0} == rows(folders[0])[0] | {"seconds": 0}


def test_ffsc_script_trains_its_tree_with_the_papers_augmentation(command, crop_lists, tmp_path, capsys):
    codes = {REAL: "000000000000", SWAP: "120010111111", EXPRESSION: "101000101111"}
    for path in crop_lists:
        text = path.read_text()
        for code, other in codes.items():
            text = text.replace(code, other)
        path.write_text(text)
    drop = command.index("--aug_probs")
    del command[drop : drop + 2]
    assert SJEDD_train_FFSC.main(command) == 0
    folder = tmp_path / "out" / "a" / "b"
    assert json.loads((folder / "args.json").read_text())["aug_probs"] == 0.3
    assert load_model(folder / "ckpt_best.pth").tree is FFSC
    assert SJEDD_train_FFSC.main(["--resume", str(folder / "ckpt_last.pth"), "--num_epoch", "3"]) == 0
    assert [row["epoch"] for row in rows(folder)] == [0, 1, 2]
    assert {row["val_video_auc"] for row in rows(folder)} == {None}, "FFSC's images are of no videos"
    command = [*command, "--no_tree", "--tag", "root"]
    at = command.index("--weight")
    assert SJEDD_train_FFSC.main([*command[:at], *command[at + 2 :]]) == 0
    assert load_model(folder.parent / "root" / "ckpt_best.pth").tree is FFSC.root_only


def test_checkpoint_with_a_foreign_global_is_exit_code_2(command, tmp_path, capsys):
    torch.save({"model": Path}, tmp_path / "evil.pth")
    argv = [part for part in command if part not in ("--VM", "demo")]
    assert "refused: it wants to load pathlib" in refused([*argv, "--init_from", str(tmp_path / "evil.pth")], capsys)


def test_resume_on_another_list_is_refused(command, tmp_path, crop_lists, capsys):
    assert main(command) == 0
    last = tmp_path / "out" / "a" / "b" / "ckpt_last.pth"
    lines = crop_lists[0].read_text().splitlines()
    crop_lists[0].write_text("\n".join(lines[1:]) + "\n")
    assert main(["--resume", str(last)]) == 2
    assert "not the lists" in capsys.readouterr().err


def test_existing_run_is_not_overwritten(command, tmp_path, capsys):
    assert main(command) == 0
    before = (tmp_path / "out" / "a" / "b" / "ckpt_last.pth").read_bytes()
    assert main(command) == 2
    assert "holds a run already" in capsys.readouterr().err
    assert (tmp_path / "out" / "a" / "b" / "ckpt_last.pth").read_bytes() == before


def test_init_from_takes_weights_alone_also_of_a_published_checkpoint(command, tmp_path, published_checkpoint):
    command[command.index("--initial_lr") + 1] = "1e-30"
    command[command.index("--num_epoch") + 1] = "1"
    assert main([*command, "--init_from", str(published_checkpoint)]) == 2, "another model than --VM demo"
    assert not (tmp_path / "out" / "a" / "b" / "ckpt_last.pth").exists()
    command = [part for part in command if part not in ("--VM", "demo")]
    assert main([*command, "--init_from", str(published_checkpoint)]) == 0
    ours = weights(tmp_path / "out" / "a" / "b" / "ckpt_last.pth")
    published = read_checkpoint(published_checkpoint)["model"]
    assert all(torch.allclose(value.float(), ours[key], rtol=0, atol=1e-12) for key, value in published.items())


def test_init_from_takes_safetensors_and_resume_does_not(command, tmp_path, capsys):
    path = tmp_path / "start.safetensors"
    start = JointEmbedding(architecture("demo"), FFPP)
    save_weights(path, start)
    command[command.index("--initial_lr") + 1] = "1e-30"
    command[command.index("--num_epoch") + 1] = "1"
    assert main([*command, "--init_from", str(path)]) == 0
    ours = weights(tmp_path / "out" / "a" / "b" / "ckpt_last.pth")
    assert all(torch.allclose(v, ours[k], rtol=0, atol=1e-12) for k, v in start.clip.state_dict().items())
    assert "only ckpt_last.pth can; use --init_from" in refused(["--resume", str(path)], capsys)


def test_patience_stops_early(command, tmp_path):
    command[command.index("--num_epoch") + 1] = "9"
    command[command.index("--initial_lr") + 1] = "1e-30"
    assert main([*command, "--patience", "2"]) == 0
    assert len(rows(tmp_path / "out" / "a" / "b")) == 3


def test_same_seed_gives_the_same_weights_and_another_seed_others(command, tmp_path):
    for name, seed in (("x", "0"), ("y", "0"), ("z", "1")):
        assert main([*command, "--num_epoch", "1", "--name", name, "--seed", seed]) == 0
    folders = [tmp_path / "out" / name / "b" / "ckpt_last.pth" for name in "xyz"]
    assert same_weights(folders[0], folders[1])
    assert not same_weights(folders[0], folders[2])


def refused(argv, capsys):
    """Exit code 2 and one line, no traceback; returns the line."""
    try:
        code = main(argv)
    except SystemExit as exit_:
        code = exit_.code
    captured = capsys.readouterr()
    assert code == 2
    # What is not a line of a progress bar must be one line.
    lines = [line for line in captured.err.strip().splitlines() if "%|" not in line and line.strip()]
    assert len(lines) == 1, captured.err
    return lines[0]


def test_arguments_that_cannot_be_meant_are_refused(command, capsys, tmp_path):
    (tmp_path / "p.json").write_text('{"chin": "x"}')
    cases = {
        "contradicts --weight equal": [*command, "--weight", "equal", "--weighting_method", "auto-l"],
        "invalid choice: 'gls'": [*command, "--weight", "gls"],
        "invalid choice: 'mgda'": [*command, "--grad_method", "mgda"],
        "one task, which needs no weighting": [*command, "--no_tree"],
        "whose gradient has no conflicts": [*command, "--no_tree", "--weight", "equal", "--grad_method", "pcgrad"],
        "drops both levels": [*command, "--no_tree", "--weight", "equal", "--drop_level", "local"],
        "leaves nothing of that --task": [*command, "--drop_level", "local", "--task", "binary", "local"],
        "--self_blend 1 leaves no real image": [*command, "--self_blend", "1"],
        "--real_only needs fakes to train on": [*command, "--real_only"],
        "lists 15 fakes, and --real_only is for a": [*command, "--real_only", "--self_blend", "0.5"],
        "x.jpg must end in .png": [*command, "--self_blend", "0.5", "--preview", "x.jpg"],
        "--preview shows the images of --self_blend": [*command, "--preview", "x.png"],
        "p.json: tree ffpp: prompts of ['chin']": [*command, "--prompts", str(tmp_path / "p.json")],
        "leaves nothing to train": [*command, "--freeze", "image", "text"],
        "--freeze text contradicts --tune_text": [*command, "--freeze", "text", "--tune_text", "norm"],
        "'lora:0' is none of": [*command, "--tune", "lora:0"],
        "no ViT or text transformer": [*command, "--tune", "lora"],
        "needs weights from a file": [*command, "--tune", "norm", "--save", "delta"],
        "not trained, but all are": [*command, "--init_from", "x.pth", "--save", "delta"],
        "not a multiple of --accum 3": [*command, "--accum", "3"],
        "float16 needs a CUDA": [*command, "--precision", "float16"],
        "unrecognized arguments: --btach_size": [*command, "--btach_size", "3"],
        "not between 0 and 1": [*command, "--aug_probs", "1.5"],
        "-1 is negative": [*command, "--weight_decay", "-1"],
        "nan is not a finite number": [*command, "--autol_init", "nan"],
        "is too large; at most 9223372036854775807": [*command, "--seed", str(2**70)],
        "--txt_path_val is needed": command[:-2],
        "--pretrained cannot": [*command, "--clip_weights", "x.pt"],
        "give one of them": [*command, "--resume", "x.pth", "--init_from", "y.pth"],
        "--hypergrad fd needs --precision float32": [*command, "--hypergrad", "fd", "--precision", "bfloat16"],
    }
    for message, argv in cases.items():
        assert message in refused(argv, capsys)


def test_bad_lists_are_refused_before_anything_is_written(command, crop_lists, tmp_path, capsys):
    train, val = crop_lists
    good = train.read_text()
    cases = {
        "cannot read the list": None,
        "train.txt:1: code '110000100001'": good.splitlines()[0].replace(REAL, "110000100001") + "\n",
        "train.txt:31: image": good + f"{tmp_path}/none.png {SWAP}\n",
        "lists no image": "",
    }
    for message, text in cases.items():
        train.unlink(missing_ok=True)
        if text is not None:
            train.write_text(text)
        assert message in refused(command, capsys)
    train.write_text(good)
    val.write_text("\n".join(line for line in good.splitlines() if REAL in line))
    assert "one class only" in refused(command, capsys)
    val.write_text(good)
    train.write_text("\n".join(line for line in good.splitlines() if REAL not in line))
    message = refused(command, capsys)
    assert f"{train} holds one class only: all" in message and "list reals and fakes" in message
    assert not (tmp_path / "out").exists()


@pytest.fixture
def reals_alone(crop_lists):
    """Both lists hold reals alone. Returns the number of images in each."""
    for path in crop_lists:
        lines = [line for line in path.read_text().splitlines() if REAL in line]
        path.write_text("\n".join(lines) + "\n")
    return len(lines)


@pytest.mark.parametrize("options", ["", "--augment_on device --no_tree", "--accum 2 --drop_level global"])
def test_reals_alone_train_a_detector_and_validate_on_fixed_blends(command, reals_alone, tmp_path, capsys, options):
    message = refused([*command, "--self_blend", "0.5"], capsys)
    assert "holds one class only: all 15 images are real" in message and "--self_blend 0.5 --real_only" in message
    if "--no_tree" in options:
        command[command.index("--weight") + 1] = "equal"
    command += ["--self_blend", "0.5", "--real_only", "--crop_cache", str(tmp_path / "cache"), *options.split()]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "self-blends: 50% of the real training images" in printed
    assert f"fixed self-blend of each of its {reals_alone} images is added" in printed
    first, second = rows(tmp_path / "out" / "a" / "b")
    assert all(0 <= row[key] <= 1 for row in (first, second) for key in ("val_frame_auc", "val_video_auc"))
    assert first["loss_binary"] > 0
    last = tmp_path / "out" / "a" / "b" / "ckpt_last.pth"
    assert main(["--resume", str(last), "--num_epoch", "3"]) == 0


def test_labels_of_a_batch_are_those_of_its_images_as_blended(command, crop_lists, tmp_path):
    args = parse_args([*command, "--self_blend", "0.5"])
    lists = data.TrainingData(args, FFPP)
    lists.open_images()
    plain = data.TrainingData(parse_args(command), FFPP)
    plain.open_images()
    seen = {True: 0, False: 0}
    for stream in (0, 1):
        pairs = (each.batches(32, torch.device("cpu"), 0, stream=stream) for each in (lists, plain))
        for (images, labels, paths), (originals, listed, same_paths) in zip(*pairs, strict=True):
            assert paths == same_paths
            for image, label, original, code in zip(images, labels, originals, listed, strict=True):
                if blended := not torch.equal(label, code):
                    assert code[0] == 0 and label[[0, 3]].tolist() == [1, 1] and FFPP.is_legal(label.numpy())
                    assert not torch.equal(image, original)
                elif code[0]:
                    assert torch.equal(image, original)
                seen[blended] += 1
    assert 12 - 9 < seen[True] < 12 + 9 and sum(seen.values()) == 48


def test_a_preview_shows_blends_and_stops(command, crop_lists, tmp_path, capsys):
    sheet = tmp_path / "new" / "blends.png"
    assert main([*command, "--self_blend", "0.5", "--preview", str(sheet)]) == 0
    assert f"preview: {sheet}" in capsys.readouterr().out
    with Image.open(sheet) as image:
        assert image.format == "PNG" and image.height > 2.5 * image.width, "eight rows of three pictures"
    assert not (tmp_path / "out").exists(), "no run"
    assert "raise --self_blend 1e-09" in refused(
        [*command, "--self_blend", "1e-9", "--preview", f"{sheet}.png"], capsys
    )


def test_the_tree_of_ffsc_has_no_label_for_blends(command, crop_lists, capsys):
    for path in crop_lists:
        text = path.read_text().replace(REAL, "000000000000")
        path.write_text(text.replace(SWAP, "110000100001").replace(EXPRESSION, "101000101111"))
    assert SJEDD_train_FFSC.main([*command, "--self_blend", "0.5"]) == 2
    assert "physical inconsistency, which the ffsc tree lacks" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["train.txt", "x/../train.txt", "soft.txt", "hard.txt"])
def test_one_file_as_both_lists_is_refused(command, crop_lists, tmp_path, capsys, name):
    train, _ = crop_lists
    (tmp_path / "x").mkdir()
    (tmp_path / "soft.txt").symlink_to(train)
    (tmp_path / "hard.txt").hardlink_to(train)
    message = refused([*command, "--txt_path_val", f"{tmp_path}/{name}"], capsys)
    assert f"the two lists are one file: {train} (--txt_path_train) and" in message
    assert "give a validation list of other videos" in message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("damage", ["truncated", "text"])
@pytest.mark.parametrize("where", ["train", "val"])
def test_unreadable_image_in_a_list_stops_with_its_path(command, crop_lists, tmp_path, capsys, damage, where):
    path = crop_lists[0 if where == "train" else 1]
    lines = path.read_text().splitlines()
    good = Path(lines[3].split()[0]).read_bytes()
    (tmp_path / "bad.png").write_bytes(good[: len(good) // 2] if damage == "truncated" else b"text")
    line = f"{tmp_path}/bad.png {REAL}"
    path.write_text("\n".join([*[line] * 30, lines[-1]] if where == "train" else [*lines, line]) + "\n")
    message = refused(command, capsys)
    assert "bad.png" in message
    assert "unreadable_image" in message


def test_output_that_cannot_be_written_is_refused(command, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    command[command.index("--output") + 1] = str(tmp_path / "file" / "out")
    assert "cannot write to the output folder" in refused(command, capsys)


def test_loss_that_is_not_finite_names_epoch_step_and_images(command, capsys):
    command[command.index("--initial_lr") + 1] = "1e18"
    message = refused(command, capsys)
    assert "epoch 0, step " in message
    assert "not finite" in message
    assert ".png" in message


def test_a_gpu_without_memory_left_is_one_line_that_helps(command, monkeypatch, capsys):
    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(Trainer, "step", full)
    assert SJEDD_train_FFpp.main(command) == 2
    (error,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert "epoch 0, step 0: the GPU's memory is full" in error
    assert all(option in error for option in ("--accum", "--grad_checkpointing", "--batch_size"))


def limited(command, megabytes):
    """(exit code, stderr) of the training in a process that can write no file larger than that."""
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); import SJEDD_train_FFpp; "
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({megabytes} << 20,) * 2); sys.exit(SJEDD_train_FFpp.main())"
    )
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    line = [sys.executable, "-c", code, *command]
    done = subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


@posix_only
def test_a_full_disk_is_one_line_and_leaves_the_last_good_checkpoint(command, tmp_path):
    assert main(command) == 0
    last = tmp_path / "out" / "a" / "b" / "ckpt_last.pth"
    before = last.read_bytes()
    code, err = limited(["--resume", str(last), "--num_epoch", "3"], 4)
    assert code == 2
    assert f"error: cannot write {last}" in err and "Traceback" not in err
    assert last.read_bytes() == before
    assert not list(last.parent.glob(".sjedd-tmp-*"))


@posix_only
def test_a_killed_reading_process_is_one_line(command, monkeypatch, capsys):
    def killed(_self, item):
        if torch.utils.data.get_worker_info():
            os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(data.Frames, "__getitem__", killed)
    command[command.index("--num_workers") + 1] = "1"
    assert main(command) == 2
    assert "a process that reads images was killed" in capsys.readouterr().err
