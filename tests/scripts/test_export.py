"""The export script through main([...]): what it writes, and that it loads everywhere."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from huggingface_hub import ModelCard
from PIL import Image

import SJEDD_predict
import SJEDD_test
import SJEDD_train_FFpp
from datasets.transforms import normalise
from hubconf import sjedd
from models import delta
from models.checkpoint import load_model, save_checkpoint
from models.checkpoint_file import read_checkpoint
from models.joint_embedding import JointEmbedding, architecture
from models.label_tree import FFPP, FFSC
from models.tree_inference import log_marginals, marginals
from prediction.export import run
from SJEDD_export import main
from tests.conftest import ROOT
from utils.cli import UserError


@pytest.fixture(scope="module")
def trained(tmp_path_factory, golden_crops):
    """The checkpoint of a short training."""
    folder = tmp_path_factory.mktemp("trained")
    reals, fakes = (sorted(golden_crops.glob(f"{kind}CDF/*/*.png")) for kind in ("Real", "Fake"))
    lines = [f"{path} 1000000000" for path in reals] + [f"{path} 0101011111" for path in fakes]
    (folder / "train.txt").write_text("\n".join(lines[::2]) + "\n")
    (folder / "val.txt").write_text("\n".join(lines[1::2]) + "\n")
    argv = ["--VM", "demo", "--num_epoch", "1", "--batch_size", "4", "--num_workers", "0", "--output", str(folder)]
    lists = ["--txt_path_train", str(folder / "train.txt"), "--txt_path_val", str(folder / "val.txt")]
    assert SJEDD_train_FFpp.main([*argv, *lists, "--name", "run", "--tag", "t"]) == 0
    return folder / "run" / "t" / "ckpt_best.pth"


def export(checkpoint, folder, *arguments):
    return main(["--resume", str(checkpoint), "--output", str(folder), *map(str, arguments)])


def test_an_exported_folder_holds_the_same_model_and_what_the_checkpoint_knows(trained, tmp_path):
    assert export(trained, tmp_path / "out") == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"model.safetensors", "config.json", "README.md"}
    before, after = load_model(trained), load_model(tmp_path / "out")
    assert after.tree is FFPP and after.score == before.score and after.architecture == before.architecture
    weights = after.clip.state_dict()
    assert all(torch.equal(value, weights[key]) for key, value in before.clip.state_dict().items())
    content, config = read_checkpoint(trained), json.loads((tmp_path / "out" / "config.json").read_text())
    exported = read_checkpoint(tmp_path / "out")
    for key in ("threshold", "epoch", "data_hash", "versions", "revision", "validation"):
        assert content[key] == config[key] == exported[key]
    assert set(content["validation"]) == {"val_frame_auc", "val_video_auc", "val_loss"}
    assert config["prompts"]["fake"] == "A photo of a fake face" and list(config["prompts"]) == list(FFPP.nodes)
    assert config["preprocessing"]["image_size"] == 112 and config["crops"] == {"size": 317, "scale": 1.3}
    assert config["training"]["batch_size"] == 4 and "txt_path_train" not in config["training"]
    for path in (tmp_path / "out").iterdir():
        assert str(tmp_path.parent).encode() not in path.read_bytes()  # no path of this machine


def test_the_model_card_is_one_for_the_hub(trained, published_checkpoint, tmp_path):
    assert export(trained, tmp_path / "ours") == export(published_checkpoint, tmp_path / "theirs") == 0
    for name in ("ours", "theirs"):
        card = ModelCard.load(tmp_path / name / "README.md")
        assert card.data.license == "unknown" and card.data.library_name == "sjedd"
        assert "deepfake-detection" in card.data.tags
        assert "| fake | A photo of a fake face |" in card.text and "{" not in card.text.replace("{{", "")
        assert "\n\n\n" not in card.text
    content = read_checkpoint(trained)
    text = (tmp_path / "ours" / "README.md").read_text()
    assert all(value in text for value in content["data_hash"])
    assert f"| val_frame_auc | {content['validation']['val_frame_auc']} |" in text
    assert "The checkpoint holds none." in (tmp_path / "theirs" / "README.md").read_text()


def test_a_folder_loads_everywhere(published_checkpoint, golden_crops, crop_lists, tmp_path):
    assert export(published_checkpoint, tmp_path / "model") == 0
    Image.fromarray(skimage.data.astronaut()).save(tmp_path / "photo.png")
    found = {}
    for name, checkpoint in {"file": published_checkpoint, "folder": tmp_path / "model"}.items():
        argv = ["--resume", str(checkpoint), "--output", str(tmp_path / name)]
        tested = ["--dataset", "CDF", "--datapath", str(golden_crops), "--n_frames", "2", "--num_workers", "0"]
        assert SJEDD_test.main([*argv, *tested]) == 0
        photo = ["--input", str(tmp_path / "photo.png"), "--detector", "mtcnn", "--no_pictures"]
        assert SJEDD_predict.main([*argv, *photo]) == 0
        prediction = json.loads((tmp_path / name / "photo" / "prediction.json").read_text())
        table = (tmp_path / name / "SJEDD_test" / "CDF" / "predictions.csv").read_text()
        found[name] = table, prediction["tracks"], sjedd(checkpoint, "cpu").score([skimage.data.astronaut()])["p_fake"]
    assert found["file"] == found["folder"]
    train, val = crop_lists
    argv = ["--init_from", str(tmp_path / "model"), "--num_epoch", "1", "--batch_size", "4", "--num_workers", "0"]
    argv += ["--txt_path_train", str(train), "--txt_path_val", str(val), "--output", str(tmp_path)]
    assert SJEDD_train_FFpp.main(argv) == 0


def test_a_published_checkpoint_takes_the_named_tree(tmp_path, capsys):
    torch.manual_seed(0)
    model = JointEmbedding(architecture("demo"), FFSC)
    save_checkpoint(tmp_path / "ours.pth", model)
    content = torch.load(tmp_path / "ours.pth", weights_only=True)
    torch.save({key: content[key] for key in ("model", "architecture")}, tmp_path / "treeless.pth")
    assert export(tmp_path / "treeless.pth", tmp_path / "out", "--train_dataset", "ffsc") == 0
    assert load_model(tmp_path / "out").tree is FFSC
    assert export(tmp_path / "ours.pth", tmp_path / "no", "--train_dataset", "ffpp") == 2
    assert "was trained on the ffsc tree" in capsys.readouterr().err and not (tmp_path / "no").exists()


def test_a_calibration_travels_with_the_model(published_checkpoint, tmp_path):
    (tmp_path / "c.json").write_text('{"temperature": 2.0, "checkpoint": "/somewhere/c.pth", "ece_before": 0.1}')
    assert export(published_checkpoint, tmp_path / "out", "--calibration", tmp_path / "c.json") == 0
    kept = {"method": "temperature", "temperature": 2.0}
    assert json.loads((tmp_path / "out" / "calibration.json").read_text()) == kept
    assert json.loads((tmp_path / "out" / "config.json").read_text())["calibration"] == kept
    assert 'calibration="FOLDER/calibration.json"' in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.parametrize(
    ("save", "tuning"), [("full", "norm"), ("delta", "norm"), ("delta", "lora:2 --tune_image norm")]
)
def test_a_delta_is_small_and_loads_where_its_base_is(save, tuning, trained, crop_lists, tmp_path, monkeypatch):
    (tmp_path / "pretrained").mkdir()
    monkeypatch.setattr(delta, "PRETRAINED", tmp_path / "pretrained")
    base = str(shutil.copy(trained, tmp_path / "start.pth"))
    train, val = crop_lists
    argv = ["--init_from", base, "--tune", *tuning.split(), "--save", save, "--num_epoch", "1", "--batch_size", "4"]
    argv += ["--num_workers", "0", "--initial_lr", "1e-3", "--output", str(tmp_path), "--name", "run", "--tag", "t"]
    assert SJEDD_train_FFpp.main([*argv, "--txt_path_train", str(train), "--txt_path_val", str(val)]) == 0
    checkpoint = tmp_path / "run" / "t" / "ckpt_best.pth"
    expected = load_model(checkpoint).clip.state_dict()
    named = ["--base", base] if save == "full" else []
    assert export(checkpoint, tmp_path / "out", "--format", "delta", *named) == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"delta.safetensors", "config.json", "README.md"}
    assert (tmp_path / "out" / "delta.safetensors").stat().st_size < Path(base).stat().st_size / 20
    assert "pretrained/` first" in (tmp_path / "out" / "README.md").read_text()
    for path in (tmp_path / "out").iterdir():
        assert str(tmp_path.parent).encode() not in path.read_bytes()  # no path of this machine
    with pytest.raises(UserError, match=r"changes of the weights start.pth, which are not in pretrained/ or"):
        load_model(tmp_path / "out")
    shutil.move(base, tmp_path / "pretrained")
    found = load_model(tmp_path / "out").clip.state_dict()
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_deltas_that_cannot_be_written_are_one_line(trained, published_checkpoint, tmp_path, capsys):
    for arguments, message in (
        (["--format", "delta"], "--format delta needs --base FILE: the weights that the training started from"),
        (["--base", trained], "--base is for --format delta; drop it"),
        (["--format", "delta", "--base", trained], "no weights differ from those in"),
        (["--format", "delta", "--base", published_checkpoint], "but the model takes demo weights"),
        (["--format", "delta", "--base", tmp_path / "none.pth"], "does not exist"),
    ):
        try:
            code = export(trained, tmp_path / "out", *arguments)
        except SystemExit as stop:
            code = stop.code
        error = capsys.readouterr().err
        assert code == 2 and message in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_an_export_that_was_killed_can_be_repeated(published_checkpoint, tmp_path, monkeypatch, capsys):
    def killed(*_):
        raise KeyboardInterrupt

    out = tmp_path / "out"
    monkeypatch.setattr(run, "write_text", killed)
    assert export(published_checkpoint, out) == 130
    (out / ".sjedd.lock").touch()
    monkeypatch.undo()
    (out / "notes.txt").write_text("mine")
    assert export(published_checkpoint, out) == 2 and "is not empty" in capsys.readouterr().err
    (out / "notes.txt").unlink()
    assert export(published_checkpoint, out) == 0
    assert {path.name for path in out.iterdir()} == {"model.safetensors", "config.json", "README.md"}
    assert export(published_checkpoint, out) == 2, "a finished one is not replaced"


def test_a_file_that_appears_meanwhile_is_not_replaced(published_checkpoint, tmp_path, monkeypatch):
    def reading(path):
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "README.md").write_text("mine")
        return read_checkpoint(path)

    monkeypatch.setattr(run, "read_checkpoint", reading)
    assert export(published_checkpoint, tmp_path / "out") == 2
    assert [(path.name, path.read_text()) for path in (tmp_path / "out").iterdir()] == [("README.md", "mine")]


def test_bad_input_is_one_line(published_checkpoint, tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "README.md").write_text("mine")
    (tmp_path / "broken.pth").write_bytes(b"no checkpoint")
    save_checkpoint(tmp_path / "odd.pth", JointEmbedding(architecture("demo"), FFPP), crops={"size": torch.ones(3)})
    for checkpoint, folder, message in (
        (published_checkpoint, "mine", "is not empty, and nothing in it is replaced; name a new folder"),
        (published_checkpoint, "broken.pth", "cannot write to the output folder"),
        (tmp_path / "none.pth", "out", "does not exist"),
        (tmp_path / "mine", "out", "is a folder without model.safetensors"),
        (tmp_path / "broken.pth", "out", "cannot be read"),
        (tmp_path / "odd.pth", "out", "holds settings that JSON cannot hold"),
    ):
        assert export(checkpoint, tmp_path / folder) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["README.md"]
    assert (tmp_path / "mine" / "README.md").read_text() == "mine" and not (tmp_path / "out").exists()


def test_onnx_without_its_packages_says_what_to_install(published_checkpoint, tmp_path):
    code = "import sys; sys.modules['onnxruntime'] = None; import SJEDD_export; sys.exit(SJEDD_export.main())"
    arguments = ["--resume", str(published_checkpoint), "--output", str(tmp_path / "out")]
    arguments += ["--format", "safetensors", "onnx"]
    done = subprocess.run([sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "error: --format onnx needs onnxruntime; pip install -r requirements-export.txt\n"
    assert list((tmp_path / "out").iterdir()) == [], "nothing half written"


@pytest.mark.slow
@pytest.mark.numeric
@pytest.mark.parametrize("kind", ["published ViT", "demo, FFSC's tree, cosine score"])
def test_onnx_equals_pytorch(kind, published_checkpoint, tmp_path, capsys):
    onnxruntime = pytest.importorskip("onnxruntime")
    checkpoint = published_checkpoint
    if kind != "published ViT":
        torch.manual_seed(0)
        checkpoint = tmp_path / "demo.pth"
        save_checkpoint(checkpoint, JointEmbedding(architecture("demo"), FFSC, "cosine"))
    assert export(checkpoint, tmp_path / "out", "--format", "onnx") == 0
    assert "probabilities differ from PyTorch's by" in capsys.readouterr().out
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"model.onnx", "config.json", "README.md"}
    assert str(ROOT).encode() not in (tmp_path / "out" / "model.onnx").read_bytes(), "no path of this machine"
    model = load_model(checkpoint)
    session = onnxruntime.InferenceSession(tmp_path / "out" / "model.onnx", providers=["CPUExecutionProvider"])
    side, nodes = model.image_size, len(model.tree.nodes)
    pixels = np.random.default_rng(1).integers(0, 256, (100, 3, side, side), dtype=np.uint8)
    with torch.inference_mode():
        scores = model(normalise(torch.from_numpy(pixels)))
        on, off = (values[:, 0].numpy() for values in log_marginals(scores, model.tree))
        expected = marginals(scores, model.tree).numpy()
    for batch in (1, 7, 100):
        p_fake, logit_fake, by_node = session.run(None, {"pixels": pixels[:batch]})
        assert p_fake.shape == logit_fake.shape == (batch,) and by_node.shape == (batch, nodes)
        assert np.abs(by_node - expected[:batch]).max() < 1e-5
        assert (p_fake == by_node[:, 0]).all()
        assert np.abs(logit_fake - (on - off)[:batch]).max() < 1e-4
    text = Path(tmp_path / "out" / "README.md").read_text()
    assert f"uint8 [B, 3, {side}, {side}]" in text and f"`nodes` [B, {nodes}]" in text
    with pytest.raises(onnxruntime.capi.onnxruntime_pybind11_state.InvalidArgument):
        session.run(None, {"pixels": pixels[:1, :, :-1]})
