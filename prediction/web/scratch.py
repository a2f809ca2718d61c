"""A temporary folder that is removed at the end of its process or, if that was killed, by the next process."""

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from utils.cli import UserError
from utils.locks import hold

# The lock is held as long as the content exists. If the lock is free, a killed process left the content.
_LOCK, _CONTENT = "held.lock", "content"


@contextmanager
def scratch_folder(prefix: str) -> Iterator[Path]:
    """Make an empty temporary folder that only this user can read; remove it at the end.

    Folders of the same ``prefix`` that killed processes of this user left are removed too.
    """
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    with hold(folder / _LOCK):
        try:
            (folder / _CONTENT).mkdir(0o700)
            _sweep(folder, prefix)
            yield folder / _CONTENT
        finally:
            _remove(folder)


def _sweep(own: Path, prefix: str) -> None:
    """Remove the folders beside ``own`` whose lock is free; none on a file system without locks."""
    with hold(own / _LOCK, wait=False) as twice:
        if twice:
            return
    for folder in own.parent.glob(f"{prefix}*"):
        with suppress(OSError, UserError):  # another process may sweep, too
            if folder != own and _is_scratch(folder):
                with hold(folder / _LOCK, wait=False) as free:
                    if free:
                        _remove(folder)


def _is_scratch(folder: Path) -> bool:
    """Whether a process of this user made it: a private folder that holds a lock file, content and nothing else."""
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode):
        return False
    if os.name == "posix" and (status.st_uid != os.geteuid() or status.st_mode & 0o077):
        return False  # on Windows the temporary directory belongs to the user
    kinds = {path.name: stat.S_IFMT(path.lstat().st_mode) for path in folder.iterdir()}
    return kinds == {_LOCK: stat.S_IFREG, _CONTENT: stat.S_IFDIR}


def _remove(folder: Path) -> None:
    """Remove the content first: if that is interrupted, the next process can still sweep the folder."""
    shutil.rmtree(folder / _CONTENT, ignore_errors=True)
    if not (folder / _CONTENT).exists():
        shutil.rmtree(folder, ignore_errors=True)
