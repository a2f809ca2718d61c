"""Which images an epoch of a list shows, in which order: shuffled, with equal shares of the methods, or in pairs.

Pure functions of the list and a seeded generator. A permutation of the list is the default.
"""

import bisect
import heapq
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from datasets.records import Record
from datasets.test_sets import TEST_SETS

Order = Callable[[np.random.Generator], np.ndarray]

_FAKE_NAMES = {data_set.fake_name for data_set in TEST_SETS.values() if data_set.fake_name}
_LAST_NUMBER = re.compile(r"(\d+)\D*$")


class Sampling(NamedTuple):
    """How the epochs of a list are drawn.

    length: Number of images in an epoch.
    order: Draws the record indices of an epoch, int64 [length].
    notes: What an epoch holds, one line each, for people.
    """

    length: int
    order: Order
    notes: Sequence[str] = ()


def sampling(records: Sequence[Record], pairs: bool = False, methods: Sequence[str] | None = None) -> Sampling:
    """How to draw the epochs of a list with reals and fakes.

    Args:
        pairs: Images 2i and 2i + 1 of an epoch are a real and a fake. The larger class (the fakes if both are equal,
            or if ``methods`` are given) appears as often as without pairs, and each of its images has a partner of the
            other class, see ``paired``.
        methods: Of each record. An epoch has as many fakes as the list, in equal shares of the methods: ``balanced``.
    """
    if not pairs and methods is None:
        return Sampling(len(records), lambda rng: rng.permutation(len(records)))
    reals, fakes = (np.array([i for i, record in enumerate(records) if record.label == label]) for label in (0, 1))
    draw_fakes: Order = lambda _rng: fakes  # noqa: E731
    notes = []
    if methods is not None:
        groups: dict[str, list[int]] = defaultdict(list)
        for i in fakes.tolist():
            groups[methods[i]].append(i)
        draw_fakes = partial(balanced, [np.array(group) for group in groups.values()])
        counts = ", ".join(f"{method} {len(group)}" for method, group in groups.items())
        notes.append(f"{len(fakes)} fakes per epoch, in equal shares of the methods; the list has {counts}")
    if not pairs:
        return Sampling(len(records), lambda rng: rng.permutation(np.concatenate((reals, draw_fakes(rng)))), notes)
    fakes_lead = methods is not None or len(fakes) >= len(reals)
    leaders, others = (fakes, reals) if fakes_lead else (reals, fakes)
    near = near_partners(records, leaders.tolist(), others.tolist())
    leader, partner = ("fake", "real") if fakes_lead else ("real", "fake")
    counts = f"{len(near)} have a {partner} of the same target video, {len(leaders) - len(near)} get a random one"
    notes.append(f"{len(leaders)} pairs per epoch; of the {leader}s in the list {counts}")

    def order(rng: np.random.Generator) -> np.ndarray:
        drawn = paired(draw_fakes(rng) if fakes_lead else reals, others, near, rng)
        return (drawn[:, ::-1] if fakes_lead else drawn).reshape(-1)

    return Sampling(2 * len(leaders), order, notes)


def balanced(groups: Sequence[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """As many images as the groups have together, equal shares of each: their numbers differ by at most one.

    Which groups give one more is drawn. A group repeats all its images as often as they fit into its share; the rest
    of the share is a random subset.
    """
    share, more = divmod(sum(map(len, groups)), len(groups))
    numbers = share + (rng.permutation(len(groups)) < more)
    chosen = []
    for group, number in zip(groups, numbers.tolist(), strict=True):
        times, rest = divmod(number, len(group))
        chosen += [np.tile(group, times), rng.permutation(group)[:rest]]
    return np.concatenate(chosen)


def paired(
    leaders: np.ndarray, others: np.ndarray, near: Mapping[int, Sequence[int]], rng: np.random.Generator
) -> np.ndarray:
    """Give each leader a partner -> int64 [leaders, 2] (leader, partner), the leaders in random order.

    Leaders in ``near`` choose first, among its images; then the rest, among all ``others``. Each takes the image that
    was taken least often so far, in a random order if there are several.
    """
    drawn = rng.permutation(leaders).tolist()
    rank = dict(zip(others.tolist(), rng.permutation(len(others)).tolist(), strict=True))
    used = dict.fromkeys(rank, 0)
    partners = [0] * len(drawn)
    for place, leader in enumerate(drawn):
        if leader in near:
            partners[place] = min(near[leader], key=lambda i: (used[i], rank[i]))
            used[partners[place]] += 1
    queue = [(number, rank[i], i) for i, number in used.items()]
    heapq.heapify(queue)
    for place, leader in enumerate(drawn):
        if leader not in near:
            number, order, partners[place] = queue[0]
            heapq.heapreplace(queue, (number + 1, order, partners[place]))
    return np.stack((drawn, partners), axis=1)


def near_partners(records: Sequence[Record], leaders: Sequence[int], others: Sequence[int]) -> dict[int, list[int]]:
    """Leader -> the images among ``others`` of the same target video whose frame numbers are nearest.

    leaders, others: Record indices. Leaders whose target video has no image among ``others`` are left out. Frames
    before and after at the same distance are both there, as are several images of one frame.
    """
    targets = target_videos(records)
    frames_of: dict[str, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))  # video -> frame -> images
    for i in others:
        frames_of[targets[i]][_frame_number(records[i])].append(i)
    frames_of.pop("", None)
    sorted_frames = {video: sorted(frames) for video, frames in frames_of.items()}
    near = {}
    for i in leaders:
        if frames := sorted_frames.get(targets[i]):
            wanted = _frame_number(records[i])
            place = bisect.bisect_left(frames, wanted)
            around = frames[max(place - 1, 0) : place + 1]
            distance = min(abs(frame - wanted) for frame in around)
            nearest = [frame for frame in around if abs(frame - wanted) == distance]
            near[i] = [image for frame in nearest for image in frames_of[targets[i]][frame]]
    return near


def target_videos(records: Sequence[Record]) -> list[str]:
    """The real video whose frames each record shows: a real one's own, a fake one's target; "" if it is not known.

    A target is found by the names of the folders: that of a fake tells that of its target in the forms of the data sets
    (``fake_name``), or is the same. If several real videos have the name (compressions, data sets), it is the one whose
    id shares most folder names with the fake's, the first one listed among equals.
    """
    named: dict[str, list[str]] = defaultdict(list)
    target_of = {record.path: "" for record in records if record.video == record.path}  # images without videos
    for video in dict.fromkeys(record.video for record in records if record.label == 0):
        named[_name(video)].append(video)
        target_of.setdefault(video, video)
    for video in dict.fromkeys(record.video for record in records if record.label == 1):
        folders = set(video.split("/"))
        candidates = named.get(target_name(_name(video)), [])
        target = max(candidates, key=lambda real: len(folders.intersection(real.split("/"))), default="")
        target_of.setdefault(video, target)
    return [target_of[record.video] for record in records]


def target_name(name: str) -> str:
    """The name of the target video of a fake: 000_003 -> 000; the name itself if it has none of the known forms."""
    match = next(filter(None, (pattern.fullmatch(name) for pattern in _FAKE_NAMES)), None)
    return "".join(match.groups()) if match else name


def _name(video: str) -> str:
    return video.rpartition("/")[2]


def _frame_number(record: Record) -> int:
    """The last number in the file name, 0 without one."""
    match = _LAST_NUMBER.search(record.frame)
    return int(match[1]) if match else 0
