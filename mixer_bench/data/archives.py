"""The makers' own archives: fetched from where they are kept, checked by size and SHA-256, unpacked.

``originals.toml`` beside this file says what there is. A fetch that was broken off goes on where it ended; what arrives
is believed only with the SHA-256 that TensorFlow Datasets registers.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import http.client
import shutil
import tomllib
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from pydantic import Field, PositiveInt

from mixer_bench.data import unpacking
from mixer_bench.errors import Absent, DataError
from mixer_bench.system import claims, files, network, paths
from mixer_bench.system.progress import ProgressLog
from mixer_bench.system.schema import Frozen

TABLE = Path(__file__).with_name("originals.toml")
CHUNK = 1 << 20  # bytes
SPARE = 1.1  # times what an archive unpacks to that must be free
UNREACHABLE = (OSError, http.client.HTTPException)  # URLError and time-outs are OSErrors

Told = Callable[[int], object]  # of bytes that are there now


class Archive(Frozen):
    """A file of a data set's maker."""

    there: str  # below the data folder: the file itself, or what it holds once it is unpacked
    bytes: PositiveInt
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    addresses: tuple[Annotated[str, Field(pattern=r"^https?://")], ...]  # tried in turn
    name: str = ""  # of the archive; empty: it is not unpacked
    flat: bool = False  # it has no folder of the name of ``there`` at its top: all it holds belongs there
    inner: str = ""  # an archive within it, which is the one to unpack
    unpacked: PositiveInt | None = None  # bytes, about; None: as many as the archive

    def file(self, data_dir: Path) -> Path:
        """Return where the archive itself lies, put there by hand or fetched."""
        there = data_dir / self.there
        return there.with_name(self.name) if self.name else there


class Originals(Frozen):
    """What there is of a data set, and where to get what cannot be fetched."""

    licence: str
    archive: Annotated[tuple[Archive, ...], Field(min_length=1)]
    by_hand: str = ""  # what a person can do where no address answers


def of(name: str) -> Originals:
    """Return what ``originals.toml`` has of a data set."""
    return _table(TABLE)[name]


@functools.cache
def _table(file: Path) -> dict[str, Originals]:
    entries = tomllib.loads(file.read_text(encoding="utf-8"))
    return {name: Originals.model_validate(entry) for name, entry in entries.items()}


def missing(name: str, data_dir: Path) -> list[Archive]:
    """Return what of a data set is not below the data folder."""
    return [archive for archive in of(name).archive if not (data_dir / archive.there).exists()]


def fetch(name: str, data_dir: Path) -> None:
    """Fetch and unpack what of a data set is not below the data folder.

    Raises:
        Absent: the disk is too small, or no address gives it; says what each answered, and what a person can do.
        DataError: an archive is not what it should be.
    """
    for archive in missing(name, data_dir):
        file = archive.file(data_dir)
        with claims.awaited(data_dir / archive.there, functools.partial(_say_waiting, file.name)):
            if not (data_dir / archive.there).exists():  # another process may have been faster
                _fetched(archive, of(name), data_dir)


def check(archive: Archive, data_dir: Path) -> Path:
    """Return the file of an archive that is read as it is, its SHA-256 computed once for each state of the file.

    Raises:
        Absent: it is not there.
        DataError: it has another size or SHA-256.
    """
    file = archive.file(data_dir)
    if not file.is_file():
        raise Absent(f"no {file}; mixer-bench prepare --source originals fetches it")
    stamp = hashlib.sha256(f"{file} {files.state(file.stat())} {archive.sha256}".encode()).hexdigest()
    note = paths.cache_dir() / "archives" / stamp
    if not note.exists():
        _refuse_other(archive, file)
        with contextlib.suppress(OSError):  # then it is hashed again the next time
            files.write(note, "")
    return file


def _say_waiting(what: str) -> None:
    with ProgressLog(1) as log:
        log.line(f"waiting for another process that fetches {what}")


def _fetched(archive: Archive, of: Originals, data_dir: Path) -> None:
    file = archive.file(data_dir)
    by_hand = file.exists()
    _check_space(archive, file, by_hand)
    with ProgressLog(archive.bytes) as log:
        log.label(f"fetching {file.name}")
        if by_hand:
            _refuse_other(archive, file)
        else:
            _download(archive, of, file, log.advance)
        if archive.name:
            log.label(f"unpacking {file.name}")
            try:
                unpacking.unpack(file, data_dir / archive.there, inner=archive.inner, flat=archive.flat)
            except DataError:
                raise
            except OSError as error:
                raise DataError(f"{file}: cannot be unpacked ({error.strerror or error})") from None
            if not by_hand:
                file.unlink()


def _check_space(archive: Archive, file: Path, by_hand: bool) -> None:
    unpacked = int(SPARE * (archive.unpacked or archive.bytes)) if archive.name else 0
    partial = _partial(file)
    here = archive.bytes if by_hand else partial.stat().st_size if partial.exists() else 0
    needed = archive.bytes - here + unpacked
    folder = next(place for place in file.absolute().parents if place.is_dir())
    if needed > (free := shutil.disk_usage(folder).free):
        raise Absent(
            f"{file.name}: {network.sized(needed)} are needed in {folder}, {network.sized(free)} are free; make room, "
            "or name another data folder (--data-dir)"
        )


def _partial(file: Path) -> Path:
    return file.with_name(f"{file.name}.partial")


def _download(archive: Archive, of: Originals, file: Path, told: Told) -> None:
    """Fetch an archive from the first address that gives it."""
    answers = []
    for address in archive.addresses:
        try:
            _from_address(address, archive, _partial(file), told)
            _refuse_other(archive, _partial(file))
        except urllib.error.HTTPError as error:
            answers.append(f"{address} answers {error.code} {error.reason}")
            if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:  # what is here is of another, longer file
                _partial(file).unlink(missing_ok=True)
        except UNREACHABLE as error:
            if isinstance(error, OSError) and error.filename:  # of the disk, not of the network
                raise DataError(f"{error.filename}: {error.strerror}; the same command goes on") from None
            answers.append(f"{address}: {network.first_line(error)}")
        except DataError as error:
            _partial(file).unlink(missing_ok=True)
            answers.append(f"{address}: {error}")
        else:
            _partial(file).replace(file)
            return
    by_hand = of.by_hand or f"get {file.name} ({archive.bytes:,} bytes, SHA-256 {archive.sha256}) otherwise"
    raise Absent(f"{'; '.join(answers)}; {by_hand}, and put it into {file.parent}")


def _from_address(address: str, archive: Archive, partial: Path, told: Told) -> None:
    """Append to ``partial`` what an address has more."""
    partial.parent.mkdir(parents=True, exist_ok=True)
    start = partial.stat().st_size if partial.exists() else 0
    if start >= archive.bytes:
        return
    request = urllib.request.Request(address, headers={"Range": f"bytes={start}-"} if start else {})  # noqa: S310  of http alone: see Archive
    with urllib.request.urlopen(request, timeout=network.PATIENCE) as answer:  # noqa: S310
        goes_on = start and answer.status == http.client.PARTIAL_CONTENT
        told(start if goes_on else 0)
        with partial.open("ab" if goes_on else "wb") as opened:
            while content := answer.read(CHUNK):
                opened.write(content)
                told(len(content))
                if opened.tell() > archive.bytes:
                    raise DataError(f"gives more than {archive.bytes:,} bytes: it is another version")
    if partial.stat().st_size < archive.bytes:
        raise ConnectionError("the connection broke off; the same command goes on")


def _refuse_other(archive: Archive, file: Path) -> None:
    """Refuse a file that is not the one that TFDS registers."""
    if (size := file.stat().st_size) != archive.bytes:
        raise DataError(f"{file}: has {size:,} bytes, {archive.bytes:,} are expected: it is another version, or broken")
    with file.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    if digest != archive.sha256:
        raise DataError(f"{file}: its SHA-256 is {digest}, {archive.sha256} is expected: another version, or damaged")
