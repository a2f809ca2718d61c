from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data

from preprocessing.detection.align import align_face, similarity_matrix, template

pytestmark = pytest.mark.numeric

# Matrices of the reference for skimage's astronaut, 317 px, scale 1.3.
GOLDEN = [
    ([[206, 102], [249, 105], [227, 130], [204, 142], [247, 144]],
     [[1.8834502458546625, 0.1134375516498304, -282.3671949092411],
      [-0.1134375516498304, 1.8834502458546625, -15.853807238354506]]),
    ([[208, 106], [243, 109], [227, 130], [206, 139], [253, 138]],
     [[2.037906590824777, -0.08773109154757172, -293.94923733320434],
      [0.08773109154757172, 2.037906590824777, -80.34649206565064]]),
    ([[203, 100], [250, 104], [222, 124], [198, 136], [242, 150]],
     [[1.7479442044307354, 0.3102339650934638, -269.33132838871995],
      [-0.3102339650934638, 1.7479442044307354, 47.653761202445736]]),
]  # fmt: skip
CROP = Path(__file__).parents[1] / "data" / "align_astronaut_317.png"


@pytest.mark.parametrize(("landmarks", "matrix"), GOLDEN)
def test_matrix_equals_the_reference(landmarks, matrix):
    ours = similarity_matrix(np.array(landmarks))
    assert ours.dtype == np.float64
    np.testing.assert_allclose(ours, matrix, atol=1e-3)


def test_crop_equals_the_reference():
    bgr = skimage.data.astronaut()[..., ::-1].copy()
    crop = align_face(bgr, np.array(GOLDEN[0][0]))
    golden = cv2.imread(str(CROP))
    assert crop.dtype == np.uint8
    assert crop.shape == golden.shape == (317, 317, 3)
    assert np.abs(crop.astype(float) - golden).mean() < 1


def test_a_turned_and_scaled_template_comes_back_exactly():
    points = template(200, 1.5)
    turn = np.array([[0.6, -0.3], [0.3, 0.6]])
    matrix = similarity_matrix(points @ turn.T + [40, 7], 200, 1.5)
    np.testing.assert_allclose((points @ turn.T + [40, 7]) @ matrix[:, :2].T + matrix[:, 2], points, atol=1e-9)


@pytest.mark.parametrize("landmarks", [np.zeros((5, 2)), np.full((5, 2), np.nan), np.zeros((4, 2))])
def test_landmarks_without_a_similarity_are_refused(landmarks):
    with pytest.raises(ValueError, match="landmarks"):
        similarity_matrix(landmarks)
