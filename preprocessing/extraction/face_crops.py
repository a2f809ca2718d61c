"""One video -> its face crops and its rows of the manifest."""

import contextlib
import functools
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch

from preprocessing.detection.align import align_face, misfit
from preprocessing.detection.detectors import Detector, build_detector
from preprocessing.detection.faces import Faces
from preprocessing.extraction import manifest
from preprocessing.extraction.crop_files import OWN_FILE, save_image
from preprocessing.extraction.tracks import FrameFaces, follow_face, views_of
from preprocessing.extraction.video import VideoError, count_frames, frame_indices, read_frames
from utils.pool import check_stop

# Least score of a face. RetinaFace: the paper's. MTCNN is surer of everything: on benchmarks/footage.py the right faces
# have 0.998 and more, three quarters of the false ones less than 0.95.
MIN_CONFIDENCE = {"retinaface": 0.8, "mtcnn": 0.95}
MIN_FACE = 32  # px, shorter side of a face's box in the frame
MAX_MISFIT = 0.6  # of the landmarks (align.misfit); about 0.4 is a face in full profile
BATCH = 16  # frames detected at once; a batch never holds frames of two videos


class Settings(NamedTuple):
    """What decides which crops come out; two runs into one place must agree on it."""

    protocol: str  # ours | reference: landmarks cut to whole pixels, and no face too small or too odd
    detector: str
    min_confidence: float
    weights: str | None  # SHA-256 of the detector's file of weights; None: those of its package
    detect_side: int | None  # px, longer side of the image the detector sees; None = as it is
    retry: int  # how far from a wanted frame without a face another one may be taken, frames
    track: bool  # follow one face instead of taking each frame's largest
    size: int
    scale: float
    format: str  # png | jpg
    quality: int | None  # of jpg, 1..100


class Job(NamedTuple):
    """One video to crop."""

    name: str
    video: Path
    root: Path
    faces: Path
    n_frames: int | None  # None = all
    settings: Settings
    device: str
    weights: Path | None


class Pick(NamedTuple):
    """What became of a frame: a status of the manifest, and the face it is about."""

    status: str
    face: int | None = None


def remove_crops(folder: Path) -> None:
    """Remove what an earlier or a killed run left in one video's folder (temporary names too)."""
    if folder.is_dir():
        for path in folder.iterdir():
            if OWN_FILE.fullmatch(path.name):
                path.unlink()


@functools.cache
def detector_of(name: str, device: str, weights: Path | None, side: int | None) -> Detector:
    """One detector per process."""
    return build_detector(name, device, weights, side)


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


def confident(faces: Faces, settings: Settings) -> np.ndarray:
    """Indices of the faces sure enough to be taken, largest first."""
    return np.flatnonzero(faces.scores >= settings.min_confidence)


def judge(faces: Faces, face: int, settings: Settings) -> Pick:
    """ok, or what speaks against cropping this face."""
    x1, y1, x2, y2 = faces.boxes[face]
    landmarks = faces.landmarks[face]
    if np.ptp(landmarks, axis=0).max() < 1:
        return Pick("bad_landmarks", face)
    if settings.protocol == "ours":
        if min(x2 - x1, y2 - y1) < MIN_FACE:
            return Pick("too_small", face)
        if misfit(landmarks) > MAX_MISFIT:
            return Pick("bad_landmarks", face)
    return Pick("ok", face)


def pick_largest(faces: Faces, settings: Settings) -> Pick:
    """The largest confident face; without one the largest and low_confidence, or no_face."""
    if not len(faces.scores):
        return Pick("no_face")
    sure = confident(faces, settings)
    return judge(faces, int(sure[0]), settings) if len(sure) else Pick("low_confidence", 0)


def pick_faces(found: dict[int, FrameFaces], settings: Settings) -> dict[int, Pick]:
    """A pick for each frame. found: frame number -> its faces."""
    if not settings.track:
        return {frame: pick_largest(look.faces, settings) for frame, look in found.items()}
    followed = follow_face(found, settings.min_confidence)
    picks = {}
    for frame, (faces, _) in found.items():
        if frame in followed:
            picks[frame] = judge(faces, followed[frame], settings)
        else:
            picks[frame] = Pick("not_tracked") if len(confident(faces, settings)) else pick_largest(faces, settings)
    return picks


def neighbours(frame: int, reach: int, count: int) -> Iterator[int]:
    """The frames within ``reach`` of a frame, nearest first and the later one before the earlier one."""
    for distance in range(1, reach + 1):
        yield from (other for other in (frame + distance, frame - distance) if 0 <= other < count)


def frames_nearby(wanted: Sequence[int], lost: Sequence[int], reach: int, count: int) -> set[int]:
    """The neighbours of the wanted frames without a good face, ``lost``; none where those are most of the frames: such
    a video is not searched further."""
    if len(lost) > max(1, len(wanted) / 2):
        return set()
    return {other for index in lost for other in neighbours(index, reach, count)}.difference(wanted)


def frames_used(wanted: Sequence[int], picks: dict[int, Pick], reach: int, count: int) -> dict[int, int]:
    """Wanted frame -> the frame taken for it: itself, or the nearest good neighbour when it is not good itself.

    No frame is taken twice, nor one that is wanted anyway.
    """
    good = {frame for frame, pick in picks.items() if pick.status == "ok"}
    free, used = good.difference(wanted), {}
    for frame in wanted:
        near = () if frame in good else neighbours(frame, reach, count)
        used[frame] = next((other for other in near if other in free), frame)
        free.discard(used[frame])
    return used


def detect_frames(job: Job, indices: Iterable[int]) -> Iterator[tuple[int, np.ndarray, FrameFaces]]:
    """(frame number, frame, its faces) of each frame that can be decoded, in rising order; detected in batches."""
    settings = job.settings
    detector = detector_of(settings.detector, job.device, job.weights, settings.detect_side)
    frames = read_frames(job.video, indices)
    while batch := list(islice(frames, BATCH)):
        check_stop()
        with one_thread():
            found = detector.detect([frame for _, frame in batch])
        if settings.protocol == "reference":
            found = [faces._replace(landmarks=np.trunc(faces.landmarks)) for faces in found]
        for (index, frame), faces in zip(batch, found, strict=True):
            yield index, frame, FrameFaces(faces, views_of(frame, faces) if settings.track else np.zeros(0))


def save_crop(job: Job, index: int, frame: np.ndarray, landmarks: np.ndarray) -> None:
    """Align one face of a frame [H, W, 3] uint8 RGB and write its crop."""
    crop = align_face(frame, landmarks, job.settings.size, job.settings.scale)
    save_image(crop_path(job, index), cv2.cvtColor(crop, cv2.COLOR_RGB2BGR), job.settings.quality)


def crop_path(job: Job, index: int) -> Path:
    return job.faces / job.name / f"{index:04d}.{job.settings.format}"


def first_look(job: Job, indices: Sequence[int]) -> tuple[dict[int, FrameFaces], set[int]]:
    """(frame -> its faces, frames whose crop is saved): without tracking a good face is cropped at once."""
    found, saved = {}, set()
    for index, frame, look in detect_frames(job, indices):
        found[index] = look
        if not job.settings.track:
            pick = pick_largest(look.faces, job.settings)
            if pick.status == "ok":
                save_crop(job, index, frame, look.faces.landmarks[pick.face])
                saved.add(index)
    return found, saved


def finish(
    job: Job, wanted: Sequence[int], count: int, found: dict[int, FrameFaces], saved: set[int]
) -> list[manifest.Row]:
    """Look at neighbours of the frames without a good face, save the crops that are left, and return all rows."""
    settings = job.settings
    picks = pick_faces(found, settings)
    lost = [index for index in wanted if index not in picks or picks[index].status != "ok"]
    if nearby := frames_nearby(wanted, lost, settings.retry, count):
        found = found | {index: look for index, _, look in detect_frames(job, nearby)}
        picks = pick_faces(found, settings)
    used = frames_used(wanted, picks, settings.retry, count)
    late = {index for index in used.values() if index in picks and picks[index].status == "ok"} - saved
    saved = set(saved)
    for index, frame in read_frames(job.video, late):
        save_crop(job, index, frame, found[index].faces.landmarks[picks[index].face])
        saved.add(index)
    return [_row(job, index, used[index], found, picks, saved) for index in wanted]


def _row(
    job: Job, wanted: int, used: int, found: dict[int, FrameFaces], picks: dict[int, Pick], saved: set[int]
) -> manifest.Row:
    pick = picks.get(used, Pick("decode_error"))
    if pick.status == "decode_error" or (pick.status == "ok" and used not in saved):
        return manifest.frame_row(job.name, used, "decode_error", wanted=wanted)
    faces = found[used].faces
    path = crop_path(job, used).relative_to(job.root).as_posix() if pick.status == "ok" else ""
    row = manifest.frame_row(job.name, used, pick.status, len(confident(faces, job.settings)), path, wanted)
    if pick.face is not None:
        row |= manifest.face_values(faces.boxes[pick.face], faces.scores[pick.face], faces.landmarks[pick.face])
    return row


def crop_video(job: Job) -> None:
    """Write all crops of a video, then its row file."""
    remove_crops(job.faces / job.name)
    try:
        count = count_frames(job.video)
        wanted = frame_indices(count, job.n_frames)
        found, saved = first_look(job, wanted)
        if wanted[-1] not in found:  # the container promised more frames than there are
            true_count = count_frames(job.video, decode=True)
            if true_count < count:
                remove_crops(job.faces / job.name)
                count, wanted = true_count, frame_indices(true_count, job.n_frames)
                found, saved = first_look(job, wanted)
        rows = finish(job, wanted, count, found, saved)
    except VideoError as error:
        rows = [manifest.frame_row(job.name, None, "video_missing" if error.code == "missing" else "video_unreadable")]
    write_account(job, rows)


def write_account(job: Job, rows: Sequence[manifest.Row]) -> None:
    """Write the row file of a video."""
    size = job.video.stat().st_size if job.video.is_file() else ""
    shared = {"n_frames": str(job.n_frames or "all"), "video_bytes": str(size)}
    rows = sorted((row | shared for row in rows), key=lambda row: int(row["frame"] or -1))
    manifest.write_rows(manifest.row_file(job.root, job.name), rows)
