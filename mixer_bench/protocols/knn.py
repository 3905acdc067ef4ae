"""Nearest neighbours by cosine similarity on frozen features, k chosen on val.

Follows the k-NN evaluation of DINO (Caron et al. 2021, section 4.1): the k most similar training images vote for their
class with weight exp(similarity / 0.07). Departure: k is chosen on val, and train + val are the neighbours of test.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field, PositiveInt

from mixer_bench.data.examples import Development
from mixer_bench.protocols.base import Fitted, FrozenBackbone, Protocol, Shape, choose, probed
from mixer_bench.results.probes import Neighbours, unit, vote
from mixer_bench.system.schema import Frozen, Positive

VERSION = 1


class Config(Frozen):
    """The grid of k (values above the number of neighbours count as that number) and the votes' temperature."""

    k: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (1, 5, 10, 20, 50, 100, 200)
    temperature: Positive = 0.07


def fit(backbone: FrozenBackbone, development: Development, config: Config, seed: int) -> Fitted:
    """Choose k on val with train as neighbours, then keep train + val. ``seed`` changes nothing."""
    del seed
    train, val, classes = development.train, development.val, development.num_classes
    of_train, of_val = backbone.features(train), backbone.features(val)
    votes = vote(unit(of_train), train.labels, unit(of_val), config.k, config.temperature, classes)
    selection = choose("k", config.k, (table.argmax(axis=1) for table in votes), development)
    both, labels = np.concatenate([of_train, of_val]), np.concatenate([train.labels, val.labels])
    probe = Neighbours(both, labels, int(selection.chosen), config.temperature, classes)
    return probed(backbone, probe, selection=selection)


def arithmetic(config: Config, shape: Shape) -> float:
    """Return what all pairs take: their similarity, and sorting and counting it, as long as 1,000 multiply-adds."""
    del config
    pairs = shape.val * shape.train + shape.test * (shape.train + shape.val)
    return pairs * (shape.features + 1000.0)


PROTOCOL = Protocol(VERSION, Config, fit, seeded=False, arithmetic=arithmetic)
