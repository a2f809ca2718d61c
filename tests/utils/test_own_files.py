"""The record of what was written into a folder."""

import json

import pytest

from utils.cli import UserError
from utils.locks import exclusive_folder
from utils.own_files import RECORD, foreign_files, own_files, recorded

PATTERNS = ("a.txt", "deep/b.txt", "c_[0-9]*.txt")


def write(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("x")


def test_what_a_run_wrote_is_its_own_and_nothing_else(tmp_path):
    write(tmp_path, "c_old.txt", "other.txt")
    with recorded(tmp_path, PATTERNS):
        write(tmp_path, "a.txt", "deep/b.txt", "c_1.txt")
    assert own_files(tmp_path) == {"a.txt", "deep/b.txt", "c_1.txt"}
    write(tmp_path, "c_2.txt")
    (tmp_path / "c_3.txt").symlink_to("nowhere")
    assert foreign_files(tmp_path, PATTERNS) == ["c_2.txt", "c_3.txt"]
    with (
        pytest.raises(UserError, match=r"c_2.txt and 1 more would be replaced, but no record of an earlier run"),
        exclusive_folder(tmp_path, PATTERNS),
    ):
        pass
    with exclusive_folder(tmp_path, ["other_name.txt"]):  # of another script
        write(tmp_path, "other_name.txt")
    assert own_files(tmp_path) == {"a.txt", "deep/b.txt", "c_1.txt", "other_name.txt"}


def test_a_file_that_a_run_removed_is_the_users_if_it_comes_back(tmp_path):
    with recorded(tmp_path, ["a.txt"]):
        write(tmp_path, "a.txt")
    with recorded(tmp_path, ["a.txt"]):
        (tmp_path / "a.txt").unlink()
    write(tmp_path, "a.txt")
    assert foreign_files(tmp_path, ["a.txt"]) == ["a.txt"]


def test_the_files_of_a_killed_run_are_its_own(tmp_path):
    (tmp_path / RECORD).write_text(json.dumps({"files": ["z.txt"], "unfinished": list(PATTERNS)}))
    write(tmp_path, "a.txt", "c_7.txt", "c_x.txt", "z.txt", "y.txt")
    assert foreign_files(tmp_path, ["*.txt"]) == ["c_x.txt", "y.txt"]
    with exclusive_folder(tmp_path, PATTERNS):
        pass
    assert own_files(tmp_path) == {"a.txt", "c_7.txt", "z.txt"}


def test_a_folder_without_a_record_can_be_adopted(tmp_path):
    write(tmp_path, "a.txt")
    with exclusive_folder(tmp_path, PATTERNS, adopt=True):
        pass
    write(tmp_path, "c_1.txt")
    with pytest.raises(UserError, match=r"c_1.txt would be"), exclusive_folder(tmp_path, PATTERNS, adopt=True):
        pass


def test_a_run_that_wrote_nothing_leaves_no_record(tmp_path):
    with pytest.raises(ZeroDivisionError), exclusive_folder(tmp_path, PATTERNS):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_without_patterns_there_is_no_record(tmp_path):
    with exclusive_folder(tmp_path / "out") as folder:
        write(folder, "a.txt")
    assert [path.name for path in folder.iterdir()] == ["a.txt"]


LEADING_OUT = [f'{{"files": [], "unfinished": ["{name}"]}}' for name in ("/*", "../*", "x**y", "")]
DAMAGED = ["", "[]", "{}", '{"files": 1, "unfinished": []}', '{"files": [1], "unfinished": []}']


@pytest.mark.parametrize("content", DAMAGED + LEADING_OUT)
def test_a_damaged_record_is_one_line(content, tmp_path):
    (tmp_path / RECORD).write_text(content)
    with pytest.raises(UserError, match=RECORD):
        own_files(tmp_path)
