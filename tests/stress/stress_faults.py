"""Faults from outside, against the scripts as processes: kill -9, signals, full disks, removed folders, two runs."""

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
import skimage.data
import torch
from PIL import Image

from preprocessing import expand_FFpp, extract_faces, make_demo_videos, make_lists
from tests.stress.killing import at_work, ended, files, killed_at, removed, run, seconds_of_work, start, wait_for

TRAIN = "--VM demo --num_epoch 3 --batch_size 8 --num_workers 1 --initial_lr 1e-3 --lambda_every 2"
TRAIN += " --tag t --save_minutes 0"


@pytest.fixture(scope="session")
def ffpp(tmp_path_factory):
    """A tiny FF++ with crops and expansion; not to be changed."""
    root = tmp_path_factory.mktemp("ffpp") / "data"
    numbers = "--n_train 2 --n_val 2 --n_test 2 --frames 4 --workers 1"
    assert make_demo_videos.main(["--data_root", str(root), *numbers.split()]) == 0
    shutil.copytree(root, root.parent / "raw")
    common = ["--data_root", str(root), "--workers", "1"]
    assert extract_faces.main(["--dataset", "FFpp", "--n_frames", "2", *common]) == 0
    assert expand_FFpp.main(common) == 0
    assert make_lists.main(["--data_root", str(root), "--expansion", "--output", str(root.parent / "lists")]) == 0
    return root


@pytest.fixture(scope="session")
def predictions(ffpp, published_checkpoint, golden_crops, tmp_path_factory):
    """A predictions.csv and its metrics.json."""
    out = tmp_path_factory.mktemp("predictions")
    command = ["SJEDD_test.py", "--dataset", "CDF", "--datapath", golden_crops, "--resume", published_checkpoint]
    assert run([*command, "--num_workers", "0", "--output", out]).code == 0
    return out / "SJEDD_test" / "CDF" / "predictions.csv"


@pytest.fixture(scope="session")
def media(tmp_path_factory):
    """Three photographs."""
    folder = tmp_path_factory.mktemp("media")
    photo = skimage.data.astronaut()
    for number in range(3):
        Image.fromarray(photo[:300, 60 + 10 * number : 380]).save(folder / f"{number}.png")
    return folder


@pytest.fixture
def commands(ffpp, predictions, media, published_checkpoint, golden_crops, tmp_path):
    """name -> (command without its output folder, option of the output folder, the folder that holds its files)."""
    lists = ffpp.parent / "lists"
    out = tmp_path / "out"
    of_lists = ["--txt_path_train", lists / "train.txt", "--txt_path_val", lists / "val.txt"]
    extract = ["preprocessing/extract_faces.py", "--dataset", "videos", "--video_path", ffpp / "FF++", "--n_frames", 2]
    test = ["SJEDD_test.py", "--dataset", "CDF", "--datapath", golden_crops, "--resume", published_checkpoint]
    predict = ["SJEDD_predict.py", "--input", media, "--resume", published_checkpoint, "--detector", "mtcnn"]
    return {
        "extract": ([*extract, "--workers", 2, "--save_path", out], out),
        "lists": (["preprocessing/make_lists.py", "--data_root", ffpp, "--expansion", "--output", out], out),
        "train": (["SJEDD_train_FFpp.py", *TRAIN.split(), *of_lists, "--output", out], out / "SJEDD" / "t"),
        "test": ([*test, "--num_workers", 1, "--batch_size", 1, "--output", out], out / "SJEDD_test" / "CDF"),
        "report": (["SJEDD_report.py", predictions, "--output", out], out),
        "predict": ([*predict, "--output", out], out),
    }


@pytest.fixture(scope="session")
def whole(request):
    """name -> the files of an uninterrupted run, made when first asked for."""
    return {}


def weights(folder):
    content = torch.load(folder / "ckpt_last.pth", weights_only=True)
    return content["model"], content["progress"]


def result(name, folder):
    """What must be alike: all files, or of a training the weights and the rows of metrics.jsonl."""
    if name != "train":
        return files(folder)
    rows = [json.loads(line) | {"seconds": 0} for line in (folder / "metrics.jsonl").read_text().splitlines()]
    model, progress = weights(folder)
    return {key: value.numpy().tobytes() for key, value in model.items()} | {"rows": rows, "progress": progress}


def uninterrupted(whole, name, command, folder):
    """The result of a quiet run into the same folder, which is removed again, and its seconds of work."""
    if name not in whole:
        seconds = seconds_of_work(command, folder)
        whole[name] = result(name, folder), seconds
        removed(folder)
    return whole[name]


def resumed(name, command, folder):
    """The command that goes on after a kill."""
    if name == "train" and (folder / "ckpt_last.pth").is_file():
        return [command[0], "--resume", folder / "ckpt_last.pth"]
    return command


def leftovers(folder):
    return [
        path.name for path in folder.rglob("*") if path.name.startswith(".sjedd-tmp-") or path.name in (".sjedd.lock",)
    ]


def kill_often(number, seed, seconds, command_now, folder, start_anew):
    """kill -9 of the group at ``number`` random moments of its work, each run going on where the last was killed; one
    that was done before is started anew."""
    draw, killed = random.Random(seed), 0
    for _ in range(5 * number):
        if killed == number:
            break
        if killed_at(command_now(), folder, draw.uniform(0, seconds)):
            killed += 1
        else:
            start_anew()
    print(f"{seed}: {killed} killed at work, of {seconds:.2f} s")
    assert killed == number


KILLS = [("extract", 4), ("lists", 2), ("train", 4), ("test", 3), ("report", 3), ("predict", 3)]


@pytest.mark.parametrize(("name", "number"), KILLS)
def test_killed_runs_are_made_good(commands, whole, name, number):
    command, folder = commands[name]
    expected, seconds = uninterrupted(whole, name, command, folder)
    kill_often(number, name, seconds, lambda: resumed(name, command, folder), folder, lambda: removed(folder))
    last = run(resumed(name, command, folder))
    assert last.code == 0, last.err
    assert result(name, folder) == expected
    assert not leftovers(folder)


def test_killed_expansion_is_made_good(ffpp, tmp_path):
    """As above; the expansion lies in the data set itself."""
    roots = [tmp_path / "one" / "data", tmp_path / "two" / "data"]
    for root in roots:
        shutil.copytree(ffpp, root)
        shutil.rmtree(root / "FF++" / "expansion")
    places = [root / "FF++" / "expansion" for root in roots]
    commands = [["preprocessing/expand_FFpp.py", "--data_root", root, "--workers", 2] for root in roots]
    seconds = seconds_of_work(commands[0], places[0])
    kill_often(3, "expand", seconds, lambda: commands[1], places[1], lambda: removed(places[1]))
    assert run(commands[1]).code == 0
    assert files(places[0]) == files(places[1])
    assert not leftovers(places[1])


NAMES = ("extract", "lists", "train", "test", "report", "predict")


@pytest.mark.parametrize("name", NAMES)
def test_a_full_disk_is_one_line(commands, name):
    """No file can be larger than this: the first that is ends the run, and nothing half-written stays."""
    command, folder = commands[name]
    command = [
        0 if before == "--num_workers" else word for before, word in zip([None, *command], command, strict=False)
    ]
    # In one process: several share images by files in memory, which the limit is for too.
    last = run(command, limit=1000)
    assert last.code == 2, last.err
    assert len(last.told) == 1 and "cannot write" in last.told[0], last.err
    assert not leftovers(folder)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("share", [0.3, 0.8])
def test_a_disk_that_fills_is_one_line(commands, whole, name, share):
    """The output folder is a disk of a share of what the run writes; what was finished stays, and is gone on from."""
    command, folder = commands[name]
    (expected, _), out = uninterrupted(whole, name, command, folder), Path(command[-1])
    out.mkdir(exist_ok=True)
    with small_disk(out, int(share * whole_pages(command, out))):
        last = run(command)
        assert last.code == 2, last.err
        assert len(last.told) == 1 and "cannot write" in last.told[0], last.err
        assert not leftovers(folder)
        kept = {path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    for path, content in kept.items():
        (out / path).parent.mkdir(parents=True, exist_ok=True)
        (out / path).write_bytes(content)
    last = run(resumed(name, command, folder))
    assert last.code == 0, last.err
    assert result(name, folder) == expected


def whole_pages(command, out):
    """What a run writes, in pages of 4 KiB, of which a file takes whole ones."""
    assert run(command).code == 0
    number = sum(-(-path.stat().st_size // 4096) for path in out.rglob("*") if path.is_file())
    removed(out)
    out.mkdir()
    return number


@contextlib.contextmanager
def small_disk(place, pages):
    """A file system of its own, of ``pages`` of 4 KiB. Only root may mount one: elsewhere the test is skipped."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={4096 * max(pages, 1)}", "tmpfs", place]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", place], check=True)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("moment", [0, 1])
def test_a_removed_output_folder_is_one_line(commands, name, moment):
    command, folder = commands[name]
    process = start(command)
    wait_for(process, lambda: any(folder.glob("*")))
    time.sleep(moment * 0.3)
    late = process.poll() is not None
    removed(folder)
    last = ended(process)
    assert "Traceback" not in last.err, last.err
    assert late or last.code in (0, 2)
    if last.code == 2:
        assert len(last.told) == 1, last.err
    print(name, last.code, last.told)


SIGNALS = [("SIGTERM", 143, 1), ("SIGINT", 130, 1), ("SIGINT", 130, 2)]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("signum", "code", "times"), SIGNALS)
def test_signals_at_work_are_one_line(commands, whole, name, signum, code, times):
    """To the whole group, as a terminal does; at a random moment of its work, again where it was done before."""
    command, folder = commands[name]
    _, seconds = uninterrupted(whole, name, command, folder)
    draw, last = random.Random(f"{name}{code}{times}"), None
    for _ in range(10):
        process = at_work(command, folder, draw.uniform(0, 0.7 * seconds))
        last = signalled(process, signum, times)
        assert "Traceback" not in last.err, last.err
        removed(folder)
        if last.code:
            break
    second_at_the_end = times == 2 and last.code == -signal.SIGINT  # a shell says 130
    assert last.code == code or second_at_the_end, (last.code, last.err)
    assert len(last.told) == 1 and last.told[0].startswith("stopped by"), last.err


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("signum", "code", "times"), SIGNALS)
def test_signals_at_the_start_are_no_traceback(commands, name, signum, code, times):
    """While modules are imported: nothing is begun, and SIGTERM may end the process by itself."""
    command, folder = commands[name]
    process = start(command)
    time.sleep(random.Random(f"{name}{code}{times}").uniform(0.4, 1.5))
    begun = folder.exists()
    last = signalled(process, signum, times)
    assert "Traceback" not in last.err, last.err
    assert last.code in (code, -getattr(signal, signum)) or (begun and last.code == 0), (last.code, last.err)
    assert len(last.told) == (last.code == code), last.err


def signalled(process, signum, times):
    """The end of a process that gets a signal, or two."""
    for _ in range(times):
        if process.poll() is None:
            os.killpg(process.pid, getattr(signal, signum))
            time.sleep(0.1)
    return ended(process)


@pytest.mark.parametrize("name", ["extract", *NAMES[2:]])
def test_two_runs_in_one_folder(commands, whole, name):
    """One is refused, or both share the work; the result is whole."""
    command, folder = commands[name]
    expected, _ = uninterrupted(whole, name, command, folder)
    pair = [start(command), start(command)]
    ends = [ended(process) for process in pair]
    assert {0} <= {last.code for last in ends} <= {0, 2}, [last.err for last in ends]
    assert all(last.code == 0 or "another run is working in" in last.err or "holds a run" in last.err for last in ends)
    assert result(name, folder) == expected
    assert not leftovers(folder)


@pytest.mark.parametrize("name", NAMES)
def test_twice_the_same_command_gives_the_same_files(commands, whole, name):
    """All files byte for byte but log.txt and TensorBoard's; of a training the weights and its log of epochs."""
    command, folder = commands[name]
    expected, _ = uninterrupted(whole, name, command, folder)
    removed(folder)
    assert run(command).code == 0
    assert result(name, folder) == expected


def test_a_killed_worker_costs_an_extraction_nothing(commands, whole):
    """Its videos are cropped by the others."""
    command, folder = commands["extract"]
    expected, _ = uninterrupted(whole, "extract", command, folder)
    last = with_a_worker_killed(command, lambda: any(folder.rglob("*.png")))
    assert (last.code, last.told) == (0, []), last.err
    assert result("extract", folder) == expected


def test_a_killed_worker_of_an_expansion_is_one_line(ffpp, tmp_path):
    shutil.copytree(ffpp, tmp_path / "data")
    place = tmp_path / "data" / "FF++" / "expansion"
    expected = files(place)
    shutil.rmtree(place)
    command = ["preprocessing/expand_FFpp.py", "--data_root", tmp_path / "data", "--workers", 2]
    last = with_a_worker_killed(command, lambda: any(place.rglob("*.png")))
    assert last.code == 2, last.err
    assert len(last.told) == 1 and "process" in last.told[0], last.err
    assert run(command).code == 0
    assert files(place) == expected


def with_a_worker_killed(command, ready):
    process = start(command)
    wait_for(process, ready)
    children = [int(place.name) for place in Path("/proc").glob("[0-9]*") if _parent(place) == process.pid]
    os.kill(max(children), signal.SIGKILL)
    last = ended(process)
    assert "Traceback" not in last.err
    return last


def _parent(place):
    try:
        return int((place / "stat").read_text().rsplit(")", 1)[1].split()[1])
    except OSError:
        return None
