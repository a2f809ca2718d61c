import os
import shutil
import signal
import subprocess
import sys
from contextlib import ExitStack

import pytest

from tests.conftest import ROOT
from utils.cli import UserError
from utils.locks import alone_in, claim, hold

OTHER = """
import sys
from pathlib import Path
from utils.locks import claim, hold
path = Path(sys.argv[1])
context = claim(path, sys.argv[2]) if len(sys.argv) == 3 else hold(path, shared=sys.argv[3] == "shared", wait=False)
with context as mine:
    print(mine)
"""


def other_process_gets(path, *arguments):
    command = [sys.executable, "-c", OTHER, str(path), *arguments]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip() == "True"


def test_a_claimed_name_is_refused_to_others_until_it_is_given_up(tmp_path):
    path = tmp_path / "lock"
    with claim(path, "a b/ü") as mine:
        assert mine
        assert not other_process_gets(path, "a b/ü")
        assert other_process_gets(path, "another")
    assert other_process_gets(path, "a b/ü")
    assert path.stat().st_size == 0


CASES = [(True, "shared", True), (True, "alone", False), (False, "shared", False)]


@pytest.mark.parametrize(("ours", "theirs", "granted"), CASES)
def test_a_file_is_held_together_or_alone(tmp_path, ours, theirs, granted):
    with ExitStack() as stack:
        assert stack.enter_context(hold(tmp_path / "lock", shared=ours, wait=False))
        assert other_process_gets(tmp_path / "lock", "-", theirs) is granted
    assert other_process_gets(tmp_path / "lock", "-", theirs)


def test_an_output_folder_is_for_one_run_at_a_time(tmp_path):
    folder = tmp_path / "out"
    with alone_in(folder):
        (folder / ".tmp-half.csv").touch()
        (folder / "whole.csv").touch()
        code = "import sys; from utils.locks import alone_in\nwith alone_in(sys.argv[1]): pass"
        command = [sys.executable, "-c", code, str(folder)]
        refused = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert "UserError: another run is working in" in refused.stderr
        assert (folder / ".tmp-half.csv").exists(), "it may be the other run's"
    with alone_in(folder):
        assert {path.name for path in folder.iterdir()} == {".lock", "whole.csv"}
    assert [path.name for path in folder.iterdir()] == ["whole.csv"]


def test_a_lock_in_a_folder_that_is_gone_is_one_line(tmp_path):
    for lock in (claim(tmp_path / "gone" / "lock", "a"), hold(tmp_path / "gone" / "lock")):
        with pytest.raises(UserError, match="has its folder been removed"), lock:
            pass


def test_an_output_folder_that_is_removed_meanwhile_is_one_line(tmp_path, monkeypatch):
    gone = pytest.raises(UserError, match="out was removed meanwhile; run this again")
    with gone, alone_in(tmp_path / "out") as folder:
        shutil.rmtree(folder)
        (folder / "row.csv").write_text("1")
    with pytest.raises(IsADirectoryError), alone_in(tmp_path / "out") as folder:
        folder.read_text()  # in a folder that stands other failures stay what they are

    def removed(folder):
        shutil.rmtree(folder)
        os.scandir(folder)

    monkeypatch.setattr("utils.locks.remove_leftovers", removed)
    with gone, alone_in(tmp_path / "out"):
        pytest.fail("the work has begun")


def test_processes_that_outlive_a_killed_run_do_not_keep_its_folder(tmp_path):
    code = """
import os, sys, time
from utils.locks import alone_in
with alone_in(sys.argv[1]):
    child = os.fork()
    if not child:
        time.sleep(60)
    print(child, flush=True)
    os.kill(os.getpid(), 9)
"""
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as killed:
        child = int(killed.stdout.readline())
        killed.wait()
        try:
            with alone_in(tmp_path) as folder:
                assert folder == tmp_path
        finally:
            os.kill(child, signal.SIGKILL)
