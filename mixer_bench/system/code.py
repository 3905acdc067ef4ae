"""The code that can move a number, by concern: its digests say which code a number was made with.

``code.toml`` declares the concerns. A digest is of words, not of bytes: comments, docstrings and layout move nothing.
"""

from __future__ import annotations

import functools
import hashlib
import io
import itertools
import token
import tokenize
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from mixer_bench.system.paths import PACKAGE
from mixer_bench.system.schema import Frozen

TABLE = PACKAGE / "system" / "code.toml"
DIGITS = 12  # of a digest: two texts of one concern share it once in 10^14
IMAGES_TO_FEATURES = ("pixels", "networks")  # the concerns that features depend on
SILENT = (tokenize.COMMENT, tokenize.NL, tokenize.ENDMARKER)
STRUCTURE = (tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)  # their text is layout


class Concern(Frozen):
    """Modules that move a number together."""

    what: str
    modules: Annotated[tuple[str, ...], Field(min_length=1)]  # files or patterns, from the package's folder
    protocol: str | None = None  # whose numbers alone they move; None: all
    verdict: bool = False  # they move what is said of numbers, and none of a record's
    # "module:name" of the version in a run's identity; None: identity holds what they give.
    version_in: str | None = None
    version: int | None = None
    digest: str | None = None  # of the code that version stands for


@functools.cache
def table() -> Mapping[str, Any]:
    """Return what ``code.toml`` declares."""
    return tomllib.loads(TABLE.read_text(encoding="utf-8"))


@functools.cache
def concerns() -> Mapping[str, Concern]:
    """Return the declared concerns, by name."""
    return {name: Concern.model_validate(values) for name, values in table()["concern"].items()}


def files_of(concern: Concern) -> list[Path]:
    """Return the files of a concern, sorted by their place in the package.

    Raises:
        FileNotFoundError: one that is declared is not there.
    """
    matched = {pattern: sorted(PACKAGE.glob(pattern)) for pattern in concern.modules}
    if lacking := [pattern for pattern, places in matched.items() if not places]:
        raise FileNotFoundError(f"{', '.join(lacking)}: declared in {TABLE.name} and not in {PACKAGE}")
    return sorted(set(itertools.chain.from_iterable(matched.values())))


@functools.cache
def digests() -> Mapping[str, str]:
    """Return the digest of each concern's installed code."""
    return {name: _digest_of(files_of(concern)) for name, concern in concerns().items()}


def installed(protocol: str) -> dict[str, str]:
    """Return the digests of the installed code that numbers of a protocol depend on.

    One of another package may build on any of ours, so all of them count for it.
    """
    measuring = {name: concern.protocol for name, concern in concerns().items() if not concern.verdict}
    counting = (None, protocol) if protocol in measuring.values() else {*measuring.values()}
    return {name: digests()[name] for name, of_protocol in measuring.items() if of_protocol in counting}


def differing(made_with: Mapping[str, str], protocol: str) -> list[str]:
    """Return the concerns in which a number of ``protocol`` was made with other code than is installed."""
    today = installed(protocol)
    return [name for name in {**today, **made_with} if made_with.get(name) != today.get(name)]


def _digest_of(places: list[Path]) -> str:
    digest = hashlib.sha256()
    for place in places:
        digest.update(f"{place.relative_to(PACKAGE).as_posix()}\n".encode())
        digest.update("\n".join(words(place.read_text(encoding="utf-8"))).encode())
    return digest.hexdigest()[:DIGITS]


def words(text: str) -> Iterator[str]:
    """Yield the words of Python code without comments, docstrings and layout: the same under every version of it."""
    statement: list[str] = []
    for kind, word in _tokens(text):
        if kind not in STRUCTURE:
            statement.append(word)
            continue
        # A string that is a statement by itself does nothing: a docstring.
        if kind == tokenize.NEWLINE and len(statement) == 1 and statement[0].lstrip("rRuUbB")[:1] in ("'", '"'):
            statement.clear()
            continue
        yield from (*statement, token.tok_name[kind])
        statement.clear()


def _tokens(text: str) -> Iterator[tuple[int, str]]:
    """Yield kind and text of each token that matters; an f-string is one, as before Python 3.12."""
    lines = text.splitlines(keepends=True)
    depth, start = 0, (0, 0)
    for read in tokenize.generate_tokens(io.StringIO(text).readline):
        name = token.tok_name[read.type]
        if name == "FSTRING_START":
            start = read.start if depth == 0 else start
            depth += 1
        elif name == "FSTRING_END":
            depth -= 1
            if depth == 0:
                yield tokenize.STRING, _between(lines, start, read.end)
        elif depth == 0 and read.type not in SILENT:
            yield read.type, read.string


def _between(lines: list[str], start: tuple[int, int], end: tuple[int, int]) -> str:
    rows = lines[start[0] - 1 : end[0]]
    rows[-1] = rows[-1][: end[1]]
    rows[0] = rows[0][start[1] :]
    return "".join(rows)
