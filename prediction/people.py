"""Find the people in a photograph or a video: the good faces of each frame, then those of one person across frames.

Frames and faces are chosen as by the defaults of extract_faces.py, except that all faces of a frame are kept. Frames
are [H, W, 3] uint8 RGB.
"""

import math
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from preprocessing.detection.detectors import Detector
from preprocessing.detection.faces import Faces
from preprocessing.extraction.face_crops import BATCH, Pick, frames_nearby, frames_used, one_thread
from preprocessing.extraction.face_limits import confident, judge
from preprocessing.extraction.options import OURS
from preprocessing.extraction.photos import read_photo
from preprocessing.extraction.tracks import FrameFaces, look_between, people, views_of
from preprocessing.extraction.video import (
    Picture,
    VideoError,
    count_frames,
    frame_indices,
    picture_of,
    read_frames,
    read_pictures,
)

# A person must be in this share of the used frames. A pattern that is mistaken for a face appears in one or two of 32
# frames; without this limit it could make the whole video fake.
MIN_PRESENCE = 0.1
_REACH: int = OURS["retry"]  # distance in frames of a neighbour that may replace a frame without a good face


class ScoredFaces(NamedTuple):
    """The good faces of a frame."""

    faces: Faces
    dropped: list[str]  # why each of the others was dropped: too_small or bad_landmarks
    scores: np.ndarray  # float32 [n, nodes]


@dataclass(frozen=True)
class People:
    """The people of an input, the most present one first."""

    count: int  # frames of the whole video; 1 for a photograph
    faces: dict[int, ScoredFaces]  # number of each used frame -> its faces
    persons: list[dict[int, int]]  # for each person: frame -> index of the person's face in it
    dropped: Counter[str]  # reason -> number of faces dropped


class Source(NamedTuple):
    """A readable input. photo: None for a video."""

    path: Path
    photo: np.ndarray | None

    def pictures(self, indices: Iterable[int]) -> Iterator[tuple[int, Picture]]:
        """(number, picture) of the wanted frames of a video, or of the photograph."""
        photo = self.photo
        return read_pictures(self.path, indices) if photo is None else iter([(0, picture_of(photo))])

    def frames(self, indices: Iterable[int]) -> Iterator[tuple[int, np.ndarray]]:
        """(number, RGB frame [H, W, 3]) of the wanted frames of a video, or of the photograph."""
        return ((number, picture.rgb()) for number, picture in self.pictures(indices))


def open_source(path: Path) -> Source:
    """Open an input; a video is not decoded yet. Raises PhotoError or VideoError if it cannot be read."""
    if not os.path.isfile(path):  # noqa: PTH113 - False for names that no file system takes
        raise VideoError("missing", path, "there is no such file")
    return Source(path, read_photo(path))


def find_faces(frames: list[np.ndarray], detector: Detector, min_confidence: float) -> list[tuple[Faces, list[str]]]:
    """(good faces, largest first; why the others were dropped) of each frame."""
    with one_thread():
        found = detector.detect(frames)
    good = []
    for faces in found:
        judged = {face: judge(faces, face, "ours") for face in confident(faces, min_confidence).tolist()}
        kept = [face for face, status in judged.items() if status == "ok"]
        dropped = [status for status in judged.values() if status != "ok"]
        dropped += ["low_confidence"] * (len(faces.scores) - len(judged))
        good.append((Faces(*(values[kept] for values in faces)), dropped))
    return good


def find_people(
    source: Source,
    n_frames: int,
    min_confidence: float,
    score_faces: Callable[[list[np.ndarray]], list[ScoredFaces]],
    on_progress: Callable[[float], object] = lambda share: None,
) -> People:
    """Find the people of an input. Every good face of a photograph is a person.

    A frame of a video without a good face is replaced by a near one that has one. People in too few frames
    (MIN_PRESENCE) are dropped.

    Args:
        source: The input.
        n_frames: How many frames of a video to use, evenly spaced.
        min_confidence: Least detector score of a good face.
        score_faces: Finds and scores the faces of at most BATCH frames.
        on_progress: Called with the share of the frames that is done, 0 to 1.

    Raises:
        VideoError: The video has no frame that can be decoded.
    """
    if source.photo is not None:
        (found,) = score_faces([source.photo])
        on_progress(1.0)
        persons = [{0: face} for face in range(len(found.faces.scores))]
        return People(1, {0: found}, persons, Counter(found.dropped))
    seen: dict[int, FrameFaces] = {}

    def score(indices: Iterable[int]) -> dict[int, ScoredFaces]:
        scored = {}
        frames = read_frames(source.path, indices)
        while batch := list(islice(frames, BATCH)):
            for (index, frame), found in zip(batch, score_faces([frame for _, frame in batch]), strict=True):
                scored[index], seen[index] = found, FrameFaces(found.faces, views_of(frame, found.faces))
            on_progress(min(len(seen) / n_frames, 1.0))
        return scored

    count = count_frames(source.path)
    wanted = frame_indices(count, n_frames)
    scored = score(wanted)
    if wanted[-1] not in scored:  # the container promised more frames than there are
        true_count = count_frames(source.path, decode=True)
        if true_count < count:
            count, wanted = true_count, frame_indices(true_count, n_frames)
            scored = {index: scored[index] for index in scored.keys() & wanted}
            scored |= score(set(wanted).difference(scored))
    lost = [index for index in wanted if index not in scored or not len(scored[index].faces.scores)]
    scored |= score(frames_nearby(wanted, lost, _REACH, count))
    picks = {index: Pick("ok" if len(found.faces.scores) else "no_face") for index, found in scored.items()}
    used = frames_used(wanted, picks, _REACH, count)
    scored = {index: scored[index] for index in sorted(used.values()) if index in scored}

    def look(indices: Iterable[int]) -> dict[int, FrameFaces]:
        return {index: seen[index] for index in score(indices)}

    looks = look_between({index: seen[index] for index in scored}, min_confidence, look)
    tracks = people(looks, min_confidence)
    people_found = [{frame: face for frame, face in sorted(track.items()) if frame in scored} for track in tracks]
    least = max(1, math.ceil(MIN_PRESENCE * len(scored)))
    persons = [person for person in people_found if len(person) >= least]
    dropped = Counter(status for found in scored.values() for status in found.dropped)
    dropped["brief"] = sum(map(len, people_found)) - sum(map(len, persons))
    return People(count, scored, persons, +dropped)
