"""Follow faces through the frames of a video by place and appearance."""

import itertools
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np
from scipy.optimize import linear_sum_assignment

from datasets.records import evenly_spaced_indices
from preprocessing.detection.align import align_face
from preprocessing.detection.faces import Faces
from preprocessing.extraction.face_limits import confident

MAX_STEP = 1.0  # mean distance of a face's landmarks in consecutive frames, in face sides
MAX_GROWTH = 2.0  # ratio of a face's sides in consecutive frames
MAX_GAP = 30  # frames that a track may be interrupted, or twice the distance of the last two frames if that is more
# Smallest correlation of two views of one person. On benchmarks/footage.py one person in consecutive frames has 0.79 to
# 1, two people have 0.35 to 0.71. Joining two tracks needs more.
MIN_LIKENESS, MIN_LIKENESS_APART = 0.7, 0.85
MIN_OVERLAP = 0.3  # intersection over union of the boxes of a face that stays at its place
_OTHER_PERSON = 1e6  # distance of faces that are not joined
VIEW = 12  # px, side of a view
MAX_VIEWS = 32  # of a track, compared when tracks are joined
MAX_TRACKS = 200  # compared: those with the largest presence


class FrameFaces(NamedTuple):
    """The faces of one frame."""

    faces: Faces
    views: np.ndarray  # [n, 3 * VIEW^2], see views_of; [0] without tracking


def views_of(frame: np.ndarray, faces: Faces) -> np.ndarray:
    """Describe the appearance of the n faces of a frame [H, W, 3] uint8 RGB.

    A view is the aligned face without hair and background, in CIELAB at VIEW x VIEW px, minus its mean colour.

    Returns:
        [n, 3 * VIEW^2] float32, unit vectors, so a scalar product is a correlation; zeros if all landmarks coincide.
    """
    views = np.zeros((len(faces.scores), 3 * VIEW**2), np.float32)
    for view, landmarks in zip(views, faces.landmarks, strict=True):
        if np.ptp(landmarks, axis=0).max() >= 1:
            face = align_face(frame, landmarks, 8 * VIEW, 1.0)[VIEW:-VIEW, VIEW:-VIEW]
            small = cv2.resize(face, (VIEW, VIEW), interpolation=cv2.INTER_AREA)
            colours = cv2.cvtColor(small, cv2.COLOR_RGB2LAB).astype(np.float32)
            colours -= colours.mean(axis=(0, 1))
            view[:] = colours.ravel() / max(float(np.linalg.norm(colours)), 1e-6)
    return views


def _side(faces: Faces, index: int) -> float:
    """Geometric mean of a box's width and height, px."""
    x1, y1, x2, y2 = faces.boxes[index]
    return float(np.sqrt(max(x2 - x1, 1) * max(y2 - y1, 1)))


def people(seen: dict[int, FrameFaces], min_confidence: float) -> list[dict[int, int]]:
    """Find which faces of different frames belong to one person.

    Confident faces of consecutive frames are joined into tracks, by the least sum of distances, if they are close
    (landmarks, in face sides), of similar size and look alike. Then tracks that look very much alike and share no frame
    are joined: a face that went away and came back.

    Args:
        seen: Frame number -> its faces.
        min_confidence: Smallest score of a face.

    Returns:
        For each person frame number -> index of the face, sorted by presence, the sum of box sides over the frames: a
        face that stays comes before one that was close for a moment.
    """
    tracks: list[dict[int, int]] = []  # frame -> index of the face, in rising order
    last_frames: OrderedDict[int, int] = OrderedDict()  # number of a track -> its last frame, in rising order
    previous = 0
    for frame in sorted(seen):
        oldest = frame - max(MAX_GAP, 2 * (frame - previous))
        previous = frame
        faces, live = confident(seen[frame].faces, min_confidence).tolist(), _since(oldest, last_frames)
        distances = np.array([[_distance(seen, tracks[t], frame, i) for i in faces] for t in live], float)
        pairs = zip(*linear_sum_assignment(distances), strict=True) if distances.size else ()
        track_of = {faces[column]: live[row] for row, column in pairs if distances[row, column] < _OTHER_PERSON}
        for i in faces:
            number = track_of.get(i, len(tracks))
            if number == len(tracks):
                tracks.append({})
            tracks[number][frame], last_frames[number] = i, frame
            last_frames.move_to_end(number)
    return sorted(_join_tracks(tracks, seen), key=lambda person: -_presence(person, seen))


def follow_face(seen: dict[int, FrameFaces], min_confidence: float) -> dict[int, int]:
    """Frame number -> index of the followed face, in the frames that show it: the first of ``people``."""
    return next(iter(people(seen, min_confidence)), {})


def look_between(
    seen: dict[int, FrameFaces], min_confidence: float, look: Callable[[set[int]], dict[int, FrameFaces]]
) -> dict[int, FrameFaces]:
    """Add frames until ``people`` can tell a person who turns their head from a cut to someone else.

    Args:
        seen: Frame number -> its faces.
        min_confidence: Smallest score of a face.
        look: Frame numbers -> the faces of those that can be decoded.

    Returns:
        ``seen`` and the frames that were looked at between them.
    """
    tried = set(seen)
    while more := _unclear_frames(seen, min_confidence) - tried:
        tried |= more
        seen = seen | look(more)
    return seen


def _unclear_frames(seen: dict[int, FrameFaces], min_confidence: float) -> set[int]:
    """Three frames between any two consecutive ones in which a face at the same place looks different."""
    unclear: set[int] = set()
    for a, b in itertools.pairwise(sorted(seen)):
        one, other = seen[a], seen[b]
        places = itertools.product(*(confident(here.faces, min_confidence) for here in (one, other)))
        if any(
            one.views[i] @ other.views[j] < MIN_LIKENESS
            and _overlap(one.faces.boxes[i], other.faces.boxes[j]) >= MIN_OVERLAP
            for i, j in places
        ):
            unclear |= {a + (b - a) * quarter // 4 for quarter in (1, 2, 3)}
    return unclear


def _overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union of two boxes, xyxy [4]."""
    shared = np.prod(np.maximum(np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2]), 0))
    return float(shared / (np.prod(one[2:] - one[:2]) + np.prod(other[2:] - other[:2]) - shared))


def _since(oldest: int, last_frames: OrderedDict[int, int]) -> list[int]:
    """The numbers of the tracks whose last frame is ``oldest`` or later."""
    return [t for t, _ in itertools.takewhile(lambda item: item[1] >= oldest, reversed(last_frames.items()))]


def _presence(track: dict[int, int], seen: dict[int, FrameFaces]) -> float:
    return sum(_side(seen[frame].faces, index) for frame, index in track.items())


def _distance(seen: dict[int, FrameFaces], track: dict[int, int], frame: int, index: int) -> float:
    """Distance of a face from the last one of a track: face sides moved + 1 - correlation, or _OTHER_PERSON."""
    last, face = next(reversed(track.items()))
    before, here = seen[last], seen[frame]
    side, side_before = _side(here.faces, index), _side(before.faces, face)
    if not 1 / MAX_GROWTH <= side / side_before <= MAX_GROWTH:
        return _OTHER_PERSON
    moved = np.linalg.norm(here.faces.landmarks[index] - before.faces.landmarks[face], axis=1).mean()
    step = float(moved / np.sqrt(side * side_before))
    likeness = float(before.views[face] @ here.views[index])
    return step + 1 - likeness if step <= MAX_STEP and likeness >= MIN_LIKENESS else _OTHER_PERSON


def _join_tracks(tracks: list[dict[int, int]], seen: dict[int, FrameFaces]) -> list[dict[int, int]]:
    """Join the tracks of one person, most alike first; tracks that share a frame are never joined."""
    persons = [dict(track) for track in sorted(tracks, key=lambda track: -_presence(track, seen))[:MAX_TRACKS]]
    views = []
    for person in persons:
        faces = list(person.items())
        chosen = (faces[i] for i in evenly_spaced_indices(len(faces), MAX_VIEWS))
        views.append(np.array([seen[frame].views[index] for frame, index in chosen]))
    pairs = itertools.combinations(range(len(persons)), 2)
    alike = [(float((views[a] @ views[b].T).max()), a, b) for a, b in pairs]
    for likeness, a, b in sorted(alike, key=lambda pair: -pair[0]):
        one, other = persons[a], persons[b]
        if likeness >= MIN_LIKENESS_APART and one is not other and one.keys().isdisjoint(other):
            one.update(other)
            persons = [one if person is other else person for person in persons]
    return list({id(person): person for person in persons}.values())
