"""Unpacking an archive of strangers: all of it or nothing, and nothing outside of its place."""

from __future__ import annotations

import gzip
import lzma
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

from mixer_bench.errors import DataError
from mixer_bench.system.paths import leads_out

CHUNK = 1 << 20  # bytes
BLOWN_UP = 100  # times its size that an archive may unpack to
SMALL = 100_000_000  # bytes that any archive may unpack to
DAMAGED = (zlib.error, lzma.LZMAError, EOFError, tarfile.TarError, zipfile.BadZipFile, RuntimeError, gzip.BadGzipFile)


def unpack(file: Path, there: Path, *, inner: str = "", flat: bool = False) -> None:
    """Unpack an archive, or one within it, so that what it holds under the name of ``there`` is at ``there``.

    Args:
        file: a zip, a tar, compressed or not, or a compressed file.
        there: of which the archive has the last part at its top; of a compressed file, the file itself.
        inner: the archive within it that holds it.
        flat: all that the archive holds comes into the folder ``there``.

    Raises:
        DataError: it is damaged, leads out of its folder, holds links or devices, unpacks to far more than its size,
            or lacks what should be in it. Nothing is left behind.
        OSError: the disk is full, or cannot be written.
    """
    there.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=there.parent, prefix=f".mixer-bench.{there.name}."))
    try:
        source = file
        if inner:
            _unpacked(file, scratch / "outer", inner)
            source = scratch / "outer" / inner
        _unpacked(source, scratch / "inner", "" if flat else there.name)
        held = scratch / "inner" / ("" if flat else there.name)
        if not held.exists():
            raise DataError(f"{file}: holds no {there.name}: it is another archive")
        held.replace(there)
    except DAMAGED as error:
        raise DataError(f"{file}: is damaged ({error}); fetch it again") from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _unpacked(file: Path, folder: Path, only: str) -> None:
    """Write to ``folder`` what an archive has under the name ``only``, or all; each member is checked all the same."""
    left = max(SMALL, BLOWN_UP * file.stat().st_size)
    for name, content in _members(file, only):
        if leads_out(name):
            raise DataError(f"{file}: member {name!r} leads out of its folder; it is no archive to be trusted")
        if content is None or not (not only or name == only or name.startswith(f"{only}/")):
            continue
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        with content, place.open("wb") as opened:
            while part := content.read(CHUNK):
                left -= len(part)
                if left < 0:
                    raise DataError(f"{file}: unpacks to more than {BLOWN_UP} times its size; it is no data set")
                opened.write(part)


def _members(file: Path, only: str) -> Iterator[tuple[str, IO[bytes] | None]]:
    """Give name and content of each member; None for a folder.

    Raises:
        DataError: one is a link or a device.
    """
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            for info in archive.infolist():
                if stat.S_ISLNK(info.external_attr >> 16):
                    raise DataError(f"{file}: member {info.filename!r} is a link; it is no archive to be trusted")
                yield info.filename, None if info.is_dir() else archive.open(info)
    elif tarfile.is_tarfile(file):
        with tarfile.open(file) as packed:
            for member in packed:
                if not (member.isfile() or member.isdir()):
                    raise DataError(f"{file}: member {member.name!r} is a link or a device; it is not to be trusted")
                yield member.name.removeprefix("./"), packed.extractfile(member)
    else:
        with gzip.open(file) as compressed:
            yield only, cast(IO[bytes], compressed)
