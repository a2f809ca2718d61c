"""Follow one face through the frames of a video, by where it is and by how it looks."""

from collections import OrderedDict
from dataclasses import dataclass, field
from itertools import takewhile
from typing import NamedTuple

import cv2
import numpy as np

from datasets.sampling import evenly_spaced_indices
from preprocessing.detection.align import align_face
from preprocessing.detection.faces import Faces

MAX_STEP = 1.0  # mean distance of the landmarks between two looks at a face, in face sides
MAX_GROWTH = 2.0  # factor between the sides of a face at two looks
MAX_GAP = 30  # frames a face may be away (or two looks, where frames are further apart)
# Correlation of two views. Measured on benchmarks/footage.py: one person at consecutive looks 0.79 to 1, two people
# 0.35 to 0.71. Tracks that are joined without a common place need more.
MIN_LIKENESS, MIN_LIKENESS_APART = 0.7, 0.85
VIEW = 12  # px, side of a view
MAX_VIEWS = 32  # of a track, compared when tracks are joined
MAX_TRACKS = 200  # that are compared, those of most presence


class FrameFaces(NamedTuple):
    """One frame: its faces, and how each looks [n, 3 * VIEW^2] (see views_of; nothing [0] without tracking)."""

    faces: Faces
    views: np.ndarray


def views_of(frame: np.ndarray, faces: Faces) -> np.ndarray:
    """How each face of a frame [H, W, 3] uint8 RGB looks: [n, 3 * VIEW^2] float32, unit vectors.

    A view is the aligned face (no hair, no background) in CIELAB at VIEW x VIEW px, without its mean colour; the scalar
    product of two of them is their correlation. Landmarks that all coincide give zeros.
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
    presence: float = 0.0  # px, sides summed over the looks
    frame: int = 0  # of the last look, as the three below
    side: float = 0.0
    landmarks: np.ndarray | None = None
    view: np.ndarray | None = None

    def add(self, frame: int, index: int, look: FrameFaces) -> None:
        self.members[frame] = index
        self.frame, self.side, self.landmarks = frame, _side(look.faces, index), look.faces.landmarks[index]
        self.presence += self.side
        self.view = look.views[index]

    def some_views(self, found: dict[int, FrameFaces]) -> np.ndarray:
        looks = list(self.members.items())
        places = (looks[i] for i in evenly_spaced_indices(len(looks), MAX_VIEWS))
        return np.array([found[frame].views[index] for frame, index in places])


def _side(faces: Faces, index: int) -> float:
    """Geometric mean of a box's width and height, px."""
    x1, y1, x2, y2 = faces.boxes[index]
    return float(np.sqrt(max(x2 - x1, 1) * max(y2 - y1, 1)))


def people(found: dict[int, FrameFaces], min_confidence: float) -> list[dict[int, int]]:
    """The faces of each person: frame -> index of the face in it; the person of most presence first.

    found: frame number -> its faces. Confident faces of consecutive looks are joined into tracks, nearest first, when
    they are near each other (landmarks, in face sides), of like size and alike. Tracks that look very much alike and
    never share a frame are then joined: a face that went away and came back. Presence is the sum of box sides: a face
    that stays beats one that comes close for a moment.
    """
    tracks: list[_Track] = []
    recent: OrderedDict[int, None] = OrderedDict()  # the tracks' numbers in order of their last looks
    previous = 0
    for frame in sorted(found):
        look, allowed = found[frame], max(MAX_GAP, 2 * (frame - previous))
        previous = frame
        free = [index for index in range(len(look.faces.scores)) if look.faces.scores[index] >= min_confidence]
        live = _live(tracks, recent, frame - allowed)
        steps = sorted((step, t, i) for t in live for i in free if (step := _step(tracks[t], look, i)) is not None)
        for _, t, i in steps:
            if tracks[t].frame != frame and i in free:
                tracks[t].add(frame, i, look)
                recent.move_to_end(t)
                free.remove(i)
        for i in free:
            recent[len(tracks)] = None
            tracks.append(_Track())
            tracks[-1].add(frame, i, look)
    groups = sorted(_joined(tracks, found), key=lambda group: -sum(track.presence for track in group))
    return [{frame: index for track in group for frame, index in track.members.items()} for group in groups]


def follow_face(found: dict[int, FrameFaces], min_confidence: float) -> dict[int, int]:
    """Frame -> index of the followed face, for the frames that show it: the first of ``people``."""
    return next(iter(people(found, min_confidence)), {})


def _live(tracks: list[_Track], recent: OrderedDict[int, None], since: int) -> list[int]:
    """The numbers of the tracks whose last look is frame ``since`` or later."""
    return sorted(takewhile(lambda t: tracks[t].frame >= since, reversed(recent)))


def _step(track: _Track, look: FrameFaces, index: int) -> float | None:
    """How far a face is from a track's last look: face sides moved, plus 1 - correlation; None for another face."""
    side = _side(look.faces, index)
    if not 1 / MAX_GROWTH <= side / track.side <= MAX_GROWTH:
        return None
    step = float(
        np.linalg.norm(look.faces.landmarks[index] - track.landmarks, axis=1).mean() / np.sqrt(side * track.side)
    )
    likeness = float(track.view @ look.views[index])
    return step + 1 - likeness if step <= MAX_STEP and likeness >= MIN_LIKENESS else None


def _joined(tracks: list[_Track], found: dict[int, FrameFaces]) -> list[list[_Track]]:
    """Groups of tracks of one face: the most alike first, none with two faces in one frame."""
    tracks = sorted(tracks, key=lambda track: -track.presence)[:MAX_TRACKS]
    views = [track.some_views(found) for track in tracks]
    alike = [
        (float((views[a] @ views[b].T).max()), a, b) for a in range(len(tracks)) for b in range(a + 1, len(tracks))
    ]
    group_of = [([track], set(track.members)) for track in tracks]  # the frames of a group beside it
    for likeness, a, b in sorted(alike, key=lambda pair: -pair[0]):
        one, other = group_of[a], group_of[b]
        if likeness >= MIN_LIKENESS_APART and one is not other and one[1].isdisjoint(other[1]):
            one[0].extend(other[0])
            one[1].update(other[1])
            group_of = [one if group is other else group for group in group_of]
    return list({id(group): group for group, _ in group_of}.values())
