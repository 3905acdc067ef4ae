"""What a recommendation is: values, which become words only when they are printed."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from mixer_bench.results.record import Measured
from mixer_bench.system.machine import Precision
from mixer_bench.system.schema import Count, Frozen, Sealed

State = Literal["winner", "tied", "behind", "unfit", "untried", "unavailable"]


class Tuned(Frozen):
    """What fine-tuning a finalist brought or would take."""

    seconds: float  # as foretold
    accuracy: Measured | None = None  # on test; None: not tried
    gain: float | None = None  # over the linear probe on the same test images
    gain_ci95: tuple[float, float] | None = None
    p: float | None = None
    record: str = ""


class Candidate(Frozen):
    """A model, and how far it came."""

    model: str
    state: State
    reason: str = ""  # of one that was not compared
    latency_ms: float | None = None  # of one image, median; None: no network, or not measured
    memory: Count | None = None  # bytes at one image, weights included; None: no network, or not known
    images: Count = 0  # of train and val that it was compared on
    score: float | None = None  # share of them right, out of fold
    difference: float | None = None  # winner's share - its own, on these
    ci95: tuple[float, float] | None = None
    p: float | None = None  # of no difference, corrected over all candidates (Holm)
    accuracy: Measured | None = None  # on test, by the linear probe; None: not measured
    record: str = ""  # key of that record
    tuned: Tuned | None = None


class Labels(Frozen):
    """What labels are worth to the winner."""

    fewest: Count  # images of the rarest class in train and val
    most: Count
    shots: tuple[tuple[int, float], ...] = ()  # images a class, and the mean test accuracy over seeds
    more: Count  # a class, that ``gain`` is for
    gain: float | None = None  # of accuracy, extrapolated; None: too few images to say
    gain_half: float | None = None  # half the width of its 95 % interval over folds


class Suspected(Frozen):
    """Labels that look wrong to the winner, of all splits."""

    wrong: float  # how many are, as estimated; images that look like another class count
    ci95: tuple[float, float]
    images: tuple[str, ...]  # those that are rather wrong than right, the likeliest first


class Looked(Frozen):
    """A round: how many images, and who was in it."""

    images: Count
    candidates: Count


class Recommendation(Sealed):
    """Which backbone to take for a task, and what is known of the others."""

    schema_version: Literal[1] = 1
    task: str
    source: str
    classes: Count
    train: Count
    val: Count
    test: Count
    limit: Count | None  # at most so many images a split were looked at; None: all
    metric: str
    device: str  # in words
    precision: Precision
    budget: Annotated[float, Field(gt=0)]  # seconds
    spent: float
    latency_ms: float | None = None  # asked for
    memory: Count | None = None  # bytes, asked for
    candidates: tuple[Candidate, ...]  # the winner first, then by how far they came
    rounds: tuple[Looked, ...]
    labels: Labels
    suspected: Suspected | None = None  # None: there was no time to look
    remarks: tuple[str, ...] = ()
    more: tuple[str, ...] = ()  # models of the zoo whose weights are not here

    @property
    def winner(self) -> Candidate:
        """The model to take."""
        return self.candidates[0]

    @property
    def tied(self) -> list[Candidate]:
        """Those that cannot be told from the winner."""
        return [candidate for candidate in self.candidates if candidate.state == "tied"]
