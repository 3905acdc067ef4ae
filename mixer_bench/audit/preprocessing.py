"""What another preparation of images costs a model on a task: one aspect changed at a time, on the same images.

Each image is decoded once for all ways but those of decoding itself. Differences are paired by test image and seed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from mixer_bench.audit.features import gathered
from mixer_bench.data.decoding import integer_fast, pool
from mixer_bench.data.examples import Examples, TaskData
from mixer_bench.errors import DataError, UsageError
from mixer_bench.models import resampling
from mixer_bench.models.preprocessing import Preprocessing
from mixer_bench.runs import plan
from mixer_bench.runs.checkup import other_normalisations
from mixer_bench.runs.request import Request
from mixer_bench.runs.variants import Variant, variants_of
from mixer_bench.stats import intervals, paired
from mixer_bench.system.progress import ProgressLog
from mixer_bench.system.schema import Frozen

BATCH = 64  # images
FILTERS: tuple[resampling.Interpolation, ...] = ("nearest", "bilinear", "bicubic", "lanczos")
CROPS = (0.875, 0.95, 1.0)
OWN = "the card's own"

Square = Callable[[np.ndarray], np.ndarray]
Read = Callable[[Examples], Examples]


class Way(NamedTuple):
    """A way to prepare images."""

    aspect: str  # in which it differs from the card's own
    words: str
    square: Square  # a decoded image to uint8 [R, R, 3]
    normalised: Preprocessing  # whose mean and deviation are taken
    read: Read | None = None  # decoded otherwise


class Price(Frozen):
    """What a way gives, and what that is beside the card's own."""

    aspect: str
    words: str
    accuracy: float
    difference: float  # from the card's own; 0 for itself
    ci95: tuple[float, float]
    p: float


class Audit(Frozen):
    """What all ways give of one model on one task."""

    model: str
    task: str
    protocol: str
    config: dict[str, Any]
    seeds: int
    test_images: int
    ci95: tuple[float, float]  # of the accuracy of the card's own way
    prices: tuple[Price, ...]  # the card's own first
    remarks: tuple[str, ...] = ()


def audit(request: Request, log: Callable[[float], ProgressLog]) -> Audit:
    """Measure what each way of preparing images gives by a protocol that leaves the network as it is.

    Raises:
        UsageError: it asks for more, or for a protocol that trains the network or does not fit the model.
        MixerBenchError: the task or the model cannot be had.
    """
    if len(request.protocols) != 1:
        raise UsageError("one protocol is audited at a time")
    task, images, model = gathered(request)
    every = [v for v in variants_of(request, task, len(images.train) + len(images.val)) if not v.protocol.trains]
    alike = [v for v in every if v.config == every[0].config and not plan.lacking(v, model.card, task, images)]
    if not alike or model.card.architecture is None:
        lack = "".join(plan.lacking(v, model.card, task, images) for v in every[:1])
        raise UsageError(lack or f"{model.card.name}: {', '.join(request.protocols)} judges no features of it")
    own = model.card.preprocessing.for_task(task.resize)
    ways = [*_ways(own, images)]
    from mixer_bench.models import backbone
    from mixer_bench.training import launch

    computing = backbone.load(model.card, own, launch.device(request.options.device), request.precision)
    with log(sum(map(len, images.splits.values())) * len(ways)) as shown:
        features = _features(computing, ways, images, shown)
    rights = [_rights(_Given(of_way, computing.classifier), images, alike) for of_way in features]
    prices = tuple(_price(way, right, rights[0]) for way, right in zip(ways, rights, strict=True))
    return Audit(
        model=model.card.name,
        task=task.name,
        protocol=alike[0].name,
        config=alike[0].config.model_dump(mode="json"),
        seeds=len(alike),
        test_images=len(images.test),
        ci95=intervals.proportion_interval(round(rights[0].mean() * rights[0].shape[1]), rights[0].shape[1]),
        prices=prices,
        remarks=tuple(_remarks(ways, images)),
    )


def _ways(own: Preprocessing, images: TaskData) -> Iterator[Way]:
    """Give the card's own way, then those that differ from it in one aspect."""
    yield Way("", OWN, own.square, own)
    for name, otherwise in other_normalisations(own).items():
        yield Way("normalisation", name, own.square, otherwise)
    for rule in ("squash", "crop"):
        if rule != own.resize:
            yield Way("resize", rule, own.model_copy(update={"resize": rule}).square, own)
    for share in CROPS if own.resize == "crop" else ():
        if share != own.crop_pct:
            yield Way("crop", f"{share:g} of the side", own.model_copy(update={"crop_pct": share}).square, own)
    for name in FILTERS:
        if name != own.interpolation:
            yield Way("filter", name, own.model_copy(update={"interpolation": name}).square, own)
    yield Way("size", f"{own.resolution // 2} px, enlarged", functools.partial(_coarse, own), own)
    for aspect, words, read in _readings(images):
        if _differs(images.test, read):
            yield Way(aspect, words, own.square, own, read)


def _readings(images: TaskData) -> Iterator[tuple[str, str, Read]]:
    """Give the ways to decode images otherwise."""
    upright = images.test.upright
    yield "EXIF", "as stored" if upright else "upright", lambda examples: examples.read_otherwise(not upright)
    yield "decoding", "JPEGs by the fast DCT", lambda examples: examples.read_otherwise(decode=integer_fast)


def _coarse(own: Preprocessing, image: np.ndarray) -> np.ndarray:
    """Return the square of half the side, enlarged: what a small image of the same scene would give."""
    small = own.model_copy(update={"resolution": own.resolution // 2}).square(image)
    return resampling.pillow(small, own.resolution, own.resolution, own.interpolation)


def _differs(test: Examples, read: Read) -> bool:
    """Return whether any image looks different so."""
    other = read(test)
    return any(pool().map(lambda i: not np.array_equal(test.images[i], other.images[i]), range(len(test))))


def _remarks(ways: Sequence[Way], images: TaskData) -> Iterator[str]:
    aspects = {way.aspect for way in ways}
    for aspect, words, _ in _readings(images):
        if aspect not in aspects:
            yield f"{aspect}, {words}: none of the {len(images.test):,} test images looks different so"


def _features(computing: Any, ways: Sequence[Way], images: TaskData, log: ProgressLog) -> list[dict[str, np.ndarray]]:
    """Return for each way the features of each split, float32 [N, D], by the split's fingerprint."""
    features: list[dict[str, np.ndarray]] = [{} for _ in ways]
    for split, examples in images.given.items():
        parts: list[list[np.ndarray]] = [[] for _ in ways]
        sources = {way.read: way.read(examples) if way.read else examples for way in ways}
        for start in range(0, len(examples), BATCH):
            some = range(start, min(start + BATCH, len(examples)))
            decoded = {read: [*pool().map(of.images.__getitem__, some)] for read, of in sources.items()}
            squares: dict[tuple[object, object], np.ndarray] = {}
            for way, of_way in zip(ways, parts, strict=True):
                made = (way.read, _rule(way))
                if made not in squares:
                    squares[made] = np.stack([*pool().map(way.square, decoded[way.read])])
                computing.preprocessing = way.normalised
                of_way.append(computing.features(squares[made]))
                log.label(f"{split}, {way.words}")
                log.advance(len(some))
        for kept, rows in zip(features, parts, strict=True):
            kept[examples.fingerprint] = np.concatenate(rows)
    return features


def _rule(way: Way) -> object:
    """Return what tells whether two ways make the same squares of an image."""
    return way.words if way.aspect not in ("", "normalisation") else ""


@dataclass(frozen=True)
class _Given:
    """Features that are there, as a protocol asks for them."""

    by_fingerprint: Mapping[str, np.ndarray]
    classifier: Callable[[], tuple[np.ndarray, np.ndarray]]
    device: str = "cpu"

    def features(self, examples: Examples) -> np.ndarray:
        """Return float32 [N, D]."""
        return self.by_fingerprint[examples.fingerprint]

    def heard(self, words: str) -> None:
        """Ignore what a protocol is doing."""


def _rights(backbone: _Given, images: TaskData, variants: Sequence[Variant]) -> np.ndarray:
    """Return which test images are answered rightly, bool [seeds, N]."""
    rows = []
    for variant in variants:
        fitted = variant.protocol.fit(backbone, images.development, variant.config, variant.seed)
        rows.append(fitted.scores(images.test).argmax(1) == images.test.labels)
    return np.stack(rows)


def _price(way: Way, right: np.ndarray, own: np.ndarray) -> Price:
    if way.aspect == "":
        return Price(aspect="", words=OWN, accuracy=float(own.mean()), difference=0.0, ci95=(0.0, 0.0), p=1.0)
    if right.shape[1] < 2:  # noqa: PLR2004
        raise DataError("one test image tells nothing of a difference; take more")
    comparison = paired.compare(right, own)
    return Price(
        aspect=way.aspect,
        words=way.words,
        accuracy=float(right.mean()),
        difference=comparison.difference,
        ci95=comparison.ci95,
        p=comparison.p,
    )
