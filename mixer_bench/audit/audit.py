"""A task's images through the features of a model: labels that look wrong, copies, classes that are mixed up."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from mixer_bench.audit import features as computing
from mixer_bench.audit import noise, probe, twins
from mixer_bench.audit.noise import Noise
from mixer_bench.audit.values import Audit, Mixed, Place, Suspect, Twins
from mixer_bench.data.examples import Examples, TaskData
from mixer_bench.runs.request import Request
from mixer_bench.stats import intervals
from mixer_bench.system.progress import ProgressLog

LISTED = 20  # suspects, however unlikely
LIKELY = 0.01  # from which probability on more are listed
PAIRS = 10  # of classes that are mixed up
SHOWN = 5  # classes that a remark names


def audit(request: Request, log: Callable[[float], ProgressLog]) -> tuple[Audit, TaskData]:
    """Look for what is wrong with a task's images, of all splits together; return the images as well.

    Raises:
        UsageError: it asks for several tasks or models.
        DataError: there is one class only, or none has two images.
        MixerBenchError: the task or the model cannot be had.
    """
    task, data, model = computing.gathered(request)
    every = _Every(data)
    copied, altered = twins.copies(every.examples)
    splits = [*data.splits.values()]
    *rows, of_copies = computing.features(request, task, model, [*splits, altered], log)
    features, labels = np.concatenate(rows), every.examples.labels
    with log(len(labels) + probe.FOLDS) as shown:
        shown.label("near-duplicates")
        unit = twins.directions(features)
        units = unit(features)
        cosines, nearness = twins.threshold(units, labels, copied, unit(of_copies))
        pairs = twins.pairs(units, cosines, shown.advance)
        alike, repeated = every.twins(pairs)

        def heard(words: str) -> None:
            shown.label(words)
            shown.advance()

        odds = probe.log_odds(features, labels, alike, data.num_classes, heard)
    crowd = [f"more than {twins.MOST:,} pairs are as near as a copy: the nearest are listed"]
    done = Audit(
        task=task.name,
        model=model.card.name,
        images=len(labels),
        classes=data.num_classes,
        twins=tuple(repeated),
        nearness=nearness,
        **_of_labels(odds, every, data.class_names, crowd if len(pairs) >= twins.MOST else []),
    )
    return done, data


def _of_labels(odds: np.ndarray, every: _Every, names: Sequence[str], remarks: Sequence[str]) -> dict[str, Any]:
    """Return the fields of an audit that out-of-fold log-odds [C, N, K] tell, and its remarks."""
    labels = every.examples.labels
    judged = np.isfinite(odds[0, np.arange(len(labels)), labels])
    judgement = noise.fitted(odds[:, judged], labels[judged], len(np.unique(labels[judged])))
    right = judgement.likely.argmax(axis=1) == labels[judged]
    return {
        "agreement": float(right.mean()),
        "ci95": intervals.proportion_interval(int(right.sum()), len(right)),
        "wrong": float(judgement.wrong.sum()),
        "wrong_ci95": (judgement.share_ci95[0] * len(right), judgement.share_ci95[1] * len(right)),
        "suspects": tuple(every.suspects(judgement, np.flatnonzero(judged))),
        "mixed": tuple(_mixed(judgement, labels[judged], names)),
        "remarks": (*_remarks(labels, judged, names), *remarks),
    }


class _Every:
    """The images of all splits, one after the other."""

    def __init__(self, data: TaskData) -> None:
        self._names = data.class_names
        self.examples = Examples.joined([*data.splits.values()])
        self._split = [(name, index) for name, examples in data.splits.items() for index in range(len(examples))]

    def place(self, number: int) -> Place:
        """Return what tells image ``number``."""
        split, index = self._split[number]
        label = self._names[self.examples.labels[number]]
        return Place(split=split, index=index, name=self.examples.names[number], label=label)

    def suspects(self, judgement: Noise, numbers: np.ndarray) -> Iterator[Suspect]:
        """Give images whose labels look wrong, the likeliest first: all that are likely enough, ``LISTED`` at least."""
        others = judgement.likely.copy()
        others[np.arange(len(numbers)), self.examples.labels[numbers]] = -1
        for rank, row in enumerate(np.argsort(judgement.own, kind="stable")):
            if rank >= LISTED and judgement.wrong[row] < LIKELY:
                return
            yield Suspect(
                image=self.place(int(numbers[row])),
                suggested=self._names[int(others[row].argmax())],
                p_label=float(judgement.own[row]),
                p_suggested=float(others[row].max()),
                p_wrong=float(judgement.wrong[row]),
            )

    def twins(self, pairs: Sequence[tuple[int, int, float]]) -> tuple[np.ndarray, list[Twins]]:
        """Return a number for each image, that of the image it is the same as; and all that are there more than once.

        Args:
            pairs: positions and cosine of images that are near.
        """
        alike = np.arange(len(self.examples))
        every = []
        for group in twins.repeated(self.examples):
            alike[group] = group[0]
            every.append(Twins(alike="bytes", cosine=1, images=tuple(map(self.place, group))))
        for first, second, cosine in pairs:
            if alike[first] == alike[second]:
                continue
            images = self.examples.images
            same = cosine >= twins.SAME and np.array_equal(images[first], images[second])
            if same:
                alike[alike == alike[second]] = alike[first]
            both = (self.place(first), self.place(second))
            every.append(Twins(alike="pixels" if same else "features", cosine=min(1, cosine), images=both))
        every.sort(key=lambda group: (not group.contradicting, not group.across, -group.cosine))
        return alike, every


def _mixed(judgement: Noise, labels: np.ndarray, names: Sequence[str]) -> list[Mixed]:
    """Return the pairs of classes that are taken for each other most often."""
    count, guesses = len(names), judgement.likely.argmax(axis=1)
    table = np.bincount(labels * count + guesses, minlength=count * count).reshape(count, count)
    sizes = table.sum(axis=1)
    both = np.triu(table + table.T, 1)
    order = np.argsort(-both, axis=None, kind="stable")[:PAIRS]
    mixed = []
    for a, b in (divmod(place, count) for place in order.tolist()):
        mistaken, images = int(both[a, b]), int(sizes[a] + sizes[b])
        if mistaken:
            ci95 = intervals.proportion_interval(mistaken, images)
            of_each = (int(table[a, b]), int(table[b, a]))
            pair = (names[a], names[b])
            mixed.append(Mixed(classes=pair, mistaken=of_each, images=images, share=mistaken / images, ci95=ci95))
    return mixed


def _remarks(labels: np.ndarray, judged: np.ndarray, names: Sequence[str]) -> Iterator[str]:
    """Give what could not be judged, or not well."""
    sizes = np.bincount(labels, minlength=len(names))
    rare = np.flatnonzero((sizes > 0) & (sizes < probe.FOLDS)).tolist()
    few = [f"{names[number]} ({sizes[number]})" for number in rare]
    if few:
        more = f" and {len(few) - SHOWN} more" if len(few) > SHOWN else ""
        yield f"classes with fewer images than the {probe.FOLDS} folds, judged by few: {', '.join(few[:SHOWN])}{more}"
    if not judged.all():
        yield f"{(~judged).sum():,} images are the only ones of their class: their labels are not judged"
