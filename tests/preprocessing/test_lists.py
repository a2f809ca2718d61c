"""make_lists.py on trees of empty files: a list needs only names."""

import csv
import hashlib
import json
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from datasets.checks.overlap_checks import video_keys
from datasets.readers.ffpp import DFD, METHOD_CODES, REAL_CODE, REGION_CODES, compression_dir, split_videos
from datasets.readers.ffsc import METHODS, PROTOCOL1_METHODS
from datasets.readers.txt_list import read_txt_list
from models.label_tree import FFPP, FFSC
from preprocessing import make_lists
from preprocessing.extraction import manifest
from preprocessing.lists import ffpp
from preprocessing.lists.choosing import ListedImage, draw, fake_numbers, in_turn, spread

PAIRS = {
    "train": [["000", "001"], ["003", "002"], ["004", "005"]],
    "val": [["100", "101"]],
    "test": [["200", "201"]],
}


def write_pairs(root, **pairs):
    (root / "FF++").mkdir(parents=True, exist_ok=True)
    for split, value in pairs.items():
        (root / "FF++" / f"{split}.json").write_text(json.dumps(value))


def add_crops(root, method, video, frames, compression="c23"):
    folder = compression_dir(root, method, compression) / "faces" / video
    folder.mkdir(parents=True)
    for frame in range(frames):
        (folder / f"{frame:04d}.png").touch()


def add_manifest(root, method, videos, suffix="png"):
    """manifest.csv of one method. videos: name -> numbers of the frames with a crop."""
    rows = []
    for video, frames in videos.items():
        for frame in frames:
            path = f"faces/{video}/{frame:04d}.{suffix}"
            row = manifest.frame_row(video, frame, "ok", 1, path)
            row |= manifest.face_values(np.arange(4), 1.0, np.arange(10).reshape(5, 2))
            rows.append(dict.fromkeys(manifest.COLUMNS, "1") | row)
        rows.append(dict.fromkeys(manifest.COLUMNS, "1") | manifest.frame_row(video, 99, "no_face"))
    manifest.write_rows(compression_dir(root, method, "c23") / "manifest.csv", rows)


def add_note(folder, **settings):
    (folder / "manifest.json").write_text(json.dumps(settings))


def add_expansion(root, rows, compression="c23", split="train"):
    """rows: (region, method, video, frame)."""
    folder = root / "FF++" / "expansion" / compression / split
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "manifest.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "code", "method", "video", "frame"))
        for region, method, video, frame in rows:
            path = f"{region}/{method}_{video}/{frame:04d}.png"
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).touch()
            writer.writerow((path, REGION_CODES[region], method, video, frame))


@pytest.fixture
def root(tmp_path):
    """10 crops of every video; expansion: 3 regions of the 12 Deepfakes and FaceSwap fakes, in 2 frames each."""
    root = tmp_path / "data"
    write_pairs(root, **PAIRS)
    for split in PAIRS:
        for method, video in split_videos(root, split):
            add_crops(root, method, video, 10)
    fakes = [v for v in split_videos(root, "train") if v[0] in ("Deepfakes", "FaceSwap")]
    add_expansion(root, [(region, *fake, frame) for fake in fakes for region in REGION_CODES for frame in (2, 5)])
    return root


def run(root, *options, code=0):
    assert make_lists.main(["--data_root", str(root), "--output", str(root / "lists"), *options]) == code


def lines_of(root, name="train"):
    return [tuple(line.rsplit(" ", 1)) for line in (root / "lists" / f"{name}.txt").read_text().splitlines()]


def recipe_of(root, name="train"):
    return json.loads((root / "lists" / f"{name}.recipe.json").read_text())


def per_video(lines):
    """Folder of crops -> number of lines."""
    return Counter(path.rsplit("/", 1)[0] for path, _ in lines)


# the choice itself


def test_in_turn_takes_from_every_group_before_it_takes_again():
    assert in_turn("aabacb", lambda letter: letter) == list("abcaba")


@pytest.mark.parametrize("total", [0, 1, 5, 11, 12, 23, 100])
def test_spread_is_as_even_as_the_capacities_allow(total):
    capacity = {(method, str(i)): n for method in "xyz" for i, n in enumerate((1, 4, 10, 10))}
    numbers = spread(capacity, total, np.random.default_rng(0))
    assert sum(numbers.values()) == min(total, 75)
    assert all(numbers[video] <= capacity[video] for video in capacity)
    most = max(numbers.values(), default=0)
    assert all(numbers[video] >= min(capacity[video], most - 1) for video in capacity)
    methods = [sum(n for (m, _), n in numbers.items() if m == method) for method in "xyz"]
    assert max(methods) - min(methods) <= 1


def test_draw_is_seeded_and_does_not_mind_the_order():
    images = [ListedImage(f"{m}/{i}", "1", m) for m in "ab" for i in range(9)]
    first, again, other = (
        draw(given, 7, np.random.default_rng(seed), lambda image: image.method)
        for given, seed in ((images, 0), (images[::-1], 0), (images, 1))
    )
    assert first == again == sorted(first) != other
    assert sorted(Counter(image.method for image in first).values()) == [3, 4]


@pytest.mark.parametrize("share", [0.0, 0.1, 0.25, 0.5, 1.0])
@pytest.mark.parametrize("n_real", [None, 1, 10, 37, 1000])
def test_fake_numbers_against_trying_all(n_real, share):
    for n_crops, n_expansion in ((0, 5), (20, 0), (20, 7), (30, 100)):
        fits = [
            (crops + expansion, expansion, crops)
            for crops in range(n_crops + 1)
            for expansion in range(n_expansion + 1)
            if expansion <= share * (crops + expansion) + 1e-9 and crops + expansion <= (n_real or 10**6)
        ]
        total, expansion, crops = max(fits)
        assert fake_numbers(n_real, n_crops, n_expansion, share) == (crops, expansion) and total == crops + expansion


# FF++


def test_plain_lists_hold_every_crop_with_its_code(root, capsys):
    run(root, "--balance", "none", "--expansion", "--expansion_share", "1")
    assert len(lines_of(root)) == 6 * 5 * 10 + 72
    for name in PAIRS:
        assert [r.path for r in read_txt_list(root / "lists" / f"{name}.txt", FFPP).records] == [
            path for path, _ in lines_of(root, name)
        ]
        for path, code in lines_of(root, name):
            method = next((m for m in METHOD_CODES if f"/{m}/" in path), None)
            region = next((r for r in REGION_CODES if f"/expansion/c23/train/{r}/" in path), None)
            assert code == (REGION_CODES.get(region) or METHOD_CODES.get(method) or REAL_CODE)
            assert region is None or name == "train"
    assert len(lines_of(root, "val")) == len(lines_of(root, "test")) == 100
    assert f"{root}/lists/train.txt: 372 images, 60 real and 312 fake" in capsys.readouterr().out
    run(root, "--split", "test", "--n_frames", "3")
    assert set(per_video(lines_of(root, "test")).values()) == {3}
    assert [path[-8:] for path, _ in lines_of(root, "test")][:3] == ["0000.png", "0004.png", "0009.png"]
    assert recipe_of(root, "test")["n_frames"] == 3


def test_balance_gives_as_many_fakes_as_reals_evenly(root):
    run(root)
    videos = per_video(lines_of(root))
    reals = {folder: n for folder, n in videos.items() if "original" in folder}
    assert list(reals.values()) == [10] * 6
    fakes = [videos[str(compression_dir(root, *video[:1], "c23") / "faces" / video[1])]
             for video in split_videos(root, "train") if video[0] != "real"]  # fmt: skip
    assert sum(fakes) == 60 and set(fakes) == {2, 3} and len(fakes) == 24
    recipe = recipe_of(root)
    assert (recipe["images"], recipe["real"], recipe["fake"]) == (120, 60, 60)
    assert recipe["methods"] == {"real": 60} | dict.fromkeys(METHOD_CODES, 15)
    assert recipe["codes"] == {REAL_CODE: 60, "0101011111": 30, "0110001100": 30}
    assert recipe["frames_per_video"] == {"real": [10, 10], "fake": [2, 3]}
    assert recipe["videos"] == {"real": 6, "fake": 24}
    assert recipe["expansion"] is None and recipe["balance"] == "equal" and recipe["compression"] == "c23"
    assert recipe_of(root, "val")["balance"] == "none"
    assert recipe_of(root, "val")["methods"] == {"real": 20} | dict.fromkeys(METHOD_CODES, 20)


@pytest.mark.parametrize(("share", "expansion"), [(None, 15), ("0", 0), ("0.5", 30), ("1", 60)])
def test_expansion_takes_its_share_of_the_fakes(root, share, expansion):
    run(root, "--expansion", *(["--expansion_share", share] if share else []))
    recipe = recipe_of(root)
    assert (recipe["real"], recipe["fake"]) == (60, 60)
    by_region = [recipe["methods"].get(f"expansion/{region}", 0) for region in REGION_CODES]
    assert by_region == [expansion // 3] * 3
    if expansion < 60:
        by_method = [recipe["methods"].get(method, 0) for method in METHOD_CODES]
        assert sum(by_method) == 60 - expansion and max(by_method) - min(by_method) <= 1
    assert recipe["expansion"]["share"] == expansion / 60
    assert recipe["expansion"]["share_asked"] == float(share or 0.25)
    assert recipe["expansion"]["images_there"] == 72
    assert not any("/expansion/" in path for path, _ in lines_of(root, "val"))


def test_plain_lists_keep_to_the_expansion_share_too(root):
    run(root, "--balance", "none", "--n_frames", "2", "--expansion")
    recipe = recipe_of(root)
    assert recipe["fake"] == 24 * 2 + 16 and recipe["expansion"]["share"] == 0.25


def test_too_few_expansion_images_leave_their_place_to_the_methods(root):
    add_expansion(root, [("eyes", "Deepfakes", "000_001", 1), ("mouth", "Face2Face", "000_001", 1)])
    run(root, "--expansion")
    recipe = recipe_of(root)
    assert (recipe["real"], recipe["fake"], recipe["expansion"]["share"]) == (60, 60, round(2 / 60, 4))


def test_scarce_fakes_cut_the_reals_evenly(tmp_path):
    write_pairs(tmp_path, train=PAIRS["train"])
    for method, video in split_videos(tmp_path, "train"):
        if method in ("real", "FaceSwap"):
            add_crops(tmp_path, method, video, 9 if method == "real" else (1, 4)[video > "002"])
    run(tmp_path, "--split", "train")
    recipe = recipe_of(tmp_path)
    assert recipe["real"] == recipe["fake"] == 2 * 1 + 4 * 4
    assert recipe["frames_per_video"] == {"real": [3, 3], "fake": [1, 4]}
    assert len(recipe["videos_without_crops"]) == 18


def test_n_frames_bounds_both_sides(tmp_path):
    write_pairs(tmp_path, train=[["000", "001"]])
    for method, video, n in (("real", "000", 9), ("real", "001", 9), ("FaceSwap", "000_001", 9)):
        add_crops(tmp_path, method, video, n)
    run(tmp_path, "--split", "train", "--n_frames", "4")
    assert recipe_of(tmp_path)["frames_per_video"] == {"real": [2, 2], "fake": [4, 4]}


@pytest.mark.parametrize("missing", ["real", "fake"])
def test_one_class_cannot_be_balanced(tmp_path, capsys, missing):
    write_pairs(tmp_path, train=[["000", "001"]])
    add_crops(tmp_path, *(("FaceSwap", "000_001") if missing == "real" else ("real", "000")), 2)
    run(tmp_path, "--split", "train", code=2)
    assert f"no {missing} crops" in capsys.readouterr().err
    run(tmp_path, "--split", "train", "--balance", "none")
    assert len(lines_of(tmp_path)) == 2


def test_the_seed_chooses_and_nothing_else_does(root, monkeypatch):
    def written(*options):
        run(root, "--expansion", *options)
        return {path.name: path.read_bytes() for path in (root / "lists").iterdir()}

    first = written()
    assert written("--seed", "0") == first
    other = written("--seed", "1")
    assert other["train.txt"] != first["train.txt"] and other["test.txt"] == first["test.txt"]
    scandir = os.scandir

    class Reversed:
        def __init__(self, folder):
            self.entries = scandir(folder)

        def __enter__(self):
            return reversed(list(self.entries))

        def __exit__(self, *_):
            self.entries.close()

    table = root / "FF++" / "expansion" / "c23" / "train" / "manifest.csv"
    head, *rows = table.read_text().splitlines()
    table.write_text("\n".join([head, *rows[::-1]]) + "\n")
    monkeypatch.setattr("datasets.records.os.scandir", Reversed)
    assert written() == first


def test_recipe_has_the_hash_of_its_list_and_the_crops(root):
    for method in ("real", *METHOD_CODES):
        note = compression_dir(root, method, "c23") / "manifest.json"
        note.write_text(json.dumps({"detector": "mtcnn", "size": 317, "scale": 1.3, "n_frames": 32, "versions": {}}))
    (root / "FF++" / "expansion" / "c23" / "train" / "manifest.json").write_text(
        '{"per_video": 2, "size": 317, "scale": 1.3}'
    )
    run(root, "--expansion", "--seed", "7", "--shuffle_codes", "3")
    for name in PAIRS:
        recipe = recipe_of(root, name)
        assert recipe["sha256"] == hashlib.sha256((root / "lists" / f"{name}.txt").read_bytes()).hexdigest()
        assert recipe["crops"] == {"detector": "mtcnn", "size": 317, "scale": 1.3}
        assert (recipe["dataset"], recipe["split"], recipe["seed"]) == ("FFpp", name, 7)
        assert recipe["shuffle_codes"] == (3 if name == "train" else None)
    assert recipe_of(root)["expansion"]["made_with"] == {"per_video": 2, "size": 317, "scale": 1.3}


@pytest.mark.parametrize(
    "other",
    [
        {"scale": 1.0},
        {"format": "jpg"},
        {"weights": "ab12"},
        {"min_confidence": 0.8},
        {"detect_side": None},
        {"track": True, "size": 256},
    ],
)
@pytest.mark.parametrize("order", [1, -1])
def test_crops_made_in_several_ways_are_refused(root, capsys, other, order):
    """A setting that one of the two does not name (track) differs too."""
    usual = {"detector": "mtcnn", "size": 317, "scale": 1.3, "format": "png", "weights": None}
    usual |= {"min_confidence": 0.95, "detect_side": 640}
    real, fake = (compression_dir(root, method, "c23") for method in ("real", "FaceSwap"))
    settings = [usual, usual | other][::order]
    for folder, content in zip((real, fake), settings, strict=True):
        add_note(folder, **content)
    run(root, code=2)
    error = capsys.readouterr().err
    assert "extract all of them alike" in error and error.count("\n") == 1
    assert "mtcnn" not in error
    for key in other:
        assert f"{key} {settings[0].get(key)} in {real}, {settings[1].get(key)} in {fake}" in error


def test_crops_made_alike_pass_whatever_else_differs(root):
    for method, n_frames in (("real", 32), ("FaceSwap", 8)):
        add_note(compression_dir(root, method, "c23"), size=317, detect_side=640, n_frames=n_frames, versions={})
    run(root)
    assert recipe_of(root)["crops"] == {"detect_side": 640, "size": 317}


def test_shuffled_codes_keep_paths_and_codes_but_not_their_pairs(root):
    run(root, "--expansion")
    before, val = lines_of(root), lines_of(root, "val")
    run(root, "--expansion", "--shuffle_codes", "0")
    after = lines_of(root)
    assert [path for path, _ in before] == [path for path, _ in after]
    assert Counter(code for _, code in before) == Counter(code for _, code in after)
    assert before != after and lines_of(root, "val") == val


def test_videos_without_crops_are_counted_and_named(root, capsys):
    folder = compression_dir(root, "real", "c23") / "faces" / "200"
    for path in folder.iterdir():
        path.unlink()
    (folder / ".0000.tmp.png").touch()
    run(root, "--split", "test")
    assert "test: 1 real videos have no crop" in capsys.readouterr().out
    assert recipe_of(root, "test")["videos_without_crops"] == ["real/200"]
    assert len(lines_of(root, "test")) == 90
    run(root, "--compression", "c40", code=2)
    assert "extract_faces.py" in capsys.readouterr().err


def test_crops_are_those_of_the_manifest(root, capsys):
    """Frames without a good face and leftovers are no crops; a video with rows but no crop is not unfinished."""
    videos = ["200", "201"]
    add_manifest(root, "real", {"200": [9, 0, 4], "201": []})
    run(root, "--split", "test")
    assert [p.split("/faces/")[1] for p, _ in lines_of(root, "test")[:3]] == [f"200/{i:04d}.png" for i in (0, 4, 9)]
    assert sum("original_sequences" in path for path, _ in lines_of(root, "test")) == 3
    assert recipe_of(root, "test")["videos_without_crops"] == ["real/201"]
    assert recipe_of(root, "test")["videos_unfinished"] == []
    assert "left out" not in capsys.readouterr().out
    add_manifest(root, "real", dict.fromkeys(videos, range(10)))
    run(root, "--split", "test", "--n_frames", "2")
    assert [p[-8:] for p, _ in lines_of(root, "test")[:2]] == ["0000.png", "0009.png"]


def test_unfinished_videos_are_left_out_and_said(root, capsys):
    fakes = [video for method, video in split_videos(root, "train") if method == "FaceSwap"]
    add_manifest(root, "FaceSwap", dict.fromkeys(fakes[:-2], range(10)))
    run(root, "--split", "train")
    out = capsys.readouterr().out
    assert f"train: 2 videos left out, such as FaceSwap/{fakes[-2]}" in out and "extract_faces.py again" in out
    assert "have no crop" not in out
    assert recipe_of(root)["videos_unfinished"] == [f"FaceSwap/{video}" for video in fakes[-2:]]
    assert recipe_of(root)["videos_without_crops"] == []
    assert not any(f"/FaceSwap/c23/faces/{video}/" in path for path, _ in lines_of(root) for video in fakes[-2:])


def test_a_killed_extraction_has_finished_only_what_its_hidden_folder_knows(root, capsys):
    reals = ["200", "201"]
    folder = compression_dir(root, "real", "c23")
    (folder / ".manifest").mkdir()
    run(root, "--split", "test")  # the first run, killed before it wrote manifest.csv
    assert recipe_of(root, "test")["videos_unfinished"] == ["real/200", "real/201"]
    add_manifest(root, "real", dict.fromkeys(reals, range(10)))
    manifest.row_file(folder, "201").touch()
    run(root, "--split", "test")  # a second one, killed while it made 200 anew
    assert recipe_of(root, "test")["videos_unfinished"] == ["real/200"]
    for method in METHOD_CODES:
        (compression_dir(root, method, "c23") / ".manifest").mkdir()
    manifest.row_file(folder, "201").unlink()
    capsys.readouterr()
    run(root, "--split", "test", code=2)
    printed = capsys.readouterr()
    assert "test: 10 videos left out, such as real/200" in printed.out and "extract_faces.py" in printed.err


def test_a_crop_of_the_manifest_that_is_gone_is_named(root, capsys):
    add_manifest(root, "real", dict.fromkeys(["200", "201"], range(10)))
    crop = compression_dir(root, "real", "c23") / "faces" / "201" / "0003.png"
    crop.unlink()
    run(root, "--split", "test", code=2)
    error = capsys.readouterr().err
    assert f"{crop} is in " in error and "extract_faces.py again" in error and error.count("\n") == 1
    run(root, "--split", "val")


def test_every_folder_is_listed_once(root, monkeypatch):
    for method in ("real", "FaceSwap"):
        videos = [video for split in PAIRS for m, video in split_videos(root, split) if m == method]
        add_manifest(root, method, dict.fromkeys(videos, range(10)))
    list_images, listed = ffpp.list_images, Counter()
    monkeypatch.setattr(ffpp, "list_images", lambda folder: (listed.update([str(folder)]), list_images(folder))[1])
    run(root, "--expansion")
    assert len(listed) == 10 * 5 + 36 and set(listed.values()) == {1}


@pytest.mark.parametrize("own", [{"format": "png"}, {"size": 256}, {"scale": 1.0}, {"quality": 80}, None])
def test_an_expansion_of_other_crops_is_refused(root, capsys, own):
    """Its format or size would tell fakes from reals."""
    crops = {"detector": "mtcnn", "size": 317, "scale": 1.3, "format": "jpg", "quality": 95}
    for method in ("real", *METHOD_CODES):
        add_note(compression_dir(root, method, "c23"), **crops)
    target = root / "FF++" / "expansion" / "c23" / "train"
    if own is not None:
        add_note(target, **crops | own)
    run(root, "--expansion", code=2)
    error = capsys.readouterr().err
    for key, value in (own or {}).items():
        assert f"{key} {value} there, {crops[key]} now" in error
    assert "expand_FFpp.py again with --overwrite" in error and error.count("\n") == 1
    run(root)
    add_note(target, **crops)
    run(root, "--expansion")


def test_an_expansion_image_that_is_gone_is_named(root, capsys):
    folder = root / "FF++" / "expansion" / "c23" / "train"
    image = next(iter(sorted(folder.rglob("*.png"))))
    image.rename(image.with_suffix(".jpg"))
    run(root, "--expansion", code=2)
    error = capsys.readouterr().err
    assert f"{image} is in " in error and "expand_FFpp.py again" in error and error.count("\n") == 1
    (folder / "manifest.csv").write_text(f"path,code,method,video\n,{REGION_CODES['eyes']},FaceSwap,000_001\n")
    run(root, "--expansion", code=2)
    assert f"{folder} is in " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"val": [["100", "003"]]}, "val.json: video 003 is in train.json too"),
        ({"test": [["101", "100"]]}, "test.json: video 101 is in val.json too"),
        ({"train": [["000", "000"]]}, "train.json: the pair 000, 000 is one video"),
        ({"train": [["000", "001"], ["001", "000"]]}, "train.json: the pair 001, 000 is there twice"),
        ({"val": ["100"]}, "val.json must be a list of pairs"),
    ],
)
@pytest.mark.parametrize("split", ["train", "test"])
def test_splits_are_checked_whatever_is_written(root, capsys, change, words, split):
    write_pairs(root, **change)
    run(root, "--split", split, code=2)
    assert words in capsys.readouterr().err
    assert not (root / "lists").exists()


def test_a_split_file_is_needed_only_for_its_own_list(root, capsys):
    (root / "FF++" / "val.json").unlink()
    run(root, "--split", "train", "test")
    run(root, code=2)
    assert "val.json is missing" in capsys.readouterr().err


def test_a_missing_damaged_or_foreign_expansion_is_refused(root, capsys):
    table = root / "FF++" / "expansion" / "c23" / "train" / "manifest.csv"
    head, *rows = table.read_text().splitlines()
    for text, words in (
        ("path\nx.png\n", "damaged"),
        (f"{head}\n{rows[0].split(',')[0]}\n", "is no fake of the train split"),
        (f"{head}\nx.png,1,FaceSwap,000_001,3\n", "damaged"),
        (f"{head}\nx.png,{REGION_CODES['eyes']},FaceSwap,200_201,3\n", "FaceSwap 200_201 is no fake of the train"),
        (f"{head}\n{rows[0]}\n{rows[0]}\n", "listed twice"),
        (b"\xff\xfe", "damaged"),
    ):
        table.write_bytes(text if isinstance(text, bytes) else text.encode())
        run(root, "--expansion", code=2)
        assert words in capsys.readouterr().err
    table.unlink()
    run(root, "--expansion", code=2)
    assert "run preprocessing/expand_FFpp.py" in capsys.readouterr().err


def test_relative_roots_stay_relative_and_ff_itself_will_do(root, monkeypatch):
    monkeypatch.chdir(root.parent)
    assert make_lists.main(["--data_root", "data/FF++", "--output", str(root / "lists"), "--expansion"]) == 0
    assert all(path.startswith("data/FF++/") and Path(path).is_file() for path, _ in lines_of(root))


@pytest.mark.parametrize("name", ["a\nb", "a\rb", "a\udcffb"])
def test_paths_that_no_list_can_hold_are_refused(root, capsys, name):
    moved = root.rename(root.parent / name)
    assert make_lists.main(["--data_root", str(moved), "--output", str(root / "lists")]) == 2
    assert "a list cannot hold the path" in capsys.readouterr().err


@pytest.mark.parametrize(
    "options",
    [
        "--dataset FFSC --compression c40",
        "--dataset FFSC --n_frames 8",
        "--dataset FFSC --expansion",
        "--dataset FFSC --expansion --expansion_share 0.1",
        "--expansion_share 0.1",
        "--expansion --expansion_share 1.1",
        "--split val --expansion",
        "--split val test --balance equal",
        "--split val --shuffle_codes 0",
        "--n_frames 0",
    ],
)
def test_options_that_do_not_go_together_are_refused(root, options, capsys):
    with pytest.raises(SystemExit) as stop:
        run(root, *options.split())
    assert stop.value.code == 2
    assert "error: " in capsys.readouterr().err


# FFSC


@pytest.fixture
def ffsc(tmp_path):
    """3 images per method of Train and Val, 4 of Protocol-1, 20 reals in each of Train, Val and Test."""
    images = {}
    for split in ("Train", "Val"):
        images |= {f"{split}/{method}": 3 for method in METHODS} | {f"{split}/Real": 20}
    images |= {f"Test/Protocol-1/{method}": 4 for method in PROTOCOL1_METHODS} | {"Test/Real": 20}
    for place, number in images.items():
        folder = tmp_path / "FFSC" / place / "video"
        folder.mkdir(parents=True)
        for i in range(number):
            (folder / f"{i:04d}{'_surprised' if 'fomm-expr' in place else ''}.png").touch()
    return tmp_path


def test_ffsc_lists_hold_every_image(ffsc, capsys):
    run(ffsc, "--dataset", "FFSC")
    out = capsys.readouterr().out
    assert out.count("UNVERIFIED StyleRes-expr") == 1
    assert "test: only test_protocol1.txt" in out
    assert {path.stem for path in (ffsc / "lists").glob("*.txt")} == {"train", "val", "test_protocol1"}
    for name, real, fake in (("train", 20, 33), ("val", 20, 33), ("test_protocol1", 20, 20)):
        recipe, lines = recipe_of(ffsc, name), lines_of(ffsc, name)
        assert lines == sorted(lines)
        assert (recipe["real"], recipe["fake"], recipe["balance"]) == (real, fake, "none")
        assert recipe["dataset"] == "FFSC" and recipe["split"] == name.split("_")[0]
        assert recipe["unverified"].keys() == ({"StyleRes-expr"} if name != "test_protocol1" else set())
        assert recipe["sha256"] == hashlib.sha256((ffsc / "lists" / f"{name}.txt").read_bytes()).hexdigest()
        assert len(read_txt_list(ffsc / "lists" / f"{name}.txt", FFSC).records) == real + fake
        assert sum(code == "000000000000" for _, code in lines) == real


def test_ffsc_balance_leaves_out_the_larger_class_evenly(ffsc):
    run(ffsc, "--dataset", "FFSC", "--balance", "equal", "--split", "train", "val")
    methods = recipe_of(ffsc)["methods"]
    assert methods.pop("real") == 20 and sum(methods.values()) == 20 and set(methods.values()) == {1, 2}
    assert recipe_of(ffsc, "val")["fake"] == 33
    first = lines_of(ffsc)
    run(ffsc, "--dataset", "FFSC", "--balance", "equal", "--seed", "1")
    assert lines_of(ffsc) != first
    run(ffsc, "--dataset", "FFSC", "--balance", "equal", "--shuffle_codes", "0")
    assert sorted(lines_of(ffsc)) != sorted(first)
    assert sorted(code[0] for _, code in lines_of(ffsc)) == sorted(code[0] for _, code in first)


def test_ffsc_lists_share_no_image(ffsc, capsys):
    video = ffsc / "FFSC" / "Val" / "simswap" / "linked"
    video.symlink_to(ffsc / "FFSC" / "Train" / "simswap" / "video")
    run(ffsc, "--dataset", "FFSC", code=2)
    error = capsys.readouterr().err
    assert "Val/simswap/linked/0000.png (val list)" in error and "Train/simswap/video/0000.png (train list)" in error
    video.unlink()
    run(ffsc, "--dataset", "FFSC", "--split", "val")
    expected = (ffsc / "lists" / "val.txt").read_text()
    video.symlink_to(ffsc / "FFSC" / "Val" / "simswap")  # a circle: each real folder is read once
    run(ffsc, "--dataset", "FFSC", "--split", "val")
    assert (ffsc / "lists" / "val.txt").read_text() == expected


def test_ffsc_splits_hold_no_copies(ffsc, capsys):
    """The same bytes under another name; alike in size, middle or all but one byte is not the same."""
    train, val = (ffsc / "FFSC" / split / "simswap" / "video" for split in ("Train", "Val"))
    protocol1, real = (ffsc / "FFSC" / "Test" / name / "video" for name in ("Protocol-1/FNeVR", "Real"))
    content = bytes(range(256)) * 4
    (train / "0000.png").write_bytes(content)
    (train / "0001.png").write_bytes(content)  # twice in one split: no leak
    (val / "0000.png").write_bytes(b"x" + content[1:])
    (protocol1 / "0000.png").write_bytes(content[:-1] + b"x")
    run(ffsc, "--dataset", "FFSC")
    (val / "0002.png").write_bytes(content)
    (real / "0007.png").write_bytes(b"x" + content[1:])
    capsys.readouterr()
    run(ffsc, "--dataset", "FFSC", code=2)
    error = capsys.readouterr().err
    assert f"{val / '0002.png'} (val list) and {train / '0000.png'} (train list) hold the same bytes" in error
    assert "(and so do 1 more pairs)" in error and error.count("\n") == 1
    run(ffsc, "--dataset", "FFSC", "--split", "train", "test")
    (val / "0002.png").unlink()
    (real / "0007.png").unlink()
    (real / "0007.png").symlink_to(train / "0001.png")
    run(ffsc, "--dataset", "FFSC", code=2)
    assert f"{real / '0007.png'} (test_protocol1 list)" in capsys.readouterr().err
    (real / "0007.png").unlink()
    (real / "0007.png").symlink_to(train / "gone.png")
    run(ffsc, "--dataset", "FFSC", code=2)
    assert f"cannot read {real / '0007.png'}" in capsys.readouterr().err


def test_ffsc_tests_may_share_their_reals(ffsc):
    """One image in test.txt and test_protocol1.txt is in one split."""
    for i in range(2):
        (ffsc / "FFSC" / "Test" / "Real" / "video" / f"{i:04d}.png").write_bytes(b"same")
    (ffsc / "FFSC" / "Test" / "simswap").mkdir()
    (ffsc / "FFSC" / "Test" / "simswap" / "0000.png").write_bytes(b"same")
    run(ffsc, "--dataset", "FFSC")
    assert {path.stem for path in (ffsc / "lists").glob("test*.txt")} == {"test", "test_protocol1"}


def test_ffsc_needs_its_folders(ffsc, capsys):
    (ffsc / "FFSC" / "Val").rename(ffsc / "FFSC" / "elsewhere")
    run(ffsc, "--dataset", "FFSC", code=2)
    assert "FFSC/Val is missing" in capsys.readouterr().err
    run(ffsc, "--dataset", "FFSC", "--split", "train", "test")


# DeepFakeDetection


def test_lists_of_deepfakedetection_share_no_actor(tmp_path, capsys):
    videos = {"actors": [f"{i:02}__kitchen_pan" for i in range(1, 15)]}
    videos[DFD] = [f"{a:02}_{b:02}__kitchen_pan__YVGY8L0K" for a in range(1, 15) for b in range(1, 15) if a != b]
    for method, names in videos.items():
        for name in names:
            add_crops(tmp_path, method, name, 4)
    run(tmp_path, "--dataset", "DFD")
    actors = {}
    for name in ("train", "val", "test"):
        lines = lines_of(tmp_path, name)
        actors[name] = {actor for path, _ in lines for actor in video_keys(str(Path(path).parent))}
        assert {code for _, code in lines} == {REAL_CODE, METHOD_CODES["Deepfakes"]}
    assert [len(found) for found in actors.values()] == [10, 2, 2] and len(set().union(*actors.values())) == 14
    assert actors["test"] == {"DeepFakeDetection actor 07", "DeepFakeDetection actor 14"}
    apart = 14 * 13 - 10 * 9 - 2 - 2
    assert f"{apart} fakes left out, such as 01_06__kitchen_pan__YVGY8L0K: their two actors are in different" in (
        capsys.readouterr().out
    )
    assert recipe_of(tmp_path)["methods"] == {"real": 40, DFD: 40} and recipe_of(tmp_path)["dataset"] == "DFD"
    assert recipe_of(tmp_path, "test")["methods"] == {"real": 8, DFD: 8}


def test_expansion_is_not_for_deepfakedetection(tmp_path, capsys):
    with pytest.raises(SystemExit):
        make_lists.main(["--dataset", "DFD", "--expansion", "--output", str(tmp_path)])
    assert "--expansion does not go with --dataset DFD" in capsys.readouterr().err
