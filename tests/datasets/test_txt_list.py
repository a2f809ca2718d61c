import time
from pathlib import Path

import pytest

from datasets.readers.txt_list import read_txt_list
from datasets.records import Dropped, as_images
from models.label_tree import FFPP, FFSC
from tests.conftest import EXPRESSION, REAL, SWAP
from utils.cli import UserError


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Files that only have to exist, in three video folders, and one with a space in its name."""
    for name in ("crops/a/0.png", "crops/a/1.png", "crops/b/0.png", "crops/c d/0 1.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(folder, text):
    (folder / "list.txt").write_text(text, encoding="utf-8")
    return folder / "list.txt"


def test_codes_flags_labels_commas_spaces_and_blank_lines(folder):
    data = read_txt_list(
        write(
            folder,
            f"crops/a/0.png {REAL}\n\ncrops/a/1.png 7 {REAL}\r\n"
            f"crops/b/0.png,{SWAP}\ncrops/c d/0 1.png\t3 {EXPRESSION}",
        ),
        FFPP,
    )
    assert [(r.path, r.label, r.video, r.code) for r in data.records] == [
        ("crops/a/0.png", 0, "a", "0000000000"),
        ("crops/a/1.png", 0, "a", "0000000000"),
        ("crops/b/0.png", 1, "b", "1011111111"),
        ("crops/c d/0 1.png", 1, "c d", "1101001100"),
    ]
    assert not data.image_level
    assert data.videos_listed == 3


@pytest.mark.parametrize(
    "name", ["a\u2028b/\u20280.png", "\u0085a/0\x851.png", "\u2028/x.png", "a\x0bb\x0cc\x1e/0.png"]
)
def test_a_line_ends_at_a_line_feed_only(folder, name):
    """Unicode has more line ends, and names of files may hold them."""
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).touch()
    data = read_txt_list(write(folder, f"{name} {REAL}\r\ncrops/b/0.png {SWAP}\u2028\n"), FFPP)
    assert [record.path for record in data.records] == [name, "crops/b/0.png"]
    assert [record.label for record in data.records] == [0, 1]


def test_labels_instead_of_codes(folder):
    data = read_txt_list(write(folder, "crops/a/0.png 0\ncrops/b/0.png 1\n"), FFPP)
    assert [(r.label, r.code) for r in data.records] == [(0, ""), (1, "")]
    with pytest.raises(UserError, match=r"list\.txt:1: code '0' has 1 digits"):
        read_txt_list(folder / "list.txt", FFPP, labels_allowed=False)


def test_ffsc_codes_keep_the_unknown_digit(folder):
    data = read_txt_list(write(folder, "crops/a/0.png 000000000000\ncrops/b/0.png 120110111101\n"), FFSC)
    assert data.records[1].code == "120110111101"


def test_paths_beside_the_list_and_a_byte_order_mark(folder, tmp_path_factory, monkeypatch):
    path = write(folder, f"\ufeffcrops/a/0.png {REAL}\ncrops/b/0.png {SWAP}\n")
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert [Path(r.path).is_file() for r in read_txt_list(path, FFPP).records] == [True, True]


@pytest.mark.parametrize(
    "text", ["crops/a/0.png 0\ncrops/a/1.png 1\ncrops/b/0.png 1\n", "crops/a/0.png 0\ncrops/a/1.png 1\n"]
)
def test_folders_that_mix_labels_are_no_videos(folder, text):
    data = read_txt_list(write(folder, text), FFPP)
    assert data.image_level
    assert [r.video for r in data.records] == [r.path for r in data.records]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"crops/a/0.png {REAL}\ncrops/a/9.png {REAL}\n", r"list\.txt:2: image crops/a/9\.png does not exist"),
        (f"crops/a/0.png {REAL}\ncrops/b/0.png 1111111111\n", r"list\.txt:2: unknown code 1111111111"),
        ("crops/a/0.png 110000100001\n", r"list\.txt:1: code '110000100001' has 12 digits, the tree's codes have 10"),
        (f"crops/a/0.png {REAL}\ncrops/b/0.png 1\n", r"list\.txt:2: code 1 has 1 digits, the lines above have 10"),
        (f"crops/a/0.png {REAL}\ncrops/a/0.png {SWAP}\n", r"list\.txt:2: crops/a/0\.png has code .* on line 1"),
        (f"crops/a/0.png {REAL}\ncrops/a/./0.png {SWAP}\n", r"list\.txt:2: crops/a/\./0\.png has code .* on line 1"),
        (f"{'x' * 5000}.png {REAL}\n", r"list\.txt:1: image x+ does not exist"),
        (f"crops {REAL}\n", r"list\.txt:1: image crops does not exist"),
        (f"{REAL}\n", r"list\.txt:1: expected `path code`"),
        ("crops/a/0.png\n", r"list\.txt:1: expected `path code`"),
        ("crops/a/0.png 3\n", r"list\.txt:1: label 3 is neither 0"),
        ("", "lists no image"),
        ("\n \n", "lists no image"),
    ],
)
def test_errors_name_file_and_line(folder, text, message):
    with pytest.raises(UserError, match=message):
        read_txt_list(write(folder, text), FFPP)


def test_missing_list_and_binary_list(folder):
    with pytest.raises(UserError, match="cannot read the list"):
        read_txt_list(folder / "none.txt", FFPP)
    (folder / "list.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="not UTF-8"):
        read_txt_list(folder / "list.txt", FFPP)


def test_a_line_that_is_repeated_counts_once_and_is_dropped_as_duplicate(folder):
    text = f"crops/a/0.png {REAL}\ncrops/a/./0.png {REAL}\ncrops/b/0.png {SWAP}\n"
    data = read_txt_list(write(folder, text), FFPP)
    assert [record.path for record in data.records] == ["crops/a/0.png", "crops/b/0.png"]
    assert data.dropped == [Dropped("a", "crops/a/0.png", 0, "duplicate")] and data.videos_listed == 2


def test_a_repeated_line_of_an_image_set_is_no_further_image(folder):
    text = "crops/a/0.png 0\ncrops/a/1.png 1\ncrops/a/../a/1.png 1\n"
    data = read_txt_list(write(folder, text), FFPP)
    for images in (data, as_images(data, "x")):
        assert images.image_level and images.videos_listed == 2
        assert [(drop.video, drop.reason) for drop in images.dropped] == [("crops/a/1.png", "duplicate")]


def test_very_long_line_of_separators_is_read_at_once(folder):
    path = write(folder, f"crops/a/0.png{' ' * 100_000}{REAL}\ncrops/b/0.png{',' * 100_000}{SWAP}\n")
    started = time.perf_counter()
    assert len(read_txt_list(path, FFPP).records) == 2
    assert time.perf_counter() - started < 5  # a pattern that backtracks took minutes


@pytest.mark.parametrize("folders", [("real", "fake"), ("0_Real", "1_Fake"), ("real", "DF")])
def test_images_directly_in_class_folders_are_no_videos(tmp_path, folders):
    images = [f"{folder}/{i}.png" for folder in folders for i in range(2)]
    for image in images:
        (tmp_path / image).parent.mkdir(exist_ok=True)
        (tmp_path / image).touch()
    codes = dict(zip(folders, ("1000000000", "0122222222"), strict=True))
    (tmp_path / "l.txt").write_text("".join(f"{image} {codes[image.split('/')[0]]}\n" for image in images))
    data = read_txt_list(tmp_path / "l.txt", FFPP)
    assert data.image_level
    assert [record.code for record in data.records] == ["0000000000"] * 2 + ["1222222222"] * 2
