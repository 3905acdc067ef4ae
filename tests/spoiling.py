"""Ways in which disks, editors, strangers and interrupted copies spoil a file."""

from __future__ import annotations

import json
import os
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mixer_bench.system import schema


def _truncated(content: bytes, chance: random.Random) -> bytes:
    return content[: chance.randrange(len(content))]


def _overwritten(content: bytes, chance: random.Random) -> bytes:
    start = chance.randrange(len(content))
    noise = chance.randbytes(chance.choice((1, 2, 4, 8, 64)))
    return content[:start] + noise + content[start + len(noise) :]


def _doubled(content: bytes, chance: random.Random) -> bytes:
    start, end = sorted(chance.randrange(len(content) + 1) for _ in range(2))
    return content[:end] + content[start:end] * chance.choice((1, 1, 9)) + content[end:]


def _cut_out(content: bytes, chance: random.Random) -> bytes:
    start, end = sorted(chance.randrange(len(content) + 1) for _ in range(2))
    return content[:start] + content[end:]


def _inserted(content: bytes, chance: random.Random) -> bytes:
    odd = (
        b"\0",
        b"\0" * 500,
        b"\xff\xfe",
        b"\xed\xa0\x80",
        b"[" * 3000,
        b'{"a":' * 3000,
        b"9" * 5000,
        b"\x1b[2J",
        b"\r",
    )
    place = chance.randrange(len(content) + 1)
    return content[:place] + chance.choice(odd) + content[place:]


def _extreme(content: bytes, chance: random.Random) -> bytes:
    """Put an extreme number in place of one that is written out, or of four bytes."""
    numbers = [match.span() for match in re.finditer(rb"(?<![\w.])-?\d+(\.\d+)?(e[-+]?\d+)?(?![\w.])", content)]
    if numbers and b"\0" not in content:
        start, end = chance.choice(numbers)
        values = (
            b"-1",
            b"0",
            b"1e999",
            b"NaN",
            b"nan",
            b"inf",
            b"1" + b"0" * 30,
            b"9223372036854775808",
            b"0.5",
            b"1e-400",
        )
        return content[:start] + chance.choice(values) + content[end:]
    start = chance.randrange(max(1, len(content) - 8))
    values = (b"\xff" * 4, b"\x7f" + b"\xff" * 3, b"\xff\xff\xff\x7f", b"\0" * 4, b"\xff" * 8, b"\0\0\0\x80")
    return content[:start] + (value := chance.choice(values)) + content[start + len(value) :]


def _retyped(content: bytes, chance: random.Random) -> bytes:
    """Put a value of another type into JSON, with the checksum that goes with it; words of other texts change place."""
    try:
        whole = json.loads(content)
    except ValueError:
        words = re.split(rb"([\s,=\"]+)", content)
        first, second = (chance.randrange(len(words)) for _ in range(2))
        words[first], words[second] = words[second], words[first]
        return b"".join(words)
    values = (
        None,
        True,
        [],
        {},
        "",
        "x",
        "[/x]",
        -1,
        0,
        10**30,
        1e300,
        [[1]],
        {"a": {"b": 1}},
        "\ud800",
        "\0",
        "../x",
        "9" * 5000,
    )
    parent, key = chance.choice([*_leaves(whole)])
    parent[key] = chance.choice(values)
    if isinstance(whole, dict) and schema.CHECKSUM in whole and key != schema.CHECKSUM:
        del whole[schema.CHECKSUM]
        try:
            whole[schema.CHECKSUM] = schema._checksum(whole)
        except UnicodeEncodeError:  # a lone surrogate has no bytes
            whole[schema.CHECKSUM] = "0" * 32
    return json.dumps(whole).encode()


def _leaves(value: Any) -> Iterator[tuple[Any, Any]]:
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        yield value, key
        if isinstance(inner, dict | list):
            yield from _leaves(inner)


def _emptied(_content: bytes, _chance: random.Random) -> bytes:
    return b""


def _other(_content: bytes, chance: random.Random) -> bytes:
    others = (
        b"null",
        b"[1, 2]",
        b"{}",
        b'"x"',
        b"\n\n",
        b"<!DOCTYPE html><html>",
        b"x",
        b"\xef\xbb\xbf",
        b"[" * 100_000,
        b"0" * 70_000,
    )
    return chance.choice((*others, chance.randbytes(2_000)))


WAYS = (_truncated, _overwritten, _doubled, _cut_out, _inserted, _extreme, _retyped, _retyped, _emptied, _other)
PLACES = ("folder", "pipe", "link to nothing", "link to itself", "device")  # in the file's place


def spoil(file: Path, sound: bytes, chance: random.Random) -> str:
    """Put a spoilt file into the place of a sound one; return in a word how."""
    if chance.random() < 1 / 40:
        place = chance.choice(PLACES)
        if place == "folder":
            file.mkdir()
        elif place == "pipe":
            os.mkfifo(file)
        else:
            target = {"link to nothing": "no-such-file", "link to itself": file.name, "device": os.devnull}[place]
            file.symlink_to(target)
        return place
    way = chance.choice(WAYS)
    file.write_bytes(way(sound, chance))
    return way.__name__[1:]
