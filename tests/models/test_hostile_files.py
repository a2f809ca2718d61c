"""Files that have no end, or that a careless reader would choke on, refused at the doors all readers share."""

import json
import os
import warnings

import numpy as np
import pytest
from PIL import Image

from datasets.readers.ffpp import read_pairs
from datasets.readers.txt_list import read_txt_list
from models.label_tree import FFPP
from prediction.results import is_whole
from preprocessing.extraction import manifest
from tests.platforms import posix_only
from utils.cli import UserError, one_line
from utils.files import LARGEST_TEXT, read_json, write_json
from utils.images import DamagedImageError, read_rgb

NODES = ("fake", "eye")


@pytest.fixture(params=["pipe", "device", "sparse", "loop"])
def endless(request, tmp_path):
    path = tmp_path / "endless"
    if request.param == "pipe":
        os.mkfifo(path)
    elif request.param == "sparse":
        with path.open("wb") as file:
            file.truncate(LARGEST_TEXT + 1)
    else:
        path.symlink_to("/dev/zero" if request.param == "device" else path)
    return path


@posix_only
def test_lists_and_json_that_never_end_are_refused(endless):
    with pytest.raises(UserError, match=r"a pipe or a device|bytes, more than|symbolic links"):
        read_json(endless)
    with pytest.raises(UserError, match=r"a pipe or a device|bytes, more than|symbolic links"):
        read_txt_list(endless, FFPP)


@posix_only
def test_an_image_that_is_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(DamagedImageError, match="a pipe or a device, not a file"):
        read_rgb(tmp_path / "pipe.png")


def test_images_are_read_without_warnings(tmp_path):
    palette = Image.fromarray(np.zeros((8, 8), np.uint8)).convert("P")
    palette.save(tmp_path / "palette.png", transparency=bytes(256))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_rgb(tmp_path / "palette.png").shape == (8, 8, 3)


def test_halves_of_letters_are_refused_but_not_names_that_are_not_utf8(tmp_path):
    (tmp_path / "a.json").write_text('{"a": "\\ud800"}')
    with pytest.raises(UserError, match="surrogates not allowed"):
        read_json(tmp_path / "a.json")
    for name in ("\udcff.png", "🎭"):
        (tmp_path / "a.json").write_text(json.dumps(name))
        assert read_json(tmp_path / "a.json") == name


@pytest.mark.parametrize("name", ["../../evil", "/evil", "..", "", "a\\b", "a\0"])
def test_split_files_name_videos_and_no_places(tmp_path, name):
    (tmp_path / "FF++").mkdir()
    (tmp_path / "FF++" / "test.json").write_text(json.dumps([["000", name]]))
    with pytest.raises(UserError, match=r"must be a list of pairs"):
        read_pairs(tmp_path, "test")


@pytest.mark.parametrize("content", [b"", ",".join(manifest.COLUMNS).encode() + "\nv,²,no_face,,,".encode()])
def test_damaged_manifests(tmp_path, content):
    (tmp_path / "manifest.csv").write_bytes(content)
    with pytest.raises(UserError, match=r"is no manifest|is damaged in row 1"):
        manifest.read_rows(tmp_path / "manifest.csv")


def test_a_folder_where_a_file_is_to_be_written(tmp_path):
    (tmp_path / "manifest.json").mkdir()
    with pytest.raises(UserError, match="cannot write"):
        write_json(tmp_path / "manifest.json", {})


def test_errors_are_lines_that_a_terminal_can_take():
    assert one_line("a\n b\x1b[2J\ud800") == "a b?[2J?"
    assert len(one_line("x" * 10**7)) < 2100


def test_predictions_that_were_meddled_with_are_not_whole():
    track = {"p_fake": 0.5, "nodes": {"fake": 0.5, "eye": 0.1}, "explanation": "Real.", "frames": []}
    whole = {"input": "x", "outcome": "real", "p_fake": 0.5, "reason": None, "decided_by": 1, "tracks": [track]}
    assert is_whole(whole, NODES)
    for change in ({"tracks": 5}, {"tracks": [{}]}, {"p_fake": "x"}, {"outcome": None}):
        assert not is_whole(whole | change, NODES)
    assert not is_whole({}, NODES)
