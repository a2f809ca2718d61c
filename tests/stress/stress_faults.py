"""Faults from outside, against the scripts as processes: kill -9, signals, full disks, removed folders, two runs."""

import json
import os
import shutil
import signal
import time
from pathlib import Path

import pytest
import skimage.data
import torch
from PIL import Image

from preprocessing import expand_FFpp, extract_faces, make_demo_videos, make_lists
from tests.stress.killing import ended, files, kill_at, removed, run, some_delays, start, wait_for

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
    """The result of a quiet run into the same folder, which is removed again."""
    if name not in whole:
        assert run(command).code == 0
        whole[name] = result(name, folder)
        removed(folder)
    return whole[name]


def resumed(name, command, folder):
    """The command that goes on after a kill."""
    if name == "train" and (folder / "ckpt_last.pth").is_file():
        return [command[0], "--resume", folder / "ckpt_last.pth"]
    return command


def leftovers(folder):
    return [path.name for path in folder.rglob("*") if path.name.startswith(".tmp-") or path.name in (".lock",)]


KILLS = [("extract", 4, 3.0), ("lists", 2, 0.02), ("train", 4, 4.0), ("test", 3, 0.5), ("report", 3, 2.5)]
KILLS += [("predict", 3, 2.0)]


@pytest.mark.parametrize(("name", "number", "longest"), KILLS)
def test_killed_runs_are_made_good(commands, whole, name, number, longest):
    """kill -9 of the group at random moments, one after the other, then a run to the end."""
    command, folder = commands[name]
    expected = uninterrupted(whole, name, command, folder)
    killed = 0
    for delay in some_delays(sum(map(ord, name)), number, longest):
        killed += kill_at(resumed(name, command, folder), delay, lambda: any(folder.glob("*")))
    print(f"{name}: {killed} of {number} runs killed at work")
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
    assert run(commands[0]).code == 0
    killed = sum(kill_at(commands[1], delay, lambda: True) for delay in some_delays(5, 3, 0.9))
    print(f"expand: {killed} of 3 runs killed at work")
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


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("signum", "code", "times"), [("SIGTERM", 143, 1), ("SIGINT", 130, 1), ("SIGINT", 130, 2)])
def test_signals_are_one_line(commands, whole, name, signum, code, times):
    """To the whole group, as a terminal does; at a random moment."""
    command, folder = commands[name]
    for delay in some_delays(code + times + len(name), 1, 6.0):
        process = start(command)
        time.sleep(2.0 + delay)
        for _ in range(times):
            if process.poll() is None:
                os.killpg(process.pid, getattr(signal, signum))
                time.sleep(0.1)
        last = ended(process)
        assert "Traceback" not in last.err, last.err
        early = signum == "SIGTERM" and last.code == -signal.SIGTERM  # while modules are imported: nothing is begun
        late = times == 2 and last.code == -signal.SIGINT  # the second one, while the process ends; a shell says 130
        assert early or late or last.code in (0, code), (last.code, last.err)
        if last.code == code or late:
            assert len(last.told) == 1 and last.told[0].startswith("stopped by"), last.err
        removed(folder)


@pytest.mark.parametrize("name", ["extract", *NAMES[2:]])
def test_two_runs_in_one_folder(commands, whole, name):
    """One is refused, or both share the work; the result is whole."""
    command, folder = commands[name]
    expected = uninterrupted(whole, name, command, folder)
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
    expected = uninterrupted(whole, name, command, folder)
    removed(folder)
    assert run(command).code == 0
    assert result(name, folder) == expected


def test_a_killed_worker_of_an_extraction_is_one_line(commands, whole):
    command, folder = commands["extract"]
    expected = uninterrupted(whole, "extract", command, folder)
    process = start(command)
    wait_for(process, lambda: any(folder.rglob("*.png")))
    children = [int(place.name) for place in Path("/proc").glob("[0-9]*") if _parent(place) == process.pid]
    os.kill(max(children), signal.SIGKILL)
    last = ended(process)
    assert "Traceback" not in last.err
    assert last.code in (0, 2), last.err
    assert run(command).code == 0
    assert result("extract", folder) == expected


def _parent(place):
    try:
        return int((place / "stat").read_text().rsplit(")", 1)[1].split()[1])
    except OSError:
        return None
