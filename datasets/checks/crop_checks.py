"""Crops of data sets: how many there are, and which videos have none, too few, or only a part of theirs.

The manifest of preprocessing/extract_faces.py has a row for each wanted frame of a video (status, path of the crop,
n_frames). Crops of other tools have no manifest.
"""

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from datasets.checks.findings import Finding
from datasets.checks.list_checks import REPLACES_NOTHING, short_video
from datasets.crop_manifest import Row, rows_by_video, unfinished
from datasets.data_set_format import CropGroup
from datasets.records import list_images
from utils.progress import progress_bar

_NEW, _REMOVED = "not extracted", "removed since the extraction"


class CountedCrops(NamedTuple):
    """What a data set of videos or images holds.

    counts: Split -> class -> numbers.
    sizes: Image -> bytes.
    tested: The same for the test split.
    videos: Videos of the test split -> folder of their crops.
    """

    counts: dict[str, dict]
    sizes: dict[str, int]
    tested: dict[str, int]
    videos: dict[str, Path]
    findings: list[Finding]


def check_groups(name: str, groups: Sequence[CropGroup], n_frames: int | None, subset: bool) -> CountedCrops:
    """Check a data set of videos.

    Args:
        n_frames: Fewest crops of a video; None for any number.
        subset: Videos without crops are no finding, unless there are no others though their folders or rows of the
            manifest are there, or their crops were removed.
    """
    found = CountedCrops({}, {}, {}, {}, [])
    rows_in = {folder: rows_by_video(folder) for folder in {group.faces.parent for group in groups}}
    for group in progress_bar(groups, desc=name, unit="class", leave=False, delay=1):
        manifest = rows_in[group.faces.parent]
        rows = {video: (manifest or {}).get(video, []) for video in group.videos}
        crops = {video: list_images(group.faces / video) for video in group.videos}
        sizes = sizes_of(image for paths in crops.values() for image in paths)
        found.counts.setdefault(group.split, {})[group.label] = {
            "videos": len(crops),
            "with_crops": sum(map(bool, crops.values())),
            "official": group.official,
            "crops": len(sizes),
            "manifest": dict(Counter(row["status"] for of_video in rows.values() for row in of_video).most_common()),
        }
        found.sizes.update(sizes)
        if group.split == "test":
            found.tested.update(sizes)
            found.videos.update((v if "/" in v else f"{group.label}/{v}", group.faces / v) for v in crops)
        numbers = {of_video[0]["n_frames"] for of_video in rows.values() if of_video} - {""}
        command = group.command + (f" --n_frames {numbers.pop()}" if len(numbers) == 1 else "")
        found.findings.extend(_videos_without_crops(group, crops, rows, subset, command))
        half_done = unfinished(group.faces / video for video in crops)
        for video, paths in crops.items():
            folder = group.faces / video
            if paths:
                found.findings.extend(
                    _unfinished_video(folder, paths, rows[video], manifest is not None, folder in half_done, command)
                )
            if n_frames and (paths or folder.is_dir()):
                found.findings.extend(short_video(len(paths), n_frames, str(folder), None, group.command))
        found.findings.extend(empty_files(sizes, f"move it away, then {command}"))
    return found


def _videos_without_crops(
    group: CropGroup, crops: Mapping[str, Sequence[str]], rows: Mapping[str, Sequence[Row]], subset: bool, command: str
) -> list[Finding]:
    """The finding that videos of a group have no crops, with the reasons. crops, rows: Of each video."""
    without = [video for video in crops if not crops[video]]
    reasons = Counter(_reason_of(rows[video]) for video in without)
    absent = not any(rows.values()) and not any((group.faces / video).is_dir() for video in without)
    if not without or (subset and (absent or len(without) < len(crops)) and _REMOVED not in reasons):
        return []
    why = ", ".join(f"{number} {reason}" for reason, number in reasons.most_common())
    message = (
        f"{group.split} {group.label}: {len(crops) - len(without)} of {len(crops)} videos have crops "
        f"({why}; the first is {without[0]})"
    )
    if "video_missing" in reasons or "video_unreadable" in reasons:
        command = f"download the missing videos again, then {command}"
    elif not {_NEW, _REMOVED} & set(reasons):
        leave = "leave them: a test counts them as no_crops in its coverage"
        command = f"{leave}; or search more frames ({REPLACES_NOTHING}): {command} --retry 15"
    return [Finding("count_mismatch", str(group.faces), None, message, command)]


def _reason_of(rows: Sequence[Row]) -> str:
    """Why a video has no crops, from its rows."""
    status = Counter(row["status"] for row in rows)
    if not status:
        return _NEW
    return _REMOVED if status["ok"] else status.most_common(1)[0][0]


def _unfinished_video(
    folder: Path, paths: Sequence[str], rows: Sequence[Row], has_manifest: bool, half_done: bool, command: str
) -> list[Finding]:
    """The finding that crops of a video are missing, or that no extraction made them."""
    wanted = {row["path"].rpartition("/")[2] for row in rows if row["status"] == "ok"}
    gone = wanted.difference(path.rpartition("/")[2] for path in paths)
    if half_done:
        message = f"{len(paths)} crops, but their extraction did not end"
    elif has_manifest and not rows:
        message = f"{len(paths)} crops that the manifest beside does not name: no extraction of them has ended"
        command = f"move this folder away, then {command}"
    elif gone:
        message = f"{len(gone)} of {len(wanted)} crops were removed since the extraction"
    else:
        return []
    return [Finding("unfinished", str(folder), None, message, command)]


def sizes_of(images: Iterable[str]) -> dict[str, int]:
    """Image -> its size in bytes, 0 for one that cannot be opened."""
    sizes = {}
    for image in images:
        try:
            sizes[image] = os.path.getsize(image)  # noqa: PTH202 - Path costs 10 times as much
        except OSError:  # a link to nowhere
            sizes[image] = 0
    return sizes


def empty_files(sizes: Mapping[str, int], fix: str) -> list[Finding]:
    """unreadable_image for every file of 0 bytes."""
    message = "the image is empty (0 bytes), or a link to nowhere"
    return [Finding("unreadable_image", image, None, message, fix) for image, size in sizes.items() if size == 0]
