"""Model cards: name -> architecture, weights, provenance. Reads TOML and JSON only, never a weight.

A model is named by a card (``mixer_nano``), by ``random:NAME`` (the same network untrained) or by
``file:PATH?arch=NAME`` (weights of one's own; NAME is a card or a timm architecture).
"""

from __future__ import annotations

import functools
import hashlib
import json
import tomllib
from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from mixer_bench.errors import UsageError, WeightsError, unknown
from mixer_bench.preprocessing import Preprocessing

EMBEDDED = Path(__file__).parent / "embedded"
CARDS = Path(__file__).with_name("zoo.toml")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Architecture(_Frozen):
    """What builds the network: a class of ``timm.models`` with arguments, or a registered timm architecture."""

    class_: str | None = Field(default=None, alias="class")
    timm: str | None = None
    args: dict[str, Any] = {}

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that decides the network's shape, as plain values."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class Pretraining(_Frozen):
    """What a checkpoint was trained on, for how long, and what that cost: measured, or published with its source."""

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
    def cost(self) -> str:
        """For a table: device-hours on what."""
        return f"{self.device_seconds / 3600:.2f} {self.device}-h"


class Card(_Frozen):
    """One entry of the zoo."""

    name: str
    family: Literal["mixer", "vit", "resnet", "none", "other"]
    description: str
    weights: Annotated[str, Field(pattern=r"^(embedded:.+|file:.+|random|none)$")]
    licence: str
    tags: tuple[str, ...] = ()
    architecture: Architecture | None = None  # None: no network at all
    preprocessing: Preprocessing

    @model_validator(mode="after")
    def _weights_need_a_network(self) -> Card:
        if (self.weights == "none") != (self.architecture is None):
            raise ValueError("weights = 'none' goes with a card without an architecture, and only with that")
        return self

    @property
    def weights_file(self) -> Path | None:
        """Where the weights lie, or None for models without a checkpoint."""
        kind, _, rest = self.weights.partition(":")
        if kind == "embedded":
            return EMBEDDED / f"{rest}.safetensors"
        return Path(rest) if kind == "file" else None

    @property
    def pretraining(self) -> Pretraining | None:
        """The record that ``mixer-bench pretrain`` left beside the weights, if there is one."""
        file = self.weights_file
        if file is None or not file.with_suffix(".json").exists():
            return None
        return read_pretraining(file.with_suffix(".json"))

    @property
    def pretrain(self) -> str:
        """What the weights were pre-trained on, in words: "none" where they were not, "?" where nobody says."""
        if self.weights in ("random", "none"):
            return "none"
        return self.pretraining.data if self.pretraining else "?"

    def weights_hash(self) -> str:
        """Identity of the weights: a hash of the architecture and of the checkpoint file's bytes.

        A model without a checkpoint is identified by how its weights come about (``random``: seed 0 of torch's
        generator), so that a random network can never pass for a trained one.

        Raises:
            WeightsError: the checkpoint file is not there.
        """
        digest = hashlib.sha256(
            json.dumps(self.architecture.identity if self.architecture else None, sort_keys=True).encode()
        )
        file = self.weights_file
        if file is None:
            digest.update(self.weights.encode())
        elif not file.is_file():
            raise WeightsError(f"model {self.name!r}: there is no file {file.name!r} in {file.parent}")
        else:
            status = file.stat()
            digest.update(_content_hash(file, status.st_mtime_ns, status.st_size))
        return digest.hexdigest()


@functools.cache
def _content_hash(file: Path, _modified: int, _size: int) -> bytes:
    """SHA-256 of a file, computed once as long as the file stays as it is."""
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").digest()
    except OSError as error:
        raise WeightsError(f"{file}: cannot be read ({error.strerror})") from None


def read_pretraining(file: Path) -> Pretraining:
    """The pre-training record in ``file``.

    Raises:
        WeightsError: it is not one.
    """
    try:
        return Pretraining.model_validate_json(file.read_bytes())
    except ValidationError as error:
        raise WeightsError(f"{file} is not a pre-training record: {first_problem(error)}") from None


def first_problem(error: ValidationError) -> str:
    """A validation error in one line: the key and what is wrong with it."""
    problem = error.errors()[0]
    return f"key {'.'.join(map(str, problem['loc'])) or '(top level)'!r}: {problem['msg']}"


def read_cards(file: Path) -> dict[str, Card]:
    """All cards of a TOML file.

    Raises:
        UsageError: the file is not TOML, or a card has an unknown, missing or wrong key; names file, card and key.
    """
    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{file}: {error}") from None
    cards = {}
    for name, table in tables.items():
        try:
            cards[name] = Card.model_validate({**table, "name": name})
        except ValidationError as error:
            raise UsageError(f"{file}: model {name!r}: {first_problem(error)}") from None
    return cards


@functools.cache
def cards() -> Mapping[str, Card]:
    """Every card: the zoo's own, then those that installed packages add (entry points ``mixer_bench.models``).

    Such an entry point names a function that returns the path of a TOML file.
    """
    found = read_cards(CARDS)
    for point in entry_points(group="mixer_bench.models"):
        for name, card in read_cards(Path(point.load()())).items():
            if name in found:
                raise UsageError(f"model {name!r} of package {point.value!r} has the name of a model already there")
            found[name] = card
    return found


def card(model: str) -> Card:
    """The card of a model's name; of ``random:NAME`` and ``file:PATH?arch=NAME`` one derived from NAME's.

    Raises:
        UsageError: no such model; says which ones come near.
        WeightsError: the file of ``file:`` is not there.
    """
    kind, _, rest = model.partition(":")
    if kind == "random" and rest:
        twin = _named(rest)
        if twin.architecture is None:
            raise UsageError(f"{model!r}: {rest!r} has no network to leave untrained")
        return twin.model_copy(
            update={
                "name": model,
                "weights": "random",
                "licence": "-",
                "description": f"{rest} untrained (seed 0): the control that shows what pre-training adds",
                "tags": ("control",),
            }
        )
    if kind == "file" and rest:
        return _file_card(rest)
    return _named(model)


def _file_card(spec: str) -> Card:
    path, _, query = spec.partition("?")
    architecture = query.removeprefix("arch=")
    if not query.startswith("arch=") or not architecture:
        raise UsageError(f"'file:{spec}' must say which network the weights are for: file:{path}?arch=NAME")
    if not Path(path).is_file():
        raise WeightsError(f"'file:{path}': there is no such file")
    twin = _named(architecture, untrained=True)
    if twin.architecture is None:
        raise UsageError(f"'file:{spec}': {architecture!r} has no network to load weights into")
    return twin.model_copy(
        update={
            # The file's own name, never its folder: a record must not carry a machine's paths.
            "name": f"file:{Path(path).name}?arch={architecture}",
            "weights": f"file:{path}",
            "licence": "as its owner says",
            "description": f"weights of one's own for {architecture}",
            "tags": (),
        }
    )


def _named(name: str, untrained: bool = False) -> Card:
    if name in cards():
        return cards()[name]
    if untrained:
        from mixer_bench import backbone  # noqa: PLC0415  torch and timm are loaded only for a timm architecture

        if found := backbone.timm_card(name):
            return found
    raise unknown("model", name, [*cards(), *(f"random:{n}" for n, c in cards().items() if c.architecture)])
