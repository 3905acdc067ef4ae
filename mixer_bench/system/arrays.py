"""Arrays in files: written whole, read without pickled code, and damage is one kind of error."""

from __future__ import annotations

import functools
import hashlib
import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO

import numpy as np

from mixer_bench.system import files

# What numpy and zipfile raise for a file of which any byte may be wrong.
_RAISED = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    EOFError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
)


class DamagedFile(Exception):
    """The file is not there or not whole."""


def save(file: Path, *, compressed: bool = True, **arrays: np.ndarray) -> None:
    """Write the named arrays; compressing floats costs time and gains little.

    Raises:
        OSError: the disk is full or the folder cannot be written.
    """
    content = io.BytesIO()
    write = np.savez_compressed if compressed else np.savez
    write(content, allow_pickle=False, **arrays)
    files.write(file, content.getvalue())


def load(file: Path, *names: str) -> list[np.ndarray]:
    """The arrays of those names.

    Raises:
        DamagedFile: the file or one of the arrays is missing or damaged.
    """
    try:
        content = file.read_bytes()
        with zipfile.ZipFile(io.BytesIO(content)) as found:
            return [_array(_member(content, found.getinfo(f"{name}.npy"))) for name in names]
    except _RAISED as error:
        raise DamagedFile(f"{type(error).__name__}: {error}") from None


def _member(content: bytes, found: zipfile.ZipInfo) -> bytes:
    """What ``ZipFile.read`` gives, in half the time, most of which goes into reading by parts: ours are small."""
    named, extra = struct.unpack_from("<2H", content, found.header_offset + 26)
    start = found.header_offset + 30 + named + extra
    stored = content[start : start + found.compress_size]
    whole = zlib.decompress(stored, -zlib.MAX_WBITS) if found.compress_type == zipfile.ZIP_DEFLATED else stored
    if len(whole) != found.file_size or zlib.crc32(whole) != found.CRC:
        raise zipfile.BadZipFile(f"{found.filename}: its checksum is wrong")
    return whole


def _array(stored: bytes) -> np.ndarray:
    """The array of a .npy file; a third of ``np.load``'s time, which goes into the headers, alike in all our files."""
    end = 10 + int.from_bytes(stored[8:10], "little")
    if stored[:8] != b"\x93NUMPY\x01\x00":
        return np.lib.format.read_array(io.BytesIO(stored), allow_pickle=False)
    shape, fortran_order, dtype = _header(stored[8:end])
    if dtype.hasobject or fortran_order:
        return np.lib.format.read_array(io.BytesIO(stored), allow_pickle=False)
    return np.frombuffer(stored, dtype, offset=end).reshape(shape).copy()


@functools.lru_cache(maxsize=256)
def _header(stored: bytes) -> tuple[tuple[int, ...], bool, np.dtype]:
    return np.lib.format.read_array_header_1_0(io.BytesIO(stored))


def save_rows(file: Path, count: int, parts: Iterable[np.ndarray], told: Callable[[], str]) -> None:
    """Write rows of float32 as they come, so that no more than a part of them is in memory.

    The file is an ordinary .npy file, followed by ``told()``, its length (8 bytes), and the SHA-256 of all before it.

    Args:
        file: where.
        count: how many rows there are in all parts.
        parts: float32 [n, D] each.
        told: called at the end.

    Raises:
        OSError: the disk is full or the folder cannot be written.
    """

    def write(opened: IO[bytes]) -> None:
        hashed = _Hashed(opened)
        for number, part in enumerate(parts):
            if number == 0:
                header = {"descr": "<f4", "fortran_order": False, "shape": (count, part.shape[1])}
                np.lib.format.write_array_header_1_0(hashed, header)
            hashed.write(np.ascontiguousarray(part, dtype="<f4").tobytes())
        text = told().encode()
        hashed.write(text)
        hashed.write(len(text).to_bytes(8, "little"))
        opened.write(hashed.digest.digest())

    files.write(file, write)


class _Hashed:
    """A file that hashes what is written to it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.digest = file, hashlib.sha256()

    def write(self, content: bytes) -> int:
        self.digest.update(content)
        return self._file.write(content)


def load_rows(file: Path) -> tuple[np.ndarray, str]:
    """What ``save_rows`` wrote: the rows, mapped into memory read-only, and what was told of them.

    Raises:
        DamagedFile: the file is not there or not whole.
    """
    try:
        size = file.stat().st_size
        with file.open("rb") as opened:
            digest, left = hashlib.sha256(), size - 32
            while left > 0 and (content := opened.read(min(left, 1 << 22))):
                digest.update(content)
                left -= len(content)
            if left or opened.read() != digest.digest():
                raise DamagedFile("its checksum is wrong")
            opened.seek(size - 40)
            length = int.from_bytes(opened.read(8), "little")
            opened.seek(size - 40 - length)
            text = opened.read(length).decode()
        return np.load(file, mmap_mode="r", allow_pickle=False), text
    except _RAISED as error:
        raise DamagedFile(f"{type(error).__name__}: {error}") from None
