import matplotlib.cbook
import numpy as np
import pytest
import skimage.data
from PIL import Image

from datasets.face_regions import TEMPLATE_112
from preprocessing.detection.align import misfit
from preprocessing.detection.faces import Faces
from preprocessing.extraction.tracks import FrameFaces, follow_face, look_between, people, views_of

pytestmark = pytest.mark.numeric

# Landmarks of the photographs, seen by hand.
ASTRONAUT = np.array([[203, 100], [246, 102], [226, 129], [205, 141], [246, 143]])
HOPPER = np.array([[222, 190], [305, 187], [263, 225], [230, 270], [305, 265]])


def view(person):
    """People look as unlike each other as unit vectors at right angles."""
    return np.eye(432, dtype=np.float32)[person]


def face(x, side, score=0.99, person=0):
    """(box, score, landmarks, view) of a face whose box starts at (x, 0)."""
    return [x, 0, x + side, side], score, TEMPLATE_112 / 112 * side + [x, 0], view(person)


def frame_faces(*several):
    several = sorted(several, key=lambda item: -(item[0][2] - item[0][0]))
    columns = zip(*several, strict=True) if several else ([], [], [], [])
    shapes = ((-1, 4), (-1,), (-1, 5, 2), (-1, 432))
    boxes, scores, landmarks, views = (
        np.array(column, np.float32).reshape(shape) for column, shape in zip(columns, shapes, strict=True)
    )
    return FrameFaces(Faces(boxes, scores, landmarks), views)


def test_a_passer_by_who_comes_close_does_not_enter():
    """The main face moves slowly; another one walks past and is the larger one in the frames 20 and 30."""
    passing = {10: face(500, 90), 20: face(450, 150), 30: face(380, 150), 40: face(300, 90)}
    others = {frame: [(*passing[frame][:3], view(1))] if frame in passing else [] for frame in range(0, 60, 10)}
    seen = {frame: frame_faces(face(100 + frame, 100), *others[frame]) for frame in others}
    assert [len(seen[frame].views) for frame in seen] == [1, 2, 2, 2, 2, 1]
    followed = follow_face(seen, 0.8)
    assert sorted(followed) == list(seen)
    for frame, index in followed.items():
        assert seen[frame].faces.boxes[index][0] == 100 + frame


def test_two_people_who_cross_keep_their_tracks():
    """At frame 20 the main face is hidden and the other one stands where it was."""
    seen = {
        0: frame_faces(face(0, 100), face(200, 90, person=1)),
        10: frame_faces(face(5, 100), face(100, 90, person=1)),
        20: frame_faces(face(8, 90, person=1)),
        30: frame_faces(face(10, 100)),
        40: frame_faces(face(12, 100)),
    }
    assert follow_face(seen, 0.8) == {0: 0, 10: 0, 30: 0, 40: 0}


def test_a_face_that_comes_back_elsewhere_is_known_again():
    away = {frame: frame_faces(face(600, 90, person=1)) for frame in range(20, 120, 10)}
    seen = {0: frame_faces(face(0, 100)), 10: frame_faces(face(5, 100)), **away}
    seen |= {frame: frame_faces(face(500, 70), face(900, 90, person=1)) for frame in range(120, 300, 10)}
    assert sorted(follow_face(seen, 0.8)) == list(range(20, 300, 10))  # person 1, away from nothing, stays longest
    seen = {frame: frame_faces(face(0, 150)) if frame < 100 else frame_faces() for frame in range(0, 200, 10)}
    seen[300] = frame_faces(face(800, 40))
    seen[310] = frame_faces(face(800, 40, person=1))
    assert sorted(follow_face(seen, 0.8)) == [*range(0, 100, 10), 300]


def test_frames_without_the_followed_face_have_none():
    seen = {
        0: frame_faces(face(0, 100)),
        10: frame_faces(face(5, 100)),
        20: frame_faces(),
        30: frame_faces(face(400, 60, person=1)),
    }
    seen[40] = frame_faces(face(0, 95))
    assert follow_face(seen, 0.8) == {0: 0, 10: 0, 40: 0}
    assert follow_face({0: frame_faces(face(0, 100, 0.5)), 1: frame_faces()}, 0.8) == {}
    assert follow_face({}, 0.8) == {}


def test_views_tell_people_apart():
    astronaut = skimage.data.astronaut()
    hopper = np.array(Image.open(matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)))
    views = []
    for photo, points in ((astronaut, ASTRONAUT), (hopper, HOPPER)):
        for picture, landmarks in ((photo, points), (photo // 2 + 40, points + [2, -2])):
            one = Faces(np.zeros((1, 4)), np.ones(1), np.float32(landmarks)[None])
            views.append(views_of(picture, one)[0])
    likeness = np.array(views) @ np.array(views).T
    np.testing.assert_allclose(np.diag(likeness), 1, atol=1e-5)
    assert likeness[0, 1] > 0.85
    assert likeness[2, 3] > 0.85
    assert likeness[:2, 2:].max() < 0.7
    degenerate = Faces(np.zeros((1, 4)), np.ones(1), np.full((1, 5, 2), 9, np.float32))
    assert not views_of(astronaut, degenerate).any()


def test_misfit_tells_faces_from_nonsense():
    angle = np.exp(0.7j)
    turned = (TEMPLATE_112 @ [1, 1j]) * 3 * angle + 50
    assert misfit(np.stack([turned.real, turned.imag], axis=1)) == pytest.approx(0, abs=1e-9)
    profile = TEMPLATE_112 * [0.02, 1]
    assert 0.3 < misfit(profile) < 0.45
    assert misfit(TEMPLATE_112 * [-1, 1]) > 0.9
    with pytest.raises(ValueError, match="coincide"):
        misfit(np.ones((5, 2)))


def test_a_head_that_turns_stays_one_person_and_a_cut_is_seen():
    """Between two frames that look different at one place, the frames between tell: a slow change, or a cut."""
    looks = np.linalg.qr(np.random.default_rng(1).standard_normal((432, 2)))[0].T

    def turning(frame, at=None):
        share = np.clip(frame / 40, 0, 1) if at is None else float(frame >= at)
        view = np.cos(share * np.pi / 2) * looks[0] + np.sin(share * np.pi / 2) * looks[1]
        return frame_faces(face(frame / 10, 100))._replace(views=view[None].astype(np.float32))

    for at, n_people in ((None, 1), (17, 2)):
        asked = []

        def look(frames, at=at, asked=asked):
            asked.extend(frames)
            return {frame: turning(frame, at) for frame in frames if frame != 20}  # one cannot be decoded

        seen = look_between({0: turning(0, at), 40: turning(40, at)}, 0.8, look)
        assert len(people(seen, 0.8)) == n_people
        assert len(asked) == len(set(asked)) < 12
