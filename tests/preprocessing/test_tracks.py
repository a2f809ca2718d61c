import numpy as np
import pytest

from preprocessing.align import TEMPLATE_112, misfit
from preprocessing.faces import Faces
from preprocessing.tracks import follow_face


def face(x, side, score=0.99):
    """(box, score, landmarks) of a face whose box starts at (x, 0)."""
    return [x, 0, x + side, side], score, TEMPLATE_112 / 112 * side + [x, 0]


def faces(*several):
    several = sorted(several, key=lambda item: -(item[0][2] - item[0][0]))
    boxes, scores, landmarks = zip(*several, strict=True) if several else ([], [], [])
    return Faces(*(np.array(part, np.float32).reshape(shape) for part, shape in (
        (boxes, (-1, 4)), (scores, (-1,)), (landmarks, (-1, 5, 2)))))  # fmt: skip


def test_a_passer_by_who_comes_close_does_not_enter():
    """The main face moves slowly; another one walks past and is the larger one in the frames 20 and 30."""
    passing = {10: face(500, 90), 20: face(450, 150), 30: face(380, 150), 40: face(300, 90)}
    others = {frame: [passing[frame]] if frame in passing else [] for frame in range(0, 60, 10)}
    found = {frame: faces(face(100 + frame, 100), *others[frame]) for frame in others}
    assert [len(found[frame].scores) for frame in found] == [1, 2, 2, 2, 2, 1]
    followed = follow_face(found, 0.8)
    assert sorted(followed) == list(found)
    for frame, index in followed.items():
        assert found[frame].boxes[index][0] == 100 + frame


def test_frames_without_the_followed_face_have_none():
    found = {
        0: faces(face(0, 100)),
        10: faces(face(5, 100)),
        20: faces(),
        30: faces(face(400, 60)),
        40: faces(face(0, 95)),
    }
    assert follow_face(found, 0.8) == {0: 0, 10: 0, 40: 0}
    assert follow_face({0: faces(face(0, 100, 0.5)), 1: faces()}, 0.8) == {}
    assert follow_face({}, 0.8) == {}


def test_a_face_far_away_is_another_one_and_so_is_a_face_of_another_size_and_one_that_was_long_gone():
    assert follow_face({0: faces(face(0, 100)), 10: faces(face(150, 101))}, 0.8) == {10: 0}
    assert follow_face({0: faces(face(0, 100)), 10: faces(face(0, 210))}, 0.8) == {10: 0}
    gone = {0: faces(face(0, 100)), **{frame: faces() for frame in range(1, 40)}, 40: faces(face(0, 101))}
    assert follow_face(gone, 0.8) == {40: 0}
    assert follow_face({0: faces(face(0, 100)), 40: faces(face(0, 101))}, 0.8) == {0: 0, 40: 0}


def test_misfit_tells_faces_from_nonsense():
    angle = np.exp(0.7j)
    turned = (TEMPLATE_112 @ [1, 1j]) * 3 * angle + 50
    assert misfit(np.stack([turned.real, turned.imag], axis=1)) == pytest.approx(0, abs=1e-9)
    profile = TEMPLATE_112 * [0.02, 1]
    assert 0.3 < misfit(profile) < 0.45
    assert misfit(TEMPLATE_112 * [-1, 1]) > 0.9
    with pytest.raises(ValueError, match="coincide"):
        misfit(np.ones((5, 2)))
