"""Nearest neighbours by cosine similarity on frozen features, k chosen on val.

Follows the k-NN evaluation of DINO (Caron et al. 2021, section 4.1): the k most similar training images vote for their
class with weight exp(similarity / 0.07). Departure: k is chosen on val, and train + val are the neighbours of test.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field, PositiveInt

from mixer_bench.data.examples import Development, Examples
from mixer_bench.protocols.base import Fitted, FrozenBackbone, Protocol, Shape, choose
from mixer_bench.system.schema import Frozen, Positive

VERSION = 1
CHUNK = 1024  # queries at a time: bounds the [queries, neighbours] similarity matrix


class Config(Frozen):
    """The grid of k (values above the number of neighbours count as that number) and the votes' temperature."""

    k: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (1, 5, 10, 20, 50, 100, 200)
    temperature: Positive = 0.07


def fit(backbone: FrozenBackbone, development: Development, config: Config, seed: int) -> Fitted:
    """Choose k on val with train as neighbours, then keep train + val. ``seed`` changes nothing."""
    del seed
    train, val, classes = development.train, development.val, development.num_classes
    known = _unit(backbone.features(train))
    queries = _unit(backbone.features(val))
    votes = vote(known, train.labels, queries, config.k, config.temperature, classes)
    selection = choose("k", config.k, (table.argmax(axis=1) for table in votes), development)
    k = int(selection.chosen)
    both, labels = np.concatenate([known, queries]), np.concatenate([train.labels, val.labels])

    def scores(examples: Examples) -> np.ndarray:
        return vote(both, labels, _unit(backbone.features(examples)), (k,), config.temperature, classes)[0]

    return Fitted(scores, selection, scale="votes")


def vote(
    known: np.ndarray, labels: np.ndarray, queries: np.ndarray, ks: tuple[int, ...], temperature: float, classes: int
) -> list[np.ndarray]:
    """Return the class votes [Q, classes] of the k most similar known features, for every k of ``ks`` from one sorting.

    Args:
        known: unit vectors [N, D].
        labels: int [N].
        queries: unit vectors [Q, D].
        ks: numbers of neighbours.
        temperature: of the votes' weights.
        classes: number of classes.
    """
    most = min(max(ks), len(known))
    votes = [np.zeros((len(queries), classes)) for _ in ks]
    for start in range(0, len(queries), CHUNK):
        similarity = queries[start : start + CHUNK] @ known.T
        # Stable sorting makes the first of equally similar neighbours win everywhere.
        nearest = np.argsort(-similarity, axis=1, kind="stable")[:, :most]
        # exp((s - s_max) / T) instead of exp(s / T): the same votes up to a factor of each query, and at no temperature
        # do they overflow or all vanish.
        top = np.take_along_axis(similarity, nearest, axis=1)
        weight = np.exp((top - top[:, :1]) / temperature)
        rows = np.arange(len(similarity))[:, None] + start
        for k, table in zip(ks, votes, strict=True):
            np.add.at(table, (rows, labels[nearest[:, :k]]), weight[:, :k])
    return votes


def _unit(features: np.ndarray) -> np.ndarray:
    exact = features.astype(np.float64)
    unit: np.ndarray = exact / np.maximum(np.linalg.norm(exact, axis=1, keepdims=True), 1e-12)
    return unit


def arithmetic(config: Config, shape: Shape) -> float:
    """Return what all pairs take: their similarity, and sorting and counting it, as long as 1,000 multiply-adds."""
    del config
    pairs = shape.val * shape.train + shape.test * (shape.train + shape.val)
    return pairs * (shape.features + 1000.0)


PROTOCOL = Protocol(VERSION, Config, fit, seeded=False, arithmetic=arithmetic)
