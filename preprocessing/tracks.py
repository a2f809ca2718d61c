"""Follow one face through the frames of a video."""

from dataclasses import dataclass, field

import numpy as np

from preprocessing.faces import Faces

MAX_STEP = 1.0  # mean distance of the landmarks between two looks at a face, in face sides
MAX_GROWTH = 2.0  # factor between the sides of a face at two looks
MAX_GAP = 30  # frames a face may be away (or two looks, where frames are further apart)


@dataclass
class _Track:
    members: dict[int, int] = field(default_factory=dict)  # frame -> index of the face in it
    presence: float = 0.0  # px, sides summed over the looks
    frame: int = 0  # of the last look, as the two below
    side: float = 0.0
    landmarks: np.ndarray | None = None

    def add(self, frame: int, index: int, faces: Faces) -> None:
        self.members[frame] = index
        self.frame, self.side, self.landmarks = frame, _side(faces, index), faces.landmarks[index]
        self.presence += self.side


def _side(faces: Faces, index: int) -> float:
    """Geometric mean of a box's width and height, px."""
    x1, y1, x2, y2 = faces.boxes[index]
    return float(np.sqrt(max(x2 - x1, 1) * max(y2 - y1, 1)))


def follow_face(found: dict[int, Faces], min_confidence: float) -> dict[int, int]:
    """Frame -> index of the followed face, for the frames that show it.

    found: frame number -> its faces. Confident faces of consecutive looks are joined, nearest first, by the mean
    distance of their landmarks (in face sides; MAX_STEP, MAX_GROWTH and MAX_GAP say what is too far). Of all tracks
    the one with the largest sum of box sides is followed: a face that stays beats one that comes close for a moment.
    """
    tracks: list[_Track] = []
    previous = 0
    for frame in sorted(found):
        faces, allowed = found[frame], max(MAX_GAP, 2 * (frame - previous))
        previous = frame
        free = [index for index in range(len(faces.scores)) if faces.scores[index] >= min_confidence]
        live = [track for track in tracks if frame - track.frame <= allowed]
        steps = sorted((step, t, i) for t, track in enumerate(live) for i in free if (step := _step(track, faces, i)))
        for _, t, i in steps:
            if live[t].frame != frame and i in free:
                live[t].add(frame, i, faces)
                free.remove(i)
        for i in free:
            tracks.append(_Track())
            tracks[-1].add(frame, i, faces)
    return max(tracks, key=lambda track: track.presence).members if tracks else {}


def _step(track: _Track, faces: Faces, index: int) -> float | None:
    """Distance between a track's last look and a face, in face sides; None when too far to be the same face."""
    side = _side(faces, index)
    if not 1 / MAX_GROWTH <= side / track.side <= MAX_GROWTH:
        return None
    distance = np.linalg.norm(faces.landmarks[index] - track.landmarks, axis=1).mean()
    step = float(distance) / np.sqrt(side * track.side)
    return max(step, 1e-9) if step <= MAX_STEP else None
