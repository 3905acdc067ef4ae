"""Which examples: index arithmetic over names and labels, with no images, no torch and no disk."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Mapping, Sequence

import numpy as np

from mixer_bench.errors import DataError, UsageError

BOUNDS = {"start": "0%", "stop": "100%"}
_PART = re.compile(r"(?P<name>\w+)(?:\[(?P<start>-?\d+%?)?:(?P<stop>-?\d+%?)?\])?")


def resolve(expression: str, sizes: Mapping[str, int]) -> list[tuple[str, np.ndarray]]:
    """Return the examples that an expression such as ``train[:800]+validation[50%:]`` names.

    Args:
        expression: TFDS's grammar: names with optional ``[start:stop]``, in examples or percent, from the end
            where negative, joined by ``+``.
        sizes: how many examples each named split of the source has.

    Returns:
        For each part, the source's split and the positions in it, ascending.

    Raises:
        UsageError: not such an expression, no such split, or a slice beyond its end.
    """
    parts = []
    for part in expression.replace(" ", "").split("+"):
        match = _PART.fullmatch(part)
        if match is None:
            raise UsageError(f"split {expression!r}: {part!r} is not of the form name[start:stop]")
        name = match["name"]
        if name not in sizes:
            raise UsageError(f"split {expression!r}: there is no split {name!r}; there are {', '.join(sorted(sizes))}")
        start, stop = (_position(match[bound] or default, sizes[name]) for bound, default in BOUNDS.items())
        if not 0 <= start < stop <= sizes[name]:
            raise UsageError(f"split {expression!r}: {part!r} does not lie within the {sizes[name]} examples")
        parts.append((name, np.arange(start, stop)))
    return parts


def check_disjoint(parts: Mapping[str, list[tuple[str, np.ndarray]]]) -> None:
    """Refuse splits that share an example: what is trained or chosen on must not be tested on.

    Raises:
        UsageError: an example is named twice.
    """
    pieces = [(split, *part) for split, named in parts.items() for part in named]
    for (split, source, positions), (other, other_source, others) in itertools.combinations(pieces, 2):
        if source == other_source and len(both := np.intersect1d(positions, others)):
            raise UsageError(f"example {both[0]} of {source!r} is in {split} and again in {other}")


def _position(text: str, size: int) -> int:
    position = round(size * int(text[:-1]) / 100) if text.endswith("%") else int(text)
    return position + size if text.startswith("-") else position


def few_shot(labels: np.ndarray, num_classes: int, shots: int, seed: int) -> np.ndarray:
    """Return positions of ``shots`` examples of each class, as big_vision's ``fewshot_lsr`` draws them.

    One generator for the seed is consumed class by class, each class wholly permuted: the draw for fewer shots is a
    part of the draw for more. A class with fewer examples gives all it has.

    Args:
        labels: int [N].
        num_classes: classes 0 .. num_classes - 1 are drawn from, whether or not they occur.
        shots: examples per class, 1 or more.
        seed: of ``numpy.random.default_rng``.

    Raises:
        UsageError: ``shots`` is below 1.
    """
    if shots < 1:
        raise UsageError(f"shots must be 1 or more, not {shots}")
    generator = np.random.default_rng(seed)
    return np.concatenate([generator.permutation(np.flatnonzero(labels == c))[:shots] for c in range(num_classes)])


def stratified(labels: np.ndarray, shares: tuple[float, ...], names: tuple[str, ...], seed: int) -> list[np.ndarray]:
    """Return positions in parts such that each class is divided in the proportions ``shares``.

    Every class gives every part at least one example; ``names`` are the classes', for errors.

    Raises:
        DataError: a class has fewer examples than there are parts.
    """
    generator = np.random.default_rng(seed)
    parts: list[list[np.ndarray]] = [[] for _ in shares]
    for label, name in enumerate(names):
        members = generator.permutation(np.flatnonzero(labels == label))
        if len(members) < len(shares):
            told = f"class {name!r} has {len(members)} image{'s' * (len(members) != 1)}"
            raise DataError(f"{told}; {len(shares)} or more are needed to split it")
        counts = [max(1, round(len(members) * share)) for share in shares[1:]]
        counts = [len(members) - sum(counts), *counts]
        while counts[0] < 1:  # only where rounding up tiny parts used everything
            counts[counts.index(max(counts))] -= 1
            counts[0] += 1
        for part, chunk in zip(parts, np.split(members, np.cumsum(counts)[:-1]), strict=True):
            part.append(chunk)
    return [np.sort(np.concatenate(part)) for part in parts]


def tfds_order(split: str, keys: Sequence[str | bytes | int]) -> np.ndarray:
    """Return positions of the examples in the order of TensorFlow Datasets: ascending ``md5(split + key)``.

    The hash is read as a 128-bit number; shards keep the order, so ``train[:800]`` are the 800 smallest
    (tensorflow/datasets core/hashing.py and core/shuffle.py).

    Args:
        split: TFDS's name of the split, which salts the hash.
        keys: what the builder yields with each example.

    Raises:
        DataError: two examples have the same key.
    """
    if len(set(keys)) < len(keys):
        first: dict[str | bytes | int, int] = {}
        for row, key in enumerate(keys):
            if (earlier := first.setdefault(key, row)) != row:
                raise DataError(f"rows {earlier} and {row} of {split!r} have the same key {key!r}")
    salt = split.encode()
    bare = (key if isinstance(key, bytes) else str(key).encode() for key in keys)
    hashes = b"".join(hashlib.md5(salt + key, usedforsecurity=False).digest() for key in bare)
    # A number of 128 bits, big-endian, is ordered by its first 64 and then by its last.
    first_half, last_half = np.frombuffer(bytearray(hashes), ">u8").astype(np.uint64).reshape(-1, 2).T
    return np.lexsort((last_half, first_half)).astype(np.int64)


def shuffled(split: str, count: int) -> np.ndarray:
    """Return a permutation of ``count`` positions, for ever the same for a split's name: where no key can be had."""
    seed = list(hashlib.md5(split.encode(), usedforsecurity=False).digest())
    return np.random.default_rng(seed).permutation(count)
