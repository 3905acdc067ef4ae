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
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from mixer_bench.data.decoding import SUFFIXES
from mixer_bench.errors import Absent, DataError, ResultsError
from mixer_bench.system import files as atomic
from mixer_bench.system import network, paths
from mixer_bench.system.schema import Sealed, read_file, sealed_text
from mixer_bench.task.sources import HubSource

SHARD = re.compile(r"data/[^/]+-\d{5}-of-\d{5}")
COMMIT = re.compile(r"[0-9a-f]{40}")
LOG = logging.getLogger(__name__)


class Listing(Sealed):
    """The files that make up a data set at one commit, with their sizes in bytes."""

    repo: str
    commit: str
    files: dict[str, int]

    @property
    def bytes(self) -> int:
        """Return the size of all files together."""
        return sum(self.files.values())


def listing(source: HubSource) -> Listing:
    """Return what would be fetched for ``source``; offline, or pinned to a commit, what was noted of it before.

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


def folder(source: HubSource, wanted: Listing) -> Path:
    """Return the folder with the files ``wanted``; those that are not there are fetched. A fetch broken off goes on.

    Raises:
        Absent: offline, and a file is not there.
        DataError: fetching broke off.
    """
    from huggingface_hub import snapshot_download

    if not network.offline() and (missing := missing_bytes(wanted)):
        LOG.info("fetching %s of %s", network.sized(missing), wanted.repo)
    options: dict[str, Any] = {"revision": wanted.commit, "allow_patterns": [*wanted.files]}
    options["local_files_only"] = network.offline()
    try:
        place = Path(snapshot_download(wanted.repo, repo_type="dataset", **options))
    except Exception as error:  # noqa: BLE001  the hub library raises whatever its HTTP client and its cache raise
        if network.offline():
            raise Absent(f"{wanted.repo} is not wholly here, and the network is not to be used") from None
        reason = f"{type(error).__name__}: {network.first_line(error)}"
        raise DataError(f"{wanted.repo}: fetching broke off; the same command goes on ({reason})") from None
    for name, size in wanted.files.items():
        file = place / name
        if not file.is_file() or file.stat().st_size != size:
            raise DataError(f"{wanted.repo}: {name} is not whole in {place}; remove it there and run again")
    with contextlib.suppress(OSError):  # without the note a later run offline does not know what to look for
        atomic.write(_note(source), sealed_text(wanted))
    return place


def cache_folder() -> Path:
    """Return where the hub library keeps what it fetched."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def missing_bytes(wanted: Listing) -> int:
    """Return how much of ``wanted`` is not here yet."""
    from huggingface_hub import try_to_load_from_cache

    def here(name: str) -> bool:
        return isinstance(try_to_load_from_cache(wanted.repo, name, revision=wanted.commit, repo_type="dataset"), str)

    return sum(size for name, size in wanted.files.items() if not here(name))


def quiet() -> None:
    """Let the hub's libraries log nothing, as they raise it too, and draw no bars where there is no terminal."""
    import datasets

    datasets.logging.set_verbosity(datasets.logging.CRITICAL)
    if sys.stderr is None or not sys.stderr.isatty():
        from huggingface_hub.utils import disable_progress_bars

        datasets.disable_progress_bars()
        disable_progress_bars()


def chosen(source: HubSource) -> dict[str, Any]:
    """Return what tells ``datasets`` which of a repository's files are meant."""
    return {"data_files": source.files} if source.files else {"name": source.config}


def _note(source: HubSource) -> Path:
    identity = json.dumps([source.repo, source.revision, source.config, source.files], sort_keys=True)
    return paths.cache_dir() / "hub" / f"{hashlib.sha256(identity.encode()).hexdigest()[:32]}.json"


def _noted(source: HubSource) -> Listing | None:
    try:
        return read_file(_note(source), Listing, "note of a data set's files", "run again")
    except ResultsError:
        return None


def _asked(source: HubSource, noted: Listing | None) -> Listing:
    """Return the hub's answer; one question is enough where the commit is still the one that was noted."""
    import datasets
    from huggingface_hub import HfApi, errors

    try:
        # One question without retries first: a hub that cannot be reached is said at once, not after half a minute.
        there = HfApi().dataset_info(
            source.repo, revision=source.revision, files_metadata=True, timeout=network.PATIENCE
        )
        commit = str(there.sha)
        if not COMMIT.fullmatch(commit):
            raise ValueError("the answer names no commit")
        if noted is not None and noted.commit == commit:
            return noted
        builder = datasets.load_dataset_builder(source.repo, revision=commit, **chosen(source))
    except (
        datasets.exceptions.DatasetNotFoundError,
        errors.RepositoryNotFoundError,
        errors.RevisionNotFoundError,
        errors.GatedRepoError,
    ) as error:
        raise Absent(f"{source.repo} at {source.revision}: {network.first_line(error)}") from None
    except network.failures(ConnectionError) as error:
        reason = f"the hub cannot be reached ({network.first_line(error)})"
        raise DataError(f"{source.repo}: {reason}; with --offline only what is here is used") from None
    except Exception as error:  # noqa: BLE001  what answers may be no hub, and its library raises whatever that gives
        # Of several lines the later ones are the way out, such as the configurations there are.
        reason = " ".join(str(error).split())[: network.LONGEST]
        raise DataError(f"{source.repo}: {type(error).__name__}: {reason}") from None
    wanted = _places(builder.config.data_files, source.repo)
    sizes = {entry.rfilename: int(entry.size or 0) for entry in there.siblings or []}
    if missing := sorted(wanted - sizes.keys()):
        raise DataError(f"{source.repo}: lists no {missing[0]}")
    if source.complete and not (source.config or (there.card_data or {}).get("configs")):
        check_whole(wanted, sizes, source.repo)
    files = {name: size for name, size in sizes.items() if name in wanted or name == "README.md"}
    return Listing(repo=source.repo, commit=commit, files=files)


def check_whole(used: Collection[str], there: Iterable[str], what: str) -> None:
    """Refuse to use a part of a data set whose owner does not say which files make up its splits.

    ``datasets`` goes by names then: where one file or folder has train, test or the like in its name, all that have no
    such word are left out without a word, such as every image but ``crash_test_1.png``. Only files called as the hub's
    own tools call them, ``data/train-00000-of-00002.parquet``, say by that which they are.

    Raises:
        DataError: a file of the kinds used is not among ``used``; both are places below the data set's folder.
    """
    kinds = {Path(name).suffix.lower() for name in used}
    kinds |= set(SUFFIXES) if kinds & set(SUFFIXES) else set()
    hidden = re.compile(r"(^|/)(\.|__)")
    data = [name for name in there if Path(name).suffix.lower() in kinds and not hidden.search(name)]
    if (left := sorted(set(data) - set(used))) and not all(SHARD.match(name) for name in used):
        raise DataError(
            f"{what}: {len(left):,} of {len(data):,} files would be left out, the first {left[0]}: other files or "
            "folders have train, val or test in their names, which then tell splits apart; put each split into a "
            "folder of its name, name a folder of class folders without hf:, or write a task file that says the files"
        )


def _places(data_files: Mapping[str, Any] | None, repo: str) -> set[str]:
    """Return places in the repository, of addresses such as ``hf://datasets/<repo>@<commit>/data/train.parquet``."""
    addresses = [str(address) for files in (data_files or {}).values() for address in files]
    if not addresses:
        raise DataError(f"{repo}: has no parquet or webdataset files; sets that need a script cannot be read")
    return {re.sub(rf"^hf://datasets/{re.escape(repo)}@[^/]+/", "", address) for address in addresses}
