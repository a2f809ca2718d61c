"""Crops of data sets: how many there are, and which videos have none, too few, or only a part of theirs.

An account maps a video to what became of its wanted frames: the rows of preprocessing/extract_faces.py (status, path of
the crop, n_frames). None stands for crops that come without one, of other tools.
"""

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from datasets.checks.findings import Finding
from datasets.checks.list_checks import short_video
from datasets.checks.official_counts import Group
from datasets.records import list_images
from datasets.unfinished import unfinished
from utils.progress import progress_bar

Account = Mapping[str, Sequence[Mapping[str, str]]]
_NEW, _REMOVED = "not extracted", "removed since the extraction"


class Counted(NamedTuple):
    """counts: split -> class -> numbers. sizes: image -> bytes. tested: images of the test split. videos: of the test
    split, -> the folder of its crops."""

    counts: dict[str, dict]
    sizes: dict[str, int]
    tested: list[str]
    videos: dict[str, Path]
    findings: list[Finding]


def check_groups(
    name: str, groups: Sequence[Group], accounts: Mapping[Path, Account | None], n_frames: int | None, subset: bool
) -> Counted:
    """A data set of videos. accounts: folder beside which the crops lie -> its account. n_frames: fewest crops. subset:
    videos without crops are no finding, unless there are no others or their crops were removed."""
    found = Counted({}, {}, [], {}, [])
    for group in progress_bar(groups, desc=name, unit="class", leave=False, delay=1):
        account = accounts[group.faces.parent]
        crops = {video: list_images(group.faces / video) for video in group.videos}
        sizes = sizes_of(image for paths in crops.values() for image in paths)
        found.counts.setdefault(group.split, {})[group.label] = {
            "videos": len(crops),
            "with_crops": sum(map(bool, crops.values())),
            "official": group.official,
            "crops": len(sizes),
            "manifest": statuses(account, crops),
        }
        found.sizes.update(sizes)
        if group.split == "test":
            found.tested.extend(sizes)
            found.videos.update((v if "/" in v else f"{group.label}/{v}", group.faces / v) for v in crops)
        found.findings.extend(check_group(group, crops, account, n_frames, subset))
        found.findings.extend(empty_files(sizes, f"remove it, then {command_of(group, account)}"))
    return found


def statuses(account: Account | None, videos: Iterable[str]) -> dict[str, int]:
    """What became of the wanted frames of the videos: status -> number, the most first."""
    return dict(Counter(row["status"] for video in videos for row in (account or {}).get(video, [])).most_common())


def check_group(
    group: Group, crops: Mapping[str, Sequence[str]], account: Account | None, n_frames: int | None, subset: bool
) -> list[Finding]:
    """Findings of one class of a data set. crops: video -> its images."""
    findings, command = [], command_of(group, account)
    without = [video for video in crops if not crops[video]]
    reasons = Counter(reason_of((account or {}).get(video, [])) for video in without)
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
            findings += unfinished_video(folder, paths, account, video, folder in half_done, command)
        if n_frames and (paths or folder.is_dir()):
            findings += short_video(len(paths), n_frames, str(folder), None, group.command)
    return findings


def unfinished_video(
    folder: Path, paths: Sequence[str], account: Account | None, video: str, half_done: bool, command: str
) -> list[Finding]:
    """The finding that the crops of a video are only a part of what the extraction would make, or not of its making."""
    rows = (account or {}).get(video, [])
    wanted = {row["path"].rpartition("/")[2] for row in rows if row["status"] == "ok"}
    gone = wanted.difference(path.rpartition("/")[2] for path in paths)
    if half_done:
        message = f"{len(paths)} crops, but their extraction did not end"
    elif account is not None and video not in account:
        message = f"{len(paths)} crops that the manifest beside does not name: no extraction of them has ended"
        command = f"move this folder away, then {command}"
    elif gone:
        message = f"{len(gone)} of {len(wanted)} crops were removed since the extraction"
    else:
        return []
    return [Finding("unfinished", str(folder), None, message, command)]


def command_of(group: Group, account: Account | None) -> str:
    """The command that extracts the group, with as many frames of a video as the account tells of its videos."""
    numbers = {row["n_frames"] for video in group.videos for row in (account or {}).get(video, [])[:1]} - {""}
    return group.command + (f" --n_frames {numbers.pop()}" if len(numbers) == 1 else "")


def reason_of(rows: Sequence[Mapping[str, str]]) -> str:
    """Why a video has no crops, by its rows."""
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
