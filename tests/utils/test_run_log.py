from pathlib import Path

import pytest

from tests.platforms import linux_only
from utils.cli import UserError
from utils.run_log import close_log, open_log


@linux_only
def test_a_full_disk_ends_the_run_without_a_traceback_for_every_line(capsys):
    log = open_log(Path("/dev/full"))
    with pytest.raises(OSError, match="No space left"):
        log.info("first line")
    with pytest.raises(OSError, match="No space left"):
        close_log(log)
    assert not capsys.readouterr().err


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
