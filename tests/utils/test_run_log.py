import json
from pathlib import Path

import pytest

from tests.platforms import linux_only
from utils.cli import UserError
from utils.run_log import MetricsLog, close_log, fingerprint, open_log


@linux_only
def test_a_full_disk_ends_the_run_without_a_traceback_for_every_line(capsys):
    log = open_log(Path("/dev/full"))
    with pytest.raises(OSError, match="No space left"):
        log.info("first line")
    with pytest.raises(OSError, match="No space left"):
        close_log(log)
    assert not capsys.readouterr().err


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_rows_are_appended_and_those_of_later_epochs_dropped_on_resume(tmp_path):
    log = MetricsLog(tmp_path, 0)
    for epoch in range(3):
        log.add({"epoch": epoch, "lambdas": [1.0, 2.0, 3.0], "val_video_auc": None})
    log.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 3, "cut')  # what a kill leaves
    log = MetricsLog(tmp_path, 2)
    log.close()
    assert [row["epoch"] for row in lines(tmp_path)] == [0, 1]


@pytest.mark.parametrize("content", [b"hello\n", b'{"epoch": "x"}\n', b'{"epoch": null}\n', b"\xff\n", b"[]\n"])
def test_foreign_file_is_refused_and_kept(tmp_path, content):
    (tmp_path / "metrics.jsonl").write_bytes(content)
    with pytest.raises(UserError, match="no log of epochs"):
        MetricsLog(tmp_path, 1)
    assert (tmp_path / "metrics.jsonl").read_bytes() == content


def test_log_prints_and_appends(tmp_path, capsys):
    for _ in range(2):
        logger = open_log(tmp_path / "log.txt")
        logger.info("a line")
        close_log(logger)
    assert capsys.readouterr().out == "a line\na line\n"
    assert (tmp_path / "log.txt").read_text().count("a line") == 2
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match="cannot write"):
        open_log(tmp_path / "folder")


def test_fingerprint_tells_order_and_borders_apart():
    assert len({fingerprint(items) for items in (["a", "b"], ["b", "a"], ["ab"], ["a", "b", ""])}) == 4
