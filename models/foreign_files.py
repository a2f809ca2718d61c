"""Say what a file is that was taken for a checkpoint, from its first bytes."""

import zipfile
from pathlib import Path

ZIP = b"PK\x03\x04"  # first bytes of torch.save's files, except those of old versions
_AGAIN = "download or copy it again"
_PAGE = "a saved web page (HTML), not the file that the page offers; download it again with the page's download button"
_POINTER = "a Git LFS pointer, not the file itself; run `git lfs pull` in its repository, or download the file"
_TORCHSCRIPT = "a TorchScript program, such as OpenAI's CLIP files, which only --pretrained takes"
# First bytes, after white space and a byte order mark -> what the file is and what to do.
_STARTS = {
    b"<": _PAGE,
    b"version https://git-lfs": _POINTER,
    b"\x1f\x8b": "packed (gzip); unpack it first",
    b"7z\xbc\xaf": "packed (7z); unpack it first",
    b"Rar!": "packed (RAR); unpack it first",
    b"\x89HDF": "an HDF5 file, as of Keras; only PyTorch and safetensors files are read",
}


def what_else(path: Path) -> str | None:
    """What a file is, and what to do, if it is none that PyTorch or safetensors wrote whole; None if it may be one."""
    with path.open("rb") as file:
        head = file.read(512)
    if not head:
        return f"empty (0 bytes); {_AGAIN}"
    if head.startswith(ZIP):
        return _what_archive(path)
    if not head.strip(b"\0"):
        return f"an unfinished download (zeros); {_AGAIN}"
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if found := next((what for first, what in _STARTS.items() if start.startswith(first)), None):
        return found
    words = " ".join(head.decode("ascii", "replace").split())
    if words.isascii() and words.isprintable():
        return f"a text ({words[:60]!r}); {_AGAIN}"
    return None


def is_safetensors(path: Path) -> bool:
    """Whether a file begins as safetensors do: the length of a JSON object in 8 bytes, then the object."""
    with path.open("rb") as file:
        length, start = int.from_bytes(file.read(8), "little"), file.read(1)
    return start == b"{" and length < 100_000_000  # the format's limit


def is_torchscript(path: Path) -> bool:
    """Whether a file is a TorchScript archive."""
    return path.is_file() and zipfile.is_zipfile(path) and any(name.endswith("/constants.pkl") for name in _names(path))


def _what_archive(path: Path) -> str | None:
    if not zipfile.is_zipfile(path):
        return f"truncated: the end of the archive is missing after {path.stat().st_size:,} bytes; {_AGAIN}"
    if is_torchscript(path):
        return _TORCHSCRIPT
    names = _names(path)
    if not any(name.endswith("data.pkl") for name in names):
        return f"a ZIP archive of other files ({', '.join(names[:3])}); unpack it and name the checkpoint in it"
    return None


def _names(path: Path) -> list[str]:
    with zipfile.ZipFile(path) as archive:
        return archive.namelist()
