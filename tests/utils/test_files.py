import os
import shutil
import stat
from pathlib import Path

import pytest

from utils.cli import UserError
from utils.files import append_text, atomic_path, sync_files, write_bytes


@pytest.mark.parametrize("whole", [True, False])
def test_a_folder_that_is_removed_while_a_file_is_written(tmp_path, whole):
    """rmtree takes the files first: the folder may still be there when the file is not."""
    folder = tmp_path / "out"
    folder.mkdir()
    with pytest.raises(UserError, match="its folder is gone"), atomic_path(folder / "a.json") as temporary:
        shutil.rmtree(folder) if whole else temporary.unlink()
    assert not (folder / "a.json").exists()


def test_an_error_of_another_file_is_not_said_of_this_one(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "a.json"):
        (tmp_path / "missing.json").read_text()
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_on_the_disk_before_it_replaces_another(tmp_path, monkeypatch):
    events, real_fsync, real_replace = [], os.fsync, Path.replace

    def fsync(handle):
        status = os.fstat(handle)
        events.append("folder" if stat.S_ISDIR(status.st_mode) else f"{status.st_size} bytes")
        real_fsync(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", lambda path, to: events.append("rename") or real_replace(path, to))
    write_bytes(tmp_path / "a", b"123")
    assert events == ["3 bytes", "rename", "folder"]
    events.clear()
    write_bytes(tmp_path / "b", b"1234", durable=False)
    assert events == ["rename"]
    sync_files([tmp_path / "a", tmp_path / "b"])
    assert sorted(events[1:3]) == ["3 bytes", "4 bytes"] and events[3:] == ["folder"]
    events.clear()
    append_text(tmp_path / "a", "45")
    assert events == ["5 bytes"]
