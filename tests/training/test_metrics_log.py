import json

import pytest

from training.metrics_log import MetricsLog
from training.trackers import Tracker
from utils.cli import UserError


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_rows_are_appended_and_those_of_later_epochs_dropped_on_resume(tmp_path):
    log = MetricsLog(tmp_path, 0, Tracker())
    for epoch in range(3):
        log.add({"epoch": epoch, "lambdas": [1.0, 2.0, 3.0], "val_video_auc": None})
    log.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 3, "cut')  # what a kill leaves
    log = MetricsLog(tmp_path, 2, Tracker())
    log.close()
    assert [row["epoch"] for row in lines(tmp_path)] == [0, 1]


def test_a_line_ends_at_a_line_feed_only(tmp_path):
    text = '{"epoch": 0, "note": "a\u2028b\u0085c\x7f"}\n\n{"epoch": 1, "note": "d"}\n'
    (tmp_path / "metrics.jsonl").write_text(text, encoding="utf-8")
    MetricsLog(tmp_path, 1, Tracker()).close()
    assert (tmp_path / "metrics.jsonl").read_text(encoding="utf-8") == text.partition("\n")[0] + "\n"


@pytest.mark.parametrize("content", [b"hello\n", b'{"epoch": "x"}\n', b'{"epoch": null}\n', b"\xff\n", b"[]\n"])
def test_foreign_file_is_refused_and_kept(tmp_path, content):
    (tmp_path / "metrics.jsonl").write_bytes(content)
    with pytest.raises(UserError, match="no log of epochs"):
        MetricsLog(tmp_path, 1, Tracker())
    assert (tmp_path / "metrics.jsonl").read_bytes() == content
