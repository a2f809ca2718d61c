from types import SimpleNamespace

import av
import matplotlib as mpl
import numpy as np
from PIL import ImageColor

from prediction.palette import OUTCOME_COLOURS
from prediction.pictures import box_at, draw_face, overlay, timeline
from prediction.verdicts import Verdict
from prediction.wording import OUTCOMES
from preprocessing.extraction.video import BT601, yuv_planes


def test_a_box_moves_between_used_frames_and_stays_around_them():
    boxes = {10: np.zeros(4), 20: np.full(4, 10.0), 60: np.full(4, 50.0)}
    expected = {4: None, 5: 0, 10: 0, 12: 2, 20: 10, 25: 10, 26: None, 54: None, 55: 50, 60: 50, 65: 50, 66: None}
    for frame, value in expected.items():
        box = box_at(frame, boxes, 10)
        assert box is None if value is None else (box == value).all()
    assert (box_at(7, {7: np.ones(4)}, 1) == 1).all()
    assert box_at(8, {7: np.ones(4)}, 1) is None


def test_every_verdict_has_its_colour():
    assert set(OUTCOME_COLOURS) == set(OUTCOMES) - {"no_face", "unreadable"}
    for outcome, colour in OUTCOME_COLOURS.items():
        image = np.zeros((100, 100, 3), np.uint8)
        draw_face([image], (20, 40, 80, 90), outcome, ["x"])
        assert (image[90, 50] == ImageColor.getrgb(colour.fill)).all() and (image[60, 50] == 0).all()


def test_planes_are_drawn_on_as_rgb_is():
    image = np.full((100, 100, 3), 90, np.uint8)
    planes = yuv_planes(image)
    draw_face([image], (20, 40, 80, 90), "fake", ["x"])
    draw_face(planes, (20, 40, 80, 90), "fake", ["x"], BT601)
    values = np.concatenate([plane.ravel() for plane in planes]).reshape(-1, 100)
    shown = av.VideoFrame.from_ndarray(values, format="yuv420p").to_ndarray(format="rgb24")
    away = np.abs(shown.astype(int) - image).max(axis=2)
    assert np.mean(away > 12) < 0.03, "only the colours of edges, which two pixels share, may differ"
    assert away[60, 50] <= 3 and away[90, 50] <= 4


def test_a_timeline_bears_any_name_whatever_the_users_settings(monkeypatch):
    p_fake = np.array([0.6, 0.8])
    person = SimpleNamespace(verdict=Verdict(p_fake, p_fake, {}, []), outcome="fake")
    drawn = []
    for setting in (False, True):
        monkeypatch.setitem(mpl.rcParams, "text.usetex", setting)
        crops = {0: np.zeros((8, 8, 3), np.uint8)}
        drawn.append(timeline(person, [0.0, 1.0], crops, (0.4, 0.6), "a$\\frac{b_$.mp4, person 1: fake"))
    assert drawn[0] == drawn[1] and drawn[0].startswith(b"\x89PNG")


def test_heat_is_colour_and_its_absence_is_grey():
    crop = np.full((8, 8, 3), (90, 120, 30), np.uint8)
    heat = np.zeros((4, 4), np.float32)
    heat[0, 0] = 7
    laid = overlay(crop, heat)
    assert laid.shape == crop.shape and np.ptp(laid[7, 7]) == 0 < np.ptp(laid[0, 0])
