"""Lock files between processes, also on several machines that share a folder. A lock ends with its process."""

import contextlib
import errno
from collections.abc import Iterator, Sequence
from pathlib import Path

from filelock import FileLock, Timeout

from utils.cli import UserError
from utils.files import output_dir, remove_leftovers, require_folder
from utils.own_files import RECORD, recorded, refuse_foreign_files

LOCK = ".sjedd.lock"  # in an output folder
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # the file system has no locks: go on without


@contextlib.contextmanager
def hold(path: Path, wait: bool = True) -> Iterator[bool]:
    """Lock a file during the block; yields whether this process has the lock. The file is made if missing, and stays.

    Forked processes do not hold the lock, even if they outlive this process.

    wait: if another process holds the lock, wait for it; without ``wait`` yield False.

    Raises UserError if the file cannot be made.
    """
    with contextlib.ExitStack() as held:
        try:
            if not path.parent.is_dir():  # filelock would make it
                raise FileNotFoundError(errno.ENOENT, "no such folder")
            # The soft lock, filelock's fallback on file systems without locks, would outlast a killed process.
            held.enter_context(FileLock(path, fallback_to_soft=False).acquire(blocking=wait))
            mine = True
        except Timeout:
            mine = False
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                hint = "check its permissions" if path.parent.is_dir() else "has its folder been removed?"
                raise UserError(f"cannot lock {path} ({error.strerror}); {hint}") from error
            mine = True
        yield mine


@contextlib.contextmanager
def claim(path: Path) -> Iterator[bool]:
    """``hold`` without waiting, and remove the lock file at the end. One that a killed process left does no harm."""
    with hold(path, wait=False) as mine:
        try:
            yield mine
        finally:
            if mine:
                with contextlib.suppress(PermissionError):  # on Windows filelock removes it a moment later
                    path.unlink(missing_ok=True)


@contextlib.contextmanager
def exclusive_folder(folder: str | Path, patterns: Sequence[str] = (), adopt: bool = False) -> Iterator[Path]:
    """Make an output folder, remove killed runs' unfinished files, and keep other runs out of it during the block.

    Args:
        patterns: of all files that the block may replace or remove, see utils/own_files.py.
        adopt: in a folder without a record, take files that match them for those of an earlier run.

    Raises UserError if a file that matches a pattern is the user's, another run works in the folder, it cannot be
    written, or it is removed during the block.
    """
    folder = output_dir(folder)
    with claim(folder / LOCK) as mine:
        if not mine:
            raise UserError(f"another run is working in {folder}; wait for its end, or choose another folder")
        with require_folder(folder):
            remove_leftovers(folder)
            if not adopt or (folder / RECORD).exists():
                refuse_foreign_files(folder, patterns)
            with recorded(folder, patterns):
                yield folder
