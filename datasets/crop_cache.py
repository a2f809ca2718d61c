"""The decoded crops of a data set in one memory-mapped file, which later runs and other processes share.

A cache is two files in the folder of --crop_cache: crops-<key>.bin with the pixels of all crops, and crops-<key>.npz
with the place of each record's crop. The key is a hash of the crops' paths, sizes and modification times: a changed,
added or removed crop leads to a new cache. The .npz is written last; a cache without it is not complete. Half-written
files are named .sjedd-tmp-crops-*. One process at a time builds in a folder, with the lock .crops.lock.
"""

import contextlib
import functools
import hashlib
import os
import shutil
import sys
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from datasets.records import DataSet, Record
from datasets.transforms import ImageError, ImageFiles, ImageSource, read_image
from utils.cli import UserError
from utils.cpu import available_cores
from utils.files import TEMPORARY, output_dir
from utils.images import size_from_header
from utils.locks import hold
from utils.pool import WorkerDied, run_jobs
from utils.ranks import is_main
from utils.tables import file_of
from utils.terminal import say

_FORMAT = "1"  # of the two files; part of the key
_TEMPORARY = f"{TEMPORARY}crops-"
_LOCK = ".crops.lock"
_CHUNK = 64  # crops that a process reads at a time


class Stamp(NamedTuple):
    """Size in bytes and modification time in ns of an image's file; (-1, -1) if there is none."""

    size: int
    mtime: int


class MappedCrop(NamedTuple):
    """Where a crop is in a cache's pixel file: cheap to send to another process."""

    pixels: Path
    offset: int
    height: int
    width: int

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.height, self.width, 3

    def view(self) -> np.ndarray:
        """The crop, uint8 [H, W, 3] RGB: a read-only view of the mapped file."""
        flat = _mapped(self.pixels)[self.offset : self.offset + self.height * self.width * 3]
        return flat.reshape(self.shape)


@functools.lru_cache(maxsize=8)
def _mapped(pixels: Path) -> np.ndarray:
    return np.asarray(np.memmap(pixels, mode="r"))


class CachedCrops:
    """An image source: the records' crops from their cache.

    A crop that could not be read when the cache was built is read from its file, which gives the error or, by now, the
    image. Each process opens the cache at its first use; only the path is pickled.
    """

    def __init__(self, index: Path, n: int, files: ImageFiles) -> None:
        self._index, self._n, self._pixels, self._files = index, n, index.with_suffix(".bin"), files
        self._rows: np.ndarray | None = None

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_rows": None}

    def read(self, index: int) -> np.ndarray:
        crop = self.find(index)
        return crop.view() if isinstance(crop, MappedCrop) else crop

    def find(self, index: int) -> MappedCrop | np.ndarray:
        """Where the crop is, or its pixels if it is not in the cache."""
        if self._rows is None:
            self._rows = _rows(self._index, self._n)
        if self._rows is not None:  # None: the cache was deleted meanwhile
            offset, height, width = self._rows[index].tolist()
            if height:
                return MappedCrop(self._pixels, offset, height, width)
        return self._files.read(index)


def image_source(data: DataSet, folder: str | None) -> ImageSource:
    """The source of a data set's images. All processes of torchrun must call this; one builds a missing cache.

    folder: Of the cache (--crop_cache); None to read the files. Raises UserError if it cannot be written or is full.
    """
    files = ImageFiles(data.records)
    if folder is None:
        return files
    from utils.distributed import on_main  # torch, which the building processes do without

    index, n = on_main(lambda: cache_of(data, Path(folder))), len(data.records)
    if _rows(index, n) is None:  # this process is on another machine with its own disk
        index = cache_of(data, Path(folder))
    return CachedCrops(index, n, files)


def cache_of(data: DataSet, folder: Path) -> Path:
    """The .npz file of the cache of a data set's crops. One process builds it if it is missing, others wait."""
    stamps = {path: _stamp(path) for path in dict.fromkeys(record.path for record in data.records)}
    index = folder / f"crops-{_key(data.records, stamps)}.npz"
    n = len(data.records)
    if _rows(index, n) is not None:
        return index
    output_dir(folder, "the folder of --crop_cache")
    for wait in (False, True):
        with hold(folder / _LOCK, wait) as mine:
            if mine and _rows(index, n) is None:  # else another process has built it meanwhile
                _build(data, stamps, index)
            if mine:
                break
        _tell(f"waiting for another process that builds a crop cache in {folder}")
    return index


def _tell(text: str) -> None:
    if is_main():
        say(text)
        sys.stdout.flush()


def _stamp(path: str) -> Stamp:
    try:
        status = os.stat(file_of(path))  # noqa: PTH116 - 100,000s of files, and Path doubles the time
    except (OSError, ValueError):  # ValueError: a NUL in the name
        return Stamp(-1, -1)
    return Stamp(status.st_size, status.st_mtime_ns)


def _key(records: Sequence[Record], stamps: dict[str, Stamp]) -> str:
    digest = hashlib.sha256(_FORMAT.encode())
    for record in records:
        named = f"\0{os.path.abspath(record.path)}\0{stamps[record.path]}"  # noqa: PTH100 - as above
        digest.update(named.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:32]


# What NumPy and zipfile raise for a damaged file.
_DAMAGED = (OSError, EOFError, ValueError, LookupError, TypeError, RuntimeError, zipfile.BadZipFile, zlib.error)


def _rows(index: Path, n: int) -> np.ndarray | None:
    """Offset, height and width of the crop of each of ``n`` records, int64 [n, 3]; None unless the cache is complete.

    A crop that is not in the cache has height 0.
    """
    try:
        with index.open("rb") as file, np.load(file, allow_pickle=False) as content:
            rows = content["rows"]
        if rows.dtype != np.int64 or rows.shape != (n, 3) or (rows < 0).any():
            return None
        end = (rows[:, 0].astype(float) + 3.0 * rows[:, 1] * rows[:, 2]).max(initial=1)
        return rows if index.with_suffix(".bin").stat().st_size >= end else None
    except _DAMAGED:
        return None


def _build(data: DataSet, stamps: dict[str, Stamp], index: Path) -> None:
    """Read all crops into a new cache. The caller must hold the lock."""
    folder = index.parent
    _remove_leftovers(folder)
    _name_others(data, index)
    paths = list(stamps)
    sizes = _in_chunks(_header_sizes, paths, "headers")
    lengths = np.array(sizes, dtype=np.int64).reshape(-1, 2).prod(axis=1) * 3
    ends = np.cumsum(lengths)
    total, free = int(ends[-1]) if len(ends) else 0, shutil.disk_usage(folder).free
    if total > free:
        needed = f"the crop cache of {data.name} needs {_gb(total)}, and {folder} has {_gb(free)} left"
        raise UserError(f"{needed}; make room there or give another --crop_cache")
    _tell(f"crop cache of {data.name}: {len(paths)} crops, {_gb(total)}, into {folder}")
    temporary = folder / f"{_TEMPORARY}{os.getpid()}.bin", folder / f"{_TEMPORARY}{os.getpid()}.npz"
    try:
        with temporary[0].open("wb") as file:
            file.truncate(max(total, 1))  # an empty file cannot be mapped
        jobs = list(zip(paths, stamps.values(), (ends - lengths).tolist(), lengths.tolist(), strict=True))
        shapes = _in_chunks(functools.partial(_read_into, temporary[0]), jobs, "crops")
        place = {path: (offset, *shape) for (path, _, offset, _), shape in zip(jobs, shapes, strict=True)}
        rows = np.array([place[record.path] for record in data.records], dtype=np.int64).reshape(-1, 3)
        with temporary[1].open("wb") as file:
            np.savez(file, rows=rows, source=np.array(f"{data.name}: {data.source}"))
        for path, last in zip(temporary, (index.with_suffix(".bin"), index), strict=True):
            with path.open("rb+") as file:
                os.fsync(file.fileno())  # after a power cut, an index must not exist without its pixels
            path.replace(last)
    except OSError as error:
        what = f"cannot write the crop cache in {folder} ({error.strerror})"
        raise UserError(f"{what}; make room there or give another --crop_cache") from error
    finally:
        for path in temporary:
            path.unlink(missing_ok=True)


def _in_chunks(function: Callable[[list], list], jobs: list, what: str) -> list:
    """Results of ``function``, which takes ``_CHUNK`` jobs at a time, on all cores."""
    chunks = [jobs[start : start + _CHUNK] for start in range(0, len(jobs), _CHUNK)]
    try:
        done = run_jobs(function, chunks, available_cores(), f"x {_CHUNK} {what}")
    except WorkerDied as error:
        what = "a process that builds the crop cache was killed, perhaps it ran out of memory"
        raise UserError(f"{what}; run this again, or leave --crop_cache out") from error
    return [one for chunk in done for one in chunk]


def _header_sizes(paths: list[str]) -> list[tuple[int, int]]:
    return [size_from_header(path) for path in paths]


def _read_into(pixels: Path, jobs: list[tuple[str, Stamp, int, int]]) -> list[tuple[int, int]]:
    """Write crops, given as (path, stamp, offset, bytes), into the pixel file; returns (height, width) of each.

    (0, 0) for a crop that cannot be read or has another size than its header says.
    """
    shapes = []
    with pixels.open("rb+") as file:
        for path, stamp, offset, length in jobs:
            try:
                image = read_image(path)
            except ImageError:
                image = np.empty((0, 0, 3), dtype=np.uint8)
            if _stamp(path) != stamp:
                raise UserError(f"{path} was changed while the crop cache was built; run this again when it is done")
            if image.nbytes != length:
                image = image[:0, :0]
            file.seek(offset)
            file.write(image.tobytes())
            shapes.append(image.shape[:2])
    return shapes


def _remove_leftovers(folder: Path) -> None:
    """Remove files of killed builders. On a file system without locks other builders may be alive: keep all files."""
    with hold(folder / _LOCK, wait=False) as locked_twice:
        if not locked_twice:
            for path in folder.glob(f"{_TEMPORARY}*"):
                path.unlink(missing_ok=True)


def _name_others(data: DataSet, index: Path) -> None:
    """Print the other caches of the same list, so that the user can delete them."""
    others = []
    for path in sorted(index.parent.glob("crops-*.npz")):
        with contextlib.suppress(*_DAMAGED), path.open("rb") as file, np.load(file, allow_pickle=False) as content:
            if path != index and str(content["source"]) == f"{data.name}: {data.source}":
                others.append(path.with_suffix(".bin"))
    if others:
        size = sum(path.stat().st_size for path in others if path.exists())
        names = ", ".join(f"{path.stem}.*" for path in others)
        what = f"other caches of {data.name} in {index.parent}, of other or older crops"
        _tell(f"{what}: {names} ({_gb(size)}); delete those you do not need")


def _gb(n: int) -> str:
    return f"{n / 1e9:.1f} GB" if n >= 1e8 else f"{n / 1e6:.1f} MB"
