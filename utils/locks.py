"""Locks between processes, on one machine or on several that share a folder; they go when their process does."""

import contextlib
import errno
import fcntl
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from utils.cli import UserError
from utils.files import output_dir, remove_leftovers, standing

# A file system without locks: work goes on unguarded.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


@contextlib.contextmanager
def claim(path: Path, name: str) -> Iterator[bool]:
    """Hold ``name`` in the lock file ``path``; yields False when another process holds it.

    One file serves all names: each is a byte range of it (POSIX record locks, which network file systems know too).
    Such a lock belongs to the process: hold one claim of a file at a time, as closing the file gives up all of them.
    """
    with _opened(path, "ab") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _offset(name))
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                if error.errno not in (errno.EACCES, errno.EAGAIN):
                    raise
                yield False
                return
        yield True


@contextlib.contextmanager
def hold(path: Path, shared: bool = False, wait: bool = True) -> Iterator[bool]:
    """Hold the whole file ``path``, alone or with others who share it; without ``wait`` yields False if that fails."""
    with _opened(path, "ab+") as file:
        try:
            fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                if error.errno != errno.EWOULDBLOCK:
                    raise
                yield False
                return
        yield True


@contextlib.contextmanager
def alone_in(folder: str | Path) -> Iterator[Path]:
    """Make the output folder and keep other runs out of it, by a file .lock that is there meanwhile; what killed runs
    left half-written in it is removed. UserError when another run works in it, or when it is removed meanwhile.

    The lock is this process's own: reading processes that outlive a killed run for some seconds do not hold it.
    """
    folder = output_dir(folder)
    lock = folder / ".lock"
    with claim(lock, "run") as mine:
        if not mine or not lock.is_file():  # the other run has just ended
            raise UserError(f"another run is working in {folder}; wait for its end, or choose another folder")
        try:
            with standing(folder):
                remove_leftovers(folder)
                yield folder
        finally:
            lock.unlink(missing_ok=True)


def _opened(path: Path, mode: str) -> BinaryIO:
    try:
        return path.open(mode)
    except OSError as error:
        raise UserError(f"cannot write {path} ({error.strerror}); has its folder been removed?") from error


def _offset(name: str) -> int:
    """A byte for a name, far beyond what is ever written; two names that meet there only wait for each other."""
    return int.from_bytes(hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()[:7], "big")
