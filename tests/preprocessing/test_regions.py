import cv2
import numpy as np
import pytest

from datasets.readers.ffpp import REGION_CODES
from preprocessing.detection.align import align_face, similarity_matrix, template
from preprocessing.expansion.regions import (
    REGIONS,
    band_around,
    face_of,
    map_points,
    match_colours,
    move_crop,
    outlines,
    poisson,
    region_mask,
    transplant,
)

pytestmark = pytest.mark.numeric

INSIDE = {"eyes": (0, 1), "nose": (2,), "mouth": (3, 4)}


def photograph(size, seed=0, sigma=6.0):
    noise = np.random.default_rng(seed).integers(0, 255, (size, size, 3), np.uint8)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), sigma), None, 30, 220, cv2.NORM_MINMAX)


def seen_from(yaw=0.0, pitch=0.0, size=317):
    """The template's landmarks [5, 2] on a head turned by angles in degrees, the nose before the plane of the rest."""
    points = template(size)
    centre, eye_distance = points.mean(axis=0), points[1, 0] - points[0, 0]
    depth = np.array([0, 0, 0.45, 0.1, 0.1]) * eye_distance
    x, y = (points - centre).T
    x, depth = x * np.cos(a := np.deg2rad(yaw)) + depth * np.sin(a), depth * np.cos(a) - x * np.sin(a)
    y = y * np.cos(b := np.deg2rad(pitch)) + depth * np.sin(b)
    return np.stack([x, y], axis=1) + centre


def holds(region, points, grow=1.0, size=317):
    mask = region_mask(region, points, size, grow)
    return tuple(i for i, (x, y) in enumerate(points) if mask[round(y), round(x)] > 0.5)


@pytest.mark.parametrize("region", REGIONS)
@pytest.mark.parametrize("grow", [0.95, 1.15])
def test_a_mask_holds_its_landmarks_and_no_others(region, grow):
    for size in (112, 317):
        mask = region_mask(region, template(size), size, grow, feather=3.0)
        assert mask.shape == (size, size)
        assert mask.dtype == np.float32
        assert mask[0].max() == 0
        assert 0.9 < mask.max() <= 1
        assert holds(region, template(size), grow, size) == INSIDE[region]
    for turned in (seen_from(yaw=35), seen_from(yaw=-60), seen_from(pitch=20), seen_from(pitch=-20)):
        assert holds(region, turned, grow) == INSIDE[region]
    assert tuple(REGION_CODES) == REGIONS
    with pytest.raises(KeyError):
        region_mask("ear", template(112), 112)


@pytest.mark.parametrize("region", REGIONS)
def test_masks_follow_the_landmarks(region):
    points = template(317)
    turn = cv2.getRotationMatrix2D((158, 158), 25, 0.8)
    turn[:, 2] += (12, -7)
    expected = cv2.warpAffine(region_mask(region, points, 317), turn, (317, 317))
    mask = region_mask(region, map_points(points, turn), 317)
    assert np.abs(mask - expected).sum() < 0.05 * expected.sum()
    # one landmark moves, and its region with it
    moved = points.copy()
    moved[list(INSIDE[region])] += (0, 9)
    middle, middle_moved = (np.argwhere(region_mask(region, p, 317)).mean(axis=0) for p in (points, moved))
    assert 3 < (middle_moved - middle)[0] < 11


def test_the_unit_keeps_while_the_head_turns():
    units = [face_of(seen_from(yaw, pitch)).unit for yaw, pitch in ((0, 0), (50, 0), (-80, 0), (0, 25), (0, -25))]
    assert max(units) < 1.1 * min(units)
    frontal, profile = face_of(template(317)), face_of(seen_from(yaw=80))
    assert frontal.breadth == pytest.approx(frontal.unit, rel=0.01)
    assert profile.breadth < 0.65 * profile.unit
    assert frontal.across @ frontal.down == pytest.approx(0, abs=1e-15), "perpendicular, up to float64's rounding"
    np.testing.assert_allclose([frontal.across, frontal.down], np.eye(2), atol=0.01)


def test_masks_of_a_profile_are_narrow():
    def width(points):
        return np.ptp(outlines("eyes", points)[0][:, 0])

    assert width(seen_from(yaw=75)) < 0.7 * width(template(317))


@pytest.mark.parametrize("points", [np.zeros((5, 2)), np.full((5, 2), np.nan)])
def test_landmarks_without_a_face_are_refused(points):
    with pytest.raises(ValueError, match="landmarks"):
        face_of(points)


def test_a_mask_ends_four_deviations_outside_its_outline():
    hard, soft = (region_mask("mouth", template(317), 317, feather=f) for f in (0.0, 4.0))
    assert set(np.unique(hard)) == {0, 1}
    distance = cv2.distanceTransform((hard == 0).astype(np.uint8), cv2.DIST_L2, 5)
    assert soft[distance > 4 * 4.0 * 2**0.5 + 1].max() == 0  # a square kernel reaches further along its diagonal
    assert 0 < soft[distance > 8].max() < 0.1


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
