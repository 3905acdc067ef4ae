"""Ask whether everything that mixer-bench fetches is still where it was; print an issue's text, end with 1 if not.

    python tools/addresses.py > issue.md

Nothing is downloaded: addresses are asked for their headers (HEAD, or the first byte where a server refuses that).
"""

from __future__ import annotations

import http.client
import os
import sys
import tomllib
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from tabulate import tabulate

from mixer_bench.data import archives, prepared
from mixer_bench.data.archives import Originals
from mixer_bench.data.readers import tfds
from mixer_bench.models import zoo
from mixer_bench.task import task as tasks
from mixer_bench.task.sources import HubSource, Source, TfdsSource

PATIENCE = 30.0  # seconds for an answer
TRIES = 2  # a server may be down for a moment
AT_ONCE = 8
UNUSUAL = (403, 405, 501)  # what servers say that do not take HEAD


@dataclass(frozen=True)
class Asked:
    """Something that is fetched, and where it is: one of the addresses must answer."""

    what: str
    addresses: tuple[str, ...]
    size: int | None = None  # bytes that it must have


@dataclass(frozen=True)
class Answer:
    """What an address said: how many bytes are there, if it tells, or what is wrong."""

    address: str
    problem: str = ""


def everything(hub: str) -> list[Asked]:
    """Return all that is fetched: the makers' archives, prepared sets, data sets and weights of the hub, weights."""
    originals = tomllib.loads(archives.TABLE.read_text(encoding="utf-8"))
    asked = [
        Asked(f"{name}: {archive.name or archive.there}", archive.addresses, archive.bytes)
        for name, entry in originals.items()
        for archive in Originals.model_validate(entry).archive
    ]
    sources = [source for task in tasks.tasks().values() for source in flat(task.source)]
    bucket = prepared.bucket()
    for builder, dataset in sorted({(s.builder, s.dataset) for s in sources if isinstance(s, TfdsSource)}):
        versions = bucket.versions.get(dataset, ())
        described = tuple(f"{bucket.address}/{builder}/{version}/{tfds.INFO}" for version in versions)
        asked += [Asked(f"prepared {builder}", described)] if described else []
    for repo in sorted({source.repo for source in sources if isinstance(source, HubSource)}):
        asked.append(Asked(f"data set {repo}", (f"{hub}/api/datasets/{repo}",)))
    for name, card in zoo.cards().items():
        kind, _, place = card.weights.partition(":")
        if kind in ("hf-hub", "https"):
            address = f"{hub}/api/models/{place}" if kind == "hf-hub" else card.weights
            asked.append(Asked(f"weights of {name}", (address,)))
    return asked


def flat(sources: Sequence[Source]) -> Iterator[Source]:
    """Give sources, and of those that are joined their parts."""
    for source in sources:
        yield source
        yield from flat(getattr(source, "part", ()))


def answer(address: str, size: int | None = None, patience: float = PATIENCE) -> Answer:
    """Ask an address, again if it fails."""
    problem = ""
    for _ in range(TRIES):
        try:
            there = length(address, patience)
        except urllib.error.HTTPError as error:
            problem = f"HTTP {error.code}" + (" (gone, renamed or private)" if error.code in (401, 404) else "")
        except (OSError, http.client.HTTPException, ValueError) as error:
            problem = str(getattr(error, "reason", "") or error or type(error).__name__)
        else:
            wrong = size is not None and there is not None and there != size
            return Answer(address, f"{there:,} bytes, not {size:,}" if wrong else "")
    return Answer(address, problem)


class SameMethod(urllib.request.HTTPRedirectHandler):
    """Ask the place that an answer names as the first was asked; before Python 3.13 HEAD would become GET."""

    def redirect_request(self, req: urllib.request.Request, *told: Any) -> urllib.request.Request | None:
        """Return the next request."""
        request = super().redirect_request(req, *told)
        if request is not None:
            request.method = req.get_method()
        return request


OPENER = urllib.request.build_opener(SameMethod)


def length(address: str, patience: float) -> int | None:
    """Return how many bytes are at an address; None where it does not say.

    Raises:
        OSError: it refuses, or does not answer in time.
    """
    agent = {"User-Agent": "mixer-bench (are its addresses alive?)", "Accept-Encoding": "identity"}
    head = urllib.request.Request(address, headers=agent, method="HEAD")
    try:
        with OPENER.open(head, timeout=patience) as opened:
            told = opened.headers.get("Content-Length", "")
    except urllib.error.HTTPError as error:
        if error.code not in UNUSUAL:
            raise
        first = urllib.request.Request(address, headers={**agent, "Range": "bytes=0-0"})
        with OPENER.open(first, timeout=patience) as opened:
            told = opened.headers.get("Content-Range", "").rpartition("/")[2]
    return int(told) if told.isdecimal() and int(told) else None


def issue(asked: Sequence[Asked], answers: Sequence[Sequence[Answer]]) -> tuple[str, bool]:
    """Return what was found as Markdown, and whether all that is fetched can be had."""
    lost, dead = [], []
    for thing, said in zip(asked, answers, strict=True):
        problems = [(thing.what, answer.address, answer.problem) for answer in said if answer.problem]
        (lost if len(problems) == len(said) else dead).extend(problems)
    parts = [f"{len(asked)} things that are fetched were asked for."]
    for heading, rows in (("Nowhere to be had", lost), ("To be had elsewhere", dead)):
        if rows:
            parts.append(f"## {heading}\n\n{tabulate(rows, ('what', 'address', 'answer'), tablefmt='github')}")
    return "\n\n".join(parts) + "\n", not lost


def main() -> int:
    """Ask everything; return the exit code."""
    asked = everything(os.environ.get("HF_ENDPOINT", "https://huggingface.co"))
    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = list(pool.map(lambda thing: [answer(place, thing.size) for place in thing.addresses], asked))
    text, whole = issue(asked, answers)
    print(text, end="")
    return 0 if whole else 1


if __name__ == "__main__":
    sys.exit(main())
