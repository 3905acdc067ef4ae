"""What is wrong with images of one's own: all of it at once, before anything is computed; or going on without them."""

from __future__ import annotations

import hashlib
import itertools
import logging
from collections.abc import Mapping, Sequence

import numpy as np
import PIL

from mixer_bench.data.decoding import ADVICE, pool
from mixer_bench.data.rows import Rows
from mixer_bench.errors import DataError
from mixer_bench.system import code, paths, schema
from mixer_bench.system.schema import Sealed

LOG = logging.getLogger(__name__)
CHUNK = 64  # images a thread decodes at a time
MANY = 10_000  # images, of which a word is said before they are decoded
LISTED, NAMED = 20, 3  # problems an error lists, and images that a description names


class _Noted(Sealed):
    """Why images of a source cannot be decoded, by index."""

    decoder: str  # what looked at them: another may see more, or less
    faults: dict[int, str]


def sound(
    given: Mapping[str, Rows], what: str, skip_bad: bool, problems: Sequence[str] = ()
) -> tuple[dict[str, Rows], str]:
    """Return splits of images that can all be decoded, and ``what`` with a word on those left out.

    Every image is decoded once for this; what came of it is noted until a file changes.

    Args:
        given: the splits of a source.
        what: the source in words.
        skip_bad: leave out images that cannot be read or decoded, instead of refusing them.
        problems: others of the source, which cannot be left out.

    Raises:
        DataError: lists all problems.
    """
    faults = {name: faults_of(rows) for name, rows in given.items()}
    unsound = [reason for by_index in faults.values() for reason in by_index.values()]
    left_out = [] if skip_bad else unsound
    refuse([*problems, *left_out], "replace what cannot be decoded, or leave it out: --skip-bad" if left_out else "")
    names = [given[split].name(index) for split, by_index in faults.items() for index in by_index]
    words = f"; {len(names)} images left out that cannot be decoded: {shortened(names)}" if names else ""
    kept = {split: np.setdiff1d(np.arange(len(rows)), [*faults[split]]) for split, rows in given.items()}
    return {split: rows.take(kept[split]) for split, rows in given.items()}, what + words


def refuse(problems: Sequence[str], advice: str = "") -> None:
    """Raise DataError that lists ``problems``, if there are any: one on its line, several below each other."""
    if len(problems) == 1:
        raise DataError("; ".join(filter(None, (problems[0], advice))))
    if problems:
        more = [f"and {len(problems) - LISTED} more"] if len(problems) > LISTED else []
        raise DataError("\n  ".join([f"{len(problems)} problems", *problems[:LISTED], *more]) + f"\n{advice}".rstrip())


def shortened(names: Sequence[str]) -> str:
    """Return the first of some names, and how many more there are."""
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")


def faults_of(rows: Rows) -> dict[int, str]:
    """Return by index why an image cannot be read or decoded: as noted before, where the source's stamp is the same."""
    identity = hashlib.sha256(rows.stored.stamp.encode() + rows.positions.astype("<i8").tobytes()).hexdigest()
    file = paths.cache_dir() / "faults" / f"{identity[:32]}.json"
    decoder = f"Pillow {PIL.__version__}, {code.digests()['pixels']}"
    if rows.stored.stamp:
        noted = schema.noted(file, _Noted)
        if noted and noted.decoder == decoder:
            return noted.faults
    if len(rows) > MANY:
        LOG.info("decoding %d images once, to see that all can be", len(rows))
    chunks = pool().map(lambda start: _undecodable(rows, start), range(0, len(rows), CHUNK))
    faults = dict(itertools.chain.from_iterable(chunks))
    if rows.stored.stamp:
        schema.note(file, _Noted(decoder=decoder, faults=faults))
    return faults


def _undecodable(rows: Rows, start: int) -> list[tuple[int, str]]:
    faults = []
    for index in range(start, min(start + CHUNK, len(rows))):
        try:
            rows.stored.decode(rows.content(index), rows.place(index), True)
        except DataError as error:
            faults.append((index, str(error).removesuffix(ADVICE)))
    return faults
