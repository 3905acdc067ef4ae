"""Fitted probes as values: features to scores, the same in a run and wherever the probe is taken.

A probe is a dataclass of arrays and numbers; ``KINDS`` names those that are kept with records.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from mixer_bench.results.kept import Kept
from mixer_bench.stats.scores import Scale

CHUNK = 1024  # queries at a time: bounds the [queries, neighbours] similarity matrix


@dataclass(frozen=True)
class Standardiser:
    """Takes a mean off features and divides them by a scale, feature by feature, in float64."""

    mean: np.ndarray  # [D]
    scale: np.ndarray  # [D]

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Return standardised features [N, D]."""
        values: np.ndarray = features.astype(np.float64)
        values -= self.mean  # in place: of a large set each copy takes hundreds of megabytes
        values /= self.scale
        return values


@dataclass(frozen=True)
class Affine:
    """A linear classifier on features that are standardised first; all float64."""

    kind: ClassVar[str] = "affine"
    mean: np.ndarray  # [D]
    scale: np.ndarray  # [D]
    weight: np.ndarray  # [C, D]
    bias: np.ndarray  # [C]; -inf of a class that is never predicted
    scores_are: Scale = "logits"

    def scores(self, features: np.ndarray) -> np.ndarray:
        """Return float64 [N, C] of features [N, D]."""
        return np.asarray(Standardiser(self.mean, self.scale)(features) @ self.weight.T + self.bias)


@dataclass(frozen=True)
class Neighbours:
    """Labelled features, the nearest of which by cosine similarity vote."""

    kind: ClassVar[str] = "neighbours"
    scores_are: ClassVar[Scale] = "votes"
    features: np.ndarray  # float32 [N, D]
    labels: np.ndarray  # int64 [N]
    k: int
    temperature: float
    num_classes: int

    @functools.cached_property
    def _known(self) -> np.ndarray:
        return unit(self.features)

    def scores(self, features: np.ndarray) -> np.ndarray:
        """Return the votes, float64 [N, C], of features [N, D]."""
        return vote(self._known, self.labels, unit(features), (self.k,), self.temperature, self.num_classes)[0]


Probe = Affine | Neighbours
KINDS: Mapping[str, type[Affine] | type[Neighbours]] = {kind.kind: kind for kind in (Affine, Neighbours)}


def kept(probe: Probe, about: Mapping[str, Any]) -> Kept:
    """Return what is kept of a probe, with more words ``about`` it."""
    values = {field.name: getattr(probe, field.name) for field in dataclasses.fields(probe)}
    tensors = {name: value for name, value in values.items() if isinstance(value, np.ndarray)}
    numbers = {name: value for name, value in values.items() if name not in tensors}
    return Kept({**about, "kind": probe.kind, "numbers": numbers}, tensors)


def of(values: Kept) -> Probe:
    """Return the probe that was kept.

    Raises:
        KeyError, TypeError: it is none.
    """
    fields: dict[str, Any] = {**values.tensors, **values.about["numbers"]}
    return KINDS[values.about["kind"]](**fields)


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


def unit(features: np.ndarray) -> np.ndarray:
    """Return features [N, D] at length 1, float64."""
    exact = features.astype(np.float64)
    scaled: np.ndarray = exact / np.maximum(np.linalg.norm(exact, axis=1, keepdims=True), 1e-12)
    return scaled
