import torch

from datasets.frames import EpochBatches, Frames, batches_per_epoch, node_labels, scoring_loader, training_loader
from datasets.records import Record


def records(golden_crops, n=9):
    paths = sorted(golden_crops.glob("*/*/*.png"))[:n]
    return [Record(str(path), path.parent.name, 0, "0000000000") for path in paths]


def collect(loader):
    return [(images.clone(), indices.tolist(), bad) for images, indices, bad in loader]


def test_training_batches_do_not_depend_on_the_number_of_workers(golden_crops):
    frames = Frames(records(golden_crops), 64, augment_probability=0.8)
    runs = [collect(training_loader(frames, EpochBatches(9, 4, seed=1, epoch=2), workers)) for workers in (0, 2)]
    assert [indices for _, indices, _ in runs[0]] == [indices for _, indices, _ in runs[1]]
    assert all(torch.equal(a, b) for (a, _, _), (b, _, _) in zip(*runs, strict=True))


def test_resumed_epoch_continues_with_the_very_batches():
    whole = list(EpochBatches(100, 8, seed=3, epoch=1))
    assert list(EpochBatches(100, 8, seed=3, epoch=1, start=5)) == whole[5:]
    assert len(whole) == 12 == batches_per_epoch(100, 8)


def test_epochs_streams_and_seeds_shuffle_differently_and_cover_the_list():
    orders = []
    for key in ((0, 0, 0), (0, 1, 0), (0, 0, 1), (1, 0, 0)):
        seed, epoch, stream = key
        batches = list(EpochBatches(64, 8, seed, epoch, stream))
        order = [index for batch in batches for index, _ in batch]
        assert sorted(order) == list(range(64))
        orders.append(tuple(order))
    assert len(set(orders)) == 4


def test_list_smaller_than_a_batch_is_one_batch():
    assert [len(batch) for batch in EpochBatches(5, 32, seed=0, epoch=0)] == [5]


def test_second_batches_only_for_the_steps_that_update_lambda():
    everything = list(EpochBatches(40, 4, seed=0, epoch=1, stream=1))
    batches = EpochBatches(40, 4, seed=0, epoch=1, stream=1)
    batches.keep_every(4, offset=10)  # run steps 10..19: 12 and 16
    assert list(batches) == [everything[2], everything[6]]
    batches.keep_every(0, offset=10)
    assert list(batches) == []


def test_scoring_crosses_video_borders_and_keeps_the_order(golden_crops):
    frames = Frames(records(golden_crops), 64)
    batches = collect(scoring_loader(frames, 4, 0))
    assert [indices for _, indices, _ in batches] == [[0, 1, 2, 3], [4, 5, 6, 7], [8]]
    assert batches[0][0].dtype == torch.uint8
    assert batches[0][0].shape == (4, 3, 64, 64)


def test_unreadable_image_leaves_the_batch_with_its_reason(golden_crops, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no image")
    rows = records(golden_crops, 2)
    rows.insert(1, Record(str(tmp_path / "bad.png"), "v", 0, "0000000000"))
    ((images, indices, bad),) = collect(scoring_loader(Frames(rows, 64), 8, 0))
    assert (len(images), indices) == (2, [0, 2])
    assert bad[0][0] == 1
    assert bad[0][1].startswith("unreadable_image")


def test_node_labels():
    rows = [Record("a", "v", 0, "0000000000"), Record("b", "v", 1, "1011111111")]
    assert node_labels(rows, torch.tensor([1, 0])).tolist() == [[1, 0] + [1] * 8, [0] * 10]
