"""The files of integrations/ against stand-ins of the other projects' interfaces, which hold nothing of theirs."""

import abc
import hashlib
import importlib.util
import re
import sys
import types
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image

from hubconf import sjedd
from tests.conftest import ROOT

pytestmark = pytest.mark.numeric
FOLDER = ROOT / "integrations"


@pytest.fixture
def module(monkeypatch):
    """Import a file of integrations/ under a name."""

    def load(file, name):
        spec = importlib.util.spec_from_file_location(name, FOLDER / file)
        loaded = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, loaded)
        spec.loader.exec_module(loaded)
        return loaded

    return load


@pytest.fixture
def places(monkeypatch, published_checkpoint):
    monkeypatch.setenv("SJEDD_FOLDER", str(ROOT))
    monkeypatch.setenv("SJEDD_CHECKPOINT", str(published_checkpoint))


@pytest.fixture
def photos(tmp_path):
    """A photograph of a person, and one of nobody."""
    Image.fromarray(skimage.data.astronaut()).save(tmp_path / "face.png")
    Image.new("RGB", (90, 80), (90, 90, 90)).save(tmp_path / "nobody.png")
    return tmp_path


class AbstractDetector(torch.nn.Module, metaclass=abc.ABCMeta):
    """The methods that DeepfakeBench asks for."""

    def __init__(self, config=None, load_param=False):
        super().__init__()


for name in ("features", "forward", "classifier", "build_backbone", "build_loss", "get_losses", "get_train_metrics"):
    setattr(AbstractDetector, name, abc.abstractmethod(lambda self: None))
abc.update_abstractmethods(AbstractDetector)


def test_deepfakebench(module, monkeypatch, published_checkpoint):
    registry = {}
    package = types.ModuleType("detectors")
    package.__path__ = []
    package.DETECTOR = types.SimpleNamespace(
        register_module=lambda module_name: lambda cls: registry.setdefault(module_name, cls)
    )
    base = types.ModuleType("detectors.base_detector")
    base.AbstractDetector = AbstractDetector
    monkeypatch.setitem(sys.modules, "detectors", package)
    monkeypatch.setitem(sys.modules, "detectors.base_detector", base)
    module("sjedd_detector.py", "detectors.sjedd_detector")
    mean, std = [0.4, 0.5, 0.6], [0.2, 0.3, 0.5]
    config = {"model_name": "sjedd", "mean": mean, "std": std, "sjedd_folder": str(ROOT)}
    config |= {"sjedd_checkpoint": str(published_checkpoint), "sjedd_options": {"detector": "mtcnn"}}
    model = registry[config["model_name"]](config).to("cpu").eval()
    crops = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    images = (torch.from_numpy(crops).permute(0, 3, 1, 2) / 255 - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(
        std
    ).view(3, 1, 1)
    with torch.no_grad():
        predictions = model({"image": images, "label": torch.zeros(3)}, inference=True)
    expected = sjedd(published_checkpoint, "cpu").score(crops)
    assert set(predictions) == {"cls", "prob", "feat"}
    assert predictions["cls"].shape == (3, 2) and predictions["feat"].shape == (3, 11)
    assert np.abs(predictions["prob"].numpy() - expected["p_fake"]).max() < 1e-5
    assert np.abs(predictions["feat"][:, 1].numpy() - expected["p_fake"]).max() < 1e-5
    with pytest.raises(NotImplementedError, match=r"SJEDD_train_FFpp\.py --dataset json"):
        model.get_losses({}, predictions)


def test_deepsafe_bench(module, places, photos, published_checkpoint):
    predict = module("deepsafe_sjedd.py", "_ds_detector_deepsafe_sjedd").predict
    expected = sjedd(published_checkpoint, "cpu").predict(photos / "face.png")["p_fake"]
    assert type(predict(photos / "face.png")) is float
    assert predict(photos / "face.png") == pytest.approx(expected, abs=1e-5)
    with pytest.raises(ValueError, match=r"nobody\.png: no_face, "):
        predict(photos / "nobody.png")


@dataclass(frozen=True)
class InputSpec:
    crop: str
    crop_scale: float
    size: tuple[int, int]
    frames: int


@dataclass(frozen=True)
class DetectorMeta:
    name: str
    version: str
    contract_version: tuple[int, int]
    input: InputSpec
    license: str
    weights_license: str | None
    citation: str | None
    source: str | None


@dataclass
class DetectorOutput:
    score: torch.Tensor
    logit: torch.Tensor | None = None
    frame_scores: torch.Tensor | None = None


def test_deepfake_workbench(module, monkeypatch, places, published_checkpoint):
    interface = types.ModuleType("dfwb.core.detector")
    interface.InputSpec, interface.DetectorMeta, interface.DetectorOutput = InputSpec, DetectorMeta, DetectorOutput
    interface.ClipBatch = object
    for name in ("dfwb", "dfwb.core"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, "dfwb.core.detector", interface)
    detector = module("workbench_sjedd.py", "workbench_sjedd").make_detector().to(torch.device("cpu"))
    assert detector.meta.input == InputSpec("face", 1.3, (317, 317), 1) and detector.meta.version == "ffpp"
    assert detector.checkpoint_sha256 == hashlib.sha256(published_checkpoint.read_bytes()).hexdigest()
    crops = np.random.default_rng(0).integers(0, 256, (2, 3, 50, 50, 3), dtype=np.uint8)
    clips = torch.from_numpy(crops).permute(0, 1, 4, 2, 3) / 255
    with torch.inference_mode():
        output = detector.predict(types.SimpleNamespace(clips=clips))
    expected = sjedd(published_checkpoint, "cpu").score(crops.reshape(6, 50, 50, 3))["p_fake"].reshape(2, 3)
    assert np.abs(output.frame_scores.numpy() - expected).max() < 1e-5
    assert np.abs(output.score.numpy() - expected.mean(axis=1)).max() < 1e-5


class Fields(dict):
    """A sample or a label of FiftyOne: attributes and items are the same fields."""

    def __init__(self, **fields: Any) -> None:
        super().__init__(fields)
        self.__dict__ = self

    def compute_metadata(self) -> None:
        with Image.open(self.filepath) as image:
            self.metadata = types.SimpleNamespace(width=image.width, height=image.height)


def test_the_recipe_for_fiftyone(monkeypatch, photos, published_checkpoint):
    (recipe,) = re.findall(r"## FiftyOne\n\n```python\n(.*?)```", (FOLDER / "README.md").read_text(), re.DOTALL)
    samples = [Fields(filepath=str(photos / name)) for name in ("face.png", "nobody.png")]
    fiftyone = types.ModuleType("fiftyone")
    dataset = types.SimpleNamespace(iter_samples=lambda autosave, progress: iter(samples))
    fiftyone.Dataset = types.SimpleNamespace(from_images_dir=lambda folder: dataset)
    fiftyone.Detection = fiftyone.Detections = fiftyone.Classification = Fields
    fiftyone.launch_app = lambda shown: types.SimpleNamespace(wait=lambda: None)
    monkeypatch.setitem(sys.modules, "fiftyone", fiftyone)
    exec(recipe.replace("/path/to/SJEDD", str(ROOT)).replace("ckpt_best.pth", str(published_checkpoint)), {})
    expected = sjedd(published_checkpoint, "cpu").predict(photos / "face.png")
    (face,) = samples[0].faces.detections
    x, y, width, height = np.array(face.bounding_box) * skimage.data.astronaut().shape[0]
    assert np.abs([x, y, x + width, y + height] - np.array(expected["tracks"][0]["frames"][0]["box"])).max() < 0.1
    assert face.confidence == samples[0].verdict.confidence == pytest.approx(expected["p_fake"], abs=1e-5)
    assert face.explanation == expected["tracks"][0]["explanation"]
    assert samples[1].faces.detections == [] and samples[1].verdict.label == "no_face"
