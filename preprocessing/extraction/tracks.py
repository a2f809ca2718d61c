"""Follow faces through the frames of a video, by their places and their looks."""

import itertools
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import NamedTuple

import cv2
import numpy as np

from datasets.records import evenly_spaced_indices
from preprocessing.detection.align import align_face
from preprocessing.detection.faces import Faces

MAX_STEP = 1.0  # mean distance of a face's landmarks in consecutive frames, in face sides
MAX_GROWTH = 2.0  # ratio of a face's sides in consecutive frames
MAX_GAP = 30  # frames that a track may be interrupted (or twice the distance of the frames seen, if that is more)
# Correlation of two views. Measured on benchmarks/footage.py: one person in consecutive frames 0.79 to 1, two people
# 0.35 to 0.71. Tracks in different places need more to be joined.
MIN_LIKENESS, MIN_LIKENESS_APART = 0.7, 0.85
VIEW = 12  # px, side of a view
MAX_VIEWS = 32  # of a track, compared when tracks are joined
MAX_TRACKS = 200  # compared, those with most presence


class FrameFaces(NamedTuple):
    """The faces of one frame."""

    faces: Faces
    views: np.ndarray  # [n, 3 * VIEW^2] their looks, see views_of; [0] without tracking


def views_of(frame: np.ndarray, faces: Faces) -> np.ndarray:
    """Describe how each face looks; the scalar product of two views is their correlation.

    A view is the aligned face without hair and background, in CIELAB at VIEW x VIEW px, minus its mean colour.

    Args:
        frame: [H, W, 3] uint8 RGB.
        faces: The n faces in it.

    Returns:
        [n, 3 * VIEW^2] float32, unit vectors; zeros for landmarks that all coincide.
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


@dataclass
class _Track:
    members: dict[int, int] = field(default_factory=dict)  # frame -> index of the face in it
    presence: float = 0.0  # px, sum of the face's sides over the frames
    frame: int = 0  # the last one; the three below are of this frame too
    side: float = 0.0
    landmarks: np.ndarray | None = None
    view: np.ndarray | None = None

    def add(self, frame: int, index: int, here: FrameFaces) -> None:
        self.members[frame] = index
        self.frame, self.side, self.landmarks = frame, _side(here.faces, index), here.faces.landmarks[index]
        self.presence += self.side
        self.view = here.views[index]

    def some_views(self, seen: dict[int, FrameFaces]) -> np.ndarray:
        members = list(self.members.items())
        chosen = (members[i] for i in evenly_spaced_indices(len(members), MAX_VIEWS))
        return np.array([seen[frame].views[index] for frame, index in chosen])


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
        min_confidence: Least score of a face.

    Returns:
        For each person frame number -> index of the face. First comes the person with the largest presence, the sum of
        box sides over the frames: a face that stays beats one that comes close for a moment.
    """
    tracks: list[_Track] = []
    recent: OrderedDict[int, None] = OrderedDict()  # the tracks' numbers, by their last frames
    previous = 0
    for frame in sorted(seen):
        here, gap = seen[frame], max(MAX_GAP, 2 * (frame - previous))
        previous = frame
        free = [index for index in range(len(here.faces.scores)) if here.faces.scores[index] >= min_confidence]
        live = _live(tracks, recent, frame - gap)
        steps = sorted((step, t, i) for t in live for i in free if (step := _step(tracks[t], here, i)) is not None)
        for _, t, i in steps:
            if tracks[t].frame != frame and i in free:
                tracks[t].add(frame, i, here)
                recent.move_to_end(t)
                free.remove(i)
        for i in free:
            recent[len(tracks)] = None
            tracks.append(_Track())
            tracks[-1].add(frame, i, here)
    groups = sorted(_joined(tracks, seen), key=lambda group: -sum(track.presence for track in group))
    return [{frame: index for track in group for frame, index in track.members.items()} for group in groups]


def follow_face(seen: dict[int, FrameFaces], min_confidence: float) -> dict[int, int]:
    """Frame number -> index of the followed face, in the frames that show it: the first of ``people``."""
    return next(iter(people(seen, min_confidence)), {})


def _live(tracks: list[_Track], recent: OrderedDict[int, None], since: int) -> list[int]:
    """The numbers of the tracks whose last frame is ``since`` or later."""
    return sorted(itertools.takewhile(lambda t: tracks[t].frame >= since, reversed(recent)))


def _step(track: _Track, here: FrameFaces, index: int) -> float | None:
    """Distance of a face from a track's last one: face sides moved, plus 1 - correlation; None for another face."""
    side = _side(here.faces, index)
    if not 1 / MAX_GROWTH <= side / track.side <= MAX_GROWTH:
        return None
    moved = np.linalg.norm(here.faces.landmarks[index] - track.landmarks, axis=1).mean()
    step = float(moved / np.sqrt(side * track.side))
    likeness = float(track.view @ here.views[index])
    return step + 1 - likeness if step <= MAX_STEP and likeness >= MIN_LIKENESS else None


def _joined(tracks: list[_Track], seen: dict[int, FrameFaces]) -> list[list[_Track]]:
    """Groups of tracks of one face; the most alike are joined first, none with two faces in one frame."""
    tracks = sorted(tracks, key=lambda track: -track.presence)[:MAX_TRACKS]
    views = [track.some_views(seen) for track in tracks]
    pairs = itertools.combinations(range(len(tracks)), 2)
    alike = [(float((views[a] @ views[b].T).max()), a, b) for a, b in pairs]
    group_of = [([track], set(track.members)) for track in tracks]  # the tracks of a group and its frames
    for likeness, a, b in sorted(alike, key=lambda pair: -pair[0]):
        one, other = group_of[a], group_of[b]
        if likeness >= MIN_LIKENESS_APART and one is not other and one[1].isdisjoint(other[1]):
            one[0].extend(other[0])
            one[1].update(other[1])
            group_of = [one if group is other else group for group in group_of]
    return list({id(group): group for group, _ in group_of}.values())
