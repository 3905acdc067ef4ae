"""The folder of an export: weights as safetensors, and one JSON file that says what they are and hashes them."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import field_validator

from mixer_bench.errors import ResultsError, UsageError
from mixer_bench.models.card import Architecture, Card
from mixer_bench.models.names import NOT_ARGUMENTS
from mixer_bench.results.record import Measured, Record
from mixer_bench.system import files
from mixer_bench.system.paths import real
from mixer_bench.system.schema import Frozen, Sealed, read_file, sealed_text

ABOUT, MODEL, PROBE = "export.json", "model.safetensors", "probe.safetensors"
Outputs = Literal["probability", "score", "share"]
MEANING: Mapping[Outputs, str] = {
    "probability": "softmax of the classifier's logits",
    "score": "of a regression that was to give 1 for an image's class and -1 for the others: no probability",
    "share": "of the votes of the nearest training images",
}


class Accuracy(Frozen):
    """What the record measured, by the task's own metric."""

    metric: str
    measured: Measured
    test_images: int
    words: str


class Licences(Frozen):
    """Under which terms its parts are, as model and task declare them; empty where that is not known."""

    weights: str
    data: str


class Exported(Sealed):
    """What an export's folder says of itself; ``record`` has task, data, protocol, versions and preprocessing."""

    schema_version: Literal[1] = 1
    accuracy: Accuracy
    classes: tuple[str, ...]
    images: str  # how they are prepared, in words
    outputs: Outputs  # what is told of each class
    meaning: str  # of that, in words
    upright: bool  # whether images are turned as their EXIF orientation says
    frame: dict[str, Any] | None  # how a trained network's images are framed; None: by the record's preprocessing
    architecture: Architecture | None  # None: images' pixels are the features
    timm: str  # how timm loads the network, or why it does not
    licences: Licences
    files: dict[str, str]  # SHA-256, hexadecimal, by name
    record: Record

    @field_validator("architecture")
    @classmethod
    def _is_built_of_values(cls, architecture: Architecture | None) -> Architecture | None:
        """Refuse a network that would be fetched, or made of other files: folders of strangers are read."""
        if architecture and (":" in architecture.name or {*architecture.args} & {*NOT_ARGUMENTS}):
            raise ValueError("names more than a network")
        return architecture

    @property
    def trained(self) -> bool:
        """Whether the network itself was trained, so that its own classifier answers."""
        return PROBE not in self.files

    def card(self, folder: Path) -> Card:
        """Return the card of its network, whose weights lie in ``folder``."""
        run = self.record.run
        return Card(
            name=run.model,
            family=self.record.origin.family if self.record.origin else "other",
            description="exported",
            weights=f"file:{folder / MODEL}" if self.architecture else "none",
            licence=self.licences.weights,
            architecture=self.architecture,
            classes=len(self.classes) if self.trained else None,
            preprocessing=run.preprocessing,
        )


def read(folder: Path) -> Exported:
    """Return what an export's folder says of itself, after comparing every file with its hash.

    Raises:
        ResultsError: it is no export, or was changed; names the file.
    """
    exported = read_file(folder / ABOUT, Exported, "export", "export the run again")
    for name, expected in exported.files.items():
        if name not in (MODEL, PROBE):
            raise ResultsError(f"{folder / ABOUT}: names {name!r}, which is no file of an export")
        if _hash(folder / name) != expected:
            raise ResultsError(f"{folder / name}: was changed since it was exported; export the run again")
    return exported


def _hash(file: Path) -> str:
    try:
        return files.sha256(file)
    except OSError as error:
        raise ResultsError(f"{file}: cannot be read ({error.strerror}); export the run again") from None


def check_place(folder: Path, key: str) -> None:
    """Refuse to replace anything but an export of the run whose key that is.

    Raises:
        UsageError: something else is in ``folder``.
    """
    if not (folder.exists() or folder.is_symlink()):
        return
    try:
        if folder.is_dir() and not any(folder.iterdir()):
            return
        other = read_file(folder / ABOUT, Exported, "export", "").record.run.key
    except (ResultsError, OSError):
        raise UsageError(f"--to {folder}: is there and no export; name another folder") from None
    if other != key:
        raise UsageError(f"--to {folder}: holds the export of another run, {other}; name another folder")


def write(folder: Path, contents: Mapping[str, bytes], about: Mapping[str, Any]) -> Exported:
    """Put an export into ``folder``, whole or not at all; an earlier one there is replaced.

    Args:
        folder: where; made if it is not there.
        contents: of the files with weights, by name.
        about: the fields of ``Exported`` but ``files``.

    Raises:
        ResultsError: the disk is full or the place not writable.
    """
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    exported = Exported.model_validate({**about, "files": hashes})
    place = real(folder)
    new, old = (place.with_name(f".{place.name}.mixer-bench.{word}") for word in ("partial", "replaced"))
    try:
        for left in (new, old):  # by an export that was killed
            shutil.rmtree(left, ignore_errors=True)
        with files.reported(folder, "name another folder"):
            for name, content in contents.items():
                files.write(new / name, content)
            files.write(new / ABOUT, sealed_text(exported))
            if place.exists():
                place.rename(old)
            new.rename(place)
    finally:
        for left in (new, old):
            shutil.rmtree(left, ignore_errors=True)
    return exported
