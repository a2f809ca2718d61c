"""Follow faces through the frames of a video by place and appearance."""

import itertools
from collections import OrderedDict
from typing import NamedTuple

import cv2
import numpy as np

from datasets.records import evenly_spaced_indices
from preprocessing.detection.align import align_face
from preprocessing.detection.faces import Faces

MAX_STEP = 1.0  # mean distance of a face's landmarks in consecutive frames, in face sides
MAX_GROWTH = 2.0  # ratio of a face's sides in consecutive frames
MAX_GAP = 30  # frames that a track may be interrupted, or twice the distance of the last two frames if that is more
# Smallest correlation of two views of one person. On benchmarks/footage.py one person in consecutive frames has 0.79 to
# 1, two people have 0.35 to 0.71. Joining two tracks needs more.
MIN_LIKENESS, MIN_LIKENESS_APART = 0.7, 0.85
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

    Confident faces of consecutive frames are joined into tracks, nearest first, if they are close (landmarks, in face
    sides), of similar size and look alike. Then tracks that look very much alike and share no frame are joined: a face
    that went away and came back.

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
        free = np.flatnonzero(seen[frame].faces.scores >= min_confidence).tolist()
        pairs = ((_distance(seen, tracks[t], frame, i), t, i) for t in _since(oldest, last_frames) for i in free)
        for _, t, i in sorted(pair for pair in pairs if pair[0] is not None):
            if frame not in tracks[t] and i in free:
                tracks[t][frame], last_frames[t] = i, frame
                last_frames.move_to_end(t)
                free.remove(i)
        for i in free:
            last_frames[len(tracks)] = frame
            tracks.append({frame: i})
    return sorted(_join_tracks(tracks, seen), key=lambda person: -_presence(person, seen))


def follow_face(seen: dict[int, FrameFaces], min_confidence: float) -> dict[int, int]:
    """Frame number -> index of the followed face, in the frames that show it: the first of ``people``."""
    return next(iter(people(seen, min_confidence)), {})


def _since(oldest: int, last_frames: OrderedDict[int, int]) -> list[int]:
    """The numbers of the tracks whose last frame is ``oldest`` or later."""
    return [t for t, _ in itertools.takewhile(lambda item: item[1] >= oldest, reversed(last_frames.items()))]


def _presence(track: dict[int, int], seen: dict[int, FrameFaces]) -> float:
    return sum(_side(seen[frame].faces, index) for frame, index in track.items())


def _distance(seen: dict[int, FrameFaces], track: dict[int, int], frame: int, index: int) -> float | None:
    """Distance of a face from the last one of a track: face sides moved + 1 - correlation; None for another person."""
    last, face = next(reversed(track.items()))
    before, here = seen[last], seen[frame]
    side, side_before = _side(here.faces, index), _side(before.faces, face)
    if not 1 / MAX_GROWTH <= side / side_before <= MAX_GROWTH:
        return None
    moved = np.linalg.norm(here.faces.landmarks[index] - before.faces.landmarks[face], axis=1).mean()
    step = float(moved / np.sqrt(side * side_before))
    likeness = float(before.views[face] @ here.views[index])
    return step + 1 - likeness if step <= MAX_STEP and likeness >= MIN_LIKENESS else None


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
