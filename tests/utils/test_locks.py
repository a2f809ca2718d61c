import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial

import pytest

from tests.conftest import ROOT
from tests.platforms import posix_only
from utils.cli import UserError
from utils.locks import claim, exclusive_folder, hold

OTHER = """
import sys
from pathlib import Path
from utils import locks
path = Path(sys.argv[2])
with locks.claim(path) if sys.argv[1] == "claim" else locks.hold(path, wait=sys.argv[1] == "wait") as mine:
    print(mine)
"""


def other_process(path, how):
    command = [sys.executable, "-c", OTHER, how, str(path)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def other_process_gets(path, how="hold"):
    with other_process(path, how) as process:
        return process.stdout.read().strip() == "True"


@pytest.mark.parametrize(("lock", "stays"), [(claim, False), (partial(hold, wait=False), True)])
def test_a_lock_is_refused_to_others_until_it_is_given_up(tmp_path, lock, stays):
    path = tmp_path / "a b ü.lock"
    with lock(path) as mine:
        assert mine
        assert not other_process_gets(path, "claim") and not other_process_gets(path)
        assert path.exists(), "who is refused leaves the file"
        assert other_process_gets(tmp_path / "another", "claim")
    assert path.exists() == stays
    assert other_process_gets(path)
    assert path.stat().st_size == 0


def test_a_lock_can_be_waited_for(tmp_path):
    with hold(tmp_path / "lock"):
        process = other_process(tmp_path / "lock", "wait")
        time.sleep(1)
        assert process.poll() is None
    with process:
        assert process.stdout.read().strip() == "True"


@posix_only
@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_where_a_file_system_has_no_locks_work_goes_on(tmp_path, monkeypatch, number):
    import fcntl

    def no_locks(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    for _ in range(2):
        with claim(tmp_path / "lock") as mine, hold(tmp_path / "other") as other:
            assert mine and other
    assert (tmp_path / "other").read_bytes() == b"", "no mark that would outlast a killed process"


def test_a_lock_that_may_not_be_taken_is_one_line(tmp_path):
    (tmp_path / "lock").mkdir()
    refused = pytest.raises(UserError, match=r"cannot lock .*lock \(.*\); check its permissions")
    with refused, claim(tmp_path / "lock"):
        pass


def test_an_output_folder_is_for_one_run_at_a_time(tmp_path):
    folder = tmp_path / "out"
    with exclusive_folder(folder):
        (folder / ".sjedd-tmp-half.csv").touch()
        (folder / "whole.csv").touch()
        code = "import sys; from utils.locks import exclusive_folder\nwith exclusive_folder(sys.argv[1]): pass"
        command = [sys.executable, "-c", code, str(folder)]
        refused = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert "UserError: another run is working in" in refused.stderr
        assert (folder / ".sjedd-tmp-half.csv").exists(), "it may be the other run's"
    with exclusive_folder(folder):
        assert {path.name for path in folder.iterdir()} == {".sjedd.lock", "whole.csv"}
    assert [path.name for path in folder.iterdir()] == ["whole.csv"]


def test_a_lock_in_a_folder_that_is_gone_is_one_line(tmp_path):
    for lock in (claim(tmp_path / "gone" / "lock"), hold(tmp_path / "gone" / "lock")):
        with pytest.raises(UserError, match="has its folder been removed"), lock:
            pass
    assert not (tmp_path / "gone").exists()


def test_an_output_folder_that_is_removed_meanwhile_is_one_line(tmp_path, monkeypatch):
    gone = pytest.raises(UserError, match="out was removed during the run; run this again")
    with gone, exclusive_folder(tmp_path / "out") as folder:
        shutil.rmtree(folder)
        (folder / "row.csv").write_text("1")
    with pytest.raises(IsADirectoryError), exclusive_folder(tmp_path / "out") as folder:
        folder.read_text()  # in a folder that stands other failures stay what they are

    def removed(folder):
        shutil.rmtree(folder)
        os.scandir(folder)

    monkeypatch.setattr("utils.locks.remove_leftovers", removed)
    with gone, exclusive_folder(tmp_path / "out"):
        pytest.fail("the work has begun")


@posix_only
def test_processes_that_outlive_a_killed_run_do_not_keep_its_folder(tmp_path):
    code = """
import os, sys, time
from utils.locks import exclusive_folder
with exclusive_folder(sys.argv[1]):
    if not os.fork():
        print(os.getpid(), flush=True)
    time.sleep(60)
"""
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as killed:
        child = int(killed.stdout.readline())
        killed.kill()
        killed.wait()
        try:
            with exclusive_folder(tmp_path) as folder:
                assert folder == tmp_path
        finally:
            os.kill(child, signal.SIGKILL)
