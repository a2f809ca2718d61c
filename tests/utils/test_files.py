import shutil

import pytest

from utils.cli import UserError
from utils.files import atomic_path


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
