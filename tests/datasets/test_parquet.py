"""Parquet tables of images: their rows in a test, and as files and lists in a training."""

import builtins
import io
import json
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

import SJEDD_test
import SJEDD_train_FFpp
from datasets.crop_cache import CachedCrops, cache_of
from datasets.readers.parquet import read_parquet
from datasets.test_sets import TEST_SETS, ReadOptions
from datasets.transforms import ImageError, ImageFiles, read_image
from models.label_tree import FFPP
from preprocessing import make_lists
from utils import tables
from utils.cli import UserError


def picture(grey, form="PNG"):
    """The bytes of an image file of one grey."""
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (grey,) * 3).save(buffer, form)
    return buffer.getvalue()


def write(path, columns, names=None, group=3):
    """A table. names: of the label, as Hugging Face notes them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pyarrow.table(columns)
    if names:
        note = {"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(note)})
    pyarrow.parquet.write_table(table, path, row_group_size=group)
    return path


def read(place, **settings):
    return TEST_SETS["parquet"].read(ReadOptions(place, FFPP, place, **settings))


def test_rows_of_several_groups_are_read_in_any_order(tmp_path):
    pictures = [
        {"bytes": picture(grey, form), "path": None}
        for grey, form in zip(range(0, 80, 10), ("PNG", "BMP") * 4, strict=True)
    ]
    table = write(tmp_path / "t.parquet", {"image": pictures, "label": [0, 1] * 4})
    data = read(table)
    assert data.image_level and [record.label for record in data.records] == [0, 1] * 4
    assert [record.frame for record in data.records] == [f"{i:09d}" for i in range(8)]
    for i in (7, 0, 4, 2):
        assert (ImageFiles(data.records).read(i) == 10 * i).all()
    cached = CachedCrops(cache_of(data, tmp_path / "cache"), 8, ImageFiles(data.records))
    assert [int(cached.read(i)[0, 0, 0]) for i in range(8)] == list(range(0, 80, 10))


def test_a_changed_table_gets_a_new_cache(tmp_path):
    places = []
    for greys in ((10, 20), (10, 30)):
        tables._table.cache_clear()
        tables._images.cache_clear()
        columns = {"image_bytes": [picture(grey) + b" " * grey for grey in greys], "label": [0, 1]}
        places.append(cache_of(read(write(tmp_path / "t.parquet", columns)), tmp_path / "cache"))
    assert places[0] != places[1]


def test_an_image_that_cannot_be_read_has_a_reason(tmp_path):
    images = [b"", None, b"no image"]
    table = write(tmp_path / "t.parquet", {"image": pyarrow.array(images, pyarrow.binary()), "label": ["real"] * 3})
    for record in read(table).records:
        with pytest.raises(ImageError, match="unreadable_image: no PNG"):
            read_image(record.path)
    with pytest.raises(ImageError, match=r"unreadable_image: .* 3 rows"):
        read_image(f"{table}/000000003")
    with pytest.raises(ImageError, match="missing_file"):
        read_image(tmp_path / "other.parquet/000000000")


def test_class_names_of_the_table_decide_what_a_number_means(tmp_path):
    table = write(tmp_path / "t.parquet", {"image_bytes": [b"", b""], "label": [0, 1]}, names=["Fake", "Real"])
    assert [record.label for record in read(table).records] == [1, 0]
    write(table, {"image_bytes": [b"", b""], "label": [0, 1]}, names=["cat", "dog"])
    with pytest.raises(UserError, match=r"row 0 has the label 'cat', which is neither 0 or real nor 1 or fake"):
        read(table)


def test_splits_by_name_of_the_table_or_by_column(tmp_path):
    one = {"image_bytes": [b""], "label": [0]}
    for name in ("train-00000-of-00002", "train-00001-of-00002", "test-00000-of-00001", "validation"):
        write(tmp_path / f"data/{name}.parquet", one)
    found = {split: len(data.records) for split, data in read_parquet(tmp_path).items()}
    assert found == {"test": 1, "train": 2, "val": 1}
    assert len(read(tmp_path, split="train").records) == 2 and read(tmp_path).source.endswith("(test)")
    column = write(
        tmp_path / "column/train.parquet", {"image_bytes": [b""] * 2, "label": [0, 1], "split": ["Dev", "Dev"]}
    )
    assert list(read_parquet(column)) == ["val"]
    with pytest.raises(UserError, match="has no split test, but val; set --split"):
        read(column)


def test_videos_and_methods(tmp_path):
    columns = {"image_bytes": [b""] * 6, "label": [1, 1, 1, 1, 0, 0], "video": ["a", "a", "a", "a", "b", "b"]}
    table = write(tmp_path / "t.parquet", columns | {"method": ["DF", "DF", "NT", "NT", "", ""]})
    assert [record.video for record in read(table).records] == ["DF/a", "DF/a", "NT/a", "NT/a", "b", "b"]
    assert len(read(table, n_frames=1).records) == 3
    write(table, columns | {"label": [1, 0, 0, 0, 0, 0]})
    with pytest.raises(UserError, match="video a has real and fake rows"):
        read(table)


def test_what_is_no_table_is_said(tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"holds no row of a \.parquet file; set --datapath"):
        read(tmp_path)
    other = tmp_path / "t.parquet"
    other.write_bytes(b"PAR1 no table")
    with pytest.raises(UserError, match=r"cannot read .*t\.parquet .*; it must be a Parquet table"):
        read(other)
    with pytest.raises(UserError, match=r"has the columns pixels, label; it needs image or image_bytes"):
        read(write(other, {"pixels": [b""], "label": [0]}))
    (tmp_path / "t.csv").touch()
    with pytest.raises(UserError, match=r"ends in \.parquet"):
        read(tmp_path / "t.csv")

    real_import = builtins.__import__

    def without(name, *arguments):
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return real_import(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError, match=r"^Parquet tables need the package pyarrow; pip install pyarrow$"):
        read(other)


@pytest.fixture
def crops(golden_crops, tmp_path):
    """Tables of real crops: 3 real and 3 fake videos each in train and in test."""
    for split in ("train", "test"):
        paths = sorted(golden_crops.glob("*/*/*.png"))
        fakes = ["FakeCDF" in str(path) for path in paths]
        columns = {
            "image": [{"bytes": path.read_bytes(), "path": path.name} for path in paths],
            "label": [int(fake) for fake in fakes],
            "method": ["FaceSwap" if fake else None for fake in fakes],
            "video": [f"{split}-{path.parent.name}" for path in paths],
        }
        write(tmp_path / f"tables/{split}-00000-of-00001.parquet", columns)
    return tmp_path / "tables"


@pytest.mark.usefixtures("single_thread")
def test_a_training_and_a_test_from_tables(crops, tmp_path, capsys):
    words = [
        "--dataset",
        "parquet",
        "--datapath",
        str(crops),
        "--val_share",
        "0.34",
        "--output",
        str(tmp_path / "lists"),
    ]
    assert make_lists.main([*words, "--images_to", str(tmp_path / "images")]) == 0
    lines = [
        line.split() for name in ("train", "val") for line in (tmp_path / f"lists/{name}.txt").read_text().splitlines()
    ]
    assert {code for _, code in lines} == {"1000000000", "0101011111"}
    stored = {record.path: tables.row_bytes(record.path) for record in read(crops, split="train").records}
    for path, _ in lines:
        assert path.startswith(str(tmp_path / "images/train-00000-of-00001/")) and path.endswith(".png")
        assert Path(path).read_bytes() in stored.values()
    assert make_lists.main([*words, "--images_to", str(tmp_path / "images")]) == 0  # the same files stay
    Path(lines[0][0]).write_bytes(b"mine")
    assert make_lists.main([*words, "--images_to", str(tmp_path / "images")]) == 2
    assert "is another image; give an empty folder as --images_to" in capsys.readouterr().err

    make_lists.main([*words, "--images_to", str(tmp_path / "again")])
    run = [
        "--VM",
        "demo",
        "--num_epoch",
        "1",
        "--batch_size",
        "4",
        "--num_workers",
        "0",
        "--unknown",
        "mask",
        "--tag",
        "t",
    ]
    run += ["--txt_path_train", str(tmp_path / "lists/train.txt"), "--txt_path_val", str(tmp_path / "lists/val.txt")]
    run += ["--crop_cache", str(tmp_path / "cache"), "--output", str(tmp_path), "--name", "a"]
    assert SJEDD_train_FFpp.main(run) == 0
    checkpoint = str(tmp_path / "a/t/ckpt_best.pth")
    test = ["--dataset", "parquet", "--datapath", str(crops), "--resume", checkpoint, "--auc", "--num_workers", "0"]
    assert SJEDD_test.main([*test, "--output", str(tmp_path / "result")]) == 0
    metrics = json.loads(next((tmp_path / "result").rglob("metrics.json")).read_text())
    assert np.isfinite(metrics["frame_auc"])


@pytest.mark.usefixtures("single_thread")
@pytest.mark.parametrize("unknown", ["zero", "mask"])
def test_fakes_of_unknown_methods_train(crop_lists, tmp_path, unknown):
    lists = []
    for path in crop_lists:
        text = "".join(
            line if line.split()[-1] == "1000000000" else f"{line.split()[0]} 0122222222\n"
            for line in path.read_text().splitlines(keepends=True)
        )
        lists.append(tmp_path / f"unknown_{path.name}")
        lists[-1].write_text(text)
    run = ["--VM", "demo", "--num_epoch", "1", "--batch_size", "4", "--num_workers", "0", "--unknown", unknown]
    run += [
        "--txt_path_train",
        str(lists[0]),
        "--txt_path_val",
        str(lists[1]),
        "--output",
        str(tmp_path),
        "--name",
        "a",
    ]
    assert SJEDD_train_FFpp.main(run) == 0
