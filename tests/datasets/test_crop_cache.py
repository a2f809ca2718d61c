import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from datasets import crop_cache
from datasets.crop_cache import cache_of, image_source
from datasets.device_augmentation import augmented
from datasets.frames import EpochBatches, Frames, scoring_loader, training_loader
from datasets.perturbations import parse_perturbation
from datasets.raw_frames import RawFrames
from datasets.records import DataSet, Record
from datasets.transforms import ImageFiles
from tests.conftest import ROOT
from tests.platforms import linux_only, posix_only
from utils.cli import UserError
from utils.locks import hold
from utils.pool import run_jobs


@pytest.fixture
def data(crops_copy, tmp_path):
    """The golden crops in different sizes and formats, one twice, and three that cannot be read."""
    paths = sorted(crops_copy.glob("*/*/*.png"))[:12]
    for i, path in enumerate(paths[:6]):
        Image.open(path).resize((300 + 7 * (i // 2), 290)).save(path)
    Image.open(paths[7]).convert("L").save(paths[7])
    rotated = Image.Exif()
    rotated[274] = 6
    Image.open(paths[1]).save(crops_copy / "turned.tif", exif=rotated)
    whole = paths[9].read_bytes()
    (crops_copy / "half.png").write_bytes(whole[: len(whole) // 2])
    (crops_copy / "text.png").write_bytes(b"no image")
    names = [*paths, crops_copy / "turned.tif", crops_copy / "half.png", crops_copy / "text.png", crops_copy / "no.png"]
    records = [Record(str(path), path.parent.name, i % 2, "1000000000") for i, path in enumerate([*names, paths[3]])]
    return DataSet("train", records, source=str(tmp_path / "train.txt"))


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache"


def batches(loader):
    return [(images.clone(), indices.tolist(), bad) for images, indices, bad in loader]


def same(a, b):
    return all(torch.equal(x, y) and rest == others for (x, *rest), (y, *others) in zip(a, b, strict=True))


def no_building(monkeypatch):
    monkeypatch.setattr(crop_cache, "_build", lambda *_: pytest.fail("a cache is built again"))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("perturbation", [None, "noise:2", "compression:1"])
def test_scoring_batches_are_those_of_the_files(data, folder, workers, perturbation):
    perturbation = parse_perturbation(perturbation) if perturbation else None
    records, runs = data.records, []
    for images in (None, image_source(data, str(folder))):
        frames = Frames(records, 64, perturbation=perturbation, seed=1, images=images)
        runs.append(batches(scoring_loader(frames, 5, workers)))
    assert same(*runs)
    assert len([bad for _, _, rows in runs[1] for bad in rows]) == 3


def test_training_batches_are_those_of_the_files(data, folder):
    runs = []
    for images in (None, image_source(data, str(folder))):
        frames = Frames(data.records, 64, augment_probability=0.9, images=images)
        order = EpochBatches(len(data.records), 8, seed=1, epoch=0)
        runs.append(batches(training_loader(frames, order, 2 if images else 0)))
    assert same(*runs)


@pytest.mark.parametrize("workers", [0, 2])
def test_crops_for_the_device_are_those_of_the_files(data, folder, workers):
    runs = []
    for images in (None, image_source(data, str(folder))):
        frames, order = RawFrames(data.records, 0.9, images), EpochBatches(len(data.records), 8, seed=1, epoch=0)
        loaded = training_loader(frames, order, workers)
        runs.append([(augmented(batch, 64, torch.device("cpu")), indices, bad) for batch, indices, bad in loaded])
    assert same(*(batches(run) for run in runs))


def test_crops_for_the_device_are_small_to_hand_over_and_may_lie_in_files_too(data, folder, monkeypatch):
    source = image_source(data, str(folder))
    frames = RawFrames(data.records, 0.0, source)
    assert len(pickle.dumps(frames[0, (1,)])) < 500
    shutil.copy(data.records[0].path, data.records[15].path)  # missing while the cache was built
    batch, indices, bad = RawFrames.collate([frames[index, (1,)] for index in (0, 15, 13)])
    assert indices.tolist() == [0, 15] and [index for index, _ in bad] == [13]
    first, second = augmented(batch, 64, torch.device("cpu"))
    assert torch.equal(first, second)


def test_second_run_and_other_processes_open_what_is_there(data, folder, monkeypatch, capsys):
    first = cache_of(data, folder)
    assert "crop cache of train: 16 crops" in capsys.readouterr().out
    no_building(monkeypatch)
    assert cache_of(data, folder) == first
    source = image_source(data, str(folder))
    source.read(0)
    assert not source.read(1).flags.writeable
    assert len(pickle.dumps(source)) < len(pickle.dumps(ImageFiles(data.records))) + 500
    again = pickle.loads(pickle.dumps(source))
    assert np.array_equal(again.read(4), source.read(4))
    assert sorted(path.name for path in folder.iterdir()) == [".crops.lock", f"{first.stem}.bin", first.name]


def test_a_changed_crop_gives_a_new_cache_and_the_old_one_is_named(data, folder, capsys):
    old = cache_of(data, folder)
    path = Path(data.records[2].path)
    before = path.stat()
    changed = np.full((50, 60, 3), 7, np.uint8)
    Image.fromarray(changed).save(path)
    content = path.read_bytes()
    path.write_bytes(content + bytes(before.st_size - len(content)))  # as many bytes as before
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    capsys.readouterr()
    source = image_source(data, str(folder))
    assert np.array_equal(source.read(2), changed)
    told = capsys.readouterr().out
    assert f"{old.stem}.*" in told and "delete those you do not need" in told and len(told.splitlines()) == 2
    assert old.exists() and old.with_suffix(".bin").exists()


def test_a_crop_that_can_be_read_again_is_and_one_added_gives_a_new_cache(data, folder, monkeypatch):
    first = cache_of(data, folder)
    shutil.copy(data.records[0].path, data.records[15].path)  # no.png
    second = cache_of(data, folder)
    assert first != second
    data.records.append(Record(data.records[15].path, "v", 0, "1000000000"))
    assert cache_of(data, folder) not in (first, second)


def test_a_cache_that_lost_a_part_is_built_again(data, folder):
    index = cache_of(data, folder)
    pixels = index.with_suffix(".bin")
    whole = pixels.read_bytes()
    for spoil in (pixels.unlink, index.unlink, lambda: os.truncate(pixels, 1000), lambda: index.write_bytes(b"PK")):
        spoil()
        assert cache_of(data, folder) == index
        assert pixels.read_bytes() == whole


def test_a_cache_that_is_deleted_meanwhile_leaves_the_files(data, folder):
    source = image_source(data, str(folder))
    shutil.rmtree(folder)
    assert np.array_equal(source.read(4), ImageFiles(data.records).read(4))


def test_an_index_is_never_unpickled(data, folder, tmp_path):
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    index = cache_of(data, folder)
    rows = np.empty(1, dtype=object)
    rows[0] = Evil()
    np.savez(index, rows=rows, source=rows)
    (folder / f"crops-{'0' * 32}.npz").write_bytes(index.read_bytes())
    assert np.array_equal(image_source(data, str(folder)).read(0), ImageFiles(data.records).read(0))
    assert not (tmp_path / "ran").exists()


def test_a_full_disk_is_one_line_and_leaves_nothing(data, folder, monkeypatch):
    usage = namedtuple("usage", "total used free")(10**9, 10**9 - 2 * 10**6, 2 * 10**6)
    monkeypatch.setattr(crop_cache.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(UserError, match=r"cache of train needs 4\.0 MB, and .* has 2\.0 MB left; make room"):
        cache_of(data, folder)
    assert [path.name for path in folder.iterdir()] == [".crops.lock"]


@linux_only
def test_a_disk_that_fills_meanwhile_is_one_line_and_leaves_nothing(data, folder):
    script = "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (10**6, 10**6))\n" + BUILD
    done = subprocess.run([sys.executable, "-c", script, *arguments(data, folder)], cwd=ROOT, capture_output=True)
    assert b"UserError: cannot write the crop cache in" in done.stderr and b"File too large" in done.stderr
    assert [path.name for path in folder.iterdir()] == [".crops.lock"]


def test_a_folder_that_cannot_be_written_is_one_line_unless_the_cache_is_there(data, folder, monkeypatch):
    (folder.parent / "file").write_text("")
    with pytest.raises(UserError, match="cannot write to the folder of --crop_cache"):
        cache_of(data, folder.parent / "file" / "below")
    index = cache_of(data, folder)

    def refuse(*_args, **_options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("utils.files.tempfile.TemporaryFile", refuse)
    assert cache_of(data, folder) == index
    index.unlink()
    with pytest.raises(UserError, match=r"cannot write to the folder of --crop_cache .*Permission denied"):
        cache_of(data, folder)


def test_a_crop_that_changes_while_it_is_read_is_refused(data, folder, monkeypatch):
    read = crop_cache.read_image

    def touching(path):
        os.utime(path, ns=(0, 0))
        return read(path)

    monkeypatch.setattr(crop_cache, "read_image", touching)
    with pytest.raises(UserError, match="was changed while the crop cache was built"):
        cache_of(data, folder)
    assert [path.name for path in folder.iterdir()] == [".crops.lock"]


def test_several_processes_build_what_one_does(data, folder, monkeypatch):
    index = cache_of(data, folder / "one")
    monkeypatch.setattr(crop_cache, "_CHUNK", 4)
    monkeypatch.setattr(crop_cache, "available_cores", lambda: 2)
    jobs = []
    monkeypatch.setattr(crop_cache, "run_jobs", lambda *rest: jobs.append(rest[2]) or run_jobs(*rest))
    other = cache_of(data, folder / "two")
    assert jobs == [2, 2]
    assert other.with_suffix(".bin").read_bytes() == index.with_suffix(".bin").read_bytes()


# Builds a cache, each crop in the time given; SLOW 0 is as fast as it goes.
BUILD = """
import json, sys, time
from pathlib import Path
from datasets import crop_cache
from datasets.raw_frames import RawFrames
from datasets.records import DataSet, Record
from datasets.transforms import ImageFiles

read = crop_cache.read_image
crop_cache.read_image = lambda path: time.sleep(float(sys.argv[3])) or read(path)
build = crop_cache._build
crop_cache._build = lambda *rest: print("it builds", flush=True) or build(*rest)
crop_cache.cache_of(DataSet("train", [Record(p, "v", 0) for p in json.loads(sys.argv[1])]), Path(sys.argv[2]))
"""


def arguments(data, folder, seconds=0.0):
    return [json.dumps([record.path for record in data.records]), str(folder), str(seconds)]


def builder(data, folder, seconds=0.0):
    command = [sys.executable, "-c", BUILD, *arguments(data, folder, seconds)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_leftover(folder, process):
    while not list(folder.glob(".sjedd-tmp-crops-*")):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)


@posix_only
def test_after_a_kill_the_next_run_builds_and_removes_what_was_left_and_nothing_else(data, folder):
    folder.mkdir()
    (folder / ".tmp-mine").write_text("mine")
    (folder / "crops-mine.npz").write_text("mine")
    with builder(data, folder, 0.1) as process:
        wait_for_leftover(folder, process)
        time.sleep(0.2)
        process.send_signal(signal.SIGKILL)
    assert list(folder.glob(".sjedd-tmp-crops-*"))
    source = image_source(data, str(folder))
    assert np.array_equal(source.read(5), ImageFiles(data.records).read(5))
    names = {path.name for path in folder.iterdir() if not path.name.startswith("crops-")}
    assert names == {".tmp-mine", ".crops.lock"}
    assert (folder / "crops-mine.npz").read_text() == "mine"


@posix_only
def test_ctrl_c_leaves_nothing(data, folder):
    with builder(data, folder, 0.1) as process:
        wait_for_leftover(folder, process)
        process.send_signal(signal.SIGINT)
        assert "KeyboardInterrupt" in process.communicate()[1]
    assert [path.name for path in folder.iterdir()] == [".crops.lock"]


def test_of_two_at_once_one_builds_and_the_other_shares(data, folder):
    with builder(data, folder, 0.2) as one, builder(data, folder, 0.2) as two:
        said = [process.communicate() for process in (one, two)]
    assert (one.returncode, two.returncode) == (0, 0), said
    out = "".join(lines for lines, _ in said)
    assert out.count("it builds\n") == 1 and out.count("waiting for another process") == 1


def test_leftovers_stay_where_there_are_no_locks(data, folder, monkeypatch):
    folder.mkdir()
    (folder / ".sjedd-tmp-crops-1.bin").write_text("of a builder that may be alive")
    monkeypatch.setattr("utils.locks.FileLock.acquire", no_locks)
    with hold(folder / "x", wait=False) as mine:
        assert mine
    cache_of(data, folder)
    assert (folder / ".sjedd-tmp-crops-1.bin").exists()


def no_locks(*_args, **_options):
    raise OSError(37, "No locks available")


def test_an_index_with_any_damaged_byte_is_no_index(tmp_path):
    """Whatever NumPy and zipfile make of it: built again, or, where the byte means nothing, the same rows."""
    index = tmp_path / "crops-0.npz"
    rows = np.array([[0, 2, 3], [18, 1, 1]], dtype=np.int64)
    np.savez(index, rows=rows, source=np.array("x"))
    index.with_suffix(".bin").write_bytes(bytes(21))
    whole = index.read_bytes()
    assert np.array_equal(crop_cache._rows(index, 2), rows)
    for i in range(len(whole)):
        index.write_bytes(whole[:i] + bytes([whole[i] ^ 0xFF]) + whole[i + 1 :])
        read = crop_cache._rows(index, 2)
        assert read is None or np.array_equal(read, rows)
    for wrong in (rows[:1], rows.astype(float), -rows, rows * 2**40, rows[:, :2]):
        np.savez(index, rows=wrong, source=np.array("x"))
        assert crop_cache._rows(index, 2) is None
