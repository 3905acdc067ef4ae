"""What is known of a model: architecture, weights, preprocessing, origin, cost. Values only: no file is opened."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import PureWindowsPath
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from mixer_bench.errors import UsageError
from mixer_bench.models.preprocessing import Preprocessing
from mixer_bench.system.schema import Frozen, Sealed

Family = Literal["mixer", "mlp", "vit", "resnet", "other", "none"]
PLACES = "embedded|file|local-dir|hf-hub|https"  # kinds of weights that lie in a file
TOKEN_RATIO, CHANNEL_RATIO = 0.5, 4.0  # of MLP-Mixer's hidden widths to C (table 1); timm's defaults


class Architecture(Frozen):
    """What builds the network: a class of ``timm.models`` with arguments, or a registered timm architecture."""

    class_: str | None = Field(default=None, alias="class")
    timm: str | None = None
    code: str | None = None  # SHA-256 of the Python file that registers it, where that is not timm's
    args: dict[str, Any] = Field(default={})
    # How the weights were trained, where timm's network computes otherwise; None: the network's own.
    gelu: Literal["exact", "tanh"] | None = None
    standardisation_eps: PositiveFloat | None = None  # added to the variance of a convolution's weights (BiT)

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that decides the network's shape and arithmetic, as plain values."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)

    @property
    def digest(self) -> str:
        """SHA-256 of the identity, hexadecimal: equal for networks that compute alike at the same speed."""
        return hashlib.sha256(json.dumps(self.identity, sort_keys=True).encode()).hexdigest()

    @property
    def name(self) -> str:
        """The architecture's or class's own name."""
        return str(self.timm or self.class_)

    @property
    def patch(self) -> int | None:
        """Side of a patch in pixels, where arguments or name say it."""
        if (side := self.args.get("patch_size")) is not None:
            return int(side)
        in_name = re.search(r"_patch(\d+)_", f"{self.name}_")
        return int(in_name[1]) if in_name else None

    def sized(self, resolution: int) -> Architecture:
        """Return the same network made for images of ``resolution`` pixels, with hidden widths as they are."""
        return self.model_copy(update={"args": {**self.args, "img_size": resolution}})

    def widened(self, resolution: int, native: int) -> Architecture:
        """Return a Mixer for K times the resolution whose token-mixing MLPs are K^2 times as wide.

        The weights of the ``native`` resolution can be put into that shape (MLP-Mixer, section 3 and appendix C).
        """
        factor = (resolution // native) ** 2
        tokens, channels = self.args.get("mlp_ratio", (TOKEN_RATIO, CHANNEL_RATIO))
        args = {**self.args, "mlp_ratio": [tokens * factor, channels]}
        return self.model_copy(update={"args": args}).sized(resolution)


# How Google's own weights must be computed: nn.gelu of flax is the tanh approximation; BiT adds 1e-10 to the variance
# of its standardised weights (bit_jax/models.py), where timm adds 1e-8.
GOOGLES: Mapping[Family, Mapping[str, Any]] = {
    "mixer": {"gelu": "tanh"},
    "vit": {"gelu": "tanh"},
    "resnet": {"standardisation_eps": 1e-10},
}


class Cost(Frozen):
    """What a pre-training took: as measured, or as a paper prints it (cores used times days: ViT, section 4.2).

    Units are not converted: a core-hour of one device is not one of another.
    """

    amount: NonNegativeFloat  # in units
    unit: str  # of its own device: "CPU-core-h", "TPUv3-core-d"
    source: str  # who says so
    extrapolated: bool = False  # by the authors, from the same model on other data

    @property
    def words(self) -> str:
        """The amount and its unit, as tables print them."""
        return f"{'~' if self.extrapolated else ''}{f'{self.amount:,.2f}'.removesuffix('.00')} {self.unit}"


class Pretraining(Sealed):
    """The record of a pre-training: on what, how, for how long, and what it cost, as measured."""

    data: str
    terms: str
    recipe: dict[str, Any]
    images_seen: int
    device: str
    device_seconds: float
    flops: float
    val_accuracy: float
    val_images: int
    loss_curve: list[tuple[int, float]]
    command: str
    environment: dict[str, str]

    @property
    def cost(self) -> Cost:
        """Device-hours on what."""
        return Cost(amount=self.device_seconds / 3600, unit=f"{self.device}-h", source="measured")


class Reference(Frozen):
    """A score that others published for these very weights: what a measurement should come near."""

    task: str
    metric: Literal["top1", "real"] = "top1"
    value: Annotated[float, Field(gt=0, le=1)]
    setting: str
    source: str


class Recipe(Frozen):
    """How a group of checkpoints was pre-trained: like is compared with like within one."""

    pretrain: str  # the images, in a word
    title: str
    description: str
    source: str
    in_domain: tuple[str, ...] = ()  # tasks whose images were among those of pre-training

    @property
    def of_card(self) -> dict[str, Any]:
        """What holds of each card of the group."""
        return self.model_dump(include={"pretrain", "in_domain"})


class Origin(Frozen):
    """What a reader of a result must know of the model besides its name, as it was known when the run was made."""

    family: Family  # mixer, vit, resnet, ...
    pretrain: str  # the images of pre-training
    recipe: str | None  # how it was trained, by name
    in_domain: tuple[str, ...]  # tasks whose images were among those of pre-training
    cost: Cost | None  # of pre-training; None where it is not known, or there was none
    parameters: int | None  # without a classifier
    network: str | None  # digest of the architecture
    source: str  # where the weights are from
    commit: str | None  # of the hub's repository
    licence: str  # of the weights

    @property
    def cost_words(self) -> str:
        """The cost as tables print it; "none" without a pre-training, "?" where it is not known."""
        if self.cost is not None:
            return self.cost.words
        return "none" if self.pretrain == "none" else "?"


class Card(Frozen):
    """One entry of the zoo."""

    name: str
    family: Family
    description: str
    weights: Annotated[str, Field(pattern=rf"(?s)^(({PLACES}|elsewhere):.+|random|none|unpublished)$")]
    revision: str | None = None  # of a repository on the hub
    key: str | None = None  # which table of tensors in the file, where it may hold several
    licence: str
    tags: tuple[str, ...] = ()
    recipe: str | None = None  # a name in recipes.toml
    pretrain: str = "?"  # what the weights were pre-trained on: "none" where they were not, "?" where nobody says
    in_domain: tuple[str, ...] = ()
    note: str = ""  # what else a reader must know
    architecture: Architecture | None = None  # None: no network at all
    parameters: PositiveInt | None = None  # without the classifier
    width: PositiveInt | None = None  # features before the classifier
    any_size: bool = False  # whether the network takes images of any size as it is; a ResNet does without saying so
    classes: NonNegativeInt | None = None  # rows of the classifier in the file; 0 without one; None: as it comes
    preprocessing: Preprocessing
    cost: Cost | None = None
    references: tuple[Reference, ...] = ()
    verified_by: str | None = None  # who of the weights' authors confirmed this card
    verification: Annotated[str, Field(pattern=r"^https://")] | None = None  # where they did
    enlarged: Architecture | None = None  # at another resolution than the weights': what they are put into

    @model_validator(mode="after")
    def _weights_need_a_network(self) -> Card:
        networkless = self.weights == "none" or self.weights.startswith("elsewhere:")
        if networkless != (self.architecture is None):
            raise ValueError("weights none or elsewhere: goes with a card without an architecture, and only with that")
        return self

    @model_validator(mode="after")
    def _who_verified_it_said_so_somewhere(self) -> Card:
        if (self.verified_by is None) != (self.verification is None):
            raise ValueError("verified_by and verification, its link, are given both or neither")
        return self

    @property
    def network(self) -> Architecture | None:
        """What works: the architecture, at the resolution that was chosen."""
        return self.enlarged or self.architecture

    @property
    def source(self) -> str:
        """Where the weights are from, without a machine's folders."""
        kind, _, place = self.weights.partition(":")
        if kind in ("file", "local-dir"):
            return f"{kind}:{PureWindowsPath(place).name}" + (f"?key={self.key}" if self.key else "")
        return self.weights + (f"@{self.revision}" if self.revision else "")

    def at(self, resolution: int | None) -> Card:
        """Return the model at another input resolution; None is its own.

        A Mixer takes whole multiples K (block-diagonal initialisation, MLP-Mixer appendix C), a ViT what its patches
        divide (resized position embedding), a ResNet anything, as do others whose card says so.

        Raises:
            UsageError: the network cannot be had at that resolution.
        """
        native = self.preprocessing.resolution
        if resolution is None or resolution == native:
            return self
        enlarged = None
        if self.architecture is not None and self.family == "mixer":
            if resolution % native:
                raise UsageError(
                    f"{self.name} at {resolution} px: a Mixer's weights fit whole multiples of {native} px "
                    f"({2 * native}, {3 * native}, ...)"
                )
            enlarged = self.architecture.widened(resolution, native)
        elif self.architecture is not None and self.family == "vit":
            patch = self.architecture.patch
            if patch is None or resolution % patch:
                patches = "not known" if patch is None else f"{patch} px, which do not divide the image"
                raise UsageError(f"{self.name} at {resolution} px: its patches are {patches}")
            enlarged = self.architecture.sized(resolution)
        elif self.family not in ("resnet", "none") and not self.any_size:
            raise UsageError(
                f"{self.name} at {resolution} px: only Mixer, ViT and ResNet, and what takes images of any size, "
                "are taken to other resolutions"
            )
        preprocessing = self.preprocessing.model_copy(update={"resolution": resolution})
        return self.model_copy(update={"preprocessing": preprocessing, "enlarged": enlarged})
