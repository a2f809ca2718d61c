"""A temporary folder that goes with its process; what a killed process left of one goes when the next one is made."""

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from utils.cli import UserError
from utils.locks import hold

# The lock is held from before there is content to after it is gone: content under a free lock has lost its process.
_LOCK, _CONTENT = "held.lock", "content"


@contextmanager
def scratch_folder(prefix: str) -> Iterator[Path]:
    """Make an empty folder, for this user alone, below one in the temporary directory that is named ``prefix`` and
    something; sweep what killed processes of this user left of theirs. Both are gone at the end."""
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    with hold(folder / _LOCK):
        try:
            (folder / _CONTENT).mkdir(0o700)
            _sweep(folder, prefix)
            yield folder / _CONTENT
        finally:
            _remove(folder)


def _sweep(own: Path, prefix: str) -> None:
    """Remove the folders beside ``own`` whose lock nobody holds, none where locks hold nobody off."""
    with hold(own / _LOCK, wait=False) as twice:
        if twice:
            return
    for folder in own.parent.glob(f"{prefix}*"):
        with suppress(OSError, UserError):  # another process sweeps too
            if folder != own and _is_scratch(folder):
                with hold(folder / _LOCK, wait=False) as free:
                    if free:
                        _remove(folder)


def _is_scratch(folder: Path) -> bool:
    """Whether this user's process made it: a real folder, closed to others, of a lock file and content alone."""
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode):
        return False
    if os.name == "posix" and (status.st_uid != os.geteuid() or status.st_mode & 0o077):
        return False  # elsewhere the temporary directory is the user's own
    kinds = {path.name: stat.S_IFMT(path.lstat().st_mode) for path in folder.iterdir()}
    return kinds == {_LOCK: stat.S_IFREG, _CONTENT: stat.S_IFDIR}


def _remove(folder: Path) -> None:
    """The content first: what is cut short here is swept later."""
    shutil.rmtree(folder / _CONTENT, ignore_errors=True)
    if not (folder / _CONTENT).exists():
        shutil.rmtree(folder, ignore_errors=True)
