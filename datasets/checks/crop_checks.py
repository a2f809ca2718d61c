"""Crops of data sets: how many there are, and which videos have none, too few, or only a part of theirs.

Below, ``rows_of`` maps a video to the rows of preprocessing/extract_faces.py for its wanted frames (status, path of the
crop, n_frames), as ``crop_manifest.rows_by_video`` reads them. It is None for crops of other tools, which have none.
"""

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from datasets.checks.findings import Finding
from datasets.checks.list_checks import short_video
from datasets.crop_manifest import Row, rows_by_video, unfinished
from datasets.data_set_format import CropGroup
from datasets.records import list_images
from utils.progress import progress_bar

VideoRows = Mapping[str, Sequence[Row]] | None
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
        name: Of the data set.
        groups: Its classes by split.
        n_frames: Fewest crops of a video.
        subset: Videos without crops are no finding, unless there are no others or their crops were removed.
    """
    found = CountedCrops({}, {}, {}, {}, [])
    rows_in = {folder: rows_by_video(folder) for folder in {group.faces.parent for group in groups}}
    for group in progress_bar(groups, desc=name, unit="class", leave=False, delay=1):
        rows_of = rows_in[group.faces.parent]
        crops = {video: list_images(group.faces / video) for video in group.videos}
        sizes = sizes_of(image for paths in crops.values() for image in paths)
        status = Counter(row["status"] for video in crops for row in (rows_of or {}).get(video, []))
        found.counts.setdefault(group.split, {})[group.label] = {
            "videos": len(crops),
            "with_crops": sum(map(bool, crops.values())),
            "official": group.official,
            "crops": len(sizes),
            "manifest": dict(status.most_common()),
        }
        found.sizes.update(sizes)
        if group.split == "test":
            found.tested.update(sizes)
            found.videos.update((v if "/" in v else f"{group.label}/{v}", group.faces / v) for v in crops)
        found.findings.extend(_check_group(group, crops, rows_of, n_frames, subset))
        found.findings.extend(empty_files(sizes, f"remove it, then {_command_of(group, rows_of)}"))
    return found


def _check_group(
    group: CropGroup, crops: Mapping[str, Sequence[str]], rows_of: VideoRows, n_frames: int | None, subset: bool
) -> list[Finding]:
    """Findings of one class of a data set. crops: video -> its images."""
    findings, command = [], _command_of(group, rows_of)
    without = [video for video in crops if not crops[video]]
    reasons = Counter(_reason_of((rows_of or {}).get(video, [])) for video in without)
    if without and (not subset or len(without) == len(crops) or _REMOVED in reasons):
        told = ", ".join(f"{number} {reason}" for reason, number in reasons.most_common())
        message = (
            f"{group.split} {group.label}: {len(crops) - len(without)} of {len(crops)} videos have crops "
            f"({told}; the first is {without[0]})"
        )
        fix = command
        if "video_missing" in reasons or "video_unreadable" in reasons:
            fix = f"download the missing videos again, then {fix}"
        elif not {_NEW, _REMOVED} & set(reasons):
            fix += " --retry 15 --overwrite, or leave them: a test counts them as no_crops in its coverage"
        findings.append(Finding("count_mismatch", str(group.faces), None, message, fix))
    half_done = unfinished(group.faces / video for video in crops)
    for video, paths in crops.items():
        folder = group.faces / video
        if paths:
            findings += _unfinished_video(folder, paths, rows_of, video, folder in half_done, command)
        if n_frames and (paths or folder.is_dir()):
            findings += short_video(len(paths), n_frames, str(folder), None, group.command)
    return findings


def _unfinished_video(
    folder: Path, paths: Sequence[str], rows_of: VideoRows, video: str, half_done: bool, command: str
) -> list[Finding]:
    """The finding that crops of a video are missing, or that the extraction did not make them."""
    rows = (rows_of or {}).get(video, [])
    wanted = {row["path"].rpartition("/")[2] for row in rows if row["status"] == "ok"}
    gone = wanted.difference(path.rpartition("/")[2] for path in paths)
    if half_done:
        message = f"{len(paths)} crops, but their extraction did not end"
    elif rows_of is not None and video not in rows_of:
        message = f"{len(paths)} crops that the manifest beside does not name: no extraction of them has ended"
        command = f"move this folder away, then {command}"
    elif gone:
        message = f"{len(gone)} of {len(wanted)} crops were removed since the extraction"
    else:
        return []
    return [Finding("unfinished", str(folder), None, message, command)]


def _command_of(group: CropGroup, rows_of: VideoRows) -> str:
    """The command that extracts the group, with as many frames per video as the rows tell."""
    numbers = {row["n_frames"] for video in group.videos for row in (rows_of or {}).get(video, [])[:1]} - {""}
    return group.command + (f" --n_frames {numbers.pop()}" if len(numbers) == 1 else "")


def _reason_of(rows: Sequence[Mapping[str, str]]) -> str:
    """Why a video has no crops, from its rows."""
    status = Counter(row["status"] for row in rows)
    if not status:
        return _NEW
    return _REMOVED if status["ok"] else status.most_common(1)[0][0]


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
    """unreadable_image for every file without a byte."""
    message = "the image is empty (0 bytes), or a link to nowhere"
    return [Finding("unreadable_image", image, None, message, fix) for image, size in sizes.items() if size == 0]
