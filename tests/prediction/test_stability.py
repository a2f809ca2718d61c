"""Verdicts after re-encoding."""

from types import SimpleNamespace

import numpy as np
import pytest
import skimage.data

from models.label_tree import FFPP
from prediction.people import Source
from prediction.stability import REENCODINGS, check_stability, instability
from preprocessing.detection.align import align_face

LANDMARKS = np.array([[[203, 100], [246, 102], [226, 129], [205, 141], [246, 143]]], np.float32)


@pytest.mark.parametrize("limit", [0.0, 1e6])
def test_a_verdict_that_flips_is_told(limit):
    """The stand-in calls a crop fake if it is sharper than a limit between the original and its re-encodings."""

    def score_crops(crops):
        scores = np.zeros((len(crops), 10), np.float32)
        scores[:, 0] = [9 if np.abs(np.diff(crop.astype(int), axis=0)).mean() > limit else -9 for crop in crops]
        seen.extend(crop.shape for crop in crops)
        return scores

    seen = []
    predictor = SimpleNamespace(tree=FFPP, align=lambda *args: align_face(*args, 317, 1.3), score_crops=score_crops)
    context = SimpleNamespace(predictor=predictor, band=(0.5, 0.5), calibrate=None)
    person = SimpleNamespace(frames=[0], landmarks=LANDMARKS, outcome="fake")
    (entry,) = check_stability(Source("photo", skimage.data.astronaut()[:384]), [person], context)
    assert list(entry["reencoded"]) == list(REENCODINGS)
    assert seen == [(317, 317, 3), (317, 317, 3), (238, 238, 3)]
    outcome = "fake" if limit == 0 else "real"
    assert {made["outcome"] for made in entry["reencoded"].values()} == {outcome}
    assert entry["stable"] == (outcome == "fake")
    if outcome == "fake":
        assert instability(entry) == ""
    else:
        assert instability(entry).startswith("Uncertain under re-encoding: JPEG 75 real (0.0")


def test_crops_change_but_little():
    crop = align_face(skimage.data.astronaut()[:384], LANDMARKS[0], 317, 1.3)
    for name in ("JPEG 75", "H.264 CRF 30"):
        (made,) = REENCODINGS[name]([crop])
        assert made.shape == crop.shape
        assert 0.1 < np.abs(made.astype(int) - crop).mean() < 8
