"""The contract of a protocol: what it declares, what it is given and what it gives back.

A module of a protocol has ``VERSION``, ``Config`` and ``fit``, and names them with all else there is to know of it in
``PROTOCOL = Protocol(VERSION, Config, fit, ...)``. One that trains calls ``training.finetuning.finetune`` with a
``Method`` of its own, or ``training.loop.train`` with batches of its own.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from pydantic import BaseModel

from mixer_bench.data.examples import Development, Examples
from mixer_bench.results.probes import Affine, Neighbours, Probe, Standardiser
from mixer_bench.results.record import Selection
from mixer_bench.stats import metrics
from mixer_bench.task.task import Task
from mixer_bench.training.trainable import Fitted, TrainableBackbone

__all__ = [
    "Affine",
    "ClassifyingBackbone",
    "Fitted",
    "FrozenBackbone",
    "Neighbours",
    "Protocol",
    "Shape",
    "Standardiser",
    "TrainableBackbone",
    "TrainingCost",
    "choose",
    "probed",
    "standardiser",
]


class FrozenBackbone(typing.Protocol):
    """A backbone whose weights stay as they are."""

    @property
    def device(self) -> Any:
        """The device of its network, or its name: what computes with features may do so there."""
        ...

    def heard(self, words: str) -> None:
        """Report what goes on."""
        ...

    def features(self, examples: Examples) -> np.ndarray:
        """Return the features of all examples, float32 [N, D]; the same array every time it is asked."""
        ...


class ClassifyingBackbone(FrozenBackbone, typing.Protocol):
    """A frozen backbone whose checkpoint has a classifier."""

    def classifier(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the classifier on the features: weights [classes, D] and biases [classes], float32."""
        ...


class TrainingCost(NamedTuple):
    """How many images go forward and backward through the network, each counted every time it does."""

    searched: int = 0  # to choose settings on val, once for all seeds
    trained: int = 0  # with what was chosen, for each seed


class Shape(NamedTuple):
    """What a probe is fitted and judged on."""

    train: int  # images
    val: int
    test: int
    features: int
    classes: int


def _nothing(_config: Any) -> TrainingCost:
    return TrainingCost()


def _no_time(_config: Any, _shape: Shape) -> float:
    return 0.0


@dataclass(frozen=True)
class Protocol:
    """All that the rest of the program knows of a protocol: the value ``PROTOCOL`` of its module."""

    version: int  # raised whenever a score could change
    config: type[BaseModel]  # frozen; the defaults are the published setting
    fit: Callable[[Any, Development, Any, int], Fitted]  # backbone, train and val, config, seed; never given test
    trained_classes: bool = False  # judges the checkpoint's own classifier, so only on tasks of its classes
    trains: bool = False  # given a TrainableBackbone to train; otherwise a FrozenBackbone
    seeded: bool = True  # False: nothing is drawn, so that one seed says it all
    sweep: Mapping[str, Sequence[Any]] = field(default_factory=dict)  # settings of which a plain run makes one run each
    defaults: Callable[[str | None, Task, int], Mapping[str, Any]] | None = None  # preset, task, examples -> settings
    cost: Callable[[Any], TrainingCost] = _nothing  # of one config
    # Of a probe with a config: how many multiply-adds of large float64 products take as long, about.
    arithmetic: Callable[[Any, Shape], float] = _no_time

    def __post_init__(self) -> None:
        """Refuse a declaration that the program could not plan with."""
        if not self.config.model_config.get("frozen"):
            raise TypeError(f"{self.config.__name__} must be a frozen pydantic model")
        if self.trains and self.cost is _nothing:
            raise TypeError("a protocol that trains must say its cost")
        self.config()  # raises where a setting has no default

    @property
    def documentation(self) -> str:
        """The docstring of its module."""
        return inspect.cleandoc(getattr(inspect.getmodule(self.fit), "__doc__", None) or "")


def choose(
    parameter: str, grid: Sequence[float], predicted: Iterable[np.ndarray], development: Development
) -> Selection:
    """Choose the value of ``grid`` whose predictions of val score best by the task's metric, the first of equals.

    Args:
        parameter: what is chosen, for the record.
        grid: the values tried.
        predicted: for each of them, the classes it predicts for val, int [N].
        development: holds val and the metric.
    """
    val, metric = development.val, metrics.get(development.metric)
    scores = [metric.score(classes, val.labels, development.num_classes) for classes in predicted]
    return Selection.best(parameter, grid, scores, len(val))


def standardiser(features: np.ndarray, epsilon: float) -> Standardiser:
    """Return what brings ``features`` [N, D] to mean 0 and population deviation 1, per feature.

    ``epsilon`` is added to the deviation.
    """
    exact = features.astype(np.float64)
    return Standardiser(exact.mean(axis=0), exact.std(axis=0) + epsilon)


def probed(backbone: FrozenBackbone, probe: Probe, **told: Any) -> Fitted:
    """Return what a protocol learned that ends in a probe, which is kept with the record; ``told``: other fields."""

    def scores(examples: Examples) -> np.ndarray:
        return probe.scores(backbone.features(examples))

    return Fitted(scores, scale=probe.scores_are, probe=probe, **told)
