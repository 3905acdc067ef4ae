"""Arrays in files: written whole, read without pickled code, and damage is one kind of error."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from mixer_bench.system import files

SMALL = 1 << 16  # bytes of headers and of what is as small, which a limit leaves room for
LOCAL = 30  # bytes of an archive's entry before its name
DIGEST, LENGTH = 32, 8  # bytes at the end of a file of rows: its SHA-256, and before it the length of what was told


class DamagedFile(Exception):
    """The file is not there or not whole."""


def save(file: Path, **arrays: np.ndarray) -> None:
    """Write the named arrays, compressed.

    Raises:
        OSError: the disk is full or the folder cannot be written.
    """
    content = io.BytesIO()
    np.savez_compressed(content, allow_pickle=False, **arrays)
    files.write(file, content.getvalue())


def load(file: Path, *names: str, most: int, optional: str = "") -> list[np.ndarray]:
    """Return the arrays of those names, of ``most`` bytes in all, without the ``optional`` one where it is not there.

    Raises:
        DamagedFile: the file or one of the arrays is missing or damaged, or it would unpack to more.
    """
    try:
        content = files.read(file)
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            refuse_bombs(archive, most)
            there = [name for name in names if name != optional or f"{name}.npy" in archive.namelist()]
            return [array(_member(content, archive.getinfo(f"{name}.npy"))) for name in there]
    except Exception as error:  # noqa: BLE001  any byte may be wrong, and the parsers raise whatever they raise
        raise DamagedFile(f"{type(error).__name__}: {error}") from None


def refuse_bombs(archive: zipfile.ZipFile, most: int) -> None:
    """Refuse, before anything is unpacked, an archive that says it holds more than ``most`` bytes, or a part twice.

    Raises:
        zipfile.BadZipFile: names the entry or the sizes.
    """
    end = 0
    for member in sorted(archive.infolist(), key=lambda member: member.header_offset):
        if member.header_offset < end:
            raise zipfile.BadZipFile(f"{member.filename} overlaps the entry before it")
        end = member.header_offset + LOCAL + member.compress_size
    if (size := sum(member.file_size for member in archive.infolist())) > most + SMALL:
        raise zipfile.BadZipFile(f"it would unpack to {size:,} bytes, where at most {most:,} belong")


def _member(content: bytes, member: zipfile.ZipInfo) -> bytes:
    """What ``ZipFile.read`` gives, in half the time, most of which goes into reading by parts: ours are small."""
    named, extra = struct.unpack_from("<2H", content, member.header_offset + 26)
    start = member.header_offset + 30 + named + extra
    stored = content[start : start + member.compress_size]
    # One byte more than it says it has is enough to know better.
    whole = zlib.decompressobj(-zlib.MAX_WBITS).decompress(stored, member.file_size + 1)
    if len(whole) != member.file_size or zlib.crc32(whole) != member.CRC:
        raise zipfile.BadZipFile(f"{member.filename}: its checksum is wrong")
    return whole


def array(stored: bytes) -> np.ndarray:
    """Return the array of a .npy file, read-only.

    A third of ``np.load``'s time, which goes into the headers, alike in all our files; and where a header tells of more
    than there is, no memory is asked for.

    Raises:
        ValueError: it is no such file, has no plain numbers, or more or fewer than its header says.
    """
    if stored[:8] != b"\x93NUMPY\x01\x00":  # later versions are for tables with columns
        raise ValueError("it is no .npy file of numbers")
    end = 10 + int.from_bytes(stored[8:10], "little")
    shape, by_columns, dtype = _header(stored[8:end])
    return np.frombuffer(stored, dtype, offset=end).reshape(shape, order="F" if by_columns else "C")


@functools.lru_cache(maxsize=256)
def _header(stored: bytes) -> tuple[tuple[int, ...], bool, np.dtype]:
    return np.lib.format.read_array_header_1_0(io.BytesIO(stored))


@contextlib.contextmanager
def saving_rows(
    file: Path, count: int, told: Callable[[], str], keep: bool = False
) -> Iterator[Callable[[np.ndarray], None]]:
    """Give what takes rows of float32 as they come, part by part, so that no more of them is in memory.

    At the end of the block the file is there: an ordinary .npy file, followed by ``told()``, its length (8 bytes), and
    the SHA-256 of all before it. (numpy's own way, ``open_memmap``, would count all rows as memory of this process.)

    Args:
        file: where.
        count: how many rows there are in all parts, float32 [n, D] each.
        told: called at the end.
        keep: what another process has put there meanwhile stays.

    Raises:
        OSError: the disk is full or the folder cannot be written.
        ValueError: a part is not of that shape, or of another width than the first.
    """
    digest = hashlib.sha256()
    width: int | None = None

    def put(piece: bytes) -> None:
        digest.update(piece)
        opened.write(piece)

    def add(part: np.ndarray) -> None:
        nonlocal width
        if part.ndim != 2 or part.shape[1] != (width or part.shape[1]):  # noqa: PLR2004
            raise ValueError(f"features of shape {part.shape} came; rows of one width were to come")
        if width is None:
            header, width = io.BytesIO(), part.shape[1]
            shape = {"descr": "<f4", "fortran_order": False, "shape": (count, width)}
            np.lib.format.write_array_header_1_0(header, shape)
            put(header.getvalue())
        put(np.ascontiguousarray(part, dtype="<f4").tobytes())

    with files.writing(file, keep) as opened:
        yield add
        text = told().encode()
        put(text + len(text).to_bytes(LENGTH, "little"))
        opened.write(digest.digest())


def load_rows(file: Path) -> tuple[np.ndarray, str]:
    """Return what ``saving_rows`` wrote: the rows, mapped into memory read-only, and what was told of them.

    Raises:
        DamagedFile: the file is not there or not whole.
    """
    try:
        end = file.stat().st_size - DIGEST
        with file.open("rb") as opened:
            digest = hashlib.sha256()
            while content := opened.read(min(max(0, end - opened.tell()), 1 << 22)):
                digest.update(content)
            if opened.read() != digest.digest():
                raise ValueError("its checksum is wrong")
            opened.seek(end - LENGTH)
            length = int.from_bytes(opened.read(LENGTH), "little")
            opened.seek(end - LENGTH - length)
            text = opened.read(length).decode()
        return np.lib.format.open_memmap(file, mode="r"), text
    except Exception as error:  # noqa: BLE001  any byte may be wrong, and the parsers raise whatever they raise
        raise DamagedFile(f"{type(error).__name__}: {error}") from None
