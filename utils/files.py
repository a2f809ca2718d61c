"""Read regular files, write files in one step, make output folders."""

import contextlib
import errno
import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from utils.cli import UserError

_CANNOT_WRITE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.EISDIR)
LARGEST_TEXT = 2**29  # bytes: several million list lines; reading needs about 10 times as much memory
TEMPORARY = ".sjedd-tmp-"  # prefix of unfinished files; only killed processes leave them behind


@contextlib.contextmanager
def atomic_path(path: Path, durable: bool = True) -> Iterator[Path]:
    """Write a file in one step: readers see the old file or the whole new one, also after a power cut.

    Yields a temporary path in the same folder, with the same suffix. It is renamed to ``path`` at the end, or removed
    after an exception.

    durable: wait until the disk has the file. Without it, after a power cut the new file may be empty or damaged; call
    ``sync_files`` before anything relies on it.

    Raises UserError if the disk is full or read-only, or the folder is gone.
    """
    temporary = None
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=TEMPORARY, suffix=path.suffix)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        temporary.chmod(0o666 & ~_umask())
        if durable:
            _sync(temporary)
        temporary.replace(path)
        if durable:
            _sync_folder(path.parent)
    except OSError as error:
        gone = not path.parent.is_dir() or (temporary is not None and not temporary.exists())
        if not gone and error.errno not in _CANNOT_WRITE:
            raise
        reason = "its folder is gone" if gone else error.strerror
        raise UserError(f"cannot write {path} ({reason}); make room there or choose another folder") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def sync_files(paths: Iterable[Path]) -> None:
    """Wait until the disk has files that were written with ``durable=False``. Several at once share its work."""
    files = list(paths)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(_sync, files))
    for folder in {path.parent for path in files}:
        _sync_folder(folder)


def _sync(path: Path) -> None:
    with path.open("rb+" if os.name == "nt" else "rb") as file:  # Windows wants a file that may be written
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Wait until the disk has the names in a folder. Windows and some network disks cannot do that."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8, see ``atomic_path``."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_bytes(path: Path, content: bytes, durable: bool = True) -> None:
    """Write ``content``, see ``atomic_path``."""
    with atomic_path(path, durable) as temporary:
        temporary.write_bytes(content)


def write_json(path: Path, value: object) -> None:
    """Write ``value`` as indented JSON, see ``atomic_path``. Raises ValueError for NaN and infinity."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def whole_file(path: str | Path, largest: int | None = None) -> Path:
    """Return ``path`` if it can be read to its end. Folders pass: opening them raises the right error.

    Raises OSError if it is missing, a pipe, a socket or a device, or has more than ``largest`` bytes.
    """
    path = Path(path)
    status = path.stat()
    if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
        raise OSError(errno.EINVAL, "a pipe or a device, not a file", str(path))
    if largest is not None and status.st_size > largest:
        raise OSError(errno.EINVAL, f"{status.st_size} bytes, more than the {largest} that are read", str(path))
    return path


def text_file(path: str | Path) -> Path:
    """``whole_file`` for a list, a table or a JSON file: at most LARGEST_TEXT bytes."""
    return whole_file(path, LARGEST_TEXT)


def refuse_link(path: Path) -> None:
    """Raises UserError if a file that is appended to is a link, perhaps out of its folder."""
    if path.is_symlink():
        raise UserError(f"{path} is a link, and nothing is written through it; remove it")


def append_text(path: Path, text: str) -> None:
    """Append ``text`` to a file, and wait until the disk has it. Raises UserError if it cannot be written."""
    refuse_link(path)
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise UserError(f"cannot write {path} ({error.strerror}); make room there or choose another folder") from error


def remove_leftovers(folder: Path) -> None:
    """Remove unfinished files of killed runs from ``folder``. No other run may be writing there."""
    for path in folder.glob(f"{TEMPORARY}*"):
        path.unlink(missing_ok=True)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def read_json(path: Path) -> object:
    """The content of a JSON file. Raises UserError if it cannot be read or is not JSON (NaN is not)."""
    try:
        text = text_file(path).read_text(encoding="utf-8-sig")
        content = json.loads(text, parse_constant=_refuse_constant)
        if "\\u" in text:  # refuse lone surrogates, which cannot be written, except those of file names
            json.dumps(content, ensure_ascii=False).encode("utf-8", "surrogateescape")
        return content
    except OSError as error:
        raise UserError(f"cannot read {path} ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not JSON ({error}); move it away, or write it again") from error


@contextlib.contextmanager
def require_folder(folder: Path) -> Iterator[None]:
    """Turn an OSError of the block into a UserError if its cause is that ``folder`` was removed."""
    try:
        yield
    except OSError as error:
        if folder.is_dir():
            raise
        raise UserError(f"the output folder {folder} was removed during the run; run this again") from error


def output_dir(path: str | Path, what: str = "the output folder") -> Path:
    """Make a folder and its parents if missing. Raises UserError, which calls it ``what``, if it is not writable."""
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise UserError(f"cannot write to {what} {path} ({error.strerror}); choose another one") from error
    return path


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
