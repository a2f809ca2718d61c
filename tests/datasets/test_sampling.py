"""Epochs with equal shares of the methods and epochs of pairs, against naive oracles."""

from collections import Counter

import numpy as np
import pytest

from datasets.frames import EpochBatches
from datasets.records import Record
from datasets.sampling import balanced, paired, sampling, target_name, target_videos

FFPP = "original_sequences/youtube/c23/faces"


def image(video, frame, label, method=""):
    return Record(f"/data/{video}/{frame:04d}.png", video, label, "", method)


def ff_list(real_frames, fake_frames):
    """Reals 000 to 004; fakes of 000 to 002 by two methods, and one whose target is not there."""
    records = [image(f"{FFPP}/{name:03d}", frame, 0) for name in range(5) for frame in real_frames]
    for method in ("Deepfakes", "Face2Face"):
        folder = f"manipulated_sequences/{method}/c23/faces"
        records += [image(f"{folder}/{name:03d}_009", f, 1, method) for name in range(3) for f in fake_frames]
        records += [image(f"{folder}/777_000", frame, 1, method) for frame in fake_frames]
    return records


def of_one_target(real, fake):
    return real.video.rpartition("/")[2] == fake.video.rpartition("/")[2].split("_")[0]


def distance(a, b):
    return abs(int(a.frame) - int(b.frame))


def naive_candidates(records, leader):
    """The images of the other class and the leader's target video with the smallest distance."""
    others = [r for r in records if r.label != leader.label]
    same = [r for r in others if of_one_target(*sorted((r, leader), key=lambda r: r.label))]
    nearest = min((distance(r, leader) for r in same), default=None)
    return {r.path for r in same if distance(r, leader) == nearest}


@pytest.mark.parametrize(
    ("real_frames", "fake_frames"),
    [(range(0, 9, 4), range(0, 20, 3)), (range(0, 60, 7), range(0, 10, 3)), (range(8), range(5))],
)
def test_the_larger_class_once_each_with_the_nearest_frame_of_its_target_video(real_frames, fake_frames):
    records = ff_list(real_frames, fake_frames)
    by_label = [[i for i, r in enumerate(records) if r.label == label] for label in (0, 1)]
    larger = int(len(by_label[1]) >= len(by_label[0]))
    drawn = sampling(records, pairs=True)
    assert drawn.length == 2 * len(by_label[larger])
    order = drawn.order(np.random.default_rng(0))
    pairs = order.reshape(-1, 2)
    assert [records[i].label for i in order] == [0, 1] * len(pairs), "a real, then its fake"
    assert sorted(pairs[:, larger]) == by_label[larger]
    true = 0
    for pair in pairs.tolist():
        leader, partner = records[pair[larger]], records[pair[1 - larger]]
        candidates = naive_candidates(records, leader)
        assert partner.path in candidates or not candidates
        true += bool(candidates)
    assert f"{true} have a" in drawn.notes[0] and f"{len(pairs) - true} get a random one" in drawn.notes[0]
    assert not np.array_equal(order, drawn.order(np.random.default_rng(1)))
    assert np.array_equal(order, drawn.order(np.random.default_rng(0)))


def test_partners_are_used_evenly():
    leaders, others = np.arange(100, 117), np.arange(5)
    pairs = paired(leaders, others, {}, np.random.default_rng(0))
    assert sorted(pairs[:, 0]) == leaders.tolist()
    assert sorted(Counter(pairs[:, 1].tolist()).values()) == [3, 3, 3, 4, 4]
    near = {leader: [0, 1, 2] for leader in range(100, 109)}  # 3 each; the other 8 go to 3 and 4 first
    pairs = paired(leaders, others, near, np.random.default_rng(0)).tolist()
    assert Counter(partner for leader, partner in pairs if leader in near) == {0: 3, 1: 3, 2: 3}
    assert sorted(Counter(partner for _, partner in pairs).values()) == [3, 3, 3, 4, 4]


def test_equal_shares_repeat_small_methods_whole_and_draw_from_large_ones():
    groups = [np.arange(0, 50), np.arange(100, 104), np.arange(200, 201)]
    for seed in range(5):
        chosen = balanced(groups, np.random.default_rng(seed))
        assert len(chosen) == 55
        counts = [Counter(i for i in chosen.tolist() if i in group) for group in groups]
        shares = [sum(count.values()) for count in counts]
        assert sorted(shares) == [18, 18, 19]
        for count, group in zip(counts, groups, strict=True):
            numbers = [count[i] for i in group.tolist()]
            assert max(numbers) - min(numbers) <= 1
    draws = [set(balanced(groups, np.random.default_rng(seed)).tolist()) for seed in (0, 1)]
    assert draws[0] != draws[1]


@pytest.mark.parametrize("pairs", [False, True])
def test_balanced_epochs_have_the_fakes_in_equal_shares_and_the_reals_as_they_are(pairs):
    records = ff_list(range(10), range(5)) + [image("SimSwap/v", frame, 1, "SimSwap") for frame in range(3)]
    drawn = sampling(records, pairs, [record.method for record in records])
    chosen = [records[i] for i in drawn.order(np.random.default_rng(0))]
    assert len(chosen) == drawn.length == (86 if pairs else 93)
    shares = Counter(record.method for record in chosen if record.label == 1)
    assert sorted(shares.values()) == [14, 14, 15]
    if pairs:
        assert [record.label for record in chosen] == [0, 1] * 43
        for real, fake in zip(chosen[::2], chosen[1::2], strict=True):
            candidates = naive_candidates(records, fake)
            assert real.path in candidates or not candidates
    else:
        assert Counter(r for r in chosen if r.label == 0) == Counter(r for r in records if r.label == 0)
        assert [record.label for record in chosen] != sorted(record.label for record in chosen), "shuffled"
    assert "Deepfakes 20, Face2Face 20, SimSwap 3" in drawn.notes[0]


def test_without_options_an_epoch_is_the_permutation_of_before():
    records = ff_list(range(2), range(1))
    for seed in range(3):
        order = sampling(records).order(np.random.default_rng(seed))
        assert np.array_equal(order, np.random.default_rng(seed).permutation(len(records)))
    # of the first version, seed 3, epoch 1, stream 1
    batches = [[index for index, _ in batch] for batch in EpochBatches(10, 4, seed=3, epoch=1, stream=1)]
    assert batches == [[6, 5, 3, 1], [2, 0, 7, 4]]


def test_pairs_resume_within_an_epoch_and_stay_in_one_process(monkeypatch):
    records = ff_list(range(7), range(3))
    drawn = sampling(records, pairs=True)
    settings = {"seed": 5, "epoch": 2, "order": drawn.order}
    whole = list(EpochBatches(drawn.length, 8, **settings))
    assert list(EpochBatches(drawn.length, 8, start=3, **settings)) == whole[3:]
    second = list(EpochBatches(drawn.length, 8, stream=1, every=2, **settings))
    assert len(second) == len(whole) // 2 and second[0] != whole[0]
    monkeypatch.setenv("WORLD_SIZE", "2")
    shares = []
    for rank in "01":
        monkeypatch.setenv("RANK", rank)
        shares.append(list(EpochBatches(drawn.length, 8, **settings)))
    for mine, yours, both in zip(*shares, whole, strict=True):
        assert mine + yours == both
        for batch in (mine, yours):
            assert [records[index].label for index, _ in batch] == [0, 1] * 2


@pytest.mark.parametrize(
    ("fake", "target"),
    [
        ("000_003", "000"),
        ("Deepfakes_000_003", "000"),
        ("000_W012", "000"),
        ("24_23__hugging_happy__ABC123", "24__hugging_happy"),
        ("id0_id1_0000", "id0_0000"),
        ("aabbccdd", "aabbccdd"),
        ("id1_0001", "id1_0001"),
    ],
)
def test_names_of_targets(fake, target):
    assert target_name(fake) == target


def test_of_several_real_videos_of_a_name_the_one_in_like_folders_is_the_target():
    reals = ["FF++/original_sequences/youtube/c40/faces/000", "FF++/original_sequences/youtube/c23/faces/000", "x/000"]
    fakes = ["FF++/manipulated_sequences/FaceSwap/c23/faces/000_003", "FF++/expansion/c40/train/nose/FaceSwap_000_003"]
    records = [image(video, 0, 0) for video in reals] + [image(video, 0, 1) for video in fakes]
    assert target_videos(records) == [*reals, reals[1], reals[0]]


def test_images_without_videos_have_random_partners():
    records = [Record(f"/d/{name}/{i}.png", f"/d/{name}/{i}.png", label) for name, label in (("a", 0), ("b", 1))
               for i in range(3)]  # fmt: skip
    assert target_videos(records) == [""] * 6
    assert "0 have a real of the same target video, 3 get a random one" in sampling(records, pairs=True).notes[0]
