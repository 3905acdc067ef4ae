"""Functions on results that are there."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mixer_bench.errors import ResultsError, UsageError
from mixer_bench.results.store import Store, reason
from mixer_bench.system import network
from mixer_bench.system.console import tell
from mixer_bench.system.grouping import grouped
from mixer_bench.system.paths import expanded, real

if TYPE_CHECKING:
    from mixer_bench.gate.check import Outcome as Checked
    from mixer_bench.results.answers import Answers
    from mixer_bench.results.merge import Merged

MAKE = "mixer-bench run --task ... --model ..."
NOTHING = f"no records; make some with: {MAKE}"
Place = str | Path
Places = Place | Sequence[Place]


def check(baseline_file: Place, results: Place | None = None, min_drop: float = 0.5) -> Checked:
    """Compare accuracy with a baseline, answer by answer.

    Args:
        baseline_file: made by ``update_baseline``.
        results: results folder; None: MIXER_BENCH_RESULTS, else ``results``.
        min_drop: smallest drop that fails, in points of accuracy (of 100).

    Returns:
        ``passed``, and all that was judged: a drop, a missing run, a changed identity, runs of other code.

    Raises:
        ResultsError: the baseline cannot be read.
        UsageError: ``min_drop`` is no number of points.
    """
    from mixer_bench.gate import baseline
    from mixer_bench.gate import check as gate

    if not 0 <= min_drop <= 100:  # noqa: PLR2004  percent
        raise UsageError(f"--min-drop {min_drop}: points of accuracy, 0 to 100")
    before = baseline.read(expanded(baseline_file))
    now, problems, failures = _answers(Store(place(results)))
    problems += [] if now or problems else [NOTHING]
    return dataclasses.replace(gate.check(before, now, min_drop / 100), problems=tuple(problems), notes=tuple(failures))


def update_baseline(baseline_file: Place, results: Place | None = None) -> int:
    """Write all of a results folder into a baseline, or nothing: one that lacks a run would let it break unseen.

    Args:
        baseline_file: JSON, for git.
        results: results folder; None: MIXER_BENCH_RESULTS, else ``results``.

    Returns:
        How many runs it holds.

    Raises:
        ResultsError: a record, its predictions or a run is missing, damaged or of other code; each was told on stderr.
    """
    from mixer_bench.gate import baseline
    from mixer_bench.gate.evidence import Evidence, Side

    store = Store(place(results))
    now, problems, failures = _answers(store)
    problems += [*failures, *Evidence(results=Side.of(now)).stale]
    warn(problems, word="error")
    if problems or not now:
        reason = f"{len(problems)} problems" if problems else "no records"
        raise ResultsError(f"{reason} in {store.folder}; {baseline_file} is left as it was")
    baseline.write(expanded(baseline_file), now)
    return len(now)


def _answers(store: Store) -> tuple[list[Answers], list[str], list[str]]:
    """Return the answers of all records, a line for what is damaged, and one for each run that failed."""
    from mixer_bench.results import answers

    records, problems = store.records()
    reader = answers.Reader(store.answers)
    read = [reader.answers(record) for record in records]
    problems += [run.problem for run in read if run.problem]
    return read, problems, [f"failed: {file}" for file in store.failures()]


def merge(into: Place, sources: Sequence[Place], offline: bool = False) -> Merged:
    """Take up records, predictions, failures and profiles of other results folders; what is there stays as it is.

    Args:
        into: the results folder that takes them up.
        sources: results folders of other machines, on disk or of the hub: hf:owner/name[@revision][/folder].
        offline: whether nothing is to be fetched from the hub.

    Returns:
        Counts of what was copied, ``fetched``, the hub's folders at the very commit, and ``problems``: a line for each
        file that was not taken up though it should be.

    Raises:
        UsageError: a source is no results folder, or is ``into``.
        ResultsError: ``into`` cannot be written.
        DataError: a folder of the hub cannot be had.
    """
    from mixer_bench.data.readers.hub import PREFIX
    from mixer_bench.results import merge as merging

    with network.as_before():
        if offline:
            network.allow(False)
        given = [source if str(source).startswith(PREFIX) else expanded(source) for source in sources]
        return merging.merge(expanded(into), given)


def no_records(*folders: Path) -> ResultsError:
    """Return the error for results folders without records."""
    return ResultsError(f"no records in {' and '.join(map(str, folders))}; make some with: {MAKE}")


def place(results: Place | None) -> Path:
    """Return the results folder that is named, else that of the environment, else the usual one."""
    return expanded(results or os.environ.get("MIXER_BENCH_RESULTS") or "results")


def places(results: Places | None) -> list[Path]:
    """Return the results folders that are named, each once, else the one that ``place`` gives.

    Raises:
        UsageError: an empty list of them.
    """
    if results is None or isinstance(results, str | Path):
        return [place(results)]
    if not results:
        raise UsageError("an empty list of results folders; name one at least")
    return [same[0] for same in grouped(map(expanded, results), real).values()]


def warn(problems: Iterable[str], failures: Iterable[Path] = (), word: str = "warning") -> None:
    """Tell on stderr what cannot be read, and which runs failed."""
    for problem in problems:
        tell(f"{word}: {problem}")
    for file in failures:
        tell(f"failed: {file}: {reason(file)}")
