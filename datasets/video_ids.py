"""Which rows of a table are one video, where other systems' files use a name for several."""

import re
from collections import defaultdict
from collections.abc import Collection, Sequence

VIDEO_ENDING = re.compile(r"\.(?:avi|mkv|mov|mp4|webm)$", re.IGNORECASE)


def folder_of(path: str) -> str:
    """The part of a path before its last slash, either kind of slash; "" where it has none."""
    return path.replace("\\", "/").rstrip("/").rpartition("/")[0]


def bare_id(video: str) -> str:
    """A video id without folders and a video file's ending: FakeCDF/id0_0000.mp4 -> id0_0000."""
    return VIDEO_ENDING.sub("", video.replace("\\", "/").rstrip("/").rpartition("/")[2])


def separate_videos(
    videos: Sequence[str], methods: Sequence[str], paths: Sequence[str], datasets: Sequence[str]
) -> tuple[list[str], list[str]]:
    """(video id of every row [N], what was decided, a line each). methods, paths, datasets: [N], "" where not known.

    A name under several methods is several videos, <method>/<video>: the four FF++ manipulations of a pair. So is a
    name without a method in several trees, <tree>/<video>, where a tree is what lies above the first folder of the
    video's name (or above the video file, for scores of whole videos). Folders inside the video's own never separate
    its rows, and neither do folders where none has the video's name: there each frame may have its own.
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
        above = method if key in by_method else prefix.get(tree, "") if key in by_tree else ""
        ids.append(f"{above}/{key[1]}" if above else key[1])
    notes = []
    if by_method:
        notes.append(f"video names under several methods: {len(by_method)}; each <method>/<video> is a video")
    if by_tree:
        notes.append(f"video names in several folders: {len(by_tree)}; each <folder>/<video> is a video")
    whole = {key for places in (trees_of, folders_of) for key, found in places.items() if len(found) > 1}
    if whole := whole - by_method - by_tree:
        notes.append(f"videos with rows of several folders: {len(whole)}; if they are more videos, name them apart")
    return ids, notes


def _tree(video: str, path: str) -> str | None:
    """What lies above the video's first folder, or above its file; None where the path has no part of its name."""
    place, is_video = VIDEO_ENDING.subn("", path.replace("\\", "/"))
    name = VIDEO_ENDING.sub("", video.replace("\\", "/")).strip("/")
    above, found, _ = f"/{place if is_video else folder_of(place)}/".partition(f"/{name}/")
    return "/".join(part for part in above.split("/") if part not in ("", ".")) if found and name else None


def differing_parts(paths: Collection[str]) -> dict[str, str]:
    """Path -> what is left of it without the folders that all share at the beginning and at the end."""
    parts = {path: path.split("/") for path in paths}
    shortest = min(map(len, parts.values()), default=0)
    head = next((i for i in range(shortest) if len({part[i] for part in parts.values()}) > 1), shortest)
    rest = range(shortest - head)
    tail = next((i for i in rest if len({part[-1 - i] for part in parts.values()}) > 1), len(rest))
    return {path: "/".join(part[head : len(part) - tail]) for path, part in parts.items()}
