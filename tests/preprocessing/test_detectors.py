import cv2
import numpy as np
import pytest
import skimage.data

from preprocessing.detectors import build_detector
from utils.cli import UserError


@pytest.fixture(scope="module")
def detector():
    return build_detector("auto", "cpu")


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


def test_unknown_names_and_weights_are_refused():
    with pytest.raises(UserError, match="no detector 'haar'"):
        build_detector("haar")
    with pytest.raises(UserError, match="its own weights"):
        build_detector("mtcnn", weights="x.pth")
