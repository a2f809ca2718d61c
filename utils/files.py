"""Read and write files: whole files only, regular files only, output folders that can be written."""

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
LARGEST_TEXT = 2**29  # bytes, enough to list several million images; reading a text takes some 10 times its size
TEMPORARY = ".tmp-"  # prefix of unfinished files; only a killed process leaves any


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Write a file in one step: readers see the old file or the whole new one.

    Yields:
        A temporary path in the folder of ``path``, with the same suffix. It is renamed to ``path`` at the end, or
        removed after an exception; then the file at ``path`` stays as it was.

    Raises:
        UserError: The disk is full or read-only, or the folder is gone.
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
    """Write ``text`` as UTF-8 in one step; raises as ``atomic_path``."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_bytes(path: Path, content: bytes) -> None:
    """Write ``content`` in one step; raises as ``atomic_path``."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def write_json(path: Path, value: object) -> None:
    """Write ``value`` as indented JSON in one step. Raises ValueError for NaN and infinity; write None instead."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def whole_file(path: str | Path, largest: int | None = None) -> Path:
    """Return ``path`` if it can be read to its end; a folder passes, as opening it raises the right error.

    Raises:
        OSError: It is missing, a pipe, a socket or a device, or has more than ``largest`` bytes.
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


def append_text(path: Path, text: str) -> None:
    """Append ``text`` to a file. Raises UserError when it cannot be written."""
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise UserError(f"cannot write {path} ({error.strerror}); make room there or choose another folder") from error


def remove_leftovers(folder: Path) -> None:
    """Remove unfinished files that killed runs left in ``folder``. No other run may work there."""
    for path in folder.glob(f"{TEMPORARY}*"):
        path.unlink(missing_ok=True)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def read_json(path: Path) -> object:
    """The content of a JSON file. Raises UserError when it cannot be read or is not JSON (NaN is not)."""
    try:
        text = text_file(path).read_text(encoding="utf-8-sig")
        content = json.loads(text, parse_constant=_refuse_constant)
        if "\\u" in text:  # lone surrogates cannot be written again, except the bytes of names that are not UTF-8
            json.dumps(content, ensure_ascii=False).encode("utf-8", "surrogateescape")
        return content
    except OSError as error:
        raise UserError(f"cannot read {path} ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not JSON ({error}); remove it or make it again") from error


@contextlib.contextmanager
def require_folder(folder: Path) -> Iterator[None]:
    """Explain an OSError of the block: raises UserError instead when ``folder`` was removed during it."""
    try:
        yield
    except OSError as error:
        if folder.is_dir():
            raise
        raise UserError(f"the output folder {folder} was removed meanwhile; run this again") from error


def output_dir(path: str | Path, what: str = "the output folder") -> Path:
    """Make a folder, parents too, if it is missing. Raises UserError if it is not writable, and calls it ``what``."""
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
