import signal

import pytest
import torch

from datasets import frames as frames_module
from datasets.frames import EpochBatches, Frames, batches_per_epoch, node_labels, scoring_loader, training_loader
from datasets.perturbations import parse_perturbation
from datasets.records import Record
from datasets.transforms import read_image, resize
from tests.platforms import posix_only


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
    batches = EpochBatches(40, 4, seed=0, epoch=1, stream=1, every=4)  # steps 10..19 of the run: 12 and 16
    assert list(batches) == [everything[2], everything[6]]
    assert list(EpochBatches(40, 4, seed=0, epoch=1, stream=1, every=0)) == []


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
    codes = ["1011111111", "0000000000"]
    assert node_labels(codes).tolist() == [[1, 0] + [1] * 8, [0] * 10]


def by_path(frames, batch_size, workers):
    """Path -> image as served, and the paths in the order in which they were served."""
    order, images = [], {}
    for batch, indices, _ in collect(scoring_loader(frames, batch_size, workers)):
        for image, index in zip(batch, indices, strict=True):
            order.append(frames.records[index].path)
            images[order[-1]] = image
    return images, order


def test_unperturbed_scoring_serves_the_resized_files(golden_crops):
    rows = records(golden_crops)
    images, order = by_path(Frames(rows, 64), 4, 0)
    assert order == [row.path for row in rows]
    for path, image in images.items():
        assert torch.equal(image, torch.from_numpy(resize(read_image(path), 64).transpose(2, 0, 1).copy()))


@pytest.mark.parametrize("text", ["noise:3", "blockwise:2", "compression:4"])
def test_perturbed_scoring_depends_neither_on_workers_nor_batches_nor_order(golden_crops, text):
    rows, perturbation = records(golden_crops, 18), parse_perturbation(text)
    images, order = by_path(Frames(rows, 64, perturbation=perturbation, seed=1), 4, 0)
    assert order == [row.path for row in rows]
    plain, _ = by_path(Frames(rows, 64), 4, 0)
    assert not any(torch.equal(images[path], plain[path]) for path in order)
    other, order = by_path(Frames(rows, 64, perturbation=perturbation, seed=1), 5, 2)
    assert order == [row.path for row in rows]
    assert all(torch.equal(images[path], other[path]) for path in order)
    if perturbation.name != "compression":  # where the order of a video's frames matters
        rows = rows[::-1]
        other, _ = by_path(Frames(rows, 64, perturbation=perturbation, seed=1), 4, 0)
        assert all(torch.equal(images[path], other[path]) for path in order)
        other, _ = by_path(Frames(rows, 64, perturbation=perturbation, seed=2), 4, 0)
        assert not any(torch.equal(images[path], other[path]) for path in order)


def test_compression_takes_scattered_frames_of_a_video_together(golden_crops):
    rows, compression = records(golden_crops, 18), parse_perturbation("compression:1")
    images, _ = by_path(Frames(rows, 64, perturbation=compression), 4, 0)
    scattered = sorted(rows, key=lambda row: row.frame)
    assert scattered != rows
    other, order = by_path(Frames(scattered, 64, perturbation=compression), 4, 0)
    assert order == [row.path for row in scattered]
    assert all(torch.equal(images[path], other[path]) for path in order)


@pytest.mark.parametrize("text", ["contrast:1", "compression:1"])
def test_unreadable_image_of_a_perturbed_video_leaves_with_its_reason(golden_crops, tmp_path, text):
    (tmp_path / "bad.png").write_bytes(b"no image")
    rows = records(golden_crops, 3)
    whole, _ = by_path(Frames(rows, 64, perturbation=parse_perturbation(text)), 8, 0)
    rows.insert(0, Record(str(tmp_path / "bad.png"), rows[0].video, 0))
    rows.insert(2, Record(str(tmp_path / "none.png"), rows[0].video, 0))
    frames = Frames(rows, 64, perturbation=parse_perturbation(text))
    (_, indices, bad), (_, last, _) = collect(scoring_loader(frames, 4, 0))
    assert (indices, last) == ([1, 3], [4])
    assert [index for index, _ in bad] == [0, 2]
    assert bad[0][1].startswith("unreadable_image")
    assert bad[1][1] == "missing_file"
    without, _ = by_path(frames, 4, 0)
    assert all(torch.equal(without[path], image) for path, image in whole.items())


@posix_only
def test_signals_wait_until_the_reading_processes_ignore_them(golden_crops, monkeypatch):
    """One that gets a signal as it starts ends, and the loader with it, or waits for ever."""
    blocked = []
    start = frames_module.DataLoader.__iter__

    def spy(loader):
        blocked.append(signal.pthread_sigmask(signal.SIG_BLOCK, []))
        return start(loader)

    monkeypatch.setattr(frames_module.DataLoader, "__iter__", spy)
    assert len(collect(scoring_loader(Frames(records(golden_crops), 64), 4, 1))) == 3
    assert {signal.SIGINT, signal.SIGTERM} <= blocked[0]
    assert not {signal.SIGINT, signal.SIGTERM} & signal.pthread_sigmask(signal.SIG_BLOCK, [])
