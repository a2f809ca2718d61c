"""The decoded crops of a data set in one memory-mapped file, which later runs and other processes share.

In the folder of --crop_cache a cache is two files, named by its key: crops-<key>.bin, the pixels of one crop after the
other, and crops-<key>.npz, where each record's crop lies in it. The key is a hash of the crops' paths, sizes and times
of change: a crop that is changed, added or removed leads to another cache. The .npz is written last; without it a cache
is not whole. Half-written files are named .tmp-crops-*; one process at a time builds in a folder, under .crops.lock.
"""

import contextlib
import functools
import hashlib
import os
import re
import shutil
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from itertools import starmap
from pathlib import Path
from typing import NamedTuple

import numpy as np

from datasets.image_sources import ImageFiles, ImageSource
from datasets.records import DataSet, Record
from datasets.transforms import ImageError, read_image
from utils.cli import UserError
from utils.cpu import available_cores
from utils.files import output_dir
from utils.images import size_from_header
from utils.locks import hold
from utils.pool import WorkerDied, run_jobs
from utils.ranks import is_main

_FORMAT = "1"  # of the two files; part of the key
_TEMPORARY = ".tmp-crops-"
_LOCK = ".crops.lock"
_CHUNK = 64  # crops that a process reads at a time


class Stamp(NamedTuple):
    """A file's size in bytes and time of change in ns, by which a change of it is noticed; (-1, -1) of no file."""

    size: int
    mtime: int


class MappedCrop(NamedTuple):
    """Where a crop lies in a cache's pixel file, in place of its pixels: small to hand to another process."""

    pixels: Path
    offset: int
    height: int
    width: int

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.height, self.width, 3

    def view(self) -> np.ndarray:
        """The crop, HWC RGB uint8, a view of the mapped file, not writable."""
        flat = _mapped(self.pixels)[self.offset : self.offset + self.height * self.width * 3]
        return flat.reshape(self.shape)


@functools.lru_cache(maxsize=8)  # of training and validation, or of one test set after another
def _mapped(pixels: Path) -> np.ndarray:
    return np.asarray(np.memmap(pixels, mode="r"))


class CachedCrops:
    """The images of records from their cache. A crop that could not be read when the cache was built is read from its
    file, for the message, and because it may be readable by now. The files are opened once in each process, when
    they are first needed; only their place is pickled."""

    def __init__(self, index: Path, n: int, files: ImageFiles) -> None:
        self._index, self._n, self._pixels, self._files = index, n, _pixel_file(index), files
        self._rows: np.ndarray | None = None

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_rows": None}

    def read(self, index: int) -> np.ndarray:
        """See ImageSource; a view of the mapped file, not writable."""
        crop = self.find(index)
        return crop.view() if isinstance(crop, MappedCrop) else crop

    def find(self, index: int) -> MappedCrop | np.ndarray:
        """Where the crop lies, or, where it is not in the cache, its pixels."""
        if self._rows is None:
            self._rows = _rows(self._index, self._n)
        if self._rows is None:  # deleted meanwhile; the crops' files are there
            return self._files.read(index)
        offset, height, width = self._rows[index].tolist()
        if not height:
            return self._files.read(index)
        return MappedCrop(self._pixels, offset, height, width)


def image_source(data: DataSet, folder: str | None) -> ImageSource:
    """Where the images of a data set come from: its files, or their cache in ``folder`` (--crop_cache), built where it
    is not there yet. All processes of torchrun must call this; one builds.

    UserError when the folder cannot be written or its disk has no room.
    """
    files = ImageFiles(data.records)
    if folder is None:
        return files
    from utils.distributed import on_main  # torch, which the processes that read crops for the cache do without

    index, n = on_main(lambda: cache_of(data, Path(folder))), len(data.records)
    if _rows(index, n) is None:  # on another machine, whose disk is its own
        index = cache_of(data, Path(folder))
    return CachedCrops(index, n, files)


def cache_of(data: DataSet, folder: Path) -> Path:
    """The index of the cache of a data set's crops; built when ``folder`` has none, by one process while others wait.
    UserError as of ``image_source``."""
    stamps = {path: _stamp(path) for path in dict.fromkeys(record.path for record in data.records)}
    index = folder / f"crops-{_key(data.records, stamps)}.npz"
    n = len(data.records)
    if _rows(index, n) is not None:
        return index
    output_dir(folder, "the folder of --crop_cache")
    for wait in (False, True):
        with hold(folder / _LOCK, wait) as mine:
            if mine and _rows(index, n) is None:  # another process may have built it a moment ago
                _build(data, stamps, index)
            if mine:
                break
        _say(f"waiting for another process that builds a crop cache in {folder}")
    return index


def _say(text: str) -> None:
    if is_main():
        print(text, flush=True)


def _stamp(path: str) -> Stamp:
    try:
        status = os.stat(path)  # noqa: PTH116 - 100,000s of files, and Path doubles the time
    except (OSError, ValueError):  # ValueError: a NUL in the name
        return Stamp(-1, -1)
    return Stamp(status.st_size, status.st_mtime_ns)


def _key(records: Sequence[Record], stamps: dict[str, Stamp]) -> str:
    """32 hexadecimal digits."""
    digest = hashlib.sha256(_FORMAT.encode())
    for record in records:
        named = f"\0{os.path.abspath(record.path)}\0{stamps[record.path]}"  # noqa: PTH100 - as above
        digest.update(named.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:32]


def _pixel_file(index: Path) -> Path:
    return index.with_suffix(".bin")


# What NumPy and zipfile raise for a file that is damaged somewhere.
_DAMAGED = (OSError, EOFError, ValueError, KeyError, IndexError, TypeError, RuntimeError, zipfile.BadZipFile)
_DAMAGED += (zlib.error,)


def _rows(index: Path, n: int) -> np.ndarray | None:
    """Offset, height and width of each of ``n`` records' crops, int64 [n, 3], height 0 where it is not in the cache;
    None unless the cache is whole."""
    try:
        with index.open("rb") as file, np.load(file, allow_pickle=False) as content:
            rows = content["rows"]
        if rows.dtype != np.int64 or rows.shape != (n, 3) or (rows < 0).any():
            return None
        end = (rows[:, 0].astype(float) + 3.0 * rows[:, 1] * rows[:, 2]).max(initial=1)
        return rows if _pixel_file(index).stat().st_size >= end else None
    except _DAMAGED:
        return None


def _source(data: DataSet) -> str:
    """By what caches of the same list are known."""
    return f"{data.name}: {data.source}"


def _build(data: DataSet, stamps: dict[str, Stamp], index: Path) -> None:
    """Read all crops into a new cache; the lock is held."""
    folder = index.parent
    _remove_leftovers(folder)
    _name_others(data, index)
    paths = list(stamps)
    with _told_of_death():
        sizes = _in_chunks(_header_sizes, [(path,) for path in paths], "headers")
    lengths = np.array(sizes, dtype=np.int64).reshape(-1, 2).prod(axis=1) * 3
    ends = np.cumsum(lengths)
    total, free = int(ends[-1]) if len(ends) else 0, shutil.disk_usage(folder).free
    if total > free:
        raise UserError(f"the crop cache of {data.name} needs {_gb(total)}, and {folder} has {_gb(free)} left; make "
                        "room, give --crop_cache a folder on another disk, or leave it out")  # fmt: skip
    _say(f"crop cache of {data.name}: {len(paths)} crops, {_gb(total)}, into {folder}")
    temporary = folder / f"{_TEMPORARY}{os.getpid()}.bin", folder / f"{_TEMPORARY}{os.getpid()}.npz"
    try:
        with temporary[0].open("wb") as file:
            file.truncate(max(total, 1))  # of no bytes there is no map
        jobs = list(zip(paths, stamps.values(), (ends - lengths).tolist(), lengths.tolist(), strict=True))
        with _told_of_death():
            shapes = _in_chunks(functools.partial(_read_into, temporary[0]), jobs, "crops")
        place = {path: (offset, *shape) for (path, _, offset, _), shape in zip(jobs, shapes, strict=True)}
        rows = np.array([place[record.path] for record in data.records], dtype=np.int64).reshape(-1, 3)
        with temporary[1].open("wb") as file:
            np.savez(file, rows=rows, source=np.array(_source(data)))
        for path, last in zip(temporary, (_pixel_file(index), index), strict=True):
            with path.open("rb+") as file:
                os.fsync(file.fileno())  # a power cut must not leave an index of pixels that were never written
            path.replace(last)
    except OSError as error:
        raise UserError(f"cannot write the crop cache in {folder} ({error.strerror}); make room there or give another "
                        "--crop_cache") from error  # fmt: skip
    finally:
        for path in temporary:
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def _told_of_death() -> Iterator[None]:
    try:
        yield
    except WorkerDied as error:
        raise UserError("a process that builds the crop cache was killed, perhaps for want of memory; run this again, "
                        "or leave --crop_cache out") from error  # fmt: skip


def _in_chunks(function: Callable[[list], list], jobs: list, what: str) -> list:
    """``function`` of the jobs, ``_CHUNK`` at a time, by all cores."""
    chunks = [jobs[start : start + _CHUNK] for start in range(0, len(jobs), _CHUNK)]
    done = run_jobs(function, chunks, available_cores(), f"x {_CHUNK} {what}")
    return [one for chunk in done for one in chunk]


def _header_sizes(jobs: list[tuple[str]]) -> list[tuple[int, int]]:
    return list(starmap(size_from_header, jobs))


def _read_into(pixels: Path, jobs: list[tuple[str, Stamp, int, int]]) -> list[tuple[int, int]]:
    """Write the crops (path, stamp, offset, bytes) into the pixel file -> (height, width) of each, (0, 0) of one that
    cannot be read, or whose pixels are not as many as its header says."""
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
    """Remove what killed builders left; nothing where the file system has no locks, so that a builder may be alive."""
    with hold(folder / _LOCK, wait=False) as twice:
        if not twice:
            for path in folder.glob(f"{_TEMPORARY}*"):
                path.unlink(missing_ok=True)


def _name_others(data: DataSet, index: Path) -> None:
    """Say which other caches of the same list there are: the user decides whether to delete them."""
    others = []
    for path in sorted(index.parent.glob("crops-*.npz")):
        if path != index and re.fullmatch(r"crops-[0-9a-f]{32}\.npz", path.name):
            with contextlib.suppress(*_DAMAGED):
                with path.open("rb") as file, np.load(file, allow_pickle=False) as content:
                    same = str(content["source"]) == _source(data)
                if same:
                    others.append(_pixel_file(path))
    if others:
        size = sum(path.stat().st_size for path in others if path.exists())
        names = ", ".join(f"{path.stem}.*" for path in others)
        _say(f"other caches of {data.name} in {index.parent}, of other crops or from before they changed: {names} "
             f"({_gb(size)}); delete those you do not need")  # fmt: skip


def _gb(n: int) -> str:
    return f"{n / 1e9:.1f} GB" if n >= 1e8 else f"{n / 1e6:.1f} MB"
