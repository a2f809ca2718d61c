"""The data check through main([...]), as a user runs it."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import SJEDD_check_data
from datasets.checks import overlap_checks
from datasets.checks.corrected_list import write_corrected_list
from datasets.checks.findings import DROP, DROP_LINE, Finding
from datasets.readers import dfdc as dfdc_reader
from datasets.readers import ffpp as ffpp_reader
from datasets.readers.celeb_df import LIST_NAME, read_celeb_df
from datasets.readers.dfdc import read_labels
from datasets.readers.ffpp import METHOD_CODES
from datasets.readers.ffsc import METHODS
from datasets.test_sets import TEST_SETS, ReadOptions
from models.label_tree import FFPP
from preprocessing.extraction import manifest
from preprocessing.extraction.crop_folder import _started_file
from preprocessing.extraction.options import parse_args
from tests.conftest import EXPRESSION, REAL, ROOT, SWAP
from tests.platforms import posix_only
from utils.cli import UserError

main = SJEDD_check_data.main
IMAGE_LISTS = ("DiFF", "DiffusionFace")
DESTROYS = re.compile(r"\b(rm|mv|cp|dd|sed|truncate) -?\w|>|--overwrite|\b(remove|delete|overwrite)\b")
FFSC_REAL, FFSC_AGE = "000000000000", "110000100001"


@pytest.fixture
def check(capsys):
    """Run the check with --json; returns (exit code, findings, counts)."""

    def call(*arguments):
        code = main(["--json", *map(str, arguments)])
        out = json.loads(capsys.readouterr().out)
        assert set(out) == {"findings", "counts"}
        for finding in out["findings"]:
            assert list(finding) == ["kind", "path", "line", "message", "fix"]
            assert finding["message"] and finding["fix"]
            assert not DESTROYS.search(finding["fix"]), finding["fix"]
        assert code == (2 if out["findings"] else 0)
        return code, out["findings"], out["counts"]

    return call


@pytest.fixture
def fix(check):
    """Check with --fix, then put the corrected copy in the place of the list."""

    def call(path, *arguments):
        before, copy = path.read_bytes(), path.with_name("corrected.txt")
        findings = check(*arguments, "--fix", copy)[1]
        assert path.read_bytes() == before
        copy.replace(path)
        return findings

    return call


@pytest.fixture
def crops(tmp_path, monkeypatch):
    """Six videos with two images of their own each; lists name them from the current folder."""
    monkeypatch.chdir(tmp_path)
    for video in "abcdef":
        for frame in range(2):
            image(tmp_path / f"crops/{video}/{frame}.png")
    return tmp_path


def image(path, seed=None):
    """A small PNG unlike all others."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(list(str(path).encode()) if seed is None else seed)
    Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(path)
    return path


def touch(path, content=None):
    """A file unlike all others."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(str(path).encode() if content is None else content)


def crop_row(video, frame, n_frames=""):
    """The row of a manifest for a crop that is there."""
    row = manifest.frame_row(video, frame, "ok") | manifest.face_values(np.zeros(4), 1.0, np.zeros((5, 2)))
    return row | {"path": f"faces/{video}/{frame:04d}.png", "n_frames": n_frames}


def write(path, *lines):
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def kinds(findings):
    return Counter(finding["kind"] for finding in findings)


def one(findings, kind):
    (found,) = (finding for finding in findings if finding["kind"] == kind)
    return found


def good_lists(folder):
    """train.txt over videos a to d and val.txt over e and f."""
    for name, videos in (("train", "abcd"), ("val", "ef")):
        lines = [f"crops/{v}/{i}.png {(REAL, SWAP)[n % 2]}" for n, v in enumerate(videos) for i in range(2)]
        write(folder / f"{name}.txt", *lines)
    return ["--txt_path_train", folder / "train.txt", "--txt_path_val", folder / "val.txt"]


def add(path, *lines):
    with path.open("a", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines)


def test_good_lists_are_clean(check, crops):
    code, findings, counts = check(*good_lists(crops), "--deep", "--workers", 1, "--n_frames", 2)
    assert (code, findings) == (0, [])
    assert counts["train"] == {
        "lines": 8,
        "images": 8,
        "real": 4,
        "fake": 4,
        "folders": 4,
        "digits": 10,
        "codes": {REAL: 4, SWAP: 4},
        "methods": {"real": {"real": 4}, "fake": {"unknown": 4}},
    }
    assert counts["val"]["images"] == 4


def test_every_bad_line_is_found_with_its_number(check, crops):
    (crops / "crops/a/empty.png").write_bytes(b"")
    path = write(
        crops / "train.txt",
        f"crops/a/9.png {REAL}",
        "crops/a/0.png",
        "",
        "crops/a/1.png 1111111111",
        f"crops/b/0.png {FFSC_AGE}",
        f"crops/b/1.png 7 {SWAP}",
        f"crops/c/0.png,{REAL}",
        f"crops/c/../c/0.png {REAL}",
        f"crops/b/1.png {REAL}",
        f"crops/a/empty.png {REAL}",
        f"crops {REAL}",
        f"crops/d/0.png {EXPRESSION}",
        "crops/d/1.png 1",
    )
    with path.open("ab") as file:
        file.write(b"crops/\xe9.png " + REAL.encode() + b"\n" + b"x" * 5000 + b" " + REAL.encode() + b"\n")
    _, findings, counts = check("--txt_path_train", path)
    assert [(finding["line"], finding["kind"]) for finding in findings] == [
        (1, "missing_file"),
        (2, "unknown_code"),
        (4, "unknown_code"),
        (5, "unknown_code"),
        (8, "duplicate"),
        (9, "label_conflict"),
        (10, "unreadable_image"),
        (11, "missing_file"),
        (13, "unknown_code"),
        (14, "unknown_code"),
        (15, "missing_file"),
    ]
    assert {finding["path"] for finding in findings} == {str(path)}
    assert "line 7" in one(findings, "duplicate")["message"]
    assert SWAP in one(findings, "label_conflict")["message"]
    assert counts["train"]["lines"] == 14


def test_ffsc_lists_are_known_by_their_twelve_digits(check, crops):
    arguments = good_lists(crops)
    for path in arguments[1::2]:
        path.write_text(path.read_text().replace(REAL, FFSC_REAL).replace(SWAP, FFSC_AGE))
    code, _, counts = check(*arguments)
    assert code == 0
    assert counts["train"]["digits"] == 12
    add(arguments[1], f"crops/a/0.png {REAL}", "crops/b/1.png 300000000000")
    _, findings, _ = check(*arguments)
    assert kinds(findings) == {"unknown_code": 2, "label_conflict": 2}


def test_lists_of_different_trees_do_not_go_together(check, crops):
    arguments = good_lists(crops)
    arguments[3].write_text(arguments[3].read_text().replace(REAL, FFSC_REAL).replace(SWAP, FFSC_AGE))
    _, findings, _ = check(*arguments)
    assert kinds(findings) == {"unknown_code": 4}
    assert {finding["path"] for finding in findings} == {str(arguments[3])}


@pytest.mark.parametrize("text", ["", "\n \n"])
def test_empty_list(check, crops, text):
    (crops / "train.txt").write_text(text)
    _, findings, _ = check("--txt_path_train", crops / "train.txt")
    assert one(findings, "empty")["line"] is None


@pytest.mark.parametrize("option", ["--txt_path_train", "--txt_path_val", "--txt_path_test"])
def test_a_list_of_one_class_is_a_finding(check, crops, option):
    for code, word in ((REAL, "real"), (SWAP, "fake")):
        path = write(crops / f"{word}.txt", *(f"crops/a/{i}.png {code}" for i in range(2)))
        found = one(check(option, path)[1], "one_class")
        assert found["path"] == str(path) and found["message"] == f"holds one class only: all 2 images are {word}"


@pytest.mark.parametrize("name", ["train.txt", "crops/../train.txt", "soft.txt", "hard.txt", "copy.txt"])
def test_one_file_given_twice_is_one_finding_and_is_never_emptied(check, crops, capsys, name):
    train = good_lists(crops)[1]
    (crops / "soft.txt").symlink_to(train)
    (crops / "hard.txt").hardlink_to(train)
    shutil.copy(train, crops / "copy.txt")
    before = train.read_bytes()
    lists = ["--txt_path_train", str(train), "--txt_path_val", name]
    _, findings, _ = check(*lists)
    assert kinds(findings) == {"one_file": 1}
    what = "have the same content" if name == "copy.txt" else "are one file"
    assert findings[0]["message"] == f"the two lists {what}: {train} (train) and {Path(name)} (val)"
    assert main([*lists, "--fix", "out.txt"]) == 2
    assert "out.txt is not written" in capsys.readouterr().out and not (crops / "out.txt").exists()
    assert main([*lists, "--fix", name]) == 2  # a finding without a correction writes nothing anywhere
    add(train, "no code")
    for out in (name, str(train)):
        assert main([*lists, "--fix", out]) == 2
    assert train.read_bytes() == before + b"no code\n"
    capsys.readouterr()
    assert kinds(check("--txt_path_train", train, "--txt_path_test", train)[1]) == {"one_file": 1, "unknown_code": 1}


@pytest.mark.parametrize("folder", ["/old disk/[1]/crops/", "crops\\"])
def test_paths_that_the_reader_finds_are_no_finding(check, crops, monkeypatch, tmp_path_factory, folder):
    path = good_lists(crops)[1]
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    path.write_text(path.read_text().replace("crops/", folder))
    assert check("--txt_path_train", path)[1] == []


def test_fix_writes_the_paths_of_moved_images(check, fix, crops, monkeypatch, tmp_path_factory):
    path = good_lists(crops)[1]
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    good = path.read_text()
    path.write_text(good.replace("crops/", "gone/"))
    _, findings, _ = check("--txt_path_train", path)
    assert kinds(findings) == {"missing_file": 8} and findings[0]["fix"].startswith("put the file there")
    lines = good.splitlines(keepends=True)
    folders = ("/old disk/[1]/crops/", "/other/crops/")  # two folders of other machines, which the reader does not find
    path.write_text("".join(line.replace("crops/", folders[i % 2]) for i, line in enumerate(lines)))
    assert kinds(check("--txt_path_train", path)[1]) == {"missing_file": 8}
    fix(path, "--txt_path_train", path)
    assert check("--txt_path_train", path)[1] == []


def test_an_image_in_both_lists_is_overlap_path_however_it_is_written(check, crops):
    arguments = good_lists(crops)
    (crops / "link").symlink_to(crops / "crops/a", target_is_directory=True)
    add(arguments[3], f"{crops}/link/0.png {REAL}")
    _, findings, _ = check(*arguments)
    assert kinds(findings) == {"overlap_path": 1, "overlap_video": 1}
    found = one(findings, "overlap_path")
    assert (found["path"], found["line"]) == (str(arguments[3]), 5)
    assert f"line 1 of {arguments[1]}" in found["message"]


def test_two_files_with_the_same_bytes_are_overlap_content(check, crops):
    arguments = good_lists(crops)
    content = (crops / "crops/b/1.png").read_bytes()
    touch(crops / "crops/g/0.png", content)
    touch(crops / "crops/g/1.png", content[:-1] + bytes([content[-1] ^ 1]))  # the same size, the same middle
    add(arguments[3], f"crops/g/0.png {SWAP}", f"crops/g/1.png {SWAP}")
    _, findings, _ = check(*arguments)
    assert kinds(findings) == {"overlap_content": 1}
    assert findings[0]["line"] == 5
    assert "crops/b/1.png, line 4" in findings[0]["message"]


def test_other_frames_of_a_training_video_are_overlap_video(check, crops):
    arguments = good_lists(crops)
    image(crops / "crops/b/2.png")
    image(crops / "crops/b/3.png")
    add(arguments[3], f"crops/b/2.png {SWAP}", f"crops/b/3.png {SWAP}")
    _, findings, _ = check(*arguments)
    assert kinds(findings) == {"overlap_video": 1}  # one for the video
    assert findings[0]["line"] == 5


def test_folders_of_images_are_no_videos(check, crops):
    for place in ("mixed", "0_real", "simswap"):
        for i in range(4):
            image(crops / place / f"{i}.png")
    for i, name in enumerate(("train", "val")):
        lines = [f"mixed/{2 * i}.png {REAL}", f"mixed/{2 * i + 1}.png {SWAP}"]
        lines += [f"0_real/{2 * i}.png {REAL}", f"simswap/{2 * i}.png {SWAP}"]
        write(crops / f"{name}.txt", *lines)
    assert check("--txt_path_train", crops / "train.txt", "--txt_path_val", crops / "val.txt")[1] == []


@pytest.mark.parametrize(
    ("train", "val", "shared"),
    [
        ("original_sequences/youtube/c23/faces/000", "manipulated_sequences/Deepfakes/c23/faces/003_000", "000"),
        (
            "manipulated_sequences/FaceSwap/c40/faces/000_003",
            "manipulated_sequences/Deepfakes/c23/faces/003_000",
            "003",
        ),
        ("expansion/c23/train/eyes/Deepfakes_000_003", "original_sequences/youtube/c23/faces/003", "003"),
        ("original_sequences/youtube/c23/faces/000", "manipulated_sequences/Deepfakes/c23/faces/001_003", None),
    ],
)
def test_ffpp_videos_share_their_sources_whatever_the_method(check, crops, train, val, shared):
    arguments = good_lists(crops)
    for path, folder in ((arguments[1], train), (arguments[3], val)):
        image(crops / "FF++" / folder / "0000.png")
        add(path, f"FF++/{folder}/0000.png {REAL if 'original' in folder else SWAP}")
    _, findings, _ = check(*arguments)
    assert kinds(findings) == ({"overlap_video": 1} if shared else {})
    if shared:
        assert f"shows FF++ video {shared}" in findings[0]["message"]
        assert findings[0]["line"] == 5


def test_test_lists_share_nothing_with_training_and_validation(check, crops):
    train, val = good_lists(crops)[1::2]
    for video in "gh":
        image(crops / f"crops/{video}/0.png")
    touch(crops / "crops/g/1.png", (crops / "crops/e/0.png").read_bytes())
    image(crops / "crops/b/2.png")
    lines = ["crops/a/0.png 0", "crops/g/0.png 0", "crops/g/1.png 0", "crops/b/2.png 1"]  # labels, not codes
    test, other = write(crops / "test.txt", *lines), write(crops / "other.txt", "crops/g/0.png 0", "crops/h/0.png 1")
    lists = ["--txt_path_train", train, "--txt_path_val", val, "--txt_path_test", test]
    _, findings, counts = check(*lists)
    assert [(f["kind"], f["path"], f["line"]) for f in findings] == [
        ("overlap_path", str(test), 1),
        ("overlap_video", str(test), 1),
        ("overlap_video", str(test), 4),
        ("overlap_content", str(test), 3),
    ]
    assert all(f"of {train}" in finding["message"] for finding in findings[:3])
    assert f"has the same bytes as crops/e/0.png, line 1 of {val}" in findings[3]["message"]
    assert counts["test"]["digits"] == 1
    _, findings, counts = check(*lists, other)  # two test lists may share images
    assert len(findings) == 4 and list(counts) == ["train", "val", "test 1", "test 2"]
    assert check("--txt_path_test", test, other)[1] == []


def ffpp_list(folder, *images):
    """A training list of images below ffpp's root, made where they are not there yet."""
    for path in images:
        if not (folder / path).exists():
            image(folder / path)
    fakes = ["original" not in path for path in images]
    return write(folder / "train.txt", *(f"{folder / p} {(REAL, SWAP)[f]}" for p, f in zip(images, fakes, strict=True)))


def test_a_training_list_is_compared_with_the_test_split_of_data_sets(check, ffpp):
    real, fake = "FF++/original_sequences/youtube/c23/faces", "FF++/manipulated_sequences/FaceSwap"
    arguments = ("--dataset", "FFpp", "FSh", "Deeper", "--data_root", ffpp, "--txt_path_train")
    good = [f"{real}/000/0000.png", f"{fake}/c23/faces/004_005/0000.png", "FSh/c23/faces/000_001/0000.png"]
    findings = check(*arguments, ffpp_list(ffpp, *good))[1]
    assert "overlap" not in " ".join(kinds(findings))  # those of train and val, and FSh beyond the test pairs
    path = ffpp_list(
        ffpp,
        *good,
        f"{real}/006/0000.png",
        f"{fake}/c40/faces/007_006/0009.png",
        "FF++/expansion/c23/train/eyes/Deepfakes_006_001/0000.png",
        "DF-1.0/faces/end_to_end/007_W001/0000.png",
        "copies/x/0000.png",
        "FSh/c23/faces/006_007/0000.png",
    )
    touch(ffpp / "copies/x/0000.png", (ffpp / "FSh/c23/faces/007_006/0000.png").read_bytes())
    _, findings, _ = check(*arguments, path)
    found = {(f["kind"], f["line"], f["message"].split()[-1]) for f in findings if f["kind"].startswith("overlap")}
    shared = [(line, name) for line in (4, 5, 6, 7, 9) for name in ("FFpp", "FSh", "Deeper")]
    assert found == {("overlap_video", *place) for place in shared} | {
        ("overlap_path", 4, "too"),
        ("overlap_path", 7, "too"),
        ("overlap_path", 9, "too"),
        ("overlap_content", 8, "FSh"),
    }
    assert {f["path"] for f in findings if f["kind"].startswith("overlap")} == {str(path)}
    told = [f["message"] for f in findings if f["line"] == 5]
    assert told[0].endswith("007_006/0009.png shows FF++ video 007, as does real/007, a test video of Deeper")
    assert any(f["message"].endswith("007_W001/0000.png is a test image of Deeper too") for f in findings)


def test_a_training_list_is_compared_with_celeb_df_ffsc_and_lists_of_images(check, crops, celeb_df):
    arguments = ["--txt_path_train", good_lists(crops)[1]]
    image(celeb_df / "faces/RealCDF/00000/0001.png")
    image(celeb_df / "elsewhere/x/0.png")
    image(crops / "FFSC/Test/Real/0.png")
    write(crops / "DiFFtest.txt", "crops/a/0.png 0", "crops/g/0.png 0")
    add(arguments[1], f"{celeb_df}/faces/RealCDF/00000/0001.png {REAL}", f"{celeb_df}/faces/RealCDF/00001/9.png {REAL}")
    _, findings, _ = check(*arguments, "--dataset", "CDF", "--data_root", celeb_df.parent)
    assert [(f["kind"], f["line"]) for f in findings if f["kind"].startswith("overlap")] == [
        ("overlap_path", 9),
        ("overlap_video", 9),
        ("overlap_video", 10),
    ]
    image(crops / "crops/g/0.png")
    _, findings, _ = check(*arguments, "--dataset", "DiFF", "--datapath", crops / "DiFFtest.txt")
    found = one(findings, "overlap_path")
    assert (found["path"], found["line"]) == (str(arguments[1]), 1) and "line 1 of" in found["message"]
    assert "overlap_video" not in kinds(findings)
    (crops / "FFSC/Test/simswap").mkdir()
    (crops / "crops/b/0.png").rename(crops / "FFSC/Test/simswap/0.png")
    (crops / "crops/b/0.png").symlink_to(crops / "FFSC/Test/simswap/0.png")
    _, findings, _ = check(*arguments, "--dataset", "FFSC", "--data_root", crops)
    assert [(f["kind"], f["line"]) for f in findings if f["kind"].startswith("overlap")] == [("overlap_content", 3)]


def test_files_of_sizes_of_their_own_are_not_opened(crops, monkeypatch):
    arguments = [*map(str, good_lists(crops))]
    for i, path in enumerate(sorted((crops / "crops").glob("*/*.png"))):
        path.write_bytes(b"x" * (i + 1))
    opened = []
    monkeypatch.setattr(overlap_checks, "_middle_bytes", opened.append)
    assert main(arguments) == 0 and opened == []


def test_lists_are_counted_by_class_and_method(check, crops, capsys):
    train = [
        ("FF++/original_sequences/youtube/c23/faces/000", REAL),
        ("FF++/manipulated_sequences/Deepfakes/c23/faces/000_001", SWAP),
        ("FF++/manipulated_sequences/Face2Face/c23/faces/000_001", EXPRESSION),
        ("FF++/expansion/c23/train/mouth/FaceSwap_000_001", "0100101100"),
        ("elsewhere/x", SWAP),
        ("elsewhere/y", REAL),
        ("elsewhere/z", "1111111111"),
        ("gone/manipulated_sequences\\FaceSwap\\c23\\faces\\000_001", SWAP),
    ]
    for folder, _ in train[:-1]:
        for i in range(2):
            image(crops / folder / f"{i}.png")
    (crops / "FF++/manipulated_sequences/Face2Face").rename(crops / "disk")
    (crops / "FF++/manipulated_sequences/Face2Face").symlink_to(crops / "disk", target_is_directory=True)
    path = write(crops / "train.txt", *(f"{folder}/{i}.png {code}" for folder, code in train for i in range(2)))
    counts = check("--txt_path_train", path)[2]
    assert counts["train"]["methods"] == {
        "real": {"real": 4},
        "fake": {"Deepfakes": 2, "Face2Face": 2, "FaceSwap": 2, "expansion/mouth": 2, "unknown": 2},
        "unknown": {"unknown": 2},
    }
    assert (
        sum(n for methods in counts["train"]["methods"].values() for n in methods.values()) == counts["train"]["lines"]
    )
    main(["--txt_path_train", str(path)])
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["list", "class", "method", "lines"] in lines and ["train", "fake", "Face2Face", "2"] in lines
    folders = ("Train/fomm-expr/a", "test/Protocol-1/FNeVR_pose", "val/styleclip-gender", "Val/Real/b", "Val/other")
    for folder in folders:
        image(crops / "ffsc" / folder / "0.png")
    codes = dict.fromkeys(folders, FFSC_AGE) | {"Val/Real/b": FFSC_REAL}
    path = write(crops / "val.txt", *(f"ffsc/{folder}/0.png {code}" for folder, code in codes.items()))
    assert check("--txt_path_val", path)[2]["val"]["methods"] == {
        "real": {"real": 1},
        "fake": {"FNeVR": 1, "StyleCLIP-gender": 1, "fomm-expr": 1, "unknown": 1},
    }


def test_images_are_decoded_with_deep_only(check, crops):
    arguments = good_lists(crops)
    broken = crops / "crops/c/1.png"
    broken.write_bytes(broken.read_bytes()[:100])
    assert check(*arguments)[1] == []
    for workers in (1, 2):
        _, findings, _ = check(*arguments, "--deep", "--workers", workers)
        assert [(f["kind"], f["path"], f["line"]) for f in findings] == [("unreadable_image", str(arguments[1]), 6)]
        assert "truncated" in findings[0]["message"]
    assert findings[0]["fix"].endswith("again, or drop this line; --fix OUT.txt does that")


def test_deep_decodes_the_crops_of_data_sets(check, crops_copy):
    path = crops_copy / "FakeCDF" / "id1_0001" / "0001.png"
    path.write_bytes(path.read_bytes()[:3000])
    assert set(kinds(check("--dataset", "CDF", "--datapath", crops_copy)[1])) == {"count_mismatch"}
    _, findings, _ = check("--dataset", "CDF", "--datapath", crops_copy, "--deep", "--workers", 1)
    assert one(findings, "unreadable_image")["path"] == str(path)


def test_short_videos_with_n_frames_only(check, crops_copy, crop_lists):
    (crops_copy / "RealCDF" / "id9_empty").mkdir()
    assert "short_video" not in kinds(check("--dataset", "CDF", "--datapath", crops_copy)[1])
    _, findings, _ = check("--dataset", "CDF", "--datapath", crops_copy, "--n_frames", 5)
    short = [finding for finding in findings if finding["kind"] == "short_video"]
    assert {Path(finding["path"]).name for finding in short} == {"id0_0000", "id3_0003", "id9_empty"}
    _, findings, _ = check("--txt_path_train", crop_lists[0], "--n_frames", 5)
    assert kinds(findings) == {"short_video": 2}
    assert "has 4 crops, fewer than 5" in findings[0]["message"]


def test_short_videos_of_lists_are_videos_that_are_there(check, crops):
    ffpp = crops / "data/FF++/manipulated_sequences/FaceSwap/c40/faces/000_003"
    for path in (ffpp / "0.png", crops / "Train/simswap/x/0.png", crops / "s/simswap/0.png", crops / "mixed/0.png"):
        image(path)
    train = write(crops / "train.txt", f"crops/a/0.png {REAL}", f"gone/b/0.png {REAL}", f"crops/b/9.png {REAL}",
                  f"crops/b/1.png {REAL}", f"crops/c/9.png {REAL}", f"{ffpp}/0.png {SWAP}",
                  f"s/simswap/0.png {SWAP}", f"mixed/0.png {SWAP}")  # fmt: skip
    image(crops / "mixed/1.png")
    val = write(crops / "val.txt", f"mixed/1.png {REAL}")
    _, findings, _ = check("--txt_path_train", train, "--txt_path_val", val, "--n_frames", 3)
    short = [finding for finding in findings if finding["kind"] == "short_video"]
    leave = "leave it (the crops that exist are used), or extract"
    root = (crops / "data").resolve()
    assert [(finding["line"], finding["fix"]) for finding in short] == [
        (1, f"{leave} the video again with --n_frames 3"),
        (4, f"{leave} the video again with --n_frames 3"),
        (6, f"{leave} again (where crops are in the way, it says so and replaces nothing): "
            f"python preprocessing/extract_faces.py --dataset FFpp --data_root {root} --compression c40 --n_frames 3"),
    ]  # fmt: skip
    words = shlex.split(short[2]["fix"].partition("extract_faces.py ")[2])
    assert parse_args(words).data_root == root
    image(crops / "Train/Real/0.png")
    path = write(crops / "ffsc.txt", f"Train/simswap/x/0.png {FFSC_AGE}", f"Train/Real/0.png {FFSC_REAL}")
    assert check("--txt_path_train", path, "--n_frames", 3)[1] == []


@pytest.fixture
def celeb_df(tmp_path):
    """Celeb-DF v2 with one crop for each of the 518 test videos."""
    root, lines = tmp_path / "data" / "CDF", []
    for i in range(518):
        folder, kind = (("YouTube-real", "Celeb-real")[i % 2], "RealCDF") if i < 178 else ("Celeb-synthesis", "FakeCDF")
        lines.append(f"{int(i < 178)} {folder}/{i:05d}.mp4")
        touch(root / "faces" / kind / f"{i:05d}" / "0000.png")
    write(root / LIST_NAME, *lines)
    return root


def test_whole_celeb_df_is_clean(check, celeb_df):
    for arguments in (("--data_root", celeb_df.parent), ("--datapath", celeb_df), ("--datapath", celeb_df / "faces")):
        code, _, counts = check("--dataset", "CDF", *arguments)
        assert code == 0
        assert counts["CDF"]["test"]["FakeCDF"]["with_crops"] == 340


def test_a_part_of_a_data_set_on_purpose_is_counted_and_not_a_finding(check, celeb_df):
    lines = (celeb_df / LIST_NAME).read_text().splitlines()[::2]
    write(celeb_df / LIST_NAME, *lines, lines[0])
    for i in range(0, 20, 2):
        (celeb_df / "faces" / "RealCDF" / f"{i:05d}" / "0000.png").unlink()
    arguments = ("--dataset", "CDF", "--data_root", celeb_df.parent)
    assert kinds(check(*arguments)[1]) == {"count_mismatch": 3, "duplicate": 1}
    code, findings, counts = check(*arguments, "--subset")
    assert (code, kinds(findings)) == (2, {"duplicate": 1})
    assert counts["CDF"]["test"]["RealCDF"]["with_crops"] == 79
    write(celeb_df / LIST_NAME, *lines)
    assert check(*arguments, "--subset")[0] == 0
    for folder in (celeb_df / "faces" / "RealCDF").iterdir():
        (folder / "0000.png").unlink(missing_ok=True)
    nothing = one(check(*arguments, "--subset")[1], "count_mismatch")
    assert "0 of 89 videos have crops" in nothing["message"]


@pytest.mark.parametrize("form", ["FF++", "FFSC", "words", "labels"])
def test_codes_that_folders_contradict_are_label_orientation(check, tmp_path, monkeypatch, form):
    monkeypatch.chdir(tmp_path)
    ffpp = "data/FF++/{}/c23/faces/{}/0000.png"
    real, fake, codes = {
        "FF++": (ffpp.format("original_sequences/youtube", "{0:03}"),
                 ffpp.format("manipulated_sequences/Deepfakes", "{0:03}_900"), (REAL, SWAP)),
        "FFSC": ("FFSC/Train/Real/{0}.png", "FFSC/Train/simswap/{0}.png", ("0" * 12, "120010111111")),
        "words": ("my/real/{0}/0.png", "my/fake/{0}/0.png", (REAL, SWAP)),
        "labels": ("my/0_real/{0}.png", "my/1_fake/{0}.png", ("0", "1")),
    }[form]  # fmt: skip
    images = [(place.format(i), code) for i in range(4) for place, code in zip((real, fake), codes, strict=True)]
    for path, _ in images:
        touch(tmp_path / path)
    option = "--txt_path_test" if form == "labels" else "--txt_path_train"
    good = write(tmp_path / "good.txt", *(f"{path} {code}" for path, code in images))
    assert check(option, good)[:2] == (0, [])
    swapped = write(tmp_path / "swapped.txt", *(f"{path} {codes[code == codes[0]]}" for path, code in images))
    assert "8 of 8 labels" in one(check(option, swapped)[1], "label_orientation")["message"]
    lines = good.read_text().splitlines()
    lines[2] = f"{images[2][0]} {codes[1]}"
    found = one(check(option, write(tmp_path / "one.txt", *lines))[1], "label_orientation")
    assert found["line"] == 3 and "listed as fake (1), its folder says real (0)" in found["message"]


def test_missing_crops_are_counted_and_explained_by_the_manifest(check, celeb_df):
    rows = []
    for i in range(518):
        video = f"{'RealCDF' if i < 178 else 'FakeCDF'}/{i:05d}"
        status = {0: "no_face", 1: "video_missing"}.get(i, "ok")
        if status == "ok":
            rows.append(crop_row(video, 0))
        else:
            rows.append(manifest.frame_row(video, None if status == "video_missing" else 0, status))
            (celeb_df / "faces" / video / "0000.png").unlink()
    manifest.write_rows(celeb_df / "manifest.csv", [row for row in rows if row["video"] != "FakeCDF/00200"])
    (celeb_df / "faces/FakeCDF/00200/0000.png").rename(celeb_df / "kept.png")
    assert "1 not extracted" in check("--dataset", "CDF", "--data_root", celeb_df.parent)[1][1]["message"]
    (celeb_df / "kept.png").rename(celeb_df / "faces/FakeCDF/00200/0000.png")
    manifest.write_rows(celeb_df / "manifest.csv", rows)
    _, findings, counts = check("--dataset", "CDF", "--data_root", celeb_df.parent)
    assert kinds(findings) == {"count_mismatch": 1}
    message = findings[0]["message"]
    assert "176 of 178 videos have crops (1 no_face, 1 video_missing; the first is RealCDF/00000)" in message
    command = f"python preprocessing/extract_faces.py --dataset CDF --data_root {celeb_df.parent}"
    assert findings[0]["fix"] == f"download the missing videos again, then {command}"
    assert counts["CDF"]["test"]["RealCDF"]["manifest"] == {"ok": 176, "no_face": 1, "video_missing": 1}
    (celeb_df / "faces/RealCDF/00005/0000.png").unlink()
    assert "1 removed since" in check("--dataset", "CDF", "--data_root", celeb_df.parent)[1][0]["message"]
    (celeb_df / "faces/FakeCDF/00200/0000.png").unlink()
    fakes = check("--dataset", "CDF", "--data_root", celeb_df.parent)[1][1]
    assert "339 of 340" in fakes["message"] and "1 removed since" in fakes["message"]
    assert fakes["fix"] == command


def test_videos_that_an_extraction_cropped_in_part_are_unfinished(check, celeb_df):
    def rows(video, frames):
        for frame in frames:
            image(celeb_df / "faces" / video / f"{frame:04d}.png")
        return [crop_row(video, frame, "64") for frame in frames]

    arguments = ("--dataset", "CDF", "--data_root", celeb_df.parent)
    videos = [f"{'RealCDF' if i < 178 else 'FakeCDF'}/{i:05d}" for i in range(518)]
    for video in videos[3:]:
        manifest.write_rows(manifest.row_file(celeb_df, video), rows(video, (0, 1)))
    for video in videos[:2]:  # killed while cropping, and while cropping again
        _started_file(celeb_df, video).touch()
    _started_file(celeb_df, videos[3]).touch()  # killed between the row file and the removal of the mark
    (celeb_df / "faces" / videos[1] / "0000.png").unlink()
    (celeb_df / "faces" / videos[4] / "0000.png").unlink()
    (celeb_df / "faces" / videos[5] / "0001.png").write_bytes(b"")
    (celeb_df / "faces" / videos[6] / "0002.png").symlink_to("nowhere.png")
    _, findings, counts = check(*arguments)
    command = f"python preprocessing/extract_faces.py --dataset CDF --data_root {celeb_df.parent} --n_frames 64"
    assert [(f["kind"], f["path"][-13:], f["message"], f["fix"]) for f in findings if f["kind"] == "unfinished"] == [
        ("unfinished", videos[0], "1 crops, but their extraction did not end", command),
        ("unfinished", videos[2], "1 crops that the manifest beside does not name: no extraction of them has ended",
         f"move this folder away, then {command}"),
        ("unfinished", videos[4], "1 of 2 crops were removed since the extraction", command),
    ]  # fmt: skip
    assert kinds(findings) == {"unfinished": 3, "count_mismatch": 1, "unreadable_image": 2}
    assert one(findings, "count_mismatch")["fix"] == command
    assert {f["fix"] for f in findings if f["kind"] == "unreadable_image"} == {f"move it away, then {command}"}
    assert counts["CDF"]["test"]["FakeCDF"]["manifest"] == {"ok": 680}  # though no manifest.csv was written
    shutil.rmtree(celeb_df / ".manifest")
    assert "unfinished" not in kinds(check(*arguments)[1])  # crops of other tools, of which nothing is known


def test_celeb_df_labels_are_one_for_real(check, fix, celeb_df):
    path = celeb_df / LIST_NAME
    lines = path.read_text().splitlines()
    path.write_text("\n".join(["0" + lines[0][1:], *lines[1:]]) + "\n")
    _, findings, _ = check("--dataset", "CDF", "--data_root", celeb_df.parent)
    assert kinds(findings) == {"label_orientation": 1}
    assert (findings[0]["path"], findings[0]["line"]) == (str(path), 1)
    path.write_text("".join(f"{1 - int(line[0])}{line[1:]}\n" for line in lines))
    _, findings, _ = check("--dataset", "CDF", "--data_root", celeb_df.parent)
    assert kinds(findings) == {"label_orientation": 1}
    assert findings[0]["message"].startswith("518 of 518 labels")
    fix(path, "--dataset", "CDF", "--data_root", celeb_df.parent)
    assert check("--dataset", "CDF", "--data_root", celeb_df.parent)[0] == 0


ENTRIES = [
    b"1 YouTube-real/00170.mp4\n0 Celeb-synthesis/id1_id0_0007.mp4\n1 Celeb-real/id0_0001.mp4\n",
    b"1 YouTube-real\\00170.mp4\r\n0 Celeb-synthesis\\id1_id0_0007.mp4\r\n1 Celeb-real\\id0_0001.mp4\r\n",
    b"1\tYouTube-real/00170.mp4\n0  Celeb-synthesis/id1_id0_0007.mp4 \n\n 1 \t Celeb-real\\id0_0001.mp4",
    b"\xef\xbb\xbf1\tYouTube-real\\00170.mp4\r\n0\tCeleb-synthesis\\id1_id0_0007.mp4\r\n"
    b"1 Celeb-real/id0_0001.mp4\r\n1 YouTube-real/00170.mp4\r\n1\tYouTube-real\\00170.mp4\r\n",  # one video thrice
]


@pytest.mark.parametrize("text", ENTRIES)
def test_test_extraction_and_check_read_the_celeb_df_list_alike(tmp_path, text):
    videos = ["RealCDF/00170", "FakeCDF/id1_id0_0007", "RealCDF/id0_0001"]
    for video in videos:
        image(tmp_path / "CDF/faces" / video / "0.png")
    (tmp_path / "CDF" / LIST_NAME).write_bytes(text)
    data = read_celeb_df(tmp_path / "CDF", 1)
    assert [(record.video, record.label) for record in data.records] == list(zip(videos, (0, 1, 0), strict=True))
    assert data.videos_listed == 3 and not data.dropped
    (extracted,) = TEST_SETS["CDF"].videos(tmp_path, "c23", ["test"])
    assert sorted(video.name for video in extracted.videos) == sorted(videos)
    assert {str(video.path.relative_to(tmp_path / "CDF")) for video in extracted.videos} == {
        "YouTube-real/videos/00170.mp4", "Celeb-synthesis/videos/id1_id0_0007.mp4", "Celeb-real/videos/id0_0001.mp4",
    }  # fmt: skip
    groups, findings = TEST_SETS["CDF"].crop_groups(tmp_path, None, "c23")
    assert {video for group in groups for video in group.videos} == set(videos)
    assert Counter(f.kind for f in findings) == {"count_mismatch": 2} | ({"duplicate": 2} if b"\xef" in text else {})


@pytest.mark.parametrize("line", ["2 Celeb-real/a.mp4", "1 real/a.mp4", "1 Celeb-real/..", "1 Celeb-real", "1", "x"])
def test_lines_of_no_celeb_df_video_are_refused_by_all_three(tmp_path, line):
    (tmp_path / "CDF").mkdir()
    write(tmp_path / "CDF" / LIST_NAME, "0 Celeb-synthesis/b.mp4", line)
    for read in (
        lambda: read_celeb_df(tmp_path / "CDF", 1),
        lambda: TEST_SETS["CDF"].videos(tmp_path, "c23", ["test"]),
    ):
        with pytest.raises(UserError, match=r"testing_videos\.txt:2: .* names no Celeb-DF v2 video"):
            read()
    _, findings = TEST_SETS["CDF"].crop_groups(tmp_path, None, "c23")
    assert [(f.kind, f.line) for f in findings if f.kind == "unknown_code"] == [("unknown_code", 2)]
    (tmp_path / "CDF" / LIST_NAME).write_bytes(b"1 Celeb-real/\xe9.mp4\n")
    _, findings = TEST_SETS["CDF"].crop_groups(tmp_path, None, "c23")
    assert findings[0].kind == "unknown_code" and findings[0].message.startswith("cannot read")


def test_swapped_celeb_df_labels_stop_test_and_extraction(celeb_df):
    write(celeb_df / LIST_NAME, "1 Celeb-real/00000.mp4", "1 Celeb-synthesis/00200.mp4")
    for read in (lambda: read_celeb_df(celeb_df, 1), lambda: TEST_SETS["CDF"].videos(celeb_df.parent, "c23", ["test"])):
        with pytest.raises(UserError, match=r":2: Celeb-synthesis/00200\.mp4 has 1, but 1 is real .* SJEDD_check_data"):
            read()


def test_fix_of_celeb_df_labels_changes_the_first_column_only(check, fix, celeb_df):
    path = celeb_df / LIST_NAME
    names = ["1 0 Celeb-synthesis", "0", "1", "x & y", "Celeb-synthesis"]
    good = [f"1 Celeb-real/{name}.mp4" for name in names] + ["  1 YouTube-real/1 0.mp4"]
    good += [f"0\tCeleb-synthesis\\{name}.mp4\r" for name in names]
    for wrong in (range(len(good)), (0, 5, len(good) - 1)):
        lines = list(good)
        for i in wrong:
            lines[i] = re.sub(r"[01]", lambda digit: str(1 - int(digit[0])), lines[i], count=1)
        path.write_bytes(b"\xef\xbb\xbf" + "\n".join(lines).encode())
        findings = fix(path, "--dataset", "CDF", "--data_root", celeb_df.parent)
        assert kinds(findings)["label_orientation"] == (1 if len(wrong) == len(good) else 3)
        assert path.read_bytes().decode() == "\n".join(good)
        assert "label_orientation" not in kinds(check("--dataset", "CDF", "--data_root", celeb_df.parent)[1])


def test_words_for_dfdc_labels_are_right(check, dfdc):
    """Any word of either class, in any case: quoted names, blanks and further columns do not matter."""
    names = [
        "real.mp4,REAL",
        "x fake.mp4,FAKE",
        '"a,REAL,b.mp4",fake ',
        '"c"",fake,"".mp4", real,1',
        'v,"True"',
        "w,1.0",
    ]
    for end in ("\n", "\r\n"):
        (dfdc / "labels.csv").write_text(end.join(["filename,label", *names, ""]), newline="")
        assert [entry.label for entry in read_labels(dfdc / "labels.csv")] == [0, 1, 1, 0, 1, 1]
        assert set(kinds(check("--dataset", "DFDC", "--data_root", dfdc.parent)[1])) == {"count_mismatch"}


def test_fix_of_image_lists_changes_the_labels_only(check, fix, tmp_path):
    names = ["real/a 0", "real/1 x", "real/0,1", "fake/b 1", "fake/x", "fake/1 0 "]
    flags = ["", " 1", "", " 1", " 0", ""]  # of lines `path flag label`
    good = [f"{n}.png{flag} {int(n.startswith('fake'))}" for n, flag in zip(names, flags, strict=True)]
    for name in names:
        image(tmp_path / "DiFF" / f"{name}.png")
    good = [good[0] + "\r", good[1].replace("png ", "png,").replace(" 0", ",0"), good[2] + "  ", *good[3:]]
    path = tmp_path / "DiFF/DiFFtest.txt"
    swapped = [re.sub(r"[01](?=\s*$)", lambda digit: str(1 - int(digit[0])), line) for line in good]
    path.write_bytes("\n".join(swapped).encode("utf-8-sig"))
    findings = fix(path, "--dataset", "DiFF", "--data_root", tmp_path)
    assert kinds(findings) == {"label_orientation": 1}
    assert path.read_bytes().decode() == "\n".join(good)
    assert check("--dataset", "DiFF", "--data_root", tmp_path)[1] == []
    codes = [(FFSC_REAL, FFSC_AGE)[name.startswith("real")] for name in names]
    path = write(path, *(f"{name}.png {code}" for name, code in zip(names, codes, strict=True)))
    assert "write the list again" in one(check("--dataset", "DiFF", "--datapath", path)[1], "label_orientation")["fix"]


@pytest.mark.parametrize("backwards", [False, True])
def test_fix_drops_all_bad_lines_of_one_list_at_a_time(check, fix, crops, capsys, backwards):
    train, val = good_lists(crops)[1::2]
    touch(crops / "crops/e/empty.png", b"")
    touch(crops / "crops/g/0.png", (crops / "crops/b/1.png").read_bytes())
    good = train.read_text(), val.read_text()
    add(train, *good[0].splitlines(), f"gone/0.png {REAL}", f"crops/a/0.png {REAL}", "no code", f"gone/1.png {REAL}")
    add(val, f"crops/e/empty.png {SWAP}", "crops/e/1.png 3333333333", f"crops/g/0.png {SWAP}", f"crops/a/0.png {REAL}")
    val.write_bytes(val.read_bytes().replace(b"\n", b"\r\n"))
    lists = ["--txt_path_train", train, "--txt_path_val", val]
    before = kinds(check(*lists)[1])
    assert before == {"duplicate": 9, "label_conflict": 1, "missing_file": 2, "unknown_code": 2, "unreadable_image": 1,
                      "overlap_path": 1, "overlap_content": 1, "overlap_video": 1}  # fmt: skip
    main([*map(str, lists), "--fix", str(crops / "out.txt")])
    out, err = capsys.readouterr()
    assert out.count("  fix: drop this line; --fix OUT.txt does that\n") == 1
    assert out.count("  fix: put the file there, or drop this line; --fix OUT.txt does that\n") == 1
    assert f"  fix: {train} keeps it; drop this line from {val}, --fix OUT.txt does that\n" in out
    assert f"{train} and {val} have lines to fix; check one at a time" in err and not (crops / "out.txt").exists()
    for option, path in list(zip(lists[::2], lists[1::2], strict=True))[:: -1 if backwards else 1]:
        fix(path, option, path)
    fix(val, *lists)
    assert check(*lists)[1] == []
    assert train.read_bytes() == good[0].encode() and val.read_bytes() == good[1].replace("\n", "\r\n").encode()


def test_a_tested_image_is_dropped_from_the_training_list(check, fix, crops):
    train = good_lists(crops)[1]
    image(crops / "crops/g/0.png")
    test = write(crops / "DiFFtest.txt", "crops/a/0.png 0", "crops/g/0.png 1")
    arguments = ("--txt_path_train", train, "--dataset", "DiFF", "--datapath", test)
    found = one(check(*arguments)[1], "overlap_path")
    assert found["fix"] == f"{test} keeps it (it is tested); drop this line from {train}, --fix OUT.txt does that"
    lines = train.read_text().splitlines()
    fix(train, *arguments)
    assert train.read_text().splitlines() == lines[1:]
    assert check(*arguments)[1] == []


def test_repeated_lines_of_official_lists_are_dropped(check, fix, celeb_df, dfdc):
    arguments = ["--dataset", "CDF", "DFDC", "--data_root", str(dfdc.parent)]
    places = {"CDF": celeb_df / LIST_NAME, "DFDC": dfdc / "labels.csv"}
    good = {name: path.read_text() for name, path in places.items()}
    add(places["CDF"], *good["CDF"].splitlines()[:20:2])
    add(places["DFDC"], "v1.mp4,1", "v2.mp4,0")
    assert kinds(check(*arguments)[1]) == {"duplicate": 12}
    for name, path in places.items():
        fix(path, "--dataset", name, "--data_root", dfdc.parent)
    assert {name: path.read_text() for name, path in places.items()} == good
    assert check(*arguments)[0] == 0


def test_many_scattered_lines_are_dropped(tmp_path):
    path = write(tmp_path / "x y.txt", *range(1, 25001))
    found = [Finding("duplicate", str(path), i, "twice", DROP_LINE, DROP) for i in range(2, 25001, 2)]
    told = write_corrected_list(found, tmp_path / "out.txt")
    assert told == f"wrote {tmp_path}/out.txt: {path} with 12500 lines dropped and 0 changed"
    assert (tmp_path / "out.txt").read_text().split() == [str(i) for i in range(1, 25001, 2)]


def test_fix_overwrites_nothing_and_writes_nothing_in_vain(check, crops, capsys):
    train, out = good_lists(crops)[1], crops / "out.txt"
    run = ["--txt_path_train", str(train), "--fix", str(out)]
    assert main(run) == 0
    assert f"{out} is not written: there is no line that --fix can correct" in capsys.readouterr().out
    add(train, f"gone/0.png {REAL}")
    out.write_text("mine")
    assert main(run) == 2 and out.read_text() == "mine"
    assert f"error: {out} is there already; give --fix a new file" in capsys.readouterr().err
    out.unlink()
    out.symlink_to("nowhere")
    assert main(run) == 2 and not out.exists()
    assert main([*run[:-1], str(crops / "no folder/out.txt")]) == 2
    assert "cannot write" in capsys.readouterr().err
    out.unlink()
    assert main(run) == 2  # the findings of the list itself
    assert f"wrote {out}: {train} with 1 lines dropped and 0 changed" in capsys.readouterr().out
    assert train.read_text() == out.read_text() + f"gone/0.png {REAL}\n"
    val = write(crops / "val.txt", f"gone/0.png {REAL}", f"gone/1.png {REAL}")
    assert main(["--txt_path_val", str(val), "--fix", str(crops / "none.txt")]) == 2
    assert f"--fix would drop all lines of {val}" in capsys.readouterr().err and not (crops / "none.txt").exists()


def test_a_corrected_list_must_find_its_images(check, crops, monkeypatch, capsys, tmp_path_factory):
    train, other = good_lists(crops)[1], tmp_path_factory.mktemp("other") / "out.txt"
    add(train, "no code")
    check("--txt_path_train", train, "--fix", other)  # the images are found from the current folder
    assert other.is_file()
    other.unlink()
    monkeypatch.chdir(other.parent)
    assert main(["--txt_path_train", str(train), "--fix", str(other)]) == 2
    assert f"is named from the folder of {train}; give --fix a file in {crops}" in capsys.readouterr().err
    assert not other.exists()


@pytest.mark.parametrize("gone", [False, True])
@pytest.mark.parametrize(
    ("name", "given"), [("FFSC", True), *((name, given) for name in IMAGE_LISTS for given in (False, True))]
)
def test_images_of_a_list_are_looked_for_where_its_reader_does(check, tmp_path, monkeypatch, name, gone, given):
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    root = tmp_path / "data"
    path = (tmp_path / "lists" if given else root / name) / f"{name}test.txt"
    for i, folder in enumerate((tmp_path / "cwd", path.parent, root / name, root)):
        image(folder / f"x/{i}.png")
    write(path, *(f"x/{i}.png {i % 2}" for i in range(5 if gone else 4)))
    data = TEST_SETS[name].read(ReadOptions(root, FFPP, path if given else None))
    arguments = ["--dataset", name, "--data_root", root, *(["--datapath", path] if given else [])]
    _, findings, counts = check(*arguments)
    assert all(Path(record.path).is_file() for record in data.records) is not gone
    assert [(f["kind"], f["line"]) for f in findings] == ([("missing_file", 5)] if gone else [])
    assert counts[name]["images"] == 4


def test_fix_of_moved_images_changes_their_lines_only(check, fix, crops):
    for path in ("x|y/o(l)d & #1/a", "x|y/o(l)d & #1/b", "here/a", "here/s/a"):
        image(crops / "root" / path / "0.png")
    image(crops / "here/a/1.png")
    image(crops / "x/here/a/1.png")
    path = crops / "train.txt"
    lines = ["/gone/x|y/o(l)d & #1/a/0.png", "  /gone/x|y/o(l)d & #1/b/0.png", "here/a/1.png", "x/here/a/1.png",
             "here/s/a/0.png", "/gone\\here\\a\\0.png"]  # fmt: skip
    codes = [REAL] * 5 + [SWAP]
    path.write_bytes("\n".join(map(" ".join, zip(lines, codes, strict=True))).encode("utf-8-sig"))
    findings = fix(path, "--txt_path_train", path, "--data_root", crops / "root")
    assert kinds(findings) == {"missing_file": 4}
    assert path.read_text().splitlines()[2:4] == [f"here/a/1.png {REAL}", f"x/here/a/1.png {REAL}"]
    assert check("--txt_path_train", path, "--data_root", crops / "root")[1] == []


def test_bad_lines_of_the_celeb_df_list_do_not_end_the_check(check, celeb_df):
    add(celeb_df / LIST_NAME, "2 Celeb-real/x.mp4", "1 elsewhere/y.mp4", "0 Celeb-synthesis/00200.mp4", "")
    _, findings, _ = check("--dataset", "CDF", "--data_root", celeb_df.parent)
    assert [(f["kind"], f["line"]) for f in findings] == [
        ("unknown_code", 519),
        ("unknown_code", 520),
        ("duplicate", 521),
    ]


@pytest.fixture
def ffpp(tmp_path, monkeypatch):
    """A small FF++ of 2, 1 and 1 pairs, officially as many, with FaceShifter and DeeperForensics of its test pair."""
    monkeypatch.setattr(ffpp_reader, "OFFICIAL", {"train": 4, "val": 2, "test": 2})
    monkeypatch.setattr(ffpp_reader, "OFFICIAL_FAKES", 4)
    root = tmp_path / "data"
    splits = {"train": [["000", "001"], ["002", "003"]], "val": [["004", "005"]], "test": [["006", "007"]]}
    for split, pairs in splits.items():
        (root / "FF++").mkdir(parents=True, exist_ok=True)
        (root / "FF++" / f"{split}.json").write_text(json.dumps(pairs))
        for a, b in pairs:
            for name in (a, b):
                touch(root / f"FF++/original_sequences/youtube/c23/faces/{name}/0000.png")
            for method in METHOD_CODES:
                for name in (f"{a}_{b}", f"{b}_{a}"):
                    touch(root / f"FF++/manipulated_sequences/{method}/c23/faces/{name}/0000.png")
    for name in ("006_007", "007_006"):
        touch(root / f"FSh/c23/faces/{name}/0000.png")
        touch(root / f"DF-1.0/faces/end_to_end/{name[:3]}_W001/0000.png")
    return root


def test_whole_ffpp_and_the_fakes_made_of_it_are_clean(check, ffpp):
    code, _, counts = check("--dataset", "FFpp", "FSh", "Deeper", "--data_root", ffpp)
    assert code == 0
    expected = {"videos": 4, "with_crops": 4, "official": 4, "crops": 4, "manifest": {}}
    assert counts["FFpp"]["train"] == dict.fromkeys(("real", *METHOD_CODES), expected)
    assert counts["FSh"]["test"]["FaceShifter"]["official"] == counts["Deeper"]["test"]["end_to_end"]["official"] == 2
    assert check("--dataset", "FSh", "--data_root", ffpp, "--datapath", ffpp / "FSh/c23/faces")[0] == 0
    assert check("--dataset", "Deeper", "--data_root", ffpp, "--datapath", ffpp / "DF-1.0")[0] == 0
    assert check("--dataset", "FFpp", "--datapath", ffpp / "FF++")[0] == 0


def test_ffpp_is_counted_per_split_and_method(check, ffpp):
    (ffpp / "FF++/manipulated_sequences/FaceSwap/c23/faces/004_005/0000.png").unlink()
    (ffpp / "FF++/train.json").write_text('[["000", "001"]]')
    (ffpp / "FF++/test.json").unlink()
    _, findings, _ = check("--dataset", "FFpp", "--data_root", ffpp)
    assert [(f["kind"], Path(f["path"]).name) for f in findings] == [
        ("count_mismatch", "train.json"),
        ("missing_file", "test.json"),
        ("count_mismatch", "faces"),
    ]
    assert findings[0]["message"] == "2 real videos in the train pairs, officially 4"
    assert "val FaceSwap: 1 of 2 videos have crops" in findings[2]["message"]
    assert findings[2]["fix"] == (
        f"python preprocessing/extract_faces.py --dataset FFpp --data_root {ffpp} --compression c23 --split val"
    )
    _, findings, _ = check("--dataset", "FFpp", "--data_root", ffpp, "--compression", "c40")
    assert all("c40" in finding["fix"] for finding in findings if finding["path"].endswith("faces"))


def test_fakes_of_ffpp_videos_are_compared_with_the_test_pairs_and_with_all(check, ffpp):
    (ffpp / "FSh/c23/faces/006_007/0000.png").unlink()
    (ffpp / "DF-1.0/faces/end_to_end/007_W001/0000.png").unlink()
    (ffpp / "DF-1.0/faces/end_to_end/007_W001").rmdir()
    touch(ffpp / "DF-1.0/faces/end_to_end/000_W001/0000.png")
    _, findings, _ = check("--dataset", "FSh", "Deeper", "--data_root", ffpp)
    assert [finding["message"] for finding in findings] == [
        "test FaceShifter: 1 of 2 videos have crops (1 not extracted; the first is 006_007)",
        "1 fakes of FF++ test videos, officially 2",
        "2 end_to_end fakes, officially 4",
    ]
    assert findings[2]["fix"].endswith(f"--dataset Deeper --data_root {ffpp} --split all")
    touch(ffpp / "FF++/original_sequences/youtube/c23/faces/006/0000.png", b"")
    _, findings, _ = check("--dataset", "FFpp", "FSh", "Deeper", "--data_root", ffpp)
    assert kinds(findings)["unreadable_image"] == 1  # the three share it
    (ffpp / "FF++/test.json").unlink()
    assert kinds(check("--dataset", "FSh", "--data_root", ffpp)[1])["missing_file"] == 1


def test_under_subset_absent_splits_and_classes_are_no_finding(check, ffpp, capsys):
    arguments = ("--dataset", "FFpp", "--data_root", ffpp, "--subset")
    faces = [path for path in (ffpp / "FF++").rglob("faces")]
    for folder in [video for place in faces for video in place.iterdir() if video.name[:3] < "006"]:
        shutil.rmtree(folder)  # the splits train and val
    shutil.rmtree(ffpp / "FF++/manipulated_sequences/FaceSwap")
    code, findings, counts = check(*arguments)
    assert (code, findings) == (0, [])
    assert counts["FFpp"]["test"]["real"]["with_crops"] == 2
    assert counts["FFpp"]["test"]["FaceSwap"]["with_crops"] == counts["FFpp"]["train"]["real"]["with_crops"] == 0
    assert main([*map(str, arguments)]) == 0
    assert "without crops: FFpp train real, FFpp train Deepfakes" in capsys.readouterr().out
    assert kinds(check(*arguments[:-1])[1]) == {"count_mismatch": 11}
    for name in ("train", "val"):
        (ffpp / "FF++" / f"{name}.json").unlink()
    assert check(*arguments)[:2] == (0, [])
    assert kinds(check(*arguments[:-1])[1]) == {"missing_file": 2, "count_mismatch": 1}
    empty = ffpp / "FF++/original_sequences/youtube/c23/faces/006"
    for image_of_it in empty.iterdir():
        image_of_it.unlink()
    assert check(*arguments)[0] == 0  # one of two videos
    for place in faces:
        shutil.rmtree(place, ignore_errors=True)
    assert check(*arguments)[:2] == (0, [])  # the split files alone
    (ffpp / "FF++/test.json").unlink()
    assert kinds(check(*arguments)[1]) == {"missing_file": 3}  # there is nothing to check


def test_a_part_of_ffsc_on_purpose(check, tmp_path):
    root = tmp_path / "data"
    touch(root / "FFSC/Test/fsgan/0.png")
    arguments = ("--dataset", "FFSC", "--data_root", root)
    assert kinds(check(*arguments)[1]) == {"count_mismatch": 3}
    code, findings, counts = check(*arguments, "--subset")
    assert (code, findings) == (0, [])
    assert counts["FFSC"]["test"]["fsgan"] == 1 and counts["FFSC"]["test"]["real"] == 0
    path = write(tmp_path / "fakes.txt", f"data/FFSC/Test/fsgan/0.png {FFSC_AGE}")
    assert kinds(check("--dataset", "FFSC", "--datapath", path)[1]) == {"one_class": 1}
    assert check("--dataset", "FFSC", "--datapath", path, "--subset")[0] == 0
    (root / "FFSC").rename(root / "elsewhere")
    assert kinds(check(*arguments, "--subset")[1]) == {"count_mismatch": 3}


@pytest.fixture
def csv_file(crops):
    """The videos a to d of the crops, a and c real."""
    rows = [f"crops/{v}/{i}.png,{n % 2},{v},{('real', 'swap')[n % 2]}" for n, v in enumerate("abcd") for i in range(2)]
    return write(crops / "test.csv", "path,label,video,method", *rows)


def test_a_csv_file_is_checked_as_a_test_reads_it(check, crops, csv_file):
    arguments = ("--dataset", "csv", "--datapath", csv_file)
    code, findings, counts = check(*arguments, "--deep", "--workers", 1)
    assert (code, findings) == (0, [])
    numbers = {"videos": 2, "with_crops": 2, "official": None, "crops": 4, "manifest": {}}
    assert counts["csv"] == {"test": {"fake swap": numbers, "real": numbers}}
    broken = crops / "crops/d/1.png"
    broken.write_bytes(broken.read_bytes()[:100])
    (crops / "crops/d/0.png").write_bytes(b"")
    add(csv_file, "crops\\gone\\0.png,1,gone,swap", "crops/a/0.png,0,a,real", f"{crops}/crops/c/../a/1.png,0,a,real")
    _, findings, counts = check(*arguments, "--deep", "--workers", 1, "--n_frames", 2)
    assert {finding["path"] for finding in findings} == {str(csv_file)}
    assert sorted((finding["line"], finding["kind"]) for finding in findings) == [
        (8, "unreadable_image"),
        (9, "unreadable_image"),
        (10, "missing_file"),
        (10, "short_video"),
        (11, "duplicate"),
        (12, "duplicate"),
    ]
    assert counts["csv"]["test"]["fake swap"]["videos"] == 3
    assert counts["csv"]["test"]["fake swap"]["with_crops"] == 2
    add(csv_file, "crops/e/0.png,perhaps,e,swap")
    found = one(check(*arguments)[1], "unknown_code")
    assert (found["path"], found["line"]) == (str(csv_file), 13)
    assert kinds(check("--dataset", "csv", "--datapath", crops / "none.csv")[1]) == {"missing_file": 1}


def test_labels_of_a_csv_file_that_folders_contradict_and_one_class(check, crops):
    lines = []
    for i in range(3):
        for folder in ("real", "fake"):
            image(crops / f"my/{folder}/{i}/0.png")
            lines.append(f"my/{folder}/{i}/0.png,{folder}")
    path = write(crops / "x.csv", "path,label", *lines)
    arguments = ("--dataset", "csv", "--datapath", path)
    assert check(*arguments)[0] == 0
    write(path, "path,label", *lines[:-1], lines[-1].replace(",fake", ",real"))
    found = one(check(*arguments)[1], "label_orientation")
    assert (found["line"], found["path"]) == (7, str(path))
    write(path, "path,label", *(line for line in lines if line.endswith("real")))
    assert kinds(check(*arguments)[1]) == {"one_class": 1}
    assert check(*arguments, "--subset")[0] == 0


def test_training_lists_share_nothing_with_a_csv_file(check, crops, csv_file):
    image(crops / "crops/b/2.png")
    touch(crops / "crops/g/0.png", (crops / "crops/c/1.png").read_bytes())
    lines = [f"crops/a/0.png {REAL}", f"crops/b/2.png {SWAP}", f"crops/g/0.png {SWAP}", f"crops/f/0.png {REAL}"]
    train = write(crops / "train.txt", *lines)
    _, findings, _ = check("--txt_path_train", train, "--dataset", "csv", "--datapath", csv_file)
    assert sorted((f["kind"], f["line"]) for f in findings) == [
        ("overlap_content", 3),
        ("overlap_path", 1),
        ("overlap_video", 1),
        ("overlap_video", 2),
    ]
    assert {finding["path"] for finding in findings} == {str(train)}
    assert f"line 2 of {csv_file}" in one(findings, "overlap_path")["message"]
    write(csv_file, *(",".join(line.split(",")[:2]) for line in csv_file.read_text().splitlines()))
    _, findings, _ = check("--txt_path_train", train, "--dataset", "csv", "--datapath", csv_file)
    assert kinds(findings) == {"overlap_content": 1, "overlap_path": 1}  # its images are of no videos


@pytest.fixture
def json_file(crops):
    """FaceForensics++ as DeepfakeBench lists it: one real and one fake video in train, and in test."""
    videos = {"FF-real": {"train": "a", "test": "c"}, "FF-DF": {"train": "b", "test": "d"}}
    content = {
        label: {
            split: {"c23": {name: {"label": label, "frames": [f"crops\\{name}\\{i}.png" for i in range(2)]}}}
            for split, name in splits.items()
        }
        for label, splits in videos.items()
    }
    path = crops / "FF.json"
    path.write_text(json.dumps({"FaceForensics++": content}))
    return path


def test_a_json_file_is_checked_split_by_split(check, crops, json_file):
    arguments = ("--dataset", "json", "--datapath", json_file, "--data_root", crops)
    code, findings, counts = check(*arguments, "--deep", "--workers", 1)
    assert (code, findings) == (0, [])
    numbers = {"videos": 1, "with_crops": 1, "official": None, "crops": 2, "manifest": {}}
    assert counts["json"] == {s: {"fake FF-DF": numbers, "real FF-real": numbers} for s in ("train", "test")}
    (crops / "crops/b/0.png").unlink()
    (crops / "crops/c/0.png").write_bytes(b"")
    content = json.loads(json_file.read_text())
    content["FaceForensics++"]["FF-DF"]["test"]["c23"]["x"] = {"label": "FF-DF", "frames": None}
    json_file.write_text(json.dumps(content))
    _, findings, _ = check(*arguments, "--n_frames", 3)
    named = {(finding["kind"], finding["message"].partition(" ")[0]) for finding in findings}
    assert named >= {("missing_file", "train/FF-DF/b:"), ("unreadable_image", "test/FF-real/c:")}
    assert ("empty", "test/FF-DF/x") in named
    assert kinds(findings) == {"missing_file": 1, "unreadable_image": 1, "empty": 1, "short_video": 4}
    assert {(finding["path"], finding["line"]) for finding in findings} == {(str(json_file), None)}
    train = write(crops / "train.txt", f"crops/d/0.png {SWAP}", f"crops/a/0.png {REAL}")  # a is no test video
    _, findings, _ = check(*arguments, "--txt_path_train", train)
    assert [(f["kind"], f["line"]) for f in findings if f["path"] == str(train)] == [
        ("overlap_path", 1),
        ("overlap_video", 1),
    ]
    assert {f["message"] for f in check(*arguments, "--n_frames", 3)[1] if f["kind"] == "short_video"} == {
        f"{video} has 2 crops, fewer than 3"
        for video in ("train/FF-real/a", "train/FF-DF/b", "test/FF-real/c", "test/FF-DF/d")
    }
    del content["FaceForensics++"]["FF-real"]["test"]
    json_file.write_text(json.dumps(content))
    found = one(check(*arguments)[1], "one_class")
    assert found["message"] == "test holds one class only: all 2 images are fake"
    json_file.write_text("{")
    assert kinds(check(*arguments)[1]) == {"unknown_code": 1}


def test_a_folder_is_checked_as_a_test_reads_it(check, crops, capsys):
    root = crops / "set"
    for name in ("real/a/0.png", "real/b/0.png", "fake/c/0.png"):
        image(root / name)
    arguments = ("--dataset", "folder", "--datapath", root)
    code, findings, counts = check(*arguments, "--deep", "--workers", 1)
    assert (code, findings) == (0, [])
    assert [numbers["videos"] for numbers in counts["folder"]["test"].values()] == [1, 2]
    (root / "fake/c/1.png").symlink_to("nowhere.png")
    (root / "fake/c/0.png").write_bytes(b"")
    broken = root / "real/a/0.png"
    broken.write_bytes(broken.read_bytes()[:100])
    _, findings, _ = check(*arguments, "--deep", "--workers", 1)
    assert kinds(findings) == {"missing_file": 1, "unreadable_image": 2}
    image(crops / "more/0.png")
    train = write(crops / "train.txt", f"set/real/b/0.png {REAL}", f"more/0.png {SWAP}")
    found = check(*arguments, "--txt_path_train", train)[1]
    assert [finding["kind"] for finding in found if finding["path"] == str(train)] == ["overlap_path", "overlap_video"]
    image(root / "other/x/0.png")
    main([*map(str, arguments)])
    assert "other/ (1 images)" in capsys.readouterr().err
    shutil.rmtree(root / "other")
    shutil.rmtree(root / "fake")
    assert kinds(check(*arguments)[1]) == {"one_class": 1}
    shutil.rmtree(root / "real")
    assert kinds(check(*arguments)[1]) == {"empty": 1}


@pytest.fixture
def dfdc(tmp_path, monkeypatch):
    monkeypatch.setattr(dfdc_reader, "OFFICIAL", {"real": 3, "fake": 3})
    root = tmp_path / "data" / "DFDC"
    for i in range(6):
        touch(root / f"faces/v{i}/0000.png")
    write(root / "labels.csv", "filename,label", *(f"v{i}.mp4,{i % 2}" for i in range(6)))
    return root


def test_dfdc_counts_and_labels(check, dfdc):
    arguments = ("--dataset", "DFDC", "--data_root", dfdc.parent)
    assert check(*arguments)[0] == 0
    assert check("--dataset", "DFDC", "--datapath", dfdc / "faces")[0] == 0
    good = (dfdc / "labels.csv").read_text()
    (dfdc / "labels.csv").write_text(good.replace(",1\n", ",FAKE\n").replace(",0\n", ",REAL\n"))
    assert check(*arguments)[:2] == (0, [])
    write(dfdc / "labels.csv", "filename,label", "v0.mp4,0", "v1.mp4,1", "v1.mp4,0", "v2.mp4,x")
    assert kinds(check(*arguments)[1]) == {"label_conflict": 1, "unknown_code": 1, "count_mismatch": 2}
    write(dfdc / "labels.csv", *good.splitlines(), "v1.mp4,1", "v2.avi,0", "..,1")
    _, findings, counts = check(*arguments)
    assert [(f["kind"], f["line"]) for f in findings] == [("unknown_code", 10), ("duplicate", 8), ("label_conflict", 9)]
    assert counts["DFDC"]["test"]["fake"]["videos"] == 3
    (dfdc / "labels.csv").write_bytes(b"filename,label\n\xff.mp4,0\n")
    assert kinds(check(*arguments)[1]) == {"unknown_code": 1}
    (dfdc / "labels.csv").unlink()
    assert kinds(check(*arguments)[1]) == {"missing_file": 1}


def test_advice_under_datapath_names_what_works_there(check, dfdc, monkeypatch):
    root = dfdc.rename(dfdc.parents[1] / "my videos")
    monkeypatch.chdir(root.parent)
    for folder in (root / "faces").iterdir():
        shutil.rmtree(folder)
    arguments = ("--dataset", "DFDC", "--datapath", root)
    command = "python preprocessing/extract_faces.py --dataset DFDC --data_root"
    fixes = [finding["fix"] for finding in check(*arguments)[1]]
    assert fixes == [f"link {root} as data/DFDC, then {command} data"] * 2
    (root.parent / "data/DFDC").mkdir()  # it is another one, which must not be replaced
    fixes = [finding["fix"] for finding in check(*arguments)[1]]
    assert fixes == [f"link {root} as NEW/DFDC, then {command} NEW"] * 2
    (root.parent / "data/DFDC").rmdir()
    (root.parent / "data/DFDC").symlink_to(root)
    assert [finding["fix"] for finding in check(*arguments)[1]] == [f"{command} data"] * 2


def test_the_printed_correction_of_a_list_elsewhere_works(check, celeb_df, capsys, monkeypatch):
    root = celeb_df.rename(celeb_df.parents[1] / "my videos")
    monkeypatch.chdir(root.parent)
    lines = (root / LIST_NAME).read_text().splitlines()
    write(root / LIST_NAME, *(f"{1 - int(line[0])}{line[1:]}" for line in lines))
    fix = one(check("--dataset", "CDF", "--datapath", root)[1], "label_orientation")["fix"]
    words = shlex.split(fix.partition("SJEDD_check_data.py ")[2].removesuffix(" does that"))
    assert words == ["--dataset", "CDF", "--datapath", str(root), "--fix", "OUT.txt"]
    words[-1] = str(root / "OUT.txt")
    main(words)
    assert (root / "OUT.txt").read_text().splitlines() == lines


def test_image_lists_whose_folders_contradict_their_labels(check, fix, tmp_path):
    root = tmp_path / "fake news" / "data"
    for i in range(4):
        image(root / "DiFF" / ("original" if i < 2 else "fake/T2I") / f"{i}.png")
    lines = [f"original/{i}.png 0" for i in range(2)] + [f"fake/T2I/{i}.png 1" for i in (2, 3)]
    path = write(root / "DiFF/DiFFtest.txt", *lines)
    arguments = ("--dataset", "DiFF", "--data_root", root)
    code, _, counts = check(*arguments)
    assert code == 0
    assert (counts["DiFF"]["real"], counts["DiFF"]["fake"], counts["DiFF"]["digits"]) == (2, 2, 1)
    assert check("--dataset", "DiFF", "--datapath", path)[0] == 0
    write(path, "original/0.png 1", *lines[1:])
    _, findings, _ = check(*arguments)
    assert [(f["kind"], f["line"]) for f in findings] == [("label_orientation", 1)]
    write(path, *(line[:-1] + str(1 - int(line[-1])) for line in lines))
    _, findings, _ = check(*arguments)
    assert kinds(findings) == {"label_orientation": 1}
    fix(path, *arguments)
    assert path.read_text().splitlines() == lines
    write(path, *lines, "original/0.png 1", "gone.png 0", "original/1.png 3")
    _, findings, _ = check(*arguments)
    assert kinds(findings) == {"label_conflict": 2, "missing_file": 1, "unknown_code": 1, "label_orientation": 1}


def test_a_list_that_is_not_there_does_not_end_the_check(check, tmp_path, ffpp):
    _, findings, counts = check("--dataset", "DiffusionFace", "DFDC", "FFpp", "--data_root", ffpp)
    assert kinds(findings) == {"missing_file": 2}
    assert "FFpp" in counts


def test_ffsc_folders_and_list(check, tmp_path):
    root = tmp_path / "data"
    for folder in ("Train", "Val", "Test"):
        for method in ("Real", *METHODS):
            name = "0_surprised.png" if method == "fomm-expr" else "0.png"
            touch(root / "FFSC" / folder / method / name)
    code, _, counts = check("--dataset", "FFSC", "--data_root", root)
    assert code == 0
    assert counts["FFSC"]["train"]["simswap"] == 1
    touch(root / "FFSC/Train/fsgan/empty.png", b"")
    (root / "FFSC/Train/simswap/0.png").unlink()
    (root / "FFSC/Val").rename(root / "FFSC/Validation")
    _, findings, _ = check("--dataset", "FFSC", "--data_root", root)
    assert [(f["kind"], Path(f["path"]).name) for f in findings] == [
        ("count_mismatch", "Train"),
        ("count_mismatch", "Val"),
        ("unreadable_image", "empty.png"),
    ]
    path = write(
        tmp_path / "test.txt", f"data/FFSC/Test/Real/0.png {FFSC_REAL}", f"data/FFSC/Test/fsgan/0.png {FFSC_AGE}"
    )
    code, _, counts = check("--dataset", "FFSC", "--datapath", path)
    assert (code, counts["FFSC"]["digits"]) == (0, 12)


def test_report_for_people(crops, celeb_df, capsys):
    arguments = good_lists(crops)
    assert main([*map(str, arguments), "--dataset", "CDF", "--data_root", str(celeb_df.parent)]) == 0
    out = capsys.readouterr().out
    assert out.endswith("nothing wrong was found\n")
    assert any(line.split() == ["CDF", "test", "RealCDF", "178", "178", "178", "178", "-"] for line in out.splitlines())
    add(arguments[1], *(f"crops/x/{i}.png {REAL}" for i in range(15)))
    assert main([*map(str, arguments)]) == 2
    out, err = capsys.readouterr()
    assert "missing_file (15)" in out and "... and 5 more" in out
    assert out.count("does not exist") == 10 and out.count("fix:") == 1
    assert err.strip() == "error: 15 findings: 15 missing_file"


@posix_only
def test_names_of_files_command_no_terminal_and_stay_in_their_line(crops, capsys):
    nasty = "crops/a\x1b[31mb\nc.png"
    image(crops / nasty)
    (crops / "crops/empty\r\x9b.png").touch()
    rows = ((nasty, 0), ("crops/empty\r\x9b.png", 1), ("x\ny.png", 1))
    table = "".join(f'"{path}",{label}\n' for path, label in rows)
    (crops / "list.csv").write_bytes(f"path,label\n{table}".encode())
    assert main(["--dataset", "csv", "--datapath", "list.csv"]) == 2
    said = capsys.readouterr()
    lines = f"{said.out}{said.err}".split("\n")
    assert all(line.isprintable() for line in lines)
    assert [line for line in lines if "y.png" in line] == ["  list.csv:7: x?y.png does not exist"]
    assert any("crops/empty??.png" in line for line in lines)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to check"),
        (["--txt_path_train", "none.txt"], "cannot read the list none.txt"),
        (["--dataset", "CDF", "FSh", "--datapath", "x"], "--datapath is the place of one data set"),
        (["--txt_path_train", "none.txt", "--subset"], "--subset goes with --dataset"),
        (["--dataset", "CDF", "--workers", "2"], "--workers goes with --deep"),
        (["--dataset", "nonsense"], "invalid choice"),
    ],
)
def test_unusable_arguments_are_one_line_and_exit_code_2(crops, capsys, arguments, message):
    try:
        code = main(["--json", *arguments])
    except SystemExit as stop:
        code = stop.code
    out, err = capsys.readouterr()
    assert (code, out) == (2, "")
    assert message in err and len(err.strip().splitlines()) == 1


def test_as_a_script_with_workers_only_json_is_on_stdout(crops):
    arguments = [sys.executable, ROOT / "SJEDD_check_data.py", "--json", "--deep", "--workers", "2"]
    done = subprocess.run([*arguments, *good_lists(crops)], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["findings"] == []
    assert done.stderr == ""


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_labels_flags_and_line_ends_are_read_as_the_readers_do(check, fix, crops, ending):
    labels = {"crops/a/0.png": "x REAL", "crops/a/1.png": "0.0", "crops/b/0.png": "True", "crops/b/1.png": "fake"}
    path = crops / "labels.txt"
    path.write_bytes(ending.join(["\ufeff", *(f"{name} {label}" for name, label in labels.items())]).encode())
    code, findings, counts = check("--txt_path_test", path)
    assert (code, findings) == (0, [])
    assert (counts["test"]["real"], counts["test"]["fake"]) == (2, 2)


def test_fix_exchanges_labels_of_any_spelling(check, fix, tmp_path):
    names = [f"{folder}/{i}.png" for folder in ("real", "fake") for i in range(2)]
    for i, name in enumerate(names):
        touch(tmp_path / name, bytes([i]))
    path = tmp_path / "labels.txt"
    path.write_text(
        "".join(f"{name} {word}\n" for name, word in zip(names, ("1", "FAKE", "0.0", "false"), strict=True))
    )
    assert set(kinds(check("--txt_path_test", path)[1])) == {"label_orientation"}
    fix(path, "--txt_path_test", path)
    assert [line.split()[-1] for line in path.read_text().splitlines()] == ["0", "0", "1", "1"]
