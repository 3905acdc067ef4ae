"""What a record's predictions say class by class, as values."""

from __future__ import annotations

from mixer_bench.results.record import Measured
from mixer_bench.stats.scores import Bin
from mixer_bench.system.schema import Frozen


class OfClass(Frozen):
    """A class of the test images."""

    name: str
    images: int
    right: int
    predicted: int  # images that were taken for it
    accuracy: float | None  # None where there are no images
    ci95: tuple[float, float] | None  # Wilson's

    @property
    def percent(self) -> str:
        """The accuracy, a dash where there are no images."""
        return "–" if self.accuracy is None else f"{100 * self.accuracy:.1f}"

    @property
    def interval(self) -> str:
        """Its interval in percent, a dash where there are no images."""
        return "–" if self.ci95 is None else f"{100 * self.ci95[0]:.1f} to {100 * self.ci95[1]:.1f}"


class Wrong(Frozen):
    """A test image that was taken for another class."""

    index: int  # in the test split
    image: str
    label: str
    prediction: str
    score: float  # of the prediction, as the protocol gives it
    confidence: float | None  # its probability; None where scores are none

    @property
    def sure(self) -> str:
        """How sure the model was, in words."""
        return f"score {self.score:.3g}" if self.confidence is None else f"{100 * self.confidence:.1f} %"


class PerClass(Frozen):
    """A record class by class."""

    task: str
    model: str
    protocol: str
    seed: int
    key: str
    metrics: dict[str, Measured]
    classes: tuple[OfClass, ...]
    confusion: tuple[tuple[int, ...], ...]  # images, [label][prediction]
    wrong: tuple[Wrong, ...]  # the surest first
    reliability: tuple[Bin, ...] | None  # by ascending confidence; None where scores are no probabilities
    remarks: tuple[str, ...] = ()

    @property
    def worst(self) -> list[OfClass]:
        """The classes that have images, the lowest accuracy first."""
        return sorted((each for each in self.classes if each.images), key=lambda each: each.right / each.images)

    @property
    def taken(self) -> list[tuple[int, str]]:
        """Images that were taken for another class, by label and prediction in words, the most first."""
        pairs = [
            (images, f"{self.classes[label].name} for {self.classes[prediction].name}")
            for label, row in enumerate(self.confusion)
            for prediction, images in enumerate(row)
            if images and label != prediction
        ]
        return sorted(pairs, reverse=True)
