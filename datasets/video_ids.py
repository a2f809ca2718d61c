"""Which rows of a table are one video. Tables of other systems may give several videos one name."""

import re
from collections import defaultdict
from collections.abc import Collection, Sequence

VIDEO_ENDING = re.compile(r"\.(?:avi|mkv|mov|mp4|webm)$", re.IGNORECASE)


def folder_of(path: str) -> str:
    """The part of a path before its last slash of either kind; "" if it has none."""
    return path.replace("\\", "/").rstrip("/").rpartition("/")[0]


def bare_id(video: str) -> str:
    """A video id without folders and ending: FakeCDF/id0_0000.mp4 -> id0_0000."""
    return VIDEO_ENDING.sub("", video.replace("\\", "/").rstrip("/").rpartition("/")[2])


def separate_videos(
    videos: Sequence[str], methods: Sequence[str], paths: Sequence[str], datasets: Sequence[str]
) -> tuple[list[str], list[str]]:
    """Give different videos of one name different ids.

    A name under several methods is several videos, <method>/<video>: the four FF++ manipulations of a pair. A name
    without a method in several trees is several videos too, <tree>/<video>. The tree of a row is the part of its path
    above the first folder of the video's name, or above the video file for scores of whole videos. Folders below do not
    separate rows, nor do folders of a path without the video's name, which may have one for each frame.

    Args:
        videos, methods, paths, datasets: Of each row, [N]; "" if not known.

    Returns:
        (video id of each row [N], one line for each decision).
    """
    keys = list(zip(datasets, videos, strict=True))
    trees = [_tree(video, path) for video, path in zip(videos, paths, strict=True)]
    methods_of, trees_of, folders_of = defaultdict(set), defaultdict(set), defaultdict(set)
    for key, method, tree, path in zip(keys, methods, trees, paths, strict=True):
        methods_of[key].add(method)
        if tree is None:
            folders_of[key].add(folder_of(path))
        else:
            trees_of[key].add(tree)
    by_method = {key for key, found in methods_of.items() if len(found) > 1}
    by_tree = {key for key, found in trees_of.items() if len(found) > 1 and methods_of[key] == {""}}
    prefix = differing_parts({tree for key in by_tree for tree in trees_of[key]})
    ids = []
    for key, method, tree in zip(keys, methods, trees, strict=True):
        above = method if key in by_method else prefix[tree] if key in by_tree and tree is not None else ""
        ids.append(f"{above}/{key[1]}" if above else key[1])
    notes = []
    if by_method:
        notes.append(f"video names under several methods: {len(by_method)}; each <method>/<video> is a video")
    if by_tree:
        notes.append(f"video names in several folders: {len(by_tree)}; each <folder>/<video> is a video")
    ambiguous = {key for places in (trees_of, folders_of) for key, found in places.items() if len(found) > 1}
    if ambiguous := ambiguous - by_method - by_tree:
        notes.append(f"videos with rows of several folders: {len(ambiguous)}; if they are more videos, name them apart")
    return ids, notes


def _tree(video: str, path: str) -> str | None:
    """The part of the path above the video's first folder or its file; None if the path does not hold its name."""
    place, is_video = VIDEO_ENDING.subn("", path.replace("\\", "/"))
    name = VIDEO_ENDING.sub("", video.replace("\\", "/")).strip("/")
    above, found, _ = f"/{place if is_video else folder_of(place)}/".partition(f"/{name}/")
    return "/".join(part for part in above.split("/") if part not in ("", ".")) if found and name else None


def differing_parts(paths: Collection[str]) -> dict[str, str]:
    """Path -> the path without the first and last folders that all share."""
    parts = {path: path.split("/") for path in paths}
    shortest = min(map(len, parts.values()), default=0)
    head = next((i for i in range(shortest) if len({part[i] for part in parts.values()}) > 1), shortest)
    rest = range(shortest - head)
    tail = next((i for i in rest if len({part[-1 - i] for part in parts.values()}) > 1), len(rest))
    return {path: "/".join(part[head : len(part) - tail]) for path, part in parts.items()}
