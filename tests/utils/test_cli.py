import errno
import os
import re
import shutil
import signal
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.platforms import posix_only
from utils import progress
from utils.cli import ArgumentParser, Stopped, UserError, boolean, port, script
from utils.files import append_text, atomic_path, output_dir, write_json
from utils.progress import progress_bar
from utils.stopping import StopRequest


def raising(error):
    @script
    def main(argv=None):
        if error is not None:
            raise error

    return main


@pytest.mark.parametrize(
    ("error", "code"),
    [(None, 0), (UserError("a\n  b"), 2), (KeyboardInterrupt(), 130), (Stopped(signal.SIGTERM), 143)]
    + [(OSError(errno.ENOSPC, "No space left on device"), 2)],
)
def test_exit_codes(error, code, capsys):
    assert raising(error)([]) == code
    assert len(capsys.readouterr().err.splitlines()) == (code != 0)


def test_other_errors_are_not_swallowed():
    with pytest.raises(ZeroDivisionError):
        raising(ZeroDivisionError())([])


@posix_only
@pytest.mark.parametrize(("signum", "code", "name"), [("SIGINT", 130, "Ctrl-C"), ("SIGTERM", 143, "SIGTERM")])
def test_signals_while_main_imports_modules_are_one_line(tmp_path, signum, code, name):
    """Also where the module would swallow the exception."""
    (tmp_path / "swallowing.py").write_text(f"""
import os, signal
try:
    os.kill(os.getpid(), signal.{signum})
except BaseException:
    print("lost")
""")
    for body in ("import swallowing", f"os.kill(os.getpid(), signal.{signum})"):
        program = f"""
import os, signal, sys
from utils.cli import script
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs, and their children, ignore it
sys.path.append({str(tmp_path)!r})

@script
def main(argv=None):
    {body}
    print("not stopped")

sys.exit(main())
"""
        done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
        assert (done.returncode, done.stdout, done.stderr) == (code, "", f"stopped by {name}\n")


@posix_only
def test_sigterm_inside_a_script_is_143():
    @script
    def main(argv=None):
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    assert main([]) == 143
    assert signal.getsignal(signal.SIGTERM) is before


@posix_only
@pytest.mark.parametrize("signum", ["SIGINT", "SIGTERM"])
def test_signals_at_the_end_of_python_change_nothing(signum):
    program = f"""
import os, signal, sys
from utils.cli import script
signal.signal(signal.SIGINT, signal.default_int_handler)

@script
def main(argv=None):
    print("done", flush=True)

code = main()
os.kill(os.getpid(), signal.{signum})
sys.exit(code)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


def test_parser_refuses_abbreviations_in_one_line(capsys):
    parser = ArgumentParser(prog="x")
    parser.add_argument("--batch_size")
    with pytest.raises(SystemExit) as exit_:
        parser.parse_args(["--batch", "3"])
    assert exit_.value.code == 2
    assert capsys.readouterr().err == "x: error: unrecognized arguments: --batch 3 (see --help)\n"


def test_ports_end_at_65535(capsys):
    parser = ArgumentParser()
    parser.add_argument("--port", type=port)
    assert parser.parse_args(["--port", "65535"]).port == 65535
    with pytest.raises(SystemExit, match="2"):
        parser.parse_args(["--port", "65536"])
    assert "65536 is not a port, 1 to 65535" in capsys.readouterr().err


def test_boolean_words():
    assert [boolean(word) for word in ("True", "false", "1", "0")] == [True, False, True, False]


@posix_only
def test_first_signal_is_a_request_the_second_stops():
    with StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.signum == signal.SIGTERM and stop.asked()
        os.kill(os.getpid(), signal.SIGTERM)  # a batch system sends another while the step ends
        with pytest.raises(Stopped):
            os.kill(os.getpid(), signal.SIGINT)
        stop.grace = 0
        with pytest.raises(Stopped):
            os.kill(os.getpid(), signal.SIGTERM)
        stop.signum = signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            stop.raise_stop()


@posix_only
def test_under_torchrun_signals_that_are_passed_on_are_ignored_for_a_while(monkeypatch):
    monkeypatch.setattr("utils.stopping.world_size", lambda: 2)
    with StopRequest() as stop:
        for signum in (signal.SIGINT, signal.SIGINT, signal.SIGTERM):
            os.kill(os.getpid(), signum)
        assert stop.signum == signal.SIGINT
        stop.grace = 0
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)


def test_atomic_path_keeps_the_old_file_when_writing_fails(tmp_path):
    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(RuntimeError), atomic_path(tmp_path / "a.txt") as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert (tmp_path / "a.txt").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    with pytest.raises(ValueError, match="Out of range"):
        write_json(tmp_path / "b.json", {"x": float("nan")})
    assert not (tmp_path / "b.json").exists()


def test_a_folder_that_is_gone_is_one_line(tmp_path):
    folder = output_dir(tmp_path / "out")
    with pytest.raises(UserError, match="its folder is gone"), atomic_path(folder / "a.txt") as temporary:
        temporary.write_text("half")
        shutil.rmtree(folder)
    with pytest.raises(UserError, match="its folder is gone"):
        write_json(folder / "b.json", {})
    with pytest.raises(UserError, match="cannot write"):
        append_text(folder / "c.txt", "line")
    assert not folder.exists()


def test_output_dir_makes_parents(tmp_path):
    assert output_dir(tmp_path / "a" / "b").is_dir()


def test_progress_in_a_log_file_is_a_line_now_and_then(capsys, monkeypatch):
    for _ in progress_bar(range(5000), desc="short"):
        pass
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0)
    for _ in progress_bar(range(2), desc="outer"):
        list(progress_bar(range(3), desc="inner", leave=False))
    lines = capsys.readouterr().err.removesuffix("\n").split("\n")
    assert all(re.fullmatch(r"(inner|outer): +\d+%\|.*\| \d/\d \[.*\]", line) for line in lines)
    assert lines[-1].startswith("outer: 100%")
