"""torch.hub.load in a process of another program, which has packages of its own with the names of ours."""

import json
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image

import SJEDD_predict
from hubconf import sjedd
from models.checkpoint import load_model, save_checkpoint
from models.joint_embedding import JointEmbedding, architecture
from models.label_tree import FFPP, FFSC
from models.tree_inference import logit_fake, marginals
from prediction.predictor import Predictor
from tests.conftest import ROOT

pytestmark = pytest.mark.numeric

THEIRS = ("datasets", "models", "utils")
PROGRAM = """
import importlib, json, sys
import numpy as np, torch

def check_theirs():
    for name in {names}:
        assert importlib.import_module(name + ".part").WHOSE == "the caller's"
    import datasets
    from utils import part
    assert datasets.part.WHOSE == part.WHOSE == "the caller's"

before = sys.path.copy()
if {first}:
    check_theirs()
detector = torch.hub.load({root!r}, "sjedd", source="local", checkpoint={checkpoint!r}, device="cpu", detector="mtcnn",
    n_frames=2, band=(0.25, 0.75), calibration={calibration!r})
check_theirs()
assert sys.path == before
theirs = [name for name in sys.modules if name.split(".")[0] in {rooms}]
assert not [name for name in theirs if sys.modules[name].__file__.startswith({root!r})], theirs
photo = {photo!r}
again = torch.hub.load({root!r}, "sjedd", source="local", checkpoint={checkpoint!r}, device="cpu", detector="mtcnn")
assert type(again) is type(detector)
print(json.dumps([detector.predict(photo), again.predict([photo, "missing.png"]), list(detector.tree.nodes)]))
"""


@pytest.fixture
def photo(tmp_path):
    Image.fromarray(skimage.data.astronaut()).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def without_numbers(result: dict) -> dict:
    """Everything of a prediction but what the towers computed: two processes differ in the last digit of it."""

    def strip(value):
        if isinstance(value, list):
            return [strip(part) for part in value]
        if isinstance(value, dict):
            return {key: strip(part) for key, part in value.items() if key not in ("p_fake", *FFPP.nodes)}
        return value

    return strip(result)


@pytest.mark.parametrize("first", [True, False])
def test_the_caller_keeps_packages_with_the_names_of_ours(first, tmp_path, photo, published_checkpoint):
    for name in THEIRS:
        (tmp_path / "site" / name).mkdir(parents=True)
        (tmp_path / "site" / name / "__init__.py").touch()
        (tmp_path / "site" / name / "part.py").write_text('WHOSE = "the caller\'s"\n')
    calibration = {"method": "temperature", "temperature": 1.5, "checkpoint": None}
    (tmp_path / "calibration.json").write_text(json.dumps(calibration))
    program = PROGRAM.format(
        names=THEIRS,
        first=first,
        root=str(ROOT),
        checkpoint=str(published_checkpoint),
        calibration=str(tmp_path / "calibration.json"),
        rooms={path.parent.name for path in ROOT.glob("*/__init__.py")},
        photo=str(photo),
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path / "site"), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    calibrated, (plain, missing), nodes = json.loads(done.stdout)
    assert nodes == list(FFPP.nodes)
    assert (missing["input"], missing["outcome"]) == ("missing.png", "unreadable")
    argv = ["--resume", str(published_checkpoint), "--detector", "mtcnn", "--input", str(photo), "--no_pictures"]
    assert SJEDD_predict.main([*argv, "--output", str(tmp_path / "out")]) == 0
    expected = json.loads((tmp_path / "out" / "photo" / "prediction.json").read_text())
    assert without_numbers(plain) == without_numbers(expected)
    assert plain["tracks"][0]["nodes"] == pytest.approx(expected["tracks"][0]["nodes"], abs=1e-6)
    assert calibrated["p_fake"] == pytest.approx(expected["p_fake"], abs=1e-6)
    odds = np.log(expected["p_fake"] / (1 - expected["p_fake"])) / 1.5
    assert calibrated["tracks"][0]["p_fake_calibrated"] == pytest.approx(1 / (1 + np.exp(-odds)), abs=1e-5)
    assert calibrated["settings"]["band"] == [0.25, 0.75] and calibrated["settings"]["n_frames"] == 2


def test_pixels_are_judged_like_their_file(photo, published_checkpoint):
    detector = sjedd(published_checkpoint, "cpu", detector="mtcnn")
    (expected, *others) = detector.predict(
        [photo, skimage.data.astronaut(), torch.from_numpy(skimage.data.astronaut()), Image.open(photo)]
    )
    for other in others:
        assert other["input"] == "array"
        assert other["tracks"] == expected["tracks"] and other["outcome"] == expected["outcome"]


def test_scores_of_crops_are_those_of_the_model(published_checkpoint):
    detector, model = sjedd(published_checkpoint, device="cpu"), load_model(published_checkpoint)
    crops = np.random.default_rng(0).integers(0, 256, (5, 40, 40, 3), dtype=np.uint8)
    given = crops.copy()
    result = detector.score(given)
    scores = torch.from_numpy(Predictor.load(published_checkpoint, "mtcnn").score_crops(list(crops)))
    expected = marginals(scores, model.tree).numpy()
    assert result["p_fake"].shape == (5,) and list(result["nodes"]) == list(FFPP.nodes)
    assert np.abs(np.stack(list(result["nodes"].values()), axis=1) - expected).max() < 1e-5
    assert np.abs(result["p_fake"] - expected[:, 0]).max() < 1e-5
    assert np.abs(result["logit_fake"] - logit_fake(scores, model.tree).numpy()).max() < 1e-4
    assert (given == crops).all()
    assert detector.score([])["p_fake"].shape == (0,)
    assert np.abs(detector.score(torch.from_numpy(crops))["p_fake"] - expected[:, 0]).max() < 1e-5


def test_threads_share_a_detector(photo, published_checkpoint):
    detector, found = sjedd(published_checkpoint, "cpu", detector="mtcnn"), []
    threads = [threading.Thread(target=lambda: found.append(detector.predict(photo))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3 and found[0] == found[1] == found[2] and found[0]["tracks"]


def test_bad_arguments_are_value_errors(tmp_path, published_checkpoint):
    with pytest.raises(ValueError, match="does not exist"):
        sjedd(tmp_path / "none.pth")
    with pytest.raises(ValueError, match="--device tpu is not a device"):
        sjedd(published_checkpoint, "tpu")
    with pytest.raises(ValueError, match="unrecognized arguments: --frames=3"):
        sjedd(published_checkpoint, frames=3)
    with pytest.raises(ValueError, match="--n_frames: 0 is not a positive whole number"):
        sjedd(published_checkpoint, n_frames=0)
    detector = sjedd(published_checkpoint, "cpu")
    with pytest.raises(ValueError, match=r"uint8 \[H, W, 3\] RGB, this is float32 \[9, 9, 3\]"):
        detector.score(np.zeros((1, 9, 9, 3), np.float32))
    with pytest.raises(ValueError, match=r"this is uint8 \[9, 9\]"):
        detector.predict(np.zeros((9, 9), np.uint8))


def test_the_tree_of_a_published_checkpoint_is_an_option(tmp_path):
    save_checkpoint(tmp_path / "c.pth", JointEmbedding(architecture("demo"), FFSC))
    assert list(sjedd(tmp_path / "c.pth").tree.nodes) == list(FFSC.nodes)
    with pytest.raises(ValueError, match="was trained on the ffsc tree, not on ffpp"):
        sjedd(tmp_path / "c.pth", train_dataset="ffpp")
