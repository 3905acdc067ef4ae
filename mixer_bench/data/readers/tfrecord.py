"""TFRecord files and the ``tf.train.Example`` messages in them, read without TensorFlow.

A file is a row of records: length (uint64, little-endian), its masked CRC-32C (uint32), the data, and theirs
(tensorflow/core/lib/io/record_writer.h). An Example is a protocol buffer: a map from names to lists of bytes, of floats
or of integers (tensorflow/core/example/{example,feature}.proto).
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from mixer_bench.errors import DataError

HEADER = struct.Struct("<QI")  # length, its checksum
CHECKSUM = struct.Struct("<I")
FRAME = HEADER.size + CHECKSUM.size  # bytes of a record besides its data
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # wire types of protocol buffers
LONGEST_VARINT = 10  # bytes
BYTES_LIST, FLOAT_LIST, INT64_LIST = 1, 2, 3  # fields of a Feature
KEY, VALUE = 1, 2  # fields of a map's entry

Value = list[bytes] | np.ndarray  # bytes; float32 or int64 [n]


class Record(NamedTuple):
    """Where in a file the data of a record lie, bytes."""

    start: int
    length: int


def records(file: Path, count: int | None = None) -> list[Record]:
    """Return the places of all records of a file; only what stands before each is read.

    Raises:
        DataError: a length does not agree with its checksum, the file ends within a record, or it does not hold
            ``count`` records.
        OSError: the file cannot be read.
    """
    places: list[Record] = []
    if file.exists() and not file.is_file():
        raise DataError(f"{file}: is no file but a folder, pipe or device")
    size, start = file.stat().st_size, 0
    if size:
        with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            while start < size:
                header = mapped[start : start + HEADER.size]
                if len(header) < HEADER.size:
                    raise DataError(f"{file}: ends within record {len(places)}; copy it again")
                length, checksum = HEADER.unpack(header)
                if _masked(header[:8]) != checksum:
                    raise DataError(f"{file}: record {len(places)}: its length is damaged; copy the file again")
                places.append(Record(start + HEADER.size, length))
                start += HEADER.size + length + CHECKSUM.size
    if start != size:
        raise DataError(f"{file}: ends within record {len(places) - 1}; copy it again")
    if count not in (None, len(places)):
        raise DataError(f"{file}: holds {len(places)} records, {count} are expected; copy it again")
    return places


def check(file: Path, count: int) -> None:
    """Refuse a file that does not hold ``count`` records, each as its checksum says.

    Raises:
        DataError: says which is damaged.
        OSError: the file cannot be read.
    """
    places = records(file, count)
    with file.open("rb") as opened:
        for number, record in enumerate(places):
            _content(opened, file, number, record)


def content(file: Path, number: int, record: Record) -> bytes:
    """Return the data of a record.

    Raises:
        DataError: they do not agree with their checksum.
        OSError: the file cannot be read.
    """
    with file.open("rb") as opened:
        return _content(opened, file, number, record)


def _content(opened: IO[bytes], file: Path, number: int, record: Record) -> bytes:
    opened.seek(record.start)
    data = opened.read(record.length + CHECKSUM.size)
    end = data[record.length :]
    if len(end) < CHECKSUM.size or CHECKSUM.unpack(end)[0] != _masked(data[: record.length]):
        raise DataError(f"{file}: record {number} is damaged (checksum); copy the file again")
    return data[: record.length]


def features_of(file: Path, places: list[Record], names: tuple[str, ...]) -> Iterator[dict[str, Value]]:
    """Give of every record the features that are named; others, such as an image, are stepped over unread.

    Raises:
        DataError: a record is no Example, or lacks a feature.
        OSError: the file cannot be read.
    """
    if not places:
        return
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        for number, (start, length) in enumerate(places):
            try:
                yield _features(mapped, start, start + length, names)
            except (ValueError, IndexError, struct.error) as error:
                raise DataError(f"{file}: record {number}: {error}") from None


def features(data: bytes, names: tuple[str, ...]) -> dict[str, Value]:
    """Return the features of one Example that are named.

    Raises:
        ValueError: it is none, or lacks one of them.
    """
    return _features(data, 0, len(data), names)


def _features(data: bytes | mmap.mmap, start: int, end: int, names: tuple[str, ...]) -> dict[str, Value]:
    wanted = {name.encode(): name for name in names}
    values: dict[str, Value] = {}
    for _, first, last in _fields(data, start, end, 1):  # Example.features
        for _, entry, entry_end in _fields(data, first, last, 1):  # Features.feature, a map
            parts = {field: (begin, stop) for field, begin, stop in _fields(data, entry, entry_end)}
            key = data[slice(*parts.get(KEY, (0, 0)))]
            if key in wanted and VALUE in parts:
                values[wanted[key]] = _value(data, *parts[VALUE])
    if missing := [name for name in names if name not in values]:
        raise ValueError(f"it has no feature {missing[0]!r}")
    return values


def _value(data: bytes | mmap.mmap, start: int, end: int) -> Value:
    """Return what a Feature holds."""
    for kind, first, last in _fields(data, start, end):
        if kind == BYTES_LIST:
            return [data[begin:stop] for _, begin, stop in _fields(data, first, last, 1)]
        if kind == FLOAT_LIST:
            parts = [data[begin:stop] for _, begin, stop in _fields(data, first, last, 1, FIXED32)]
            return np.frombuffer(b"".join(parts), "<f4")
        if kind == INT64_LIST:
            return np.array([*_integers(data, first, last)], dtype=np.uint64).astype(np.int64)
    return np.zeros(0, dtype=np.int64)  # a list that is empty may be left out


def _integers(data: bytes | mmap.mmap, start: int, end: int) -> Iterator[int]:
    """Give the numbers of an Int64List, which are packed, or each a field of its own."""
    for _, begin, stop in _fields(data, start, end, 1, VARINT):
        place = begin
        while place < stop:
            number, place = _varint(data, place, stop)
            yield number


def _fields(
    data: bytes | mmap.mmap, start: int, end: int, only: int | None = None, plain: int = BYTES
) -> Iterator[tuple[int, int, int]]:
    """Give number, start and end of each field of a message, or of those with the number ``only``.

    Fields of the wire type ``plain`` are given besides those with a length: numbers that are not packed.
    """
    place = start
    while place < end:
        tag, place = _varint(data, place, end)
        number, kind = tag >> 3, tag & 7
        begin = place
        if kind == VARINT:
            _, place = _varint(data, place, end)
        elif kind == BYTES:
            length, begin = _varint(data, place, end)
            place = begin + length
        elif kind in (FIXED64, FIXED32):
            place += 8 if kind == FIXED64 else 4
        else:
            raise ValueError("it is no Example (a field of unknown type)")
        if place > end:
            raise ValueError("it is no Example (a field beyond its end)")
        if kind in (BYTES, plain) and only in (None, number):
            yield number, begin, place


def _varint(data: bytes | mmap.mmap, place: int, end: int) -> tuple[int, int]:
    """Return a number of seven bits a byte, and where it ends."""
    value = 0
    for count in range(LONGEST_VARINT):
        if place + count >= end:
            break
        byte = data[place + count]
        value |= (byte & 0x7F) << 7 * count
        if byte < 0x80:  # noqa: PLR2004  the last one
            return value & 0xFFFF_FFFF_FFFF_FFFF, place + count + 1
    raise ValueError("it is no Example (a number without an end)")


def _masked(data: bytes) -> int:
    """Return the CRC-32C of ``data`` as record_writer.h masks it: turned right by 15 bits, and a constant added."""
    import google_crc32c

    checksum = google_crc32c.value(data)
    return int(((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFF_FFFF)
