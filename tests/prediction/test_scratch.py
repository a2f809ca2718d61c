"""Temporary folders of processes that live, were killed, or are not ours."""

import os
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager

import pytest

from prediction.web import scratch
from prediction.web.scratch import scratch_folder
from tests.conftest import ROOT
from tests.platforms import posix_only

pytestmark = posix_only

OTHER = """
import sys, time
from prediction.web.scratch import scratch_folder
with scratch_folder("pre_") as folder:
    (folder / "upload").write_bytes(b"face")
    print(folder.parent.name, flush=True)
    time.sleep(600)
"""


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """The temporary directory of this process and those it starts."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


@contextmanager
def another_process():
    """(process, name of its folder)"""
    command = [sys.executable, "-c", OTHER]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


def killed_process():
    """Name of the folder that a killed process left."""
    with another_process() as (process, name):
        process.send_signal(signal.SIGKILL)
        process.wait()
    return name


def names(place):
    return {path.name for path in place.iterdir()}


def test_a_folder_is_empty_private_and_gone_at_the_end(place):
    with scratch_folder("pre_") as folder:
        assert list(folder.iterdir()) == [] and folder.parent.parent == place
        assert folder.parent.stat().st_mode & 0o777 == 0o700
        (folder / "x").mkdir()
        (folder / "x" / "y").write_bytes(b"y")
    assert names(place) == set()


def test_what_killed_processes_left_is_swept_and_live_ones_are_not(place):
    with another_process() as (_, one), another_process() as (_, two):
        assert one != two
    assert names(place) == {one, two} and all((place / name / "content" / "upload").exists() for name in (one, two))
    with another_process() as (_, live), scratch_folder("pre_") as mine:
        assert names(place) == {live, mine.parent.name}, "the other one swept the left ones, this one nothing"
        with scratch_folder("pre_"):
            assert (place / live / "content" / "upload").read_bytes() == b"face" and mine.exists()
    with scratch_folder("pre_") as mine:
        assert names(place) == {mine.parent.name}, "the other one is dead now"


def test_nothing_else_is_swept(place):
    (place / "aside").mkdir()
    (place / "aside" / "content").mkdir()
    (place / "aside" / "held.lock").touch()
    (place / "pre_link").symlink_to(place / "aside")
    (place / "pre_file").touch()

    def folder(name, mode=0o700):
        (place / name / "content").mkdir(parents=True)
        (place / name).chmod(mode)
        return place / name

    folder("pre_beginning")
    (folder("pre_more") / "held.lock").touch()
    (place / "pre_more" / "notes").touch()
    (folder("pre_linked") / "held.lock").symlink_to(place / "target")
    (folder("pre_open", 0o755) / "held.lock").touch()
    os.mkfifo(folder("pre_pipe") / "held.lock")
    folder("other_prefix")
    before = {path.relative_to(place) for path in place.rglob("*")}
    with scratch_folder("pre_"):
        pass
    assert {path.relative_to(place) for path in place.rglob("*")} == before


def test_folders_of_other_users_are_not_swept(place, monkeypatch):
    left = killed_process()
    user = os.geteuid()
    monkeypatch.setattr(scratch.os, "geteuid", lambda: user + 1)
    with scratch_folder("pre_"):
        assert left in names(place)


def test_a_linked_content_is_not_followed(place):
    (place / "precious").mkdir()
    (place / "precious" / "file").touch()
    left = place / killed_process()
    (left / "content" / "inner").symlink_to(place / "precious")
    with scratch_folder("pre_"):
        assert not left.exists()
    assert (place / "precious" / "file").exists()


def test_where_locks_hold_nobody_off_nothing_is_swept(place, monkeypatch):
    left = killed_process()

    @contextmanager
    def unguarded(path, shared=False, wait=True):
        path.touch()
        yield True

    monkeypatch.setattr(scratch, "hold", unguarded)
    with scratch_folder("pre_"):
        assert left in names(place)
    assert names(place) == {left}
