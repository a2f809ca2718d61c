"""Crop the faces of one video, and write its rows of the manifest."""

import contextlib
import functools
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch

from preprocessing.detection.align import align_face
from preprocessing.detection.detectors import build_detector
from preprocessing.detection.faces import Faces
from preprocessing.extraction import manifest
from preprocessing.extraction.crop_files import OWN_FILE, save_image
from preprocessing.extraction.face_limits import confident, judge
from preprocessing.extraction.photos import PhotoError, read_photo
from preprocessing.extraction.tracks import FrameFaces, follow_face, look_between, views_of
from preprocessing.extraction.video import VideoError, count_frames, frame_indices, read_frames
from utils.files import sync_files
from utils.pool import check_stop

BATCH = 16  # frames detected at once, all of one video


class Settings(NamedTuple):
    """All settings that change the crops. They must be the same for all runs into one folder."""

    protocol: str  # ours | reference: RetinaFace's raw candidates, landmarks in whole pixels, fewer faces refused
    detector: str
    min_confidence: float
    weights: str | None  # SHA-256 of the detector's weights file; None: they come with its package
    detect_side: int | None  # px, longer side of the image the detector sees; None = the frame's
    retry: int  # how many frames away the substitute of a wanted frame without a good face may be
    track: bool  # follow one face instead of taking each frame's largest
    size: int
    scale: float
    format: str  # png | jpg
    quality: int | None  # of jpg, 1..100


class Job(NamedTuple):
    """One video to crop."""

    name: str
    video: Path  # or a photograph
    root: Path  # folder of the manifest
    faces: Path  # crops go to faces / name
    n_frames: int | None  # None = all
    settings: Settings
    device: str
    weights: Path | None
    photo: bool = False


class Pick(NamedTuple):
    """What became of a frame: a status of the manifest, and the index of the face that led to it."""

    status: str
    face: int | None = None


DECODE_ERROR = Pick("decode_error")


def remove_crops(folder: Path) -> None:
    """Remove the crops and temporary files of earlier runs from one video's folder."""
    if folder.is_dir():
        for path in folder.iterdir():
            if OWN_FILE.fullmatch(path.name):
                path.unlink()


detector_of = functools.cache(build_detector)  # loaded once per process


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread. More round differently, and crops must not depend on the number of cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _pick(faces: Faces, face: int, settings: Settings) -> Pick:
    return Pick(judge(faces, face, settings.protocol), face)


def pick_largest(faces: Faces, settings: Settings) -> Pick:
    """Pick the largest confident face. Without one the status is low_confidence or no_face."""
    if not len(faces.scores):
        return Pick("no_face")
    sure = confident(faces, settings.min_confidence)
    return _pick(faces, int(sure[0]), settings) if len(sure) else Pick("low_confidence", 0)


def pick_faces(seen: dict[int, FrameFaces], settings: Settings) -> dict[int, Pick]:
    """Pick a face in each frame. seen: frame number -> its faces; so are the keys of the result."""
    if not settings.track:
        return {frame: pick_largest(faces, settings) for frame, (faces, _) in seen.items()}
    followed = follow_face(seen, settings.min_confidence)
    picks = {}
    for frame, (faces, _) in seen.items():
        if frame in followed:
            picks[frame] = _pick(faces, followed[frame], settings)
        else:
            sure = confident(faces, settings.min_confidence)
            picks[frame] = Pick("not_tracked") if len(sure) else pick_largest(faces, settings)
    return picks


def neighbours(frame: int, reach: int, count: int) -> Iterator[int]:
    """The frames within ``reach`` of a frame, nearest first, the later one before the earlier one."""
    for distance in range(1, reach + 1):
        yield from (other for other in (frame + distance, frame - distance) if 0 <= other < count)


def frames_nearby(wanted: Sequence[int], lost: Sequence[int], reach: int, count: int) -> set[int]:
    """The neighbours of ``lost``, the wanted frames without a good face; none if most wanted frames are lost."""
    if len(lost) > max(1, len(wanted) / 2):
        return set()
    return {other for index in lost for other in neighbours(index, reach, count)}.difference(wanted)


def frames_used(wanted: Sequence[int], picks: dict[int, Pick], reach: int, count: int) -> dict[int, int]:
    """Wanted frame -> the frame to take: itself, or the nearest good neighbour within ``reach`` if it has no good face.

    No frame is taken twice, and no wanted frame replaces another. count: number of frames of the video.
    """
    good = {frame for frame, pick in picks.items() if pick.status == "ok"}
    free, used = good.difference(wanted), {}
    for frame in wanted:
        near = () if frame in good else neighbours(frame, reach, count)
        used[frame] = next((other for other in near if other in free), frame)
        free.discard(used[frame])
    return used


def detect_frames(job: Job, indices: Iterable[int]) -> Iterator[tuple[int, np.ndarray, FrameFaces]]:
    """Yield (number, frame [H, W, 3] uint8 RGB, its faces) for the frames that can be decoded, in rising order."""
    settings = job.settings
    reference = settings.protocol == "reference"
    detector = detector_of(settings.detector, job.device, job.weights, settings.detect_side, not reference)
    frames = _read_photo(job) if job.photo else read_frames(job.video, indices)
    while batch := list(islice(frames, BATCH)):
        check_stop()
        with one_thread():
            detected = detector.detect([frame for _, frame in batch])
        for (index, frame), faces in zip(batch, detected, strict=True):
            if reference:
                faces = faces._replace(landmarks=np.trunc(faces.landmarks))
            yield index, frame, FrameFaces(faces, views_of(frame, faces) if settings.track else np.zeros(0))


def _read_photo(job: Job) -> Iterator[tuple[int, np.ndarray]]:
    try:
        photo = read_photo(job.video)
    except PhotoError as error:
        raise VideoError("unreadable", job.video, str(error)) from error
    if photo is None:
        raise VideoError("unreadable", job.video, "no photograph")
    yield 0, photo


def save_crop(job: Job, index: int, frame: np.ndarray, landmarks: np.ndarray) -> None:
    """Align a face of a frame [H, W, 3] uint8 RGB and write its crop."""
    crop = align_face(frame, landmarks, job.settings.size, job.settings.scale)
    save_image(crop_path(job, index), cv2.cvtColor(crop, cv2.COLOR_RGB2BGR), job.settings.quality)


def crop_path(job: Job, index: int) -> Path:
    return job.faces / job.name / f"{index:04d}.{job.settings.format}"


def _crop_frames(job: Job, count: int) -> list[manifest.Row]:
    """Crop a video of ``count`` frames. Returns its rows."""
    wanted = frame_indices(count, job.n_frames)
    seen, saved = {}, set()
    for index, frame, frame_faces in detect_frames(job, wanted):
        seen[index] = frame_faces
        pick = None if job.settings.track else pick_largest(frame_faces.faces, job.settings)
        if pick and pick.status == "ok":  # saved now, so that the frame need not be decoded again
            save_crop(job, index, frame, frame_faces.faces.landmarks[pick.face])
            saved.add(index)
    if wanted[-1] not in seen and (true_count := count_frames(job.video, decode=True)) < count:
        remove_crops(job.faces / job.name)  # the container claims more frames than there are
        return _crop_frames(job, true_count)
    return _crop_rest(job, wanted, count, seen, saved)


def _detect(job: Job, indices: Iterable[int]) -> dict[int, FrameFaces]:
    return {index: frame_faces for index, _, frame_faces in detect_frames(job, indices)}


def _crop_rest(
    job: Job, wanted: Sequence[int], count: int, seen: dict[int, FrameFaces], saved: set[int]
) -> list[manifest.Row]:
    """Search the neighbours of frames without a good face, save the missing crops, and return all rows."""
    settings = job.settings
    if settings.track:
        seen = look_between(seen, settings.min_confidence, functools.partial(_detect, job))
    picks = pick_faces(seen, settings)
    lost = [index for index in wanted if picks.get(index, DECODE_ERROR).status != "ok"]
    if nearby := frames_nearby(wanted, lost, settings.retry, count):
        seen = seen | _detect(job, nearby)
        picks = pick_faces(seen, settings)
    used = frames_used(wanted, picks, settings.retry, count)
    unsaved = {index for index in used.values() if picks.get(index, DECODE_ERROR).status == "ok"} - saved
    for index, frame in read_frames(job.video, unsaved):
        save_crop(job, index, frame, seen[index].faces.landmarks[picks[index].face])
        saved.add(index)
    picks |= dict.fromkeys(unsaved - saved, DECODE_ERROR)
    return [_row(job, index, used[index], seen, picks) for index in wanted]


def _row(job: Job, wanted: int, used: int, seen: dict[int, FrameFaces], picks: dict[int, Pick]) -> manifest.Row:
    pick = picks.get(used, DECODE_ERROR)
    if pick == DECODE_ERROR:
        return manifest.frame_row(job.name, used, pick.status, wanted=wanted)
    faces = seen[used].faces
    sure = confident(faces, job.settings.min_confidence)
    number = len(sure) if job.settings.protocol == "ours" else None  # candidates, not faces
    path = crop_path(job, used).relative_to(job.root).as_posix() if pick.status == "ok" else ""
    row = manifest.frame_row(job.name, used, pick.status, number, path, wanted)
    if pick.face is not None:
        row |= manifest.face_values(*(values[pick.face] for values in faces))
    return row


def crop_video(job: Job) -> None:
    """Write all crops of a video to the disk, then its row file. A video that cannot be read gets one row."""
    remove_crops(job.faces / job.name)
    try:
        rows = _crop_frames(job, 1 if job.photo else count_frames(job.video))
    except VideoError as error:
        rows = [manifest.frame_row(job.name, None, "video_missing" if error.code == "missing" else "video_unreadable")]
    sync_files(job.root / row["path"] for row in rows if row["path"])
    write_row_file(job, rows)


def write_row_file(job: Job, rows: Sequence[manifest.Row]) -> None:
    """Write the row file of a video."""
    size = job.video.stat().st_size if job.video.is_file() else ""
    shared = {"n_frames": str(job.n_frames or "all"), "video_bytes": str(size)}
    rows = sorted((row | shared for row in rows), key=lambda row: int(row["frame"] or -1))
    manifest.write_rows(manifest.row_file(job.root, job.name), rows)
