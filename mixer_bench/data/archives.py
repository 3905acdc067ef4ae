"""The makers' own archives: fetched from where they are kept, checked by size and SHA-256, unpacked.

``originals.toml`` beside this file says what there is. A fetch that was broken off goes on where it ended; what arrives
is believed only with the SHA-256 that TensorFlow Datasets registers.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import tomllib
from pathlib import Path
from typing import Annotated

from pydantic import Field, PositiveInt

from mixer_bench.data import fetching, unpacking
from mixer_bench.errors import Absent, DataError
from mixer_bench.system import claims, files, paths
from mixer_bench.system.progress import ProgressLog
from mixer_bench.system.schema import Frozen

TABLE = Path(__file__).with_name("originals.toml")
SPARE = 1.1  # times what an archive unpacks to that must be free


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
    brought: tuple[str, ...] = ()  # places below the data folder that a person alone can fill


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


def refuse_misplaced(name: str, data_dir: Path) -> None:
    """Refuse what a person put or unpacked near to where it belongs: it would be missed, or fetched once more.

    Raises:
        DataError: names where it is, and where it should be.
    """
    for archive in (each for each in of(name).archive if each.name):
        there, file, stem = data_dir / archive.there, archive.file(data_dir), archive.name.partition(".")[0]
        near = [there / there.name]
        if not there.exists():
            # Of the names at the top only those that are this data set's: a folder "images" is anybody's.
            roots = [there.parent / stem, data_dir / stem, *([] if there.name.islower() else [data_dir])]
            near += [root / there.name for root in roots if root / there.name != there]
        for folder in filter(Path.is_dir, near):
            raise DataError(f"{folder} is not where it belongs; move it to {there}")
        packed = data_dir / archive.name
        if not there.exists() and packed != file and packed.is_file() and packed.stat().st_size == archive.bytes:
            raise DataError(f"{packed} is not where it belongs; move it to {file}")
        inner = [root / archive.inner for root in (there.parent, data_dir) if archive.inner and not there.exists()]
        for packed in filter(Path.is_file, inner):
            raise DataError(f"{packed} is an archive in itself; unpack it to {there}")


def refuse_unbrought(name: str, data_dir: Path) -> None:
    """Raise ``Absent`` where what a person must bring is not below the data folder."""
    for place in of(name).brought:
        if not (data_dir / place).exists():
            raise Absent(f"no {data_dir / place}")


def fetch(name: str, data_dir: Path) -> None:
    """Fetch and unpack what of a data set is not below the data folder.

    Raises:
        Absent: what a person must bring is not there, the disk is too small, or no address gives it; says what each
            answered, and what a person can do.
        DataError: an archive is not what it should be, or not where.
    """
    refuse_misplaced(name, data_dir)
    refuse_unbrought(name, data_dir)
    for archive in missing(name, data_dir):
        file = archive.file(data_dir)
        with claims.awaited(data_dir / archive.there, functools.partial(fetching.say_waiting, file.name)):
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
    partial = fetching.partial(file)
    here = archive.bytes if by_hand else partial.stat().st_size if partial.exists() else 0
    fetching.check_space(file.name, archive.bytes - here + unpacked, file)


def _download(archive: Archive, of: Originals, file: Path, told: fetching.Told) -> None:
    try:
        fetching.fetch(archive.addresses, file, functools.partial(_refuse_other, archive), archive.bytes, told)
    except Absent as absent:
        by_hand = of.by_hand or f"get {file.name} ({archive.bytes:,} bytes, SHA-256 {archive.sha256}) otherwise"
        raise Absent(f"{absent}; {by_hand}, and put it into {file.parent}") from None


def _refuse_other(archive: Archive, file: Path) -> None:
    """Refuse a file that is not the one that TFDS registers."""
    if (size := file.stat().st_size) != archive.bytes:
        raise DataError(f"{file}: has {size:,} bytes, {archive.bytes:,} are expected: it is another version, or broken")
    with file.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    if digest != archive.sha256:
        raise DataError(f"{file}: its SHA-256 is {digest}, {archive.sha256} is expected: another version, or damaged")
