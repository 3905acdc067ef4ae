"""Files that are there whole or not at all: temporary file, fsync, rename.

Who is killed meanwhile leaves a hidden half; the next process that writes into that folder removes it.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import importlib.util
import io
import os
import platform
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from mixer_bench.errors import ResultsError

LOCKS = importlib.util.find_spec("fcntl") is not None  # not on Windows
if LOCKS:
    import fcntl

# The dot keeps both out of every glob for records.
LEFTOVER = re.compile(r"\.mixer-bench\.(?:(?P<kernel>[0-9a-f]{8})\.\w{8}\.partial|.+\.claim)")
DAY = 86_400  # seconds
PAUSES = (0.01, 0.1, 0.5)  # seconds between two tries


def write(path: Path, content: str | bytes | Callable[[IO[bytes]], Any]) -> None:
    """Put ``content`` at ``path`` so that a reader, or a kill at any moment, never meets half of it.

    Args:
        path: where; missing parent folders are made.
        content: text (UTF-8), bytes, or a function that writes to an open binary file.

    Raises:
        OSError: the disk is full or the folder cannot be written; ``path`` is then as it was before.
    """
    with writing(path) as file:
        if callable(content):
            content(file)
        else:
            file.write(content.encode() if isinstance(content, str) else content)


@contextlib.contextmanager
def writing(path: Path, keep: bool = False) -> Iterator[IO[bytes]]:
    """Give an open binary file that stands at ``path`` when the block ends, as ``write`` has it; not if it fails.

    To ``keep`` what another process has put there meanwhile is for files that are mapped: on a file server, whoever
    reads one that is replaced elsewhere loses it (ESTALE).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _tidied_once(path.parent.absolute())
    handle, partial = _begun(path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            # mkstemp makes files for the owner alone; a results folder is meant to be shared.
            partial.chmod(0o666 & ~_umask())
            if LOCKS:  # still locked: nobody takes it for a dead process's
                _named(partial, path, keep)
        if not LOCKS:  # Windows, where no open file gets another name
            _named(partial, path, keep)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _named(partial: Path, path: Path, keep: bool) -> None:
    """Give a whole file its name; where one that is there is to be kept, leave that."""
    if not keep:
        _replaced(partial, path)
        return
    try:
        os.link(partial, path)
    except FileExistsError:
        pass
    except OSError:  # of a file system without links
        _replaced(partial, path)
    partial.unlink(missing_ok=True)


def _replaced(partial: Path, path: Path) -> None:
    """Put a file in another's place; Windows refuses that while somebody reads the other, which is soon over."""
    for pause in () if LOCKS else PAUSES:
        try:
            partial.replace(path)
        except PermissionError:
            time.sleep(pause)
        else:
            return
    partial.replace(path)


def tidy(folder: Path) -> None:
    """Remove what dead processes left in ``folder``: halves of files, and claims. What a living one has stays.

    The living hold locks, which the kernel releases at their death, however they die; so neither the number of a
    process, which may be another's by now, nor an age has to be believed. Where files lie on a server, locks may be
    each machine's own: a half that another machine wrote, or this one before it was started anew, also has to be a day
    old.
    """
    with contextlib.suppress(OSError):  # no such folder, or a closed one: nothing of ours is in it
        for file in folder.iterdir():
            if left := LEFTOVER.fullmatch(file.name):
                _remove_if_dead(file, left["kernel"] in (None, _kernel()))


def stamp(file: Path) -> tuple[int, int] | None:
    """Return what another file in that place would not have; None where there is none."""
    try:
        status = file.stat()
    except OSError:
        return None
    return (status.st_mtime_ns, status.st_ino)


def locked(handle: int) -> bool:
    """Lock an open file until it is closed or its process has died; return whether no other has it.

    Raises:
        OSError: the file system has no locks.
    """
    if not LOCKS:
        raise OSError("this system has no such locks")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _remove_if_dead(file: Path, here: bool) -> None:
    with contextlib.suppress(OSError):  # gone meanwhile, another user's, or nobody can tell: it stays
        handle = os.open(file, os.O_RDWR)
        try:
            if locked(handle) and (here or time.time() - os.fstat(handle).st_mtime > DAY):
                file.unlink(missing_ok=True)
        finally:
            os.close(handle)


_tidied_once = functools.cache(tidy)


def _begun(folder: Path) -> tuple[int, Path]:
    """Begin a file of this process's own, locked; return it open, and where."""
    while True:
        handle, name = tempfile.mkstemp(dir=folder, prefix=f".mixer-bench.{_kernel()}.", suffix=".partial")
        try:
            kept = locked(handle)
        except OSError:
            kept = True  # and nobody else can lock and remove it either
        if kept and Path(name).exists():  # else another took it for a dead process's before it was locked
            return handle, Path(name)
        os.close(handle)


@functools.cache
def _kernel() -> str:
    """Return what tells this system, since it was started, from others: all its processes share its locks."""
    try:
        text = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
    except OSError:
        text = platform.node()
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def read(path: Path | str) -> bytes:
    """Return what is in a file; a pipe or device in its place, which may never end, is refused.

    Raises:
        OSError: there is no such file, it is none, or it cannot be read; ``strerror`` says which.
    """
    try:
        return _content(path)
    except OSError as error:
        if error.errno != errno.ESTALE:
            raise
    return _content(path)  # on a file server it was replaced between opening and reading


def sha256(path: Path) -> str:
    """Return the SHA-256 of what is in a file, hexadecimal; errors as ``read``."""
    with _opened(path) as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _content(path: Path | str) -> bytes:
    with _opened(path) as opened:
        return opened.readall()


@contextlib.contextmanager
def _opened(path: Path | str) -> Iterator[io.FileIO]:
    # Without waiting: to open a pipe would take as long as nobody writes to it.
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with os.fdopen(handle, "rb", buffering=0) as opened:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "it is no file but a pipe or device", str(path))
        yield opened


def copy(source: Path, file: IO[bytes]) -> None:
    """Write what is in ``source`` to an open file, part by part.

    Raises:
        OSError: it cannot be read, or the disk is full.
    """
    with source.open("rb") as opened:
        shutil.copyfileobj(opened, file, 1 << 22)


def state(status: os.stat_result) -> str:
    """Return what is another once a file was written to.

    Whoever sets its time back cannot set back when the disk last changed its entry.
    """
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"


def deliver(file: Path, text: str, way_out: str = "name another file") -> None:
    """Put ``text`` where a user said; as ``delivering``."""
    with delivering(file, way_out) as opened:
        opened.write(text.encode())


@contextlib.contextmanager
def delivering(file: Path, way_out: str = "name another file") -> Iterator[IO[bytes]]:
    """Give what a user said to write to: a file, there whole or not at all, a link's target, a device or pipe as it is.

    Raises:
        ResultsError: it cannot be written; with the way out.
    """
    special = file.exists() and not file.is_file()
    with reported(file, way_out), file.open("wb") if special else writing(Path(os.path.realpath(file))) as opened:
        yield opened


@contextlib.contextmanager
def reported(what: object, way_out: str = "name another file") -> Iterator[None]:
    """Turn what goes wrong where something is written into a ``ResultsError`` that says what, why, and the way out."""
    try:
        yield
    except OSError as error:
        raise ResultsError(f"cannot write {what}: {error.strerror or error}; {way_out}") from None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable; a no-op where folders cannot be opened (Windows)."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
