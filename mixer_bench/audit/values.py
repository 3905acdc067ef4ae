"""What an audit tells."""

from __future__ import annotations

from typing import Literal

from mixer_bench.system.schema import Frozen


class Place(Frozen):
    """An image: where it is, and the class that its label says."""

    split: str
    index: int  # in the split
    name: str  # in the source
    label: str


class Suspect(Frozen):
    """An image whose label looks wrong."""

    image: Place
    suggested: str  # the class that is likeliest instead
    p_label: float  # probability of the label
    p_suggested: float
    p_wrong: float  # probability that the label is wrong


class Twins(Frozen):
    """Images that are one, or as near to each other as a copy is to its original."""

    alike: Literal["bytes", "pixels", "features"]
    cosine: float
    images: tuple[Place, ...]

    @property
    def across(self) -> bool:
        """Whether they are in different splits."""
        return len({image.split for image in self.images}) > 1

    @property
    def contradicting(self) -> bool:
        """Whether they have different labels."""
        return len({image.label for image in self.images}) > 1


class Mixed(Frozen):
    """Two classes that are taken for each other."""

    classes: tuple[str, str]
    mistaken: tuple[int, int]  # images of the first taken for the second, and the other way round
    images: int  # of both
    share: float  # of them that is mistaken so
    ci95: tuple[float, float]


class Nearness(Frozen):
    """From which cosine on images count as near-duplicates, and what that means."""

    cosine: float  # at least: more in a class whose images are alike
    copies: float  # share of images that were mirrored, cropped or saved anew and are found so
    strangers: float  # share of images with one of another class as near


class Audit(Frozen):
    """What is wrong with a task's images, as far as the features of a model show it."""

    task: str
    model: str
    images: int
    classes: int
    agreement: float  # share of labels that the probe gives images it has not seen
    ci95: tuple[float, float]
    wrong: float  # estimated number of wrong labels
    wrong_ci95: tuple[float, float]
    suspects: tuple[Suspect, ...]  # the likeliest first
    twins: tuple[Twins, ...]  # of different labels first, then across splits, then the nearest
    nearness: Nearness
    mixed: tuple[Mixed, ...]  # the most images first
    remarks: tuple[str, ...] = ()
