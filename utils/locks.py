"""Locks between processes, on one machine or on several that share a folder; they go when their process does."""

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from utils.cli import UserError
from utils.files import output_dir, remove_leftovers, require_folder

# A file system without locks: work goes on unguarded.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


@contextlib.contextmanager
def hold(path: Path, wait: bool = True) -> Iterator[bool]:
    """Hold the lock file ``path``; without ``wait`` yields False if another process holds it.

    The lock belongs to this process: processes that it forks, and that outlive it, do not hold it. UserError if the
    file cannot be made.
    """
    with contextlib.ExitStack() as held:
        try:
            if not path.parent.is_dir():  # filelock would make it
                raise FileNotFoundError(errno.ENOENT, "no such folder")
            # Its own stand-in for a file system without locks would outlast a killed process.
            held.enter_context(FileLock(path, fallback_to_soft=False).acquire(blocking=wait))
            mine = True
        except Timeout:
            mine = False
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                hint = "look at its permissions" if path.parent.is_dir() else "has its folder been removed?"
                raise UserError(f"cannot lock {path} ({error.strerror}); {hint}") from error
            mine = True
        yield mine


@contextlib.contextmanager
def claim(path: Path) -> Iterator[bool]:
    """As ``hold`` without waiting. The lock file is removed at the end. After kill -9, or a signal in the moment of
    locking, it may stay and does no harm."""
    with hold(path, wait=False) as mine:
        try:
            yield mine
        finally:
            if mine:
                with contextlib.suppress(PermissionError):  # on Windows filelock itself removes it, a moment later
                    path.unlink(missing_ok=True)


@contextlib.contextmanager
def exclusive_folder(folder: str | Path) -> Iterator[Path]:
    """Make the output folder and keep other runs out of it, by a file .lock that is there meanwhile; what killed runs
    left half-written in it is removed. UserError when another run works in it, or when it is removed meanwhile.
    """
    folder = output_dir(folder)
    with claim(folder / ".lock") as mine:
        if not mine:
            raise UserError(f"another run is working in {folder}; wait for its end, or choose another folder")
        with require_folder(folder):
            remove_leftovers(folder)
            yield folder
