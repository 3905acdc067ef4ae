"""Results folders in data sets of the Hugging Face hub: fetched, each file with the size and digest that the hub says.

What is in the files is then believed no more than what another machine's disk holds.
"""

from __future__ import annotations

import functools
import hashlib
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from mixer_bench.data.readers import hub_files
from mixer_bench.data.readers.hub import PREFIX
from mixer_bench.data.readers.hub_files import Listing
from mixer_bench.errors import DataError, UsageError
from mixer_bench.system import files

ADDRESS = re.compile(rf"{PREFIX}([\w.-]+/[\w.-]+)(?:@([^@/]+))?((?:/[^/]+)*)/?")
FORM = "hf:owner/name, hf:owner/name@revision or hf:owner/name@revision/folder"
KEPT = re.compile(r"(runs|profiles)/.+\.(json|npz|safetensors)")  # files of a results folder
SHA256 = 64  # digits; git's digest of a file has 40


def fetched(address: str) -> tuple[Path, str]:
    """Return the folder with the results at ``hf:owner/name[@revision][/folder]``, and its address at the very commit.

    Raises:
        UsageError: not such an address, or no results folder is there.
        Absent: the hub has no such data set; or offline, and it was never fetched here.
        DataError: the hub cannot be reached, fetching broke off, or a file is not what the hub says.
    """
    parts = ADDRESS.fullmatch(address)
    if parts is None:
        raise UsageError(f"{address}: not of the form {FORM}")
    repo, revision, folder = parts[1], unquote(parts[2] or "main"), parts[3]
    note = hub_files.note_of("results", repo, revision, folder)
    hub_files.without_bars()
    ask = functools.partial(_asked, repo, revision, folder.removeprefix("/"))
    listing = hub_files.listed(repo, revision, note, ask)
    if not listing.files:
        raise UsageError(f"{address}: no results folder: it has neither runs nor profiles")
    place = hub_files.fetched(listing, note)
    for name, digest in listing.digests.items():
        if _digest(place / name, digest) != digest:
            raise DataError(f"{address}: {name} is not what the hub says; remove {place} and run again")
    return Path(f"{place}{folder}"), f"{PREFIX}{repo}@{listing.commit}{folder}"


def _asked(repo: str, revision: str, folder: str, _noted: Listing | None) -> Listing:
    with hub_files.answered(repo, revision):
        there = hub_files.information(repo, revision)
        below = f"{folder}/" if folder else ""
        wanted = [
            file
            for file in there.siblings or []
            if file.rfilename.startswith(below) and KEPT.fullmatch(file.rfilename.removeprefix(below))
        ]
        sizes = {file.rfilename: int(file.size or 0) for file in wanted}
        digests = {file.rfilename: told for file in wanted if (told := _told(file))}
    return Listing(repo=repo, commit=there.sha, files=sizes, digests=digests)


def _told(file: Any) -> str | None:
    """Return the digest that the hub tells of a file: of a large one SHA-256, of others git's; None: of none."""
    digest: str | None = file.lfs.sha256 if file.lfs else file.blob_id
    return digest


def _digest(file: Path, told: str) -> str:
    if len(told) == SHA256:
        return files.sha256(file)
    content = files.read(file)
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
