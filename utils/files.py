"""Writing files so that a reader never sees half of one, reading only what has an end, and output folders that can
really be written."""

import contextlib
import errno
import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from utils.cli import UserError

_CANNOT_WRITE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.EISDIR)
LARGEST_TEXT = 2**29  # bytes; a list of several million images. Read, it takes some 10 times as much memory
TEMPORARY = ".tmp-"  # how the names of half-written files begin; only a killed process leaves any


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder (same ending); on success it is renamed to ``path``, else removed.

    UserError when there is no space or no permission to write, or the folder is (being) removed; what was at ``path``
    stays.
    """
    path = Path(path)
    temporary = None
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=TEMPORARY, suffix=path.suffix)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except OSError as error:
        gone = not path.parent.is_dir() or (temporary is not None and not temporary.exists())
        if not gone and error.errno not in _CANNOT_WRITE:
            raise
        reason = "its folder is gone" if gone else error.strerror
        raise UserError(f"cannot write {path} ({reason}); make room there or choose another folder") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8 in one step: the file is either the old one or wholly the new one."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_bytes(path: Path, content: bytes) -> None:
    """Write ``content`` in one step."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def write_json(path: Path, value: object) -> None:
    """Write ``value`` as indented JSON in one step. NaN and infinity are refused (use None)."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def whole_file(path: str | Path, largest: int | None = None) -> Path:
    """``path``, to be opened. OSError for what may have no end, a pipe, a socket or a device, and for a file of more
    bytes than ``largest``; what is not there, and folders, are left to the opening."""
    path = Path(path)
    status = path.stat()
    if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
        raise OSError(errno.EINVAL, "a pipe or a device, not a file", str(path))
    if largest is not None and status.st_size > largest:
        raise OSError(errno.EINVAL, f"{status.st_size} bytes, more than the {largest} that are read", str(path))
    return path


def text_file(path: str | Path) -> Path:
    """``whole_file`` of a list, table or JSON file."""
    return whole_file(path, LARGEST_TEXT)


def append_text(path: Path, text: str) -> None:
    """Add ``text`` to the end of a file. UserError when it cannot be written."""
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise UserError(f"cannot write {path} ({error.strerror}); make room there or choose another folder") from error


def remove_leftovers(folder: Path) -> None:
    """Remove the half-written files that killed runs left in ``folder``; for who alone writes there."""
    for path in folder.glob(f"{TEMPORARY}*"):
        path.unlink(missing_ok=True)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def read_json(path: Path) -> object:
    """The content of a JSON file; UserError when it cannot be read or is no JSON."""
    try:
        text = text_file(path).read_text(encoding="utf-8-sig")
        content = json.loads(text, parse_constant=_refuse_constant)
        if "\\u" in text:  # halves of letters, but for the bytes of names that are not UTF-8, are no text to be written
            json.dumps(content, ensure_ascii=False).encode("utf-8", "surrogateescape")
        return content
    except OSError as error:
        raise UserError(f"cannot read {path} ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not JSON ({error}); remove it or make it again") from error


@contextlib.contextmanager
def require_folder(folder: Path) -> Iterator[None]:
    """UserError for what fails inside because ``folder``, where it works, was removed meanwhile."""
    try:
        yield
    except OSError as error:
        if folder.is_dir():
            raise
        raise UserError(f"the output folder {folder} was removed meanwhile; run this again") from error


def output_dir(path: str | Path, what: str = "the output folder") -> Path:
    """Make the folder ``path`` (parents too) and check that it can be written; UserError when not, that calls it
    ``what``."""
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise UserError(f"cannot write to {what} {path} ({error.strerror}); choose another one") from error
    return path


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, as hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def middle_bytes(path: str | Path, count: int = 64) -> bytes:
    """Up to ``count`` bytes from the middle of a file; the first ones are alike in many images."""
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - for 100,000s of files, where Path doubles the time
        file.seek(os.fstat(file.fileno()).st_size // 2)
        return file.read(count)
