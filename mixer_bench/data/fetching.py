"""Fetching a file: from the first address that gives the right one, going on where it was broken off before."""

from __future__ import annotations

import http.client
import os
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path

from mixer_bench.errors import Absent, DataError
from mixer_bench.system import network
from mixer_bench.system.progress import ProgressLog

CHUNK = 1 << 20  # bytes
UNREACHABLE = (OSError, http.client.HTTPException)  # URLError and time-outs are OSErrors

Told = Callable[[int], object]  # of bytes that are there now


def fetch(addresses: Sequence[str], file: Path, check: Callable[[Path], object], most: int, told: Told) -> None:
    """Fetch a file; until ``check`` has accepted it, it is ``<file>.partial``.

    Args:
        addresses: of http, tried in turn.
        file: where it is to lie.
        check: refuses another file by a DataError; then nothing of it is kept.
        most: bytes that it may have.
        told: of bytes that are there, as they come.

    Raises:
        Absent: no address gives it; says what each answered.
        DataError: the disk is full, or cannot be written.
    """
    answers = []
    for address in addresses:
        try:
            _from_address(address, partial(file), most, told)
            check(partial(file))
        except urllib.error.HTTPError as error:
            answers.append(f"{address} answers {error.code} {error.reason}")
        except UNREACHABLE as error:
            if isinstance(error, OSError) and error.filename:  # of the disk, not of the network
                raise DataError(f"{error.filename}: {error.strerror}; the same command goes on") from None
            answers.append(f"{address}: {network.first_line(error)}")
        except DataError as error:
            partial(file).unlink(missing_ok=True)
            answers.append(f"{address}: {error}")
        else:
            partial(file).replace(file)
            return
    raise Absent("; ".join(answers))


def partial(file: Path) -> Path:
    """Return where a file lies until it is whole."""
    return file.with_name(f"{file.name}.partial")


def check_space(what: str, needed: int, place: Path) -> None:
    """Refuse to begin what cannot end: ``needed`` bytes must be free where ``place`` will be.

    Raises:
        Absent: they are not, or nothing may be written there.
    """
    folder = next(parent for parent in place.absolute().parents if parent.is_dir())
    if not os.access(folder, os.W_OK):
        raise Absent(f"{what}: {folder} cannot be written; name another data folder (--data-dir)")
    if needed > (free := shutil.disk_usage(folder).free):
        raise Absent(
            f"{what}: {network.sized(needed)} are needed in {folder}, {network.sized(free)} are free; make room, "
            "or name another data folder (--data-dir)"
        )


def say_waiting(what: str) -> None:
    """Tell that another process is at it."""
    with ProgressLog(1) as log:
        log.line(f"waiting for another process that fetches {what}")


def _from_address(address: str, partial: Path, most: int, told: Told) -> None:
    """Append to ``partial`` what an address has more."""
    start = partial.stat().st_size if partial.exists() else 0
    if start >= most:
        return
    request = urllib.request.Request(address, headers={"Range": f"bytes={start}-"} if start else {})  # noqa: S310  of http alone
    try:
        answer = urllib.request.urlopen(request, timeout=network.PATIENCE)  # noqa: S310
    except urllib.error.HTTPError as error:
        if start and error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # there is no more of it; whether that is all, its check says
        raise
    with answer:
        goes_on = start and answer.status == http.client.PARTIAL_CONTENT
        told(start if goes_on else 0)
        partial.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("ab" if goes_on else "wb") as opened:
            while content := answer.read(CHUNK):
                opened.write(content)
                told(len(content))
                if opened.tell() > most:
                    raise DataError(f"gives more than {most:,} bytes: it is another version")
        if answer.length:  # of what was announced, what did not come
            raise ConnectionError("the connection broke off; the same command goes on")
