"""Where a card's weights lie on this machine, fetched if need be, and their identity: a hash of the bytes."""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import re
import shutil
import urllib.request
from http.client import HTTPResponse
from pathlib import Path
from typing import IO

from mixer_bench.errors import UsageError, WeightsError
from mixer_bench.models.card import Card
from mixer_bench.system import files, network, paths
from mixer_bench.system.paths import EMBEDDED

# Raised whenever the way from a file to a network changes what the network computes.
LOADING_VERSION = 2
CONFIG = "config.json"
NAMES = ("model.safetensors", "pytorch_model.bin")  # of weights in a folder or repository of timm's layout
WITHOUT_HUB = "weights on disk are named file:PATH?arch=NAME or local-dir:DIR"
LOG = logging.getLogger(__name__)


def place(card: Card) -> Path | None:
    """Return the file with a card's weights, fetched if it is not here yet; None for models without a checkpoint.

    Raises:
        WeightsError: there is no such file, it cannot be fetched, or the weights were never published.
    """
    kind, _, rest = card.weights.partition(":")
    if kind == "unpublished":
        raise WeightsError(
            f"{card.name}: its weights were never published; random:{card.name} is the network untrained, "
            f"file:PATH?arch={card.name} takes weights of your own"
        )
    if kind == "elsewhere":
        raise WeightsError(
            f"{card.name}: its weights are at {rest}, for a network that timm does not have; register that network "
            "(--import FILE) and name its weights on disk: file:PATH?arch=NAME"
        )
    if kind in ("random", "none"):
        return None
    if kind == "hf-hub":
        try:
            return hub_file(rest, NAMES, card.revision)
        except WeightsError as error:
            raise WeightsError(f"{card.name}: {error}") from None
    if kind == "https":
        return _fetched(card.weights, card.name)
    if kind == "local-dir":
        file = next((Path(rest) / name for name in NAMES if (Path(rest) / name).is_file()), Path(rest) / NAMES[0])
    else:
        file = EMBEDDED / f"{rest}.safetensors" if kind == "embedded" else Path(rest)
    if not file.is_file():
        raise WeightsError(f"model {card.name!r}: there is no file {file.name!r} in {file.parent}")
    return file


def identity(card: Card) -> str:
    """Return the hash of the network, of how weights get into it, and of the checkpoint file's bytes.

    A model without a checkpoint is identified by how its weights come about (``random``: seed 0 of torch's
    generator), so that a random network can never pass for a trained one.

    Raises:
        WeightsError: as ``place``.
    """
    file = place(card)
    values = {
        "loading": LOADING_VERSION,
        "architecture": card.architecture.identity if card.architecture else None,
        "enlarged": card.enlarged.identity if card.enlarged else None,
        # What a file is refused for is part of what it passes for: cached features must not let it through.
        "classes": card.classes,
        "key": card.key,
        "kind": card.weights if file is None else file.suffix,
    }
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode())
    if file is not None:
        status = file.stat()
        digest.update(_content_hash(file, files.state(status)))
    return digest.hexdigest()


def commit_of(file: Path) -> str | None:
    """Return the commit of the hub's repository that a file in the hub library's cache is of."""
    match = re.search(r"/snapshots/([0-9a-f]{40})/", file.as_posix())
    return match[1] if match else None


@functools.cache
def _content_hash(file: Path, _state: str) -> bytes:
    """SHA-256 of a file, computed once as long as the file stays as it is."""
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").digest()
    except OSError as error:
        raise WeightsError(f"{file}: cannot be read ({error.strerror})") from None


@functools.cache
def hub_file(repository: str, names: tuple[str, ...], revision: str | None = None) -> Path:
    """Return the first of ``names`` that a model repository of the hub has, from the hub library's own cache.

    The hub is asked once a process, so that what is hashed, loaded and recorded is the same commit.

    Raises:
        UsageError: ``repository`` is not of the form owner/name.
        WeightsError: there is no such repository or file, or it is not here and cannot be fetched.
    """
    from huggingface_hub import HfApi, errors, hf_hub_download

    where = f"hf-hub:{repository}" + (f"@{revision}" if revision else "")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        raise UsageError(f"{where}: a repository of the hub is named owner/name")
    cached = _cached(repository, names, revision)
    if network.offline():
        if cached is None:
            raise WeightsError(f"{where}: not fetched yet, and the network is not to be used; {WITHOUT_HUB}")
        return cached
    try:
        # One question without retries first: a hub that cannot be reached is said at once, not after half a minute.
        info = HfApi().model_info(repository, revision=revision, timeout=network.PATIENCE)
        files_there = {entry.rfilename for entry in info.siblings or []}
        if (name := next((name for name in names if name in files_there), None)) is None:
            raise WeightsError(f"{where}: has neither {' nor '.join(names)}")
        if name != CONFIG and (cached is None or commit_of(cached) != info.sha):
            LOG.info("fetching %s of %s", name, repository)
        return Path(hf_hub_download(repository, name, revision=revision))
    except errors.GatedRepoError:
        raise WeightsError(f"{where}: its owner asks you to accept terms on the hub, then set HF_TOKEN") from None
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        raise WeightsError(f"{where}: {network.first_line(error)}") from None
    except WeightsError:
        raise
    except Exception as error:  # noqa: BLE001  what answers may be no hub, and its library raises whatever that gives
        reason = f"{type(error).__name__}: {network.first_line(error)}"
        if cached is not None:
            LOG.info("%s: the hub cannot be reached (%s); using what was fetched before", where, reason)
            return cached
        raise WeightsError(f"{where}: cannot be fetched ({reason}); {WITHOUT_HUB}") from None


def _cached(repository: str, names: tuple[str, ...], revision: str | None) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    cached = (try_to_load_from_cache(repository, name, revision=revision) for name in names)
    return next((Path(file) for file in cached if isinstance(file, str)), None)


def _fetched(address: str, model: str) -> Path:
    """Keep a file of the web in our cache under its address, whole or not at all."""
    file = paths.cache_dir() / "weights" / re.sub(r"[^\w.-]+", "-", address.removeprefix("https://"))
    if file.is_file():
        return file
    if network.offline():
        raise WeightsError(f"{model}: {address}: not fetched yet, and the network is not to be used")
    LOG.info("fetching %s", address)
    try:
        # torch.hub.download_url_to_file neither times out nor sees that fewer bytes came than were announced.
        with urllib.request.urlopen(address, timeout=network.PATIENCE) as answer:  # noqa: S310  https: by the card
            files.write(file, functools.partial(_copy, answer))
    except OSError as error:
        raise WeightsError(
            f"{model}: {address}: cannot be fetched ({network.first_line(error)}); run again, or put it at {file}"
        ) from None
    return file


def _copy(answer: HTTPResponse, file: IO[bytes]) -> None:
    shutil.copyfileobj(answer, file, 1 << 22)
    announced = answer.headers.get("Content-Length")
    if announced is not None and file.tell() != int(announced):
        raise OSError(f"{announced} bytes were announced, {file.tell()} came")
