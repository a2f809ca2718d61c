import cv2
import numpy as np
import pytest

from datasets.face_regions import REGIONS, face_of, outlines, region_mask, template
from datasets.readers.ffpp import REGION_CODES
from preprocessing.expansion.blending import map_points

pytestmark = pytest.mark.numeric

INSIDE = {"eyes": (0, 1), "nose": (2,), "mouth": (3, 4)}


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


@pytest.mark.parametrize("region", REGION_CODES)
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
    assert set(REGION_CODES) < set(REGIONS)
    with pytest.raises(KeyError):
        region_mask("ear", template(112), 112)


@pytest.mark.parametrize("region", REGION_CODES)
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


def test_regions_lie_to_each_other_as_in_a_face():
    masks = {region: region_mask(region, template(317), 317) > 0.5 for region in REGIONS}
    assert (masks["lips"] <= masks["mouth"]).all() and masks["lips"].sum() < masks["mouth"].sum()
    for region in ("eyes", "eyebrows", "nose", "mouth"):
        assert (masks[region] <= masks["face"]).mean() > 0.99
        assert not (masks["skin"] & masks[region]).any()
        assert ((masks["face"] & ~masks[region]) >= masks["skin"]).all()
    assert not (masks["eyes"] & masks["eyebrows"]).any() and not (masks["eyebrows"] & masks["nose"]).any()
    rows = {region: np.argwhere(mask)[:, 0].mean() for region, mask in masks.items()}
    assert rows["eyebrows"] < rows["eyes"] < rows["nose"] < rows["lips"]
