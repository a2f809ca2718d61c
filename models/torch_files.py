"""Read files of torch.save without trusting them: each storage has the size that its tensors claim, and its check sum.

Two formats: a ZIP archive whose record data.pkl is a pickle and whose records data/... are the storages, and before
PyTorch 1.6 five pickles, then the storages.
"""

import io
import pickle
import struct
import sys
import zipfile
import zlib
from typing import BinaryIO

import torch

from models.foreign_files import ZIP
from models.pickles import unpickle
from utils.cli import UserError

_BLOCK = 1 << 20  # bytes; they are still in the cache when their check sum is computed
_LEGACY = [0x1950A86A20F9469CFC6C, 1001]  # the first two pickles of the older format


def read_torch_file(file: BinaryIO, size: int) -> object:
    """The content of a file of ``size`` bytes. Raises as ``unpickle`` does, BadZipFile, struct.error, and UserError."""
    archived = file.read(4) == ZIP
    file.seek(0)
    return _read_archive(file, size) if archived else _read_legacy(file, size)


def damaged(path: object, name: str) -> UserError:
    """The error of a wrong check sum."""
    return UserError(f"checkpoint {path} is damaged: the check sum of {name} is wrong; download or copy it again")


def _read_archive(file: BinaryIO, size: int) -> object:
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
    unpacked = sum(entry.file_size for entry in entries)
    if unpacked > size or any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise UserError(
            f"checkpoint {file.name} is refused: {size} bytes that unpack to {unpacked}; save it uncompressed"
        )
    records = {entry.filename.partition("/")[2]: entry for entry in entries}
    loaded: dict[str, torch.Tensor] = {}

    def load(name: str) -> torch.Tensor:
        entry = records[name]
        file.seek(entry.header_offset)
        lengths = struct.unpack("<HH", file.read(30)[26:])  # of the name and of the padding after it
        file.seek(sum(lengths), io.SEEK_CUR)
        memory = torch.empty(entry.file_size, dtype=torch.uint8)
        check = _fill(memory, file)
        if entry.CRC not in (check, 0):  # 0: not computed, with torch.serialization.set_crc32_options(False)
            raise damaged(file.name, name)
        return memory

    def load_storage(key: str, count: int, itemsize: int) -> torch.Tensor:
        name, length = f"data/{key}", count * itemsize
        if length != records[name].file_size:
            raise pickle.UnpicklingError(f"it claims {length} bytes for {name}, which has {records[name].file_size}")
        if key not in loaded:
            loaded[key] = load(name)
        return loaded[key]

    if "byteorder" in records and load("byteorder").numpy().tobytes() != sys.byteorder.encode():
        raise pickle.UnpicklingError("it was saved by a machine with another byte order")
    data = load("data.pkl").numpy().tobytes()
    return unpickle(io.BytesIO(data), len(data), load_storage)


def _fill(memory: torch.Tensor, file: BinaryIO) -> int:
    """Read a storage's bytes, uint8 [n]; returns their CRC-32. Raises EOFError if the file ends before."""
    view, check = memoryview(memory.numpy()), 0
    for start in range(0, len(view), _BLOCK):
        block = view[start : start + _BLOCK]
        if file.readinto(block) != len(block):  # type: ignore[attr-defined]
            raise EOFError("the file ends before its storages do")
        check = zlib.crc32(block, check)
    return check


def _read_legacy(file: BinaryIO, size: int) -> object:
    storages: dict[str, tuple[torch.Tensor, int]] = {}  # name -> memory, number of values
    claimed = 0

    def load(key: str, count: int, itemsize: int) -> torch.Tensor:
        nonlocal claimed
        if key not in storages:
            claimed += count * itemsize
            if claimed > size:
                raise EOFError(f"its {size:,} bytes are fewer than its storages have")
            storages[key] = torch.empty(count * itemsize, dtype=torch.uint8), count  # filled below
        return storages[key][0]

    for expected in _LEGACY:
        if unpickle(file, size, load) != expected:
            raise pickle.UnpicklingError("it is no PyTorch checkpoint")
    _system, content, keys = (unpickle(file, size, load) for _ in range(3))
    if not isinstance(keys, list) or keys != sorted(storages):
        raise pickle.UnpicklingError("it does not hold the storages that it claims")
    for memory, count in (storages[key] for key in keys):
        if struct.unpack("<q", file.read(8)) != (count,):
            raise pickle.UnpicklingError("its storages have other sizes than it claims")
        _fill(memory, file)
    return content
