import io
import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.platforms import linux_only, posix_only
from utils import progress
from utils.cli import ArgumentParser, UserError, script
from utils.progress import progress_bar
from utils.run_log import close_log, open_log
from utils.terminal import Output, printable, say, terminal_output
from utils.text_table import text_table

NASTY = "a\x1b[31mb\nc\r\u2028\x9b.png"
SHOWN = "a?[31mb?c???.png"


def unread(*command):
    """Run Python with a stdout that nobody reads; returns (exit code, stderr)."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        words = [sys.executable, *map(str, command)]
        done = subprocess.run(words, cwd=ROOT, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    finally:
        os.close(writer)
    return done.returncode, done.stderr


def test_a_name_stays_in_its_line_and_commands_nothing(capsys):
    assert printable(NASTY) == SHOWN
    assert printable("Gesichter/ä 名前\ud800") == "Gesichter/ä 名前?"
    say(NASTY, "second", file=sys.stderr)
    assert capsys.readouterr().err == f"{SHOWN}\nsecond\n"
    assert text_table(["name", "n"], [[NASTY, 1], ["b", 22]]) == [f"{'name':16}   n", f"{SHOWN}   1", f"{'b':16}  22"]


def test_what_a_script_prints_elsewhere_commands_nothing_either(capsys):
    @script
    def main(argv):
        print(f"{NASTY}\nsecond")
        raise UserError(NASTY)

    assert main([]) == 2
    said = capsys.readouterr()
    assert (said.out, said.err) == ("a?[31mb\nc???.png\nsecond\n", "error: a?[31mb c ?.png\n")


def test_a_wrong_argument_is_one_line(capsys):
    parser = ArgumentParser(prog="x")
    with pytest.raises(SystemExit, match="2"):
        parser.parse_args([NASTY])
    assert capsys.readouterr().err == "x: error: unrecognized arguments: a?[31mb c ?.png (see --help)\n"


def test_a_record_of_the_log_is_one_line_in_the_file_too(tmp_path, capsys):
    log = open_log(tmp_path / "log.txt")
    log.info(f"dropped {NASTY}")
    close_log(log)
    assert capsys.readouterr().out == f"dropped {SHOWN}\n"
    assert (tmp_path / "log.txt").read_text(encoding="utf-8").split(" ", 2)[2] == f"dropped {SHOWN}\n"


def test_a_bar_names_a_file_in_its_line(capsys, monkeypatch):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0)
    for desc in (NASTY, "b"):
        with progress_bar(total=2, desc=desc) as bar:
            bar.set_description(f"{NASTY}, faces", refresh=False)
            bar.update()
    lines = capsys.readouterr().err.removesuffix("\n").split("\n")
    assert {line.partition(":")[0] for line in lines} == {SHOWN, "b", f"{SHOWN}, faces"}


def test_a_bar_on_a_terminal_moves_the_cursor_and_gives_way_to_lines(monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(sys, "stdout", terminal)
    with terminal_output(), progress_bar(total=2, desc="outer"), progress_bar(total=3, desc=NASTY) as inner:
        assert inner.fp == sys.stderr, "tqdm then clears the bars before a line"
        inner.refresh()
    assert f"\r{SHOWN}:" in terminal.getvalue() and "\x1b[A" in terminal.getvalue()


def test_output_behaves_as_its_stream(tmp_path):
    with (tmp_path / "out.txt").open("w", encoding="utf-8") as file:
        output = Output(file)
        assert output.write("é\x07\n") == 3 and output.encoding == "utf-8" and output.fileno() == file.fileno()
        assert output == file and output == Output(file) and output != sys.stdout and hash(output) == hash(file)
        output.flush()
    assert (tmp_path / "out.txt").read_text(encoding="utf-8") == "é?\n"


PROGRAM = """
import sys
from pathlib import Path
from utils.cli import UserError, script

@script
def main(argv=None):
    for _ in range(3):
        print("x" * 10**5, flush=True)
    print("the last lines", flush=False)
    Path(sys.argv[1]).write_text("whole")
    if sys.argv[2:]:
        raise UserError("wrong data")

sys.exit(main())
"""


@posix_only
def test_work_goes_on_when_nobody_reads_and_ends_quietly(tmp_path):
    assert unread("-c", PROGRAM, tmp_path / "result") == (141, "")
    assert (tmp_path / "result").read_text() == "whole"
    assert unread("-c", PROGRAM, tmp_path / "result", "error") == (2, "error: wrong data\n")


@posix_only
def test_head_of_a_long_output(tmp_path):
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "result")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"x" * 10**5 + b"\n"
        process.stdout.close()
        assert process.stderr.read() == b""
    assert (process.returncode, (tmp_path / "result").read_text()) == (141, "whole")


@posix_only
def test_errors_that_nobody_reads():
    code = PROGRAM.replace("import sys\n", "import os, sys\nos.dup2(1, 2)\n", 1)
    assert unread("-c", code, "/dev/null", "error") == (2, "")


@posix_only
def test_help_that_nobody_reads_ends_quietly():
    assert unread("SJEDD_check_data.py", "--help") == (0, "")


@linux_only
def test_a_full_disk_under_stdout_is_one_line():
    with open("/dev/full", "w") as full:  # noqa: PTH123
        command = [sys.executable, "-c", PROGRAM, "/dev/null"]
        done = subprocess.run(command, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == (
        "error: cannot write what the run writes (No space left on device); make room or choose another place\n"
    )
