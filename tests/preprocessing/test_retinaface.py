"""RetinaFace with random weights: the golden figures come from the published network with the same weights."""

import json
import math
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from preprocessing.detection.detectors import Detector, build_detector
from preprocessing.detection.retinaface import (
    RetinaFace,
    RetinaFaceDetector,
    anchors,
    decode,
    fold_batch_norms,
    load_weights,
)
from tests.conftest import DATA
from utils.cli import UserError

pytestmark = pytest.mark.numeric

GOLDEN = json.loads((DATA / "retinaface_r50.json").read_text())
CASE = GOLDEN["case"]
SHAPES = GOLDEN["state_dict_keys_and_shapes"]


def random_weight(key, shape, generator):
    if key.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.long)
    noise = torch.randn(shape, generator=generator)
    if key.endswith("running_var"):
        return noise.abs() * 0.5 + 0.75
    if key.endswith(("running_mean", "bias")):
        return noise * 0.1
    return 1 + noise * 0.1 if len(shape) == 1 else noise * (0.6 / math.sqrt(math.prod(shape[1:])))


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file of 100 MB with the golden weights."""
    generator = torch.Generator().manual_seed(CASE["seed"])
    path = tmp_path_factory.mktemp("retinaface") / "golden.pth"
    torch.save({key: random_weight(key, SHAPES[key], generator) for key in sorted(SHAPES)}, path)
    yield path
    path.unlink()


@pytest.fixture(scope="module")
def detector(weights):
    return RetinaFaceDetector(weights)


@pytest.fixture(scope="module")
def image():
    """The golden image, RGB."""
    pixels = np.random.default_rng(CASE["seed"]).integers(0, 256, (200, 168, 3), dtype=np.uint8)
    return np.ascontiguousarray(pixels[..., ::-1])


@pytest.fixture
def zeros():
    """Weights that fit, all zero, in half precision."""
    return {key: torch.zeros(shape, dtype=torch.float16) for key, shape in SHAPES.items()}


def test_the_keys_are_the_published_ones():
    assert {key: list(value.shape) for key, value in RetinaFace().state_dict().items()} == SHAPES


@pytest.mark.parametrize("folded", [False, True])
def test_the_outputs_are_the_published_ones(weights, image, folded):
    net = load_weights(weights)
    if folded:
        fold_batch_norms(net)
    batch = torch.from_numpy(image[..., ::-1].copy()).float() - torch.tensor([104.0, 117.0, 123.0])
    with torch.inference_mode():
        loc, conf, landmarks = net(batch.permute(2, 0, 1)[None])
    assert [value.shape for value in (loc, conf, landmarks)] == [(1, CASE["n_priors"], n) for n in (4, 2, 10)]
    boxes, points = decode(loc, landmarks, 200, 168)
    scores, best = conf[0, :, 1], CASE["best_prior"]
    assert scores.argmax() == best
    got = [scores[best], scores.mean(), scores.std(), *loc[0, 100]]
    expected = [CASE["best_score"], CASE["score_mean"], CASE["score_std"], *CASE["raw_loc_prior100"]]
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-4)
    pixels = [*boxes[0, best], *points[0, best].flatten()]
    np.testing.assert_allclose(pixels, CASE["best_box_xyxy"] + CASE["best_landmarks"], rtol=0, atol=1e-3)


def test_the_detector_finds_the_golden_face(detector, image):
    (faces,) = detector.detect([image])
    assert {array.dtype for array in faces} == {np.dtype(np.float32)}
    best = faces.scores.argmax()
    assert abs(faces.scores[best] - CASE["best_score"]) < 1e-4
    np.testing.assert_allclose(faces.boxes[best], CASE["best_box_xyxy"], rtol=0, atol=1e-3)
    np.testing.assert_allclose(faces.landmarks[best].flatten(), CASE["best_landmarks"], rtol=0, atol=1e-3)
    assert len(faces.scores) > 3
    assert faces.scores.min() > 0.5
    areas = np.prod(faces.boxes[:, 2:] - faces.boxes[:, :2], axis=1)
    assert (np.diff(areas) <= 0).all()


def test_anchors_and_decoding():
    grid = anchors(40, 72, torch.device("cpu"))
    assert grid.shape == (2 * (5 * 9 + 3 * 5 + 2 * 3), 3)
    assert grid[[0, 1, 2, 18]].tolist() == [[4, 4, 16], [4, 4, 32], [12, 4, 16], [4, 12, 16]]
    assert grid[[90, 120, -1]].tolist() == [[8, 8, 64], [16, 16, 256], [80, 48, 512]]
    loc, landmarks = torch.zeros(1, len(grid), 4), torch.zeros(1, len(grid), 10)
    loc[0, 1] = torch.tensor([1, -1, math.log(2) / 0.2, math.log(0.5) / 0.2])  # 3.2 px right and up, 64 wide, 16 high
    landmarks[0, 1, 2:4] = torch.tensor([5.0, -10.0])
    boxes, points = decode(loc, landmarks, 40, 72)
    torch.testing.assert_close(boxes[0, :2], torch.tensor([[-4, -4, 12, 12], [7.2 - 32, 0.8 - 8, 7.2 + 32, 0.8 + 8]]))
    assert points[0, 1].tolist() == [[4, 4], [20, -28], [4, 4], [4, 4], [4, 4]]


def test_overlapping_and_doubtful_boxes_go_and_the_largest_comes_first(detector, monkeypatch):
    scores = torch.zeros(2, 672)
    scores[0, 0] = 0.99  # side 16 at (4, 4)
    scores[0, [584, 586]] = torch.tensor([0.9, 0.8])  # side 64 at (72, 72) and (88, 72)
    scores[0, 600] = 0.5
    outputs = torch.zeros(2, 672, 4), torch.stack([1 - scores, scores], dim=-1), torch.zeros(2, 672, 10)
    monkeypatch.setattr(detector, "net", lambda batch: outputs)
    monkeypatch.setattr(detector, "batch_pixels", 2 * 128 * 128)
    found, nothing = detector.detect([np.zeros((128, 128, 3), np.uint8)] * 2)
    assert found.boxes.tolist() == [[40, 40, 104, 104], [-4, -4, 12, 12]]
    np.testing.assert_array_equal(found.scores, np.float32([0.9, 0.99]))
    assert found.landmarks[:, 2].tolist() == [[72, 72], [4, 4]]
    assert [array.shape for array in nothing] == [(0, 4), (0,), (0, 5, 2)]


def test_without_suppression_all_candidates_come_largest_first(detector, monkeypatch):
    scores, loc = torch.zeros(1, 672), torch.zeros(1, 672, 4)
    scores[0, [584, 586, 600]] = torch.tensor([0.9, 0.8, 0.5])
    loc[0, 586, 2:] = 1.0  # larger than the better one that it overlaps
    outputs = loc, torch.stack([1 - scores, scores], dim=-1), torch.zeros(1, 672, 10)
    monkeypatch.setattr(detector, "net", lambda batch: outputs)
    found = {}
    for suppression in (True, False):
        monkeypatch.setattr(detector, "suppression", suppression)
        found[suppression] = detector.detect([np.zeros((128, 128, 3), np.uint8)])[0].scores
    np.testing.assert_array_equal(found[True], np.float32([0.9]))
    np.testing.assert_array_equal(found[False], np.float32([0.8, 0.9]))


def test_a_result_does_not_depend_on_the_other_images(detector, image, monkeypatch):
    images = [image, np.zeros((90, 120, 3), np.uint8), image[::-1].copy(), image[:, ::-1].copy()]
    images += [np.full((height, width, 3), 128, np.uint8) for height, width in ((1, 1), (5, 300))]
    any_size = Detector(detector, max_side=None)
    alone = [detector.detect([each])[0] for each in images]
    together = any_size.detect(images)  # one by one on a CPU: the same computation
    monkeypatch.setattr(detector, "batch_pixels", 2 * 200 * 168)  # batches as on a GPU, of two
    batched = any_size.detect(images)
    for i in range(len(images)):
        for a, b, c in zip(alone[i], together[i], batched[i], strict=True):
            np.testing.assert_array_equal(a, b)
            np.testing.assert_allclose(a, c, rtol=0, atol=1e-2)  # coordinates up to 1000, scores far closer
    assert any_size.detect([]) == []


def test_a_large_image_is_detected_small_and_mapped_back(weights, detector, image):
    small, full = (build_detector("retinaface", weights=weights, max_side=side) for side in (100, None))
    shrunk = cv2.resize(image, (84, 100), interpolation=cv2.INTER_AREA)  # the image is 168 x 200
    (mapped,), (plain,) = small.detect([image]), detector.detect([shrunk])
    np.testing.assert_allclose(mapped.boxes, plain.boxes * 2 + 0.5, rtol=1e-6)
    np.testing.assert_allclose(mapped.landmarks, plain.landmarks * 2 + 0.5, rtol=1e-5)
    np.testing.assert_array_equal(mapped.scores, plain.scores)
    for a, b in zip(full.detect([image])[0], detector.detect([image])[0], strict=True):
        np.testing.assert_array_equal(a, b)  # the same computation twice


@pytest.mark.parametrize("wrap", [lambda state: {"module." + key: value for key, value in state.items()}, None])
def test_prefix_wrapper_and_half_precision(tmp_path, zeros, wrap):
    state = zeros | {"ClassHead.0.conv1x1.bias": torch.tensor([1, 2, 3, 4], dtype=torch.float16)}
    torch.save(wrap(state) if wrap else {"state_dict": state, "epoch": 3}, tmp_path / "w.pth")
    net = load_weights(tmp_path / "w.pth")
    assert not net.training
    assert {value.dtype for value in net.parameters()} == {torch.float32}
    assert net.ClassHead[0].conv1x1.bias.tolist() == [1, 2, 3, 4]
    assert not net.body.conv1.weight.any()


def test_weights_that_do_not_fit_are_refused(tmp_path, zeros):
    def lacks(state):
        del state["fpn.merge1.0.weight"], state["ssh1.conv3X3.0.weight"]

    def has_unknown(state):
        state["head.bias"] = torch.zeros(1)

    def wrong_shape(state):
        state["BboxHead.1.conv1x1.bias"] = torch.zeros(4)

    def not_finite(state):
        state["body.bn1.bias"] = torch.full((64,), math.nan)

    for change, message in (
        (lacks, r"lacks 2 weights, the first is fpn\.merge1\.0\.weight;"),
        (has_unknown, r"has unknown 1 weights, the first is head\.bias;"),
        (wrong_shape, r"wrong shapes for 1 weights, the first is BboxHead\.1\.conv1x1\.bias;"),
        (not_finite, r"NaN or infinite 1 weights, the first is body\.bn1\.bias;"),
    ):
        state = dict(zeros)
        change(state)
        torch.save(state, tmp_path / "w.pth")
        with pytest.raises(UserError, match=message) as error:
            load_weights(tmp_path / "w.pth")
        assert "\n" not in str(error.value)


def test_files_that_hold_no_weights_are_refused(tmp_path, zeros):
    files = {
        name: tmp_path / name for name in ("missing", "empty", "text", "cut", "foreign", "list", "mixed", "nothing")
    }
    files["empty"].touch()
    files["text"].write_text("<html>not found</html>\n")
    torch.save(zeros, files["cut"])
    files["cut"].write_bytes(files["cut"].read_bytes()[:5000])
    torch.save({"state_dict": zeros, "args": Path("x")}, files["foreign"])
    torch.save([torch.zeros(2)], files["list"])
    torch.save({"epoch": 1}, files["mixed"])
    torch.save({}, files["nothing"])
    for path in (*files.values(), tmp_path):
        with pytest.raises(UserError, match=str(path)) as error:
            load_weights(path)
        assert "\n" not in str(error.value)
        assert "RetinaFace-Resnet50-fixed.pth" in str(error.value)


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors", "ignore:torch.quantize_per_tensor")
def test_weights_that_are_not_what_they_claim(tmp_path, zeros):
    key = "body.bn1.bias"
    plain = torch.zeros(64)
    odd = {
        "sparse": plain.to_sparse(),
        "quantized": torch.quantize_per_tensor(plain, 0.1, 0, torch.qint8),
        "meta": plain.to("meta"),
        "complex": plain.to(torch.cfloat),
        "float8": plain.to(torch.float8_e4m3fn),
        "nested": torch.nested.nested_tensor([plain]),
    }
    refused = f"refused: {key} is no plain tensor of real numbers; use the"
    for name, value in odd.items():
        torch.save(zeros | {key: value}, tmp_path / "w.pth")
        with pytest.raises(UserError, match=f"{refused}|refused: it wants to load torch") as error:
            load_weights(tmp_path / "w.pth")
        assert "\n" not in str(error.value), name
    torch.save({name: torch.zeros(()).expand(value.shape) for name, value in zeros.items()}, tmp_path / "w.pth")
    with pytest.raises(UserError, match="claim more numbers than the file holds; use the published"):
        load_weights(tmp_path / "w.pth")


def test_a_bomb_is_refused_unread(tmp_path, zeros):
    torch.save({key: zeros[key] for key in sorted(SHAPES)[:3]}, tmp_path / "whole.pth")
    source = zipfile.ZipFile(tmp_path / "whole.pth")
    with source, zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            target.writestr(name, bytes(1 << 24) if name.endswith("data.pkl") else source.read(name))
    with pytest.raises(UserError, match=r"bytes that unpack to 167.*use the published") as error:
        load_weights(tmp_path / "bomb.pth")
    assert "\n" not in str(error.value)
