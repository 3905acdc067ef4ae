"""Files of a data set on the Hugging Face hub: fetched once, into the hub library's own cache.

Which files at which commit make up a data set is noted in our cache, so that a later run without a network knows what
it must find, and a fetch that broke off is never taken for the whole.
"""

from __future__ import annotations

import contextlib
import functools
import glob
import hashlib
import json
import logging
import re
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mixer_bench.data.decoding import SUFFIXES
from mixer_bench.errors import Absent, DataError
from mixer_bench.system import network, paths, schema
from mixer_bench.system.schema import Sealed
from mixer_bench.task.sources import HubSource

SHARD = re.compile(r"data/[^/]+-\d{5}-of-\d{5}")
COMMIT = re.compile(r"[0-9a-f]{40}")
LOG = logging.getLogger(__name__)


class Listing(Sealed):
    """The files that are wanted of a data set at one commit, with their sizes in bytes."""

    repo: str
    commit: str
    files: dict[str, int]
    digests: Mapping[str, str] = {}  # of files that nothing else tells from others: SHA-256, or git's of a small file

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
    return listed(source.repo, source.revision, _note(source), functools.partial(_asked, source))


def listed(repo: str, revision: str, note: Path, ask: Callable[[Listing | None], Listing]) -> Listing:
    """Return what was noted, where it must be so still or nobody is to be asked, else what ``ask`` gives of it.

    Raises:
        Absent: offline, and it was never fetched here.
    """
    noted = schema.noted(note, Listing)
    if noted is not None and (network.offline() or COMMIT.fullmatch(revision)):
        return noted
    if network.offline():
        raise Absent(f"{repo} was not fetched yet, and the network is not to be used")
    return ask(noted)


def folder(source: HubSource, wanted: Listing) -> Path:
    """Return the folder with the files ``wanted``; as ``fetched``."""
    return fetched(wanted, _note(source))


def fetched(wanted: Listing, note: Path) -> Path:
    """Return the folder with the files ``wanted``; those that are not there are fetched. A fetch broken off goes on.

    ``note`` is where it is noted that all are there, for a later run without a network.

    Raises:
        Absent: offline, and a file is not there.
        DataError: fetching broke off.
    """
    from huggingface_hub import snapshot_download

    if not network.offline() and (missing := missing_bytes(wanted)):
        LOG.info("fetching %s of %s", network.sized(missing), wanted.repo)
    options: dict[str, Any] = {
        "revision": wanted.commit,
        "allow_patterns": [glob.escape(name) for name in wanted.files],
    }
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
    schema.note(note, wanted)  # without it a later run offline does not know what to look for
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
    if without_bars():
        datasets.disable_progress_bars()


def without_bars() -> bool:
    """Let the hub's own library draw no bars where there is no terminal; return whether that is so."""
    from huggingface_hub.utils import disable_progress_bars

    if there_is_none := sys.stderr is None or not sys.stderr.isatty():
        disable_progress_bars()
    return there_is_none


def chosen(source: HubSource) -> dict[str, Any]:
    """Return what tells ``datasets`` which of a repository's files are meant."""
    return {"data_files": source.files} if source.files else {"name": source.config}


def _note(source: HubSource) -> Path:
    return note_of(source.repo, source.revision, source.config, source.files)


def note_of(*wanted: Any) -> Path:
    """Return where it is noted which files make up what is ``wanted``: a repository, its revision, and which part."""
    identity = json.dumps(wanted, sort_keys=True)
    return paths.cache_dir() / "hub" / f"{hashlib.sha256(identity.encode()).hexdigest()[:32]}.json"


def _asked(source: HubSource, noted: Listing | None) -> Listing:
    """Return the hub's answer; one question is enough where the commit is still the one that was noted."""
    import datasets

    with answered(source.repo, source.revision):
        there = information(source.repo, source.revision)
        if noted is not None and noted.commit == there.sha:
            return noted
        builder = datasets.load_dataset_builder(source.repo, revision=there.sha, **chosen(source))
    wanted = _places(builder.config.data_files, source.repo)
    sizes = {entry.rfilename: int(entry.size or 0) for entry in there.siblings or []}
    if missing := sorted(wanted - sizes.keys()):
        raise DataError(f"{source.repo}: lists no {missing[0]}")
    if source.complete and not (source.config or (there.card_data or {}).get("configs")):
        check_whole(wanted, sizes, source.repo)
    files = {name: size for name, size in sizes.items() if name in wanted or name == "README.md"}
    return Listing(repo=source.repo, commit=there.sha, files=files)


def information(repo: str, revision: str) -> Any:
    """Return what the hub says of a data set and of its files; errors are told by ``answered``."""
    from huggingface_hub import HfApi

    # One question without retries first: a hub that cannot be reached is said at once, not after half a minute.
    there = HfApi().dataset_info(repo, revision=revision, files_metadata=True, timeout=network.PATIENCE)
    if not COMMIT.fullmatch(str(there.sha)):
        raise ValueError("the answer names no commit")
    return there


@contextlib.contextmanager
def answered(repo: str, revision: str) -> Iterator[None]:
    """Tell what goes wrong in the block, in which the hub is asked.

    Raises:
        Absent: it has no such data set or revision, or gives it only to those who accepted its terms.
        DataError: it cannot be reached, or what answers is no hub.
    """
    from huggingface_hub import errors

    lacking: list[type[Exception]] = [errors.RepositoryNotFoundError]
    if datasets := sys.modules.get("datasets"):
        lacking.append(datasets.exceptions.DatasetNotFoundError)
    try:
        yield
    except errors.GatedRepoError:
        way = f"accept its terms at https://huggingface.co/datasets/{repo} and set HF_TOKEN"
        raise Absent(f"{repo} is gated: {way}") from None
    except errors.RevisionNotFoundError:
        raise Absent(f"{repo} has no revision {revision}") from None
    except tuple(lacking):
        raise Absent(f"{repo}: the hub has no such data set, or it is private (set HF_TOKEN then)") from None
    except network.failures(ConnectionError) as error:
        reason = f"the hub cannot be reached ({network.first_line(error)})"
        raise DataError(f"{repo}: {reason}; with --offline only what is here is used") from None
    except Exception as error:  # noqa: BLE001  what answers may be no hub, and its library raises whatever that gives
        # Of several lines the later ones are the way out, such as the configurations there are.
        reason = " ".join(str(error).split())[: network.LONGEST]
        raise DataError(f"{repo}: {type(error).__name__}: {reason}") from None


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
