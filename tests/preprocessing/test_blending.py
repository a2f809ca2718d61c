import cv2
import numpy as np
import pytest

from datasets.face_regions import region_mask, template
from preprocessing.detection.align import align_face, similarity_matrix
from preprocessing.expansion.blending import band_around, match_colours, move_crop, poisson, transplant

pytestmark = pytest.mark.numeric


def photograph(size, seed=0, sigma=6.0):
    noise = np.random.default_rng(seed).integers(0, 255, (size, size, 3), np.uint8)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), sigma), None, 30, 220, cv2.NORM_MINMAX)


def test_transplant_mixes_by_the_mask():
    real, fake = np.full((4, 4, 3), 10, np.uint8), np.full((4, 4, 3), 30, np.uint8)
    mask = np.zeros((4, 4), np.float32)
    mask[0], mask[1] = 1, 0.5
    assert transplant(real, fake, mask)[:, 0, 0].tolist() == [30, 20, 10, 10]


@pytest.mark.parametrize(
    "box", [(40, 50, 31, 21), (41, 50, 30, 20), (0, 0, 31, 20), (100, 99, 20, 21), (0, 0, 120, 120)]
)
def test_poisson_sits_in_place_also_at_the_border(box):
    left, top, width, height = box
    real = photograph(120)
    mask = np.zeros((120, 120), np.float32)
    mask[top : top + height, left : left + width] = 1
    assert np.abs(poisson(real, real, mask).astype(int) - real).max() <= 1
    spotted = real.copy()
    spots = np.zeros((120, 120), bool)
    spots[5::10, 5::10] = True
    spotted[spots] = 255
    result = poisson(real, spotted, mask)
    assert (result[mask == 0] == real[mask == 0]).all()
    inner = np.zeros_like(spots)
    inner[top + 4 : top + height - 4, left + 4 : left + width - 4] = True
    brighter = (result.astype(int) - real).max(axis=2) > 30
    assert (brighter[inner] == spots[inner]).mean() > 0.97
    assert (spots & inner).any()
    assert brighter[spots & inner].all()


def test_poisson_takes_the_light_of_the_real():
    real = photograph(160)
    fake = cv2.add(real, (40, 40, 40, 0))
    mask = region_mask("mouth", template(160), 160)
    assert np.abs(poisson(real, fake, mask).astype(int) - real).max() <= 6
    assert np.abs(transplant(real, fake, mask).astype(int) - real).max() > 30


def test_poisson_refuses_a_mask_that_is_all_rim():
    real = photograph(60)
    for mask in (np.zeros((60, 60)), np.pad(np.ones((6, 30)), ((20, 34), (15, 15)))):
        with pytest.raises(ValueError, match="too small"):
            poisson(real, real, mask)


def test_a_band_lies_around_its_mask():
    mask = np.zeros((40, 40), np.float32)
    mask[15:25, 15:25] = 1
    band = band_around(mask, 5)
    assert not band[mask > 0].any()
    assert band[20].nonzero()[0].tolist() == [*range(10, 15), *range(25, 30)]


def test_matched_colours_have_the_mean_and_the_deviation_of_the_real():
    real, fake = photograph(64, 0), np.clip(photograph(64, 1) * [0.7, 0.8, 0.6] + [40, 10, 30], 0, 255).astype(np.uint8)
    where = np.zeros((64, 64), bool)
    where[10:50, 20:60] = True
    matched = match_colours(fake, real, where)

    def statistics(image):
        lab = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_BGR2LAB)[where]
        return np.concatenate([lab.mean(axis=0), lab.std(axis=0)])

    assert np.abs(statistics(fake) - statistics(real)).max() > 5
    np.testing.assert_allclose(statistics(matched), statistics(real), atol=1.5)
    assert match_colours(fake, real, np.zeros_like(where)) is fake


def test_a_moved_crop_is_the_crop_with_the_other_matrix():
    frame = photograph(300)
    points = template(200) + [50, 40]
    other = points + np.array([[2, 1], [-3, 2], [0, 3], [1, -2], [2, 2]])
    crops = [align_face(frame, p, 200).astype(float) for p in (points, other)]
    moved = move_crop(crops[0].astype(np.uint8), *(similarity_matrix(p, 200) for p in (points, other)))
    middle = slice(30, 170)
    assert np.abs(moved - crops[1])[middle, middle].mean() < 1 < np.abs(crops[0] - crops[1])[middle, middle].mean()
