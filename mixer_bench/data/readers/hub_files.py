"""Files of a data set on the Hugging Face hub: fetched once, into the hub library's own cache.

Which files at which commit make up a data set is noted in our cache, so that a later run without a network knows what
it must find, and a fetch that broke off is never taken for the whole.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from mixer_bench.errors import Absent, DataError
from mixer_bench.system import files as atomic
from mixer_bench.system import network, paths
from mixer_bench.task.sources import HubSource

COMMIT = re.compile(r"[0-9a-f]{40}")
LOG = logging.getLogger(__name__)
LONGEST = 400  # characters of another library's message


class Listing(BaseModel):
    """The files that make up a data set at one commit, with their sizes in bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    repo: str
    commit: str
    files: dict[str, int]

    @property
    def bytes(self) -> int:
        """Of all files."""
        return sum(self.files.values())


def listing(source: HubSource) -> Listing:
    """What would be fetched for ``source``: asked of the hub, or, offline or pinned to a commit, what was noted before.

    Raises:
        Absent: the hub has no such data set or gives it only to those who accepted its terms; or offline,
            and it was never fetched here.
        DataError: the hub cannot be reached, or the data set has no such configuration or files.
    """
    noted = _noted(source)
    if noted is not None and (network.offline() or COMMIT.fullmatch(source.revision)):
        return noted
    if network.offline():
        raise Absent(f"{source.repo} was not fetched yet, and the network is not to be used")
    return _asked(source, noted)


def folder(source: HubSource, found: Listing) -> Path:
    """The folder with the files of ``found``; fetches those that are not there. A fetch that broke off goes on.

    Raises:
        Absent: offline, and a file is not there.
        DataError: fetching broke off.
    """
    from huggingface_hub import errors, snapshot_download

    options: dict[str, Any] = {"repo_type": "dataset", "revision": found.commit, "allow_patterns": [*found.files]}
    if not network.offline() and (missing := missing_bytes(found)):
        LOG.info("fetching %s of %s", network.sized(missing), found.repo)
    try:
        place = Path(snapshot_download(found.repo, **options))
    except (
        errors.LocalEntryNotFoundError,
        errors.IncompleteSnapshotError,
        errors.CachedRepoTreeNotFoundError,
    ) as error:
        if not network.offline():
            raise DataError(
                f"{found.repo}: fetching broke off; the same command goes on ({network.first_line(error)})"
            ) from None
        raise Absent(f"{found.repo} is not wholly here, and the network is not to be used") from None
    except network.failures(errors.HfHubHTTPError, OSError, RuntimeError) as error:
        reason = f"{type(error).__name__}: {network.first_line(error)}"
        raise DataError(f"{found.repo}: fetching broke off; the same command goes on ({reason})") from None
    for name, size in found.files.items():
        file = place / name
        if not file.is_file() or file.stat().st_size != size:
            raise DataError(f"{found.repo}: {name} is not whole in {place}; remove it there and run again")
    with contextlib.suppress(OSError):  # without the note a later run offline does not know what to look for
        atomic.write(_note(source), found.model_dump_json(indent=1))
    return place


def cache_folder() -> Path:
    """Where the hub library keeps what it fetched."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def missing_bytes(found: Listing) -> int:
    """How much of ``found`` is not here yet."""
    from huggingface_hub import try_to_load_from_cache

    def here(name: str) -> bool:
        return isinstance(try_to_load_from_cache(found.repo, name, revision=found.commit, repo_type="dataset"), str)

    return sum(size for name, size in found.files.items() if not here(name))


def quiet() -> None:
    """No progress bars of the hub's libraries where there is no terminal to draw them on."""
    if not sys.stderr.isatty():
        import datasets
        from huggingface_hub.utils import disable_progress_bars

        datasets.disable_progress_bars()
        disable_progress_bars()


def _note(source: HubSource) -> Path:
    identity = json.dumps([source.repo, source.revision, source.config, source.files], sort_keys=True)
    return paths.cache_dir() / "hub" / f"{hashlib.sha256(identity.encode()).hexdigest()[:32]}.json"


def _noted(source: HubSource) -> Listing | None:
    try:
        return Listing.model_validate_json(_note(source).read_bytes())
    except (OSError, ValidationError):
        return None


def _asked(source: HubSource, noted: Listing | None) -> Listing:
    """The hub's answer; one question is enough where the commit is still the one that was noted."""
    import datasets
    from huggingface_hub import HfApi, errors

    options: dict[str, Any] = {"data_files": source.files} if source.files else {"name": source.config}
    unreachable = network.failures(ConnectionError)
    try:
        # One question without retries first: a hub that cannot be reached is said at once, not after half a minute.
        there = HfApi().dataset_info(
            source.repo, revision=source.revision, files_metadata=True, timeout=network.PATIENCE
        )
        commit = str(there.sha)
        if noted is not None and noted.commit == commit:
            return noted
        builder = datasets.load_dataset_builder(source.repo, revision=commit, **options)
    except (
        datasets.exceptions.DatasetNotFoundError,
        errors.RepositoryNotFoundError,
        errors.RevisionNotFoundError,
        errors.GatedRepoError,
    ) as error:
        raise Absent(f"{source.repo} at {source.revision}: {network.first_line(error)}") from None
    except unreachable as error:
        raise DataError(
            f"{source.repo}: the hub cannot be reached ({network.first_line(error)}); with --offline only what is "
            "here is used"
        ) from None
    except (errors.HfHubHTTPError, OSError, ValueError, RuntimeError) as error:
        # Of several lines the later ones are the way out, such as the configurations there are.
        reason = " ".join(str(error).split())[:LONGEST]
        raise DataError(f"{source.repo}: {type(error).__name__}: {reason}") from None
    sizes = {entry.rfilename: int(entry.size or 0) for entry in there.siblings or []}
    wanted = _paths(builder.config.data_files, source.repo)
    kept = {name: size for name, size in sizes.items() if name in wanted or name == "README.md"}
    if missing := sorted(wanted - kept.keys()):
        raise DataError(f"{source.repo}: lists no {missing[0]}")
    return Listing(repo=source.repo, commit=commit, files=kept)


def _paths(data_files: Mapping[str, Any] | None, repo: str) -> set[str]:
    """Places within the repository of addresses such as ``hf://datasets/<repo>@<commit>/data/train.parquet``."""
    addresses = [str(address) for files in (data_files or {}).values() for address in files]
    found = {re.sub(rf"^hf://datasets/{re.escape(repo)}@[^/]+/", "", address) for address in addresses}
    if not found:
        raise DataError(f"{repo}: has no parquet or webdataset files; sets that need a script cannot be read")
    return found
