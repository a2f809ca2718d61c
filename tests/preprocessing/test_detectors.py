import cv2
import numpy as np
import pytest
import skimage.data
import torch

from preprocessing.detection import detectors
from preprocessing.detection.detectors import Detector, build_detector, choose_detector, detector_device
from preprocessing.detection.faces import Faces
from utils.cli import UserError

pytestmark = pytest.mark.numeric


@pytest.fixture(scope="module")
def detector():
    return build_detector("mtcnn", "cpu")


@pytest.fixture(scope="module")
def astronaut():
    return cv2.resize(skimage.data.astronaut(), (256, 256), interpolation=cv2.INTER_AREA)


def test_the_face_is_found(detector, astronaut):
    (faces,) = detector.detect([astronaut])
    assert [array.shape for array in faces] == [(1, 4), (1,), (1, 5, 2)]
    assert {array.dtype for array in faces} == {np.dtype(np.float32)}
    assert faces.scores[0] > 0.99
    by_hand = np.array([[103, 51], [124.5, 52.5], [113.5, 65], [102, 71], [123.5, 72]])
    assert np.abs(faces.landmarks[0] - by_hand).max() < 3


def test_a_large_image_is_detected_small_and_mapped_back(detector, astronaut):
    wide = np.zeros((1000, 1500, 3), np.uint8)
    wide[200:712, 700:1212] = skimage.data.astronaut()
    (large,), (small,) = detector.detect([wide]), detector.detect([astronaut])
    assert np.abs(large.landmarks[0] - (small.landmarks[0] * 2 + [700, 200])).max() < 5


def test_nothing_to_find_is_no_crash(detector):
    black, noise = np.zeros((120, 160, 3), np.uint8), np.random.default_rng(0).integers(0, 255, (90, 90, 3), np.uint8)
    tiny = [np.full((h, w, 3), 128, np.uint8) for h, w in ((1, 1), (23, 23), (5, 300))]
    for faces in detector.detect([black, black, noise, *tiny]):
        assert [array.shape for array in faces] == [(0, 4), (0,), (0, 5, 2)]
    assert detector.detect([]) == []


def test_a_result_does_not_depend_on_the_batch(detector, astronaut):
    turned, two = astronaut[:, ::-1].copy(), np.hstack([astronaut, astronaut[:, ::-1]])
    edge = np.ascontiguousarray(astronaut[:, 100:])  # a face cut by the border gives boxes with negative corners
    batch = [edge, astronaut, np.zeros_like(astronaut), two, turned, edge]
    assert [len(faces.scores) for faces in detector.detect([astronaut, two, turned])] == [1, 2, 1]
    for image, together in zip(batch, detector.detect(batch), strict=True):
        (alone,) = detector.detect([image])
        for a, b in zip(alone, together, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-3)


class Corners:
    """Finds one face that fills the image, edge to edge (centres of pixels lie on whole numbers)."""

    def detect(self, images):
        sizes = [np.float32([image.shape[1], image.shape[0]]) for image in images]
        edges = [np.r_[-0.5, -0.5, size - 0.5][None].astype(np.float32) for size in sizes]
        return [Faces(box, np.ones(1), np.tile(box[:, 2:], (1, 5, 1))) for box in edges]


@pytest.mark.parametrize("max_side", [640, 321, 1280, None])
def test_faces_are_mapped_back_from_the_downscaled_image(max_side):
    frame, small = np.zeros((719, 1280, 3), np.uint8), np.zeros((36, 64, 3), np.uint8)
    large, untouched = Detector(Corners(), max_side).detect([frame, small])
    np.testing.assert_allclose(large.boxes, [[-0.5, -0.5, 1279.5, 718.5]], atol=1e-3)
    np.testing.assert_allclose(large.landmarks, np.tile([1279.5, 718.5], (1, 5, 1)), atol=1e-3)
    assert untouched.boxes.tolist() == [[-0.5, -0.5, 63.5, 35.5]]


def test_auto_is_retinaface_where_there_are_weights(tmp_path, monkeypatch):
    here, there = tmp_path / "here.pth", tmp_path / "there.pth"
    monkeypatch.setattr(detectors, "RETINAFACE_WEIGHTS", here)
    assert choose_detector("auto") == ("mtcnn", None)
    assert choose_detector("mtcnn") == ("mtcnn", None)
    for name, weights in (("retinaface", None), ("retinaface", there), ("auto", there), ("retinaface", tmp_path)):
        with pytest.raises(UserError, match=f"no file {weights or here} .*pretrained/.* --detector_weights FILE"):
            choose_detector(name, weights)
    here.touch()
    assert choose_detector("auto") == choose_detector("retinaface") == ("retinaface", here)
    assert choose_detector("mtcnn") == ("mtcnn", None)
    there.touch()
    assert choose_detector("auto", there) == ("retinaface", there)


def test_unknown_names_and_weights_are_refused(tmp_path):
    with pytest.raises(UserError, match="no detector 'haar'"):
        build_detector("haar")
    with pytest.raises(UserError, match="its own weights"):
        build_detector("mtcnn", weights=tmp_path / "x.pth")


def test_the_device_of_an_extraction(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert [detector_device(name) for name in ("auto", "cpu")] == ["cpu", "cpu"]
    with pytest.raises(UserError, match="--device cuda:1: torch finds no CUDA device here"):
        detector_device("cuda:1")
    with pytest.raises(UserError, match="--device tpu is not a device; use cpu, cuda or cuda:1"):
        detector_device("tpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert [detector_device(name) for name in ("auto", "cuda", "cuda:0", "cpu")] == [
        "cuda:1",
        "cuda:1",
        "cuda:0",
        "cpu",
    ]
