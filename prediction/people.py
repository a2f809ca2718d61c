"""The people in a picture or a video: the faces good enough to be cropped, frame by frame, then person by person.

The frames, the choice of faces and their crops are those of extract_faces.py; only it takes one face of a frame.
"""

import bisect
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from preprocessing.detection.detectors import Detector
from preprocessing.detection.faces import Faces
from preprocessing.extraction.face_crops import (
    BATCH,
    MIN_CONFIDENCE,
    Pick,
    confident,
    frames_nearby,
    frames_used,
    judge,
    one_thread,
)
from preprocessing.extraction.options import OURS
from preprocessing.extraction.tracks import FrameFaces, people, views_of
from preprocessing.extraction.video import count_frames, frame_indices, read_frames

# Share of the frames looked at in which a person must be seen. What a detector takes for a face in a pattern is seen in
# one or two of 32, and would be called fake for all the video.
MIN_PRESENCE = 0.1


class GoodFaces(NamedTuple):
    """The good faces of a frame, largest first, as ``Faces`` has them, and why the others were left out."""

    boxes: np.ndarray  # [n, 4]
    scores: np.ndarray  # [n]
    landmarks: np.ndarray  # [n, 5, 2]
    dropped: tuple[str, ...]  # statuses of the manifest: too_small, bad_landmarks


class People(NamedTuple):
    """What looking through a video gave. count: its frames. seen: frame -> what ``look`` returned for it. persons: of
    each the frame -> index of the person's face, the person of most presence first. dropped: reason -> faces left out.
    """

    count: int
    seen: dict[int, NamedTuple]
    persons: list[dict[int, int]]
    dropped: Counter


class Rules(NamedTuple):
    """Which faces are good: the defaults of extract_faces.py, as ``face_crops.Settings`` has them."""

    min_confidence: float
    protocol: str = "ours"
    retry: int = OURS["retry"]

    @staticmethod
    def of(detector: str) -> "Rules":
        return Rules(MIN_CONFIDENCE[detector])


def find_faces(frames: list[np.ndarray], detector: Detector, rules: Rules) -> list[GoodFaces]:
    """The faces of each frame [H, W, 3] uint8 RGB that extraction would crop, sure, large and face-shaped enough."""
    with one_thread():
        found = detector.detect(frames)
    return [_good(faces, rules) for faces in found]


def _good(faces: Faces, rules: Rules) -> GoodFaces:
    picks = [judge(faces, int(face), rules) for face in confident(faces, rules)]
    kept = [pick.face for pick in picks if pick.status == "ok"]
    return GoodFaces(*(values[kept] for values in faces), tuple(pick.status for pick in picks if pick.status != "ok"))


def look_at_photo(photo: np.ndarray, look: Callable[[list[np.ndarray]], list]) -> People:
    """As ``look_through`` for a single picture [H, W, 3] uint8 RGB, frame 0: every face is a person."""
    (seen,) = look([photo])
    return People(1, {0: seen}, [{0: face} for face in range(len(seen.faces.scores))], Counter(seen.faces.dropped))


def look_through(
    video: Path,
    n_frames: int,
    rules: Rules,
    look: Callable[[list[np.ndarray]], list],
    progress: Callable[[int], object] = lambda frames: None,
) -> People:
    """Look at ``n_frames`` frames of a video as extract_faces.py chooses them, and tell its people apart.

    A frame without a good face gives its place to a near one that has one. look: frames [H, W, 3] uint8 RGB -> for each
    an object whose ``faces`` is its GoodFaces; it gets at most BATCH frames at once, and no frame is kept. progress:
    called with the number of frames looked at each time. People seen in too few frames (MIN_PRESENCE) are left out.
    Raises VideoError for a video without frames.
    """
    views: dict[int, np.ndarray] = {}

    def look_at(indices: Iterable[int]) -> dict[int, NamedTuple]:
        seen = {}
        frames = read_frames(video, indices)
        while batch := list(islice(frames, BATCH)):
            for (index, frame), found in zip(batch, look([frame for _, frame in batch]), strict=True):
                seen[index], views[index] = found, views_of(frame, found.faces)
            progress(len(batch))
        return seen

    count = count_frames(video)
    wanted = frame_indices(count, n_frames)
    seen = look_at(wanted)
    if wanted[-1] not in seen:  # the container promised more frames than there are
        true_count = count_frames(video, decode=True)
        if true_count < count:
            count, wanted = true_count, frame_indices(true_count, n_frames)
            seen = {index: seen[index] for index in seen.keys() & wanted}
            seen |= look_at(set(wanted).difference(seen))
    lost = [index for index in wanted if index not in seen or not len(seen[index].faces.scores)]
    seen |= look_at(frames_nearby(wanted, lost, rules.retry, count))
    picks = {index: Pick("ok" if len(found.faces.scores) else "no_face") for index, found in seen.items()}
    used = frames_used(wanted, picks, rules.retry, count)
    seen = {index: seen[index] for index in sorted(used.values()) if index in seen}
    return _people(count, seen, views, rules)


def _people(count: int, seen: dict[int, NamedTuple], views: dict[int, np.ndarray], rules: Rules) -> People:
    looks = {index: FrameFaces(found.faces, views[index]) for index, found in seen.items()}
    persons = people(looks, rules.min_confidence)
    least = math.ceil(MIN_PRESENCE * len(seen))
    stayed = [person for person in persons if len(person) >= least]
    dropped = Counter(status for found in seen.values() for status in found.faces.dropped)
    dropped["brief"] += sum(len(person) for person in persons) - sum(len(person) for person in stayed)
    return People(count, seen, [dict(sorted(person.items())) for person in stayed], +dropped)


def box_at(frame: int, boxes: Mapping[int, np.ndarray], gap: int) -> np.ndarray | None:
    """Where a person's box is in any frame; None where the person was not seen nearby.

    boxes: frame -> xyxy [4] of the looks at the person, in rising order. gap: frames between two looks at the video.
    Between two looks that are no more than ``gap`` apart the box moves on a line; around others it stands still for
    half of it.
    """
    frames = list(boxes)
    place = bisect.bisect_right(frames, frame)
    before, after = frames[max(place - 1, 0)], frames[min(place, len(frames) - 1)]
    if before <= frame <= after and after - before <= gap:
        share = (frame - before) / max(after - before, 1)
        return (1 - share) * boxes[before] + share * boxes[after]
    nearest = min(before, after, key=lambda look: abs(frame - look))
    return boxes[nearest] if 2 * abs(frame - nearest) <= gap else None
