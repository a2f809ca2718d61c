"""The rule of labels, paths and samples, and that every reader follows it."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from datasets.list_rules import find_images, label_of, listed_again, split_line
from datasets.readers.csv_list import read_csv_list
from datasets.readers.deepfakebench_json import read_deepfakebench_json
from datasets.readers.image_folder import read_image_folder
from datasets.readers.txt_list import read_txt_list
from datasets.records import by_video, images_below, in_order, list_images
from evaluation.predictions_reader import read_predictions
from models.label_tree import FFPP
from utils.cli import UserError

SPELLINGS = (["0", "0.0", "real", "False", "Original"], ["1", "1.0", "fake", "True", "deepfake"])


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def read_each(folder, listed, ending="\n"):
    """The same (name, label, video) through a txt list, a CSV file and a JSON file in ``folder``: format -> data."""
    bench: dict = {}
    for name, label, video in listed:
        entry = {"label": label, "frames": []}
        bench.setdefault(video, {"test": {video: entry}})["test"][video]["frames"].append(name)
    texts = {
        "l.txt": [f"{name} {label}" for name, label, _ in listed],
        "l.csv": ["path,label,video", *(f"{name},{label},{video}" for name, label, video in listed)],
        "l.json": [json.dumps({"X": bench})],
    }
    for name, lines in texts.items():
        (folder / name).write_bytes(ending.join([*lines, ""]).encode("utf-8-sig"))
    return {
        "txt": read_txt_list(folder / "l.txt", FFPP, missing_allowed=True, folders=[folder / "data"]),
        "csv": read_csv_list(folder / "l.csv", [folder / "data"]),
        "json": read_deepfakebench_json(folder / "l.json", folder / "data", FFPP, 64),
    }


def samples(data):
    """(image, label) of each record."""
    return sorted((os.path.realpath(record.path), record.label) for record in data.records)


@pytest.mark.parametrize("label", [0, 1])
def test_labels_in_all_spellings_mean_the_same_in_every_reader(tmp_path, label):
    touch(tmp_path, "v/0.png", "w/0.png")
    for word in SPELLINGS[label]:
        for text in (word, word.upper(), word.lower()):
            assert label_of(f" {text}\t") == label
            read = read_each(tmp_path, [("v/0.png", text, "v"), ("w/0.png", SPELLINGS[1 - label][0], "w")])
            for name, data in read.items():
                assert {record.video[-1]: record.label for record in data.records} == {"v": label, "w": 1 - label}, name
            rows = f"path,label,p_fake\nv/0.png,{text},0.5\nw/0.png,{1 - label},0.5\n"
            (tmp_path / "predictions.csv").write_text(rows)
            assert read_predictions(str(tmp_path / "predictions.csv")).labels.tolist() == [label, 1 - label]
    for text in ("", "2", "0.5", "-1", "realistic", "²"):
        assert label_of(text) is None


def test_json_labels_may_be_numbers_and_the_key_is_the_method_then(tmp_path):
    touch(tmp_path, "a.png", "b.png", "c.png", "d.png")
    entries = {
        "original": {"test": {"v": {"label": False, "frames": ["a.png"]}, "w": {"label": 0, "frames": ["b.png"]}}},
        "SimSwap": {"test": {"v": {"label": 1.0, "frames": ["c.png"]}, "w": {"label": "1", "frames": ["d.png"]}}},
    }
    (tmp_path / "x.json").write_text(json.dumps({"X": entries}))
    data = read_deepfakebench_json(tmp_path / "x.json", tmp_path, FFPP, 64)
    assert [(record.video, record.label, record.method) for record in data.records] == [
        ("original/v", 0, "original"),
        ("original/w", 0, "original"),
        ("SimSwap/v", 1, "SimSwap"),
        ("SimSwap/w", 1, "SimSwap"),
    ]


@pytest.mark.parametrize(
    ("line", "path", "code"),
    [
        ("a/0.png 1", "a/0.png", "1"),
        ("a/0.png train 1", "a/0.png", "1"),
        ("a/0.png real 1000000000", "a/0.png", "1000000000"),
        ("a/0.png,-,FAKE\r", "a/0.png", "1"),
        ("a b/0 1.png\t7  True", "a b/0 1.png", "1"),
        ("my photo.JPG original", "my photo.JPG", "0"),
        ("a/frame 7 0", "a/frame", "0"),
        ("a/frame x 0.0", "a/frame x", "0"),
        ("a\u2028b\u0085c.png 0", "a\u2028b\u0085c.png", "0"),
        ("\u2028a.png 0", "\u2028a.png", "0"),
        ("a/0.png", "", ""),
        ("a/0.png 0.5", "", ""),
        ("a/0.png unknown", "", ""),
        ("1", "", ""),
        (" ,1", "", ""),
        ("", "", ""),
    ],
)
def test_a_line_is_read_from_the_right_and_its_flag_may_be_any_word(line, path, code):
    assert split_line(line) == (path, code)


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_slashes_line_ends_and_byte_order_marks_are_read_alike(tmp_path, ending):
    names = ["crops/real/000/0000.png", "crops/fake/000_003/0000.png"]
    touch(tmp_path, *names)
    listed = [(names[0], "real", "000"), (names[1], "fake", "000_003")]
    expected = [(str(tmp_path / names[1]), 1), (str(tmp_path / names[0]), 0)]
    for slash in ("/", "\\"):
        for data in read_each(tmp_path, [(n.replace("/", slash), *rest) for n, *rest in listed], ending).values():
            assert samples(data) == expected and not data.notes
            assert len({record.video for record in data.records}) == 2


def test_other_line_separators_are_part_of_names(tmp_path):
    listed = [("v/a\u2028b.png", "0", "v"), ("w/a\u0085\u2029.png", "1", "w")]
    touch(tmp_path, *(name for name, *_ in listed))
    for data in read_each(tmp_path, listed).values():
        assert [Path(record.path).is_file() for record in data.records] == [True, True]


def test_an_image_that_is_listed_again_counts_once_in_every_reader(tmp_path):
    touch(tmp_path, "a/0.png", "a/1.png", "b/0.png")
    names = ["a/0.png", "a/1.png", "./a/0.png", str(tmp_path / "a/1.png"), "a\\0.png"]
    for name, data in read_each(tmp_path, [*((n, "0", "a") for n in names), ("b/0.png", "1", "b")]).items():
        assert len(samples(data)) == len(set(samples(data))) == 3, name
        assert [(Path(d.path).name, d.label, d.reason) for d in data.dropped] == [
            ("0.png", 0, "duplicate"), ("1.png", 0, "duplicate"), ("0.png", 0, "duplicate")], name  # fmt: skip
        assert data.videos_listed == 2
    assert listed_again(["/x.png", "y.png", "/./x.png", "y.png", "y.png"]) == {2: 0, 3: 1, 4: 1}


def test_a_folder_of_another_machine_is_found_told_and_replaced(tmp_path):
    touch(tmp_path / "data", "FF++/real/000/0.png", "FF++/fake/000_003/0.png")
    names = ["FF++/real/000/0.png", "FF++/fake/000_003/0.png", "FF++/fake/000_003/gone.png"]
    for prefix in ("/mnt/other/datasets/", "C:\\Users\\other\\", "other/rgb/", "../../elsewhere/"):
        listed = [(prefix + name, label, name.split("/")[2]) for name, label in zip(names, "011", strict=True)]
        for name, data in read_each(tmp_path, listed).items():
            plain = prefix.replace("\\", "/")
            told = f"3 of 3 paths start with {plain}, which does not exist: they are read from {tmp_path}/data/"
            assert data.notes == [told], name
            assert [record.path for record in data.records if record.frame == "0"] == [
                str(tmp_path / "data" / name) for name in names[:2]
            ]


def test_absolute_paths_are_taken_as_they_are_and_below_the_data_root(tmp_path):
    touch(tmp_path, "own/v/0.png", "data/v/0.png", "data/w/0.png")
    listed = [(str(tmp_path / "own/v/0.png"), "0", "v"), ("/w/0.png", "1", "w")]
    for data in read_each(tmp_path, listed).values():
        assert samples(data) == [(str(tmp_path / "data/w/0.png"), 1), (str(tmp_path / "own/v/0.png"), 0)]


def test_no_folder_is_replaced_in_doubt(tmp_path):
    touch(tmp_path, "crops/a/0.png", "0.png", "b/0.png")
    for names in (
        ["crops/a/0.png", "crops/gone/0.png"],  # any folder may hold a 0.png
        ["c23/b/0.png", "c40/b/0.png"],  # two folders cannot be one
    ):
        found = find_images(names, [tmp_path])
        assert not found.notes and found.missing == [i for i, name in enumerate(names) if name != "crops/a/0.png"]


def test_frames_are_in_order_of_their_numbers(tmp_path):
    assert in_order(["b1", "a10", "a9", "a09", "a1x2", "a1"]) == ["a1", "a1x2", "a09", "a9", "a10", "b1"]
    for video in ("real/v", "fake/w"):
        touch(tmp_path, *(f"{video}/{i}.png" for i in range(300)))
    wanted = ["0", "42", "85", "128", "170", "213", "256", "299"]
    listed = [
        (f"{v}/{i}.png", v[:4], v[-1]) for v in ("real/v", "fake/w") for i in np.random.default_rng(0).permutation(300)
    ]
    read = {name: by_video(data, 8) for name, data in read_each(tmp_path, listed).items()}
    read["folder"] = read_image_folder(tmp_path, 8)
    for name, data in read.items():
        assert [record.frame for record in data.records if record.label == 0] == wanted, name
    numbers = [int(Path(path).stem) for path in list_images(tmp_path / "real/v")]
    assert numbers == [int(Path(path).stem) for path in images_below(tmp_path / "real")] == list(range(300))


def test_folders_of_methods_beside_real_are_read_as_methods(tmp_path):
    touch(tmp_path, "real/000/000.png", "DF/000_003/000.png", "F2F/000_003/000.png", "my own/000_003/000.png")
    (tmp_path / "docs").mkdir()
    data = read_image_folder(tmp_path, 8)
    assert {(record.video, record.label, record.method) for record in data.records} == {
        ("real/000", 0, "real"),
        ("DF/000_003", 1, "DF"),
        ("F2F/000_003", 1, "F2F"),
        ("my own/000_003", 1, "my own"),
    }
    assert data.notes == [
        "no fake/ beside real/: each other folder of images is a method of the fakes: DF, F2F, my own"
    ]
    assert data.videos_listed == 4


def test_folders_of_images_that_are_not_read_are_named_and_counted(tmp_path):
    touch(
        tmp_path, "real/a/0.png", "fake/b/0.png", "DF/c/0.png", "DF/c/1.png", "train/real/d/0.png", "x.jpg", "doc/x.txt"
    )
    (tmp_path / "link").symlink_to("real")
    data = read_image_folder(tmp_path, 8)
    assert len(data.records) == data.videos_listed == 2
    unused = f"DF/ (2 images), train/ (1 images), {tmp_path} itself (1 images)"
    assert data.notes == [f"not read, because they are no class folders: {unused}"]


def test_each_real_folder_is_read_once_however_it_is_linked(tmp_path):
    touch(tmp_path, "real/v/0.png", "fake/w/0.png")
    links = {"real/v/up": "..", "real/again": "v", "real/root": "..", "real/above": "../..", "fake/w/self": "."}
    for link, target in links.items():
        (tmp_path / link).symlink_to(target)
    data = read_image_folder(tmp_path, 8)
    assert {(record.video, record.label) for record in data.records} == {("real/v", 0), ("fake/w", 1)}
    assert len(data.records) == 2 and not data.notes
    (tmp_path / "1_fake").symlink_to("fake")
    data = read_image_folder(tmp_path, 8)
    assert len(data.records) == 2
    assert [note.split(" again")[0] for note in data.notes] == [f"{tmp_path}/fake/w is {tmp_path}/1_fake/w"]
    (tmp_path / "fake/real one").symlink_to("../real/v")
    with pytest.raises(UserError, match=r"/real/v.* are one folder, so it is real and fake; remove the link"):
        read_image_folder(tmp_path, 8)
