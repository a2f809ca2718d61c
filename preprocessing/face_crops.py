"""One video -> its face crops and its rows of the manifest."""

import contextlib
import functools
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch

from preprocessing import manifest
from preprocessing.align import align_face
from preprocessing.detectors import Faces, Mtcnn, build_detector
from preprocessing.pool import check_stop
from preprocessing.video import VideoError, count_frames, frame_indices, read_frames
from utils.files import atomic_path

_OWN_FILE = re.compile(r"\d{4,}\.png|\.\d{4,}\..*\.png")  # a crop, or a temporary name of one
MIN_CONFIDENCE = 0.8  # detector score, as in the paper
MIN_FACE = 32  # px, shorter side of a face's box in the frame
BATCH = 16  # frames detected at once; a batch never holds frames of two videos


class Settings(NamedTuple):
    """What decides which crops come out; two runs into one place must agree on it."""

    detector: str
    n_frames: int | None  # None = all
    size: int
    scale: float


class Job(NamedTuple):
    """One video to crop."""

    name: str
    video: Path
    root: Path
    faces: Path
    settings: Settings
    device: str


def remove_crops(folder: Path) -> None:
    """Remove what an earlier or a killed run left in one video's folder (temporary names too)."""
    for path in folder.glob("*.png"):
        if _OWN_FILE.fullmatch(path.name):
            path.unlink()


@functools.cache
def detector_of(name: str, device: str) -> Mtcnn:
    """One detector per process."""
    return build_detector(name, device)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Torch with one thread: its sums round differently with several, and a run's crops must not depend on how many
    processes share the cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def pick_face(faces: Faces) -> tuple[str, int | None]:
    """(status, index of the face): the largest confident face; else the largest one and the reason against it."""
    if not len(faces.scores):
        return "no_face", None
    confident = np.flatnonzero(faces.scores >= MIN_CONFIDENCE)
    if not len(confident):
        return "low_confidence", 0
    x1, y1, x2, y2 = faces.boxes[confident[0]]
    return "ok" if min(x2 - x1, y2 - y1) >= MIN_FACE else "too_small", int(confident[0])


def crop_frames(job: Job, indices: list[int]) -> dict[int, manifest.Row]:
    """Detect, align and save the frames ``indices``; a row for each one that could be decoded."""
    rows = {}
    folder = job.faces / job.name
    frames = read_frames(job.video, indices)
    while batch := list(islice(frames, BATCH)):
        check_stop()
        with one_thread():
            found = detector_of(job.settings.detector, job.device).detect([frame for _, frame in batch])
        for (index, frame), faces in zip(batch, found, strict=True):
            status, face = pick_face(faces)
            row = manifest.frame_row(job.name, index, status, int((faces.scores >= MIN_CONFIDENCE).sum()))
            if face is not None:
                row |= manifest.face_values(faces.boxes[face], faces.scores[face], faces.landmarks[face])
            if status == "ok":
                path = folder / f"{index:04d}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                crop = align_face(frame, faces.landmarks[face], job.settings.size, job.settings.scale)
                with atomic_path(path) as temporary:
                    if not cv2.imwrite(str(temporary), cv2.cvtColor(crop, cv2.COLOR_RGB2BGR)):
                        raise OSError(f"cannot write {path}")
                row["path"] = path.relative_to(job.root).as_posix()
            rows[index] = row
    return rows


def crop_video(job: Job) -> None:
    """Write all crops of a video, then its row file."""
    remove_crops(job.faces / job.name)
    try:
        count = count_frames(job.video)
        indices = frame_indices(count, job.settings.n_frames)
        rows = crop_frames(job, indices)
        if indices[-1] not in rows:  # the container promised more frames than there are
            true_count = count_frames(job.video, decode=True)
            if true_count < count:
                remove_crops(job.faces / job.name)
                indices = frame_indices(true_count, job.settings.n_frames)
                rows = crop_frames(job, indices)
        table = [rows.get(index) or manifest.frame_row(job.name, index, "decode_error") for index in indices]
    except VideoError:
        table = [manifest.frame_row(job.name, None, "video_unreadable")]
    manifest.write_rows(manifest.row_file(job.root, job.name), table)
