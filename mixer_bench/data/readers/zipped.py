"""Zip files that are read as they are: nothing is unpacked."""

from __future__ import annotations

import functools
import hashlib
import lzma
import stat
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

from mixer_bench.data.readers import files
from mixer_bench.data.rows import Stored
from mixer_bench.errors import DataError
from mixer_bench.system.files import state
from mixer_bench.system.paths import leads_out


def opened(file: Path) -> zipfile.ZipFile:
    """Return the archive, its directory read and checked once for all tasks and one state of the file.

    Raises:
        DataError: it is no whole zip, or has members that lead out of it or are links.
    """
    return _opened(file, state(file.stat()))


@functools.lru_cache(maxsize=2)
def _opened(file: Path, _state: str) -> zipfile.ZipFile:
    try:
        archive = zipfile.ZipFile(file)
    except (OSError, NotImplementedError, zipfile.BadZipFile) as error:
        raise DataError(f"{file}: not a whole zip ({error}); fetch it again") from None
    for info in archive.infolist():
        where = f"{file}, member {info.filename!r}"
        if leads_out(info.filename):
            raise DataError(f"{where}: {info.filename} leads out of the folder")
        if stat.S_ISLNK(info.external_attr >> 16):
            raise DataError(f"{where}: a link; this zip holds images and lists only")
    return archive


def member(archive: zipfile.ZipFile, name: str) -> bytes:
    """Return the content of a member.

    Raises:
        DataError: there is none of that name, or it is damaged.
    """
    if name not in archive.NameToInfo:
        raise DataError(f"{archive.filename} has no {name}")
    try:
        return archive.read(name)
    # RuntimeError: encrypted
    except (OSError, RuntimeError, ValueError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile) as error:
        raise DataError(f"{archive.filename}, member {name!r}: damaged ({error}); fetch it again") from None


def stored(archive: zipfile.ZipFile, names: Sequence[str], listing: str) -> Stored:
    """Return the members ``names`` as images; ``listing`` changes whenever these may."""
    file = Path(str(archive.filename))
    stamp = hashlib.sha256(f"{file} {state(file.stat())}\n{listing}".encode()).hexdigest()
    return Stored(
        names.__getitem__, lambda position: member(archive, names[position]), stamp, fields=files.fields(names)
    )
