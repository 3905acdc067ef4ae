"""Is a model what its card says? Its own classifier tells, on images of classes that it was trained on.

A checkpoint that is loaded wrongly, or shown images normalised otherwise than in its training, still gives features,
only worse ones. Rightly, it is right as often as was published, and no other usual normalisation makes it surer of the
right answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np

from mixer_bench.data.decoding import pool
from mixer_bench.data.examples import Examples
from mixer_bench.data.readers import folder
from mixer_bench.errors import DataError
from mixer_bench.models import imagenet_classes, names
from mixer_bench.models.card import Card
from mixer_bench.models.preprocessing import Preprocessing
from mixer_bench.stats import intervals
from mixer_bench.system.schema import Frozen
from mixer_bench.task.sources import FolderSource

BATCH, FIRST = 32, 5  # images at once; classes that are looked at
DOUBT = 0.01  # chance at which a card's normalisation would seem so much worse than another though it is the right one
NORMALISATIONS: Mapping[str, tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    "mean and std 0.5": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "ImageNet's mean and std": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "values from 0 to 1": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}


class Outcome(Frozen):
    """What a normalisation gives."""

    normalisation: str
    right: int  # images whose class comes first
    among_five: int  # whose class is among the first five
    # That the card's would do so much worse by chance, by paired signed ranks; None: the card's own.
    p: float | None = None


class Checkup(Frozen):
    """What became of a model's classifier on some images."""

    model: str
    images: int
    ci95: tuple[float, float]  # of the accuracy with the card's own normalisation
    outcomes: tuple[Outcome, ...]  # the card's own first
    published: float | None  # accuracy on ImageNet's validation split
    state: Literal["ok", "doubtful"]
    remarks: tuple[str, ...]


def examine(model: str, images: Path, device: str = "auto") -> Checkup:
    """Judge a model by its own classifier.

    Args:
        model: a name as ``run`` takes it.
        images: a folder of class folders that are called by WordNet's numbers (n01440764) or outputs (0 to 999).
        device: to compute on.

    Raises:
        DataError: there is no such folder, or its classes are called otherwise.
        WeightsError: the model has no classifier of ImageNet's classes, or cannot be had.
    """
    from mixer_bench.models import backbone
    from mixer_bench.training import launch

    card = names.card(model)
    own = card.preprocessing
    examples, columns = _labelled(images)
    computing = backbone.load(card, own, launch.device(device))
    weight, bias = computing.classifier()
    imagenet_classes.columns(imagenet_classes.synsets(), len(bias))  # or it is refused
    squares = np.stack([*pool().map(lambda i: own.square(examples.images[i]), range(len(examples)))])
    outcomes: list[Outcome] = []
    surprises: list[np.ndarray] = []
    for name, preprocessing in {"the card's own": own, **other_normalisations(own)}.items():
        computing.preprocessing = preprocessing
        parts = [computing.features(squares[start : start + BATCH]) for start in range(0, len(squares), BATCH)]
        logits = np.concatenate(parts).astype(np.float64) @ weight.T + bias
        surprises.append(_surprise(logits, columns))
        ranks = (logits > logits[np.arange(len(columns)), columns][:, None]).sum(1)
        p = _worse(surprises[0], surprises[-1]) if outcomes else None
        outcomes.append(
            Outcome(normalisation=name, right=int((ranks == 0).sum()), among_five=int((ranks < FIRST).sum()), p=p)
        )
    return _judged(card, len(examples), outcomes)


def _judged(card: Card, count: int, outcomes: list[Outcome]) -> Checkup:
    ci95 = intervals.proportion_interval(outcomes[0].right, count)
    published = next((r.value for r in card.references if (r.task, r.metric) == ("imagenet", "top1")), None)
    remarks = [
        f"with {outcome.normalisation} it is surer of the right classes (p = {outcome.p:.2g}): {outcome.right} of "
        f"{count} are right, {outcomes[0].right} with the card's own; is its mean or std wrong?"
        for outcome in outcomes[1:]
        if outcome.p is not None and outcome.p < DOUBT
    ]
    if published is not None and ci95[1] < published:
        remarks.append(
            f"{100 * published:.1f} % are published of ImageNet's validation, here it is {100 * ci95[1]:.1f} % at most"
        )
    return Checkup(
        model=card.name,
        images=count,
        ci95=ci95,
        outcomes=tuple(outcomes),
        published=published,
        state="doubtful" if remarks else "ok",
        remarks=tuple(remarks),
    )


def _labelled(place: Path) -> tuple[Examples, np.ndarray]:
    """Return the images of a folder and, int64 [N], the output that stands for each one's class."""
    source = FolderSource(kind="folder", folder=str(place.absolute()), layout="flat")
    read = folder.read(source, place)
    rows = read.splits["train"]
    called = read.class_names or ()
    if imagenet_classes.are_synsets(called):
        outputs = imagenet_classes.columns(called, imagenet_classes.COUNT)
    elif all(name.isdecimal() and int(name) < imagenet_classes.COUNT for name in called):
        outputs = [int(name) for name in called]
    else:
        raise DataError(f"{place}: its class folders must be called n01440764 and the like, or 0 to 999")
    return Examples.of(rows, upright=False), np.array(outputs, dtype=np.int64)[rows.labels]


def other_normalisations(own: Preprocessing) -> dict[str, Preprocessing]:
    """Return an evaluation with each usual normalisation in place of its own, by its name."""
    return {
        name: own.model_copy(update={"mean": mean, "std": std})
        for name, (mean, std) in NORMALISATIONS.items()
        if (mean, std) != (own.mean, own.std)
    }


def _surprise(logits: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return of each image the negative logarithm of the probability of its class, float64 [N]."""
    from scipy.special import log_softmax

    return np.asarray(-log_softmax(logits, axis=1)[np.arange(len(columns)), columns])


def _worse(own: np.ndarray, other: np.ndarray) -> float:
    """Return the chance that ``own`` would be so much the larger one if it were not (Wilcoxon's signed ranks, 1945)."""
    from scipy.stats import wilcoxon

    return float(wilcoxon(own, other, alternative="greater").pvalue) if (own != other).any() else 1.0


def text(done: Checkup) -> str:
    """Return what was found, for people."""
    lines = [
        f"{outcome.normalisation}: {outcome.right} of {done.images} right, {outcome.among_five} among the first five"
        for outcome in done.outcomes
    ]
    low, high = (100 * end for end in done.ci95)
    expected = (
        "" if done.published is None else f"; published for ImageNet's validation split: {100 * done.published:.1f} %"
    )
    lines.append(f"{done.model}: {low:.1f} to {high:.1f} % of such images with the card's own{expected}")
    return "\n".join([*lines, *done.remarks, f"state: {done.state}"]) + "\n"
