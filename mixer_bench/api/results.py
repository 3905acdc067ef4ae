"""Functions on results that are there."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mixer_bench.errors import ResultsError, UsageError
from mixer_bench.results.store import Store, reason
from mixer_bench.runs.options import Options
from mixer_bench.system import config_file, files, network
from mixer_bench.system.console import tell
from mixer_bench.system.options import documented
from mixer_bench.system.paths import expanded

if TYPE_CHECKING:
    import pandas

    from mixer_bench.gate.check import Outcome as Checked
    from mixer_bench.report.formats.by_class import Looks
    from mixer_bench.results.answers import Answers
    from mixer_bench.results.merge import Merged
    from mixer_bench.results.profiles import Profile
    from mixer_bench.results.record import Record

MAKE = "mixer-bench run --task ... --model ..."
NOTHING = f"no records; make some with: {MAKE}"
WHERE = ("include", "data_dir", "image", "label")  # options that say where images are
Place = str | Path
Format = Literal["table", "markdown", "csv", "latex", "html", "json"]


def load_results(folder: Place | None = None) -> pandas.DataFrame:
    """Return all records of a results folder as a tidy table: one row a run and metric, values in [0, 1].

    Args:
        folder: results folder; None: MIXER_BENCH_RESULTS, else ``results``.

    Raises:
        ResultsError: no such folder, or a file there is no whole record.
    """
    store = Store(place(folder))
    if not (store.folder / "runs").is_dir():
        raise ResultsError(f"{store.folder}: there are no results here")
    records, problems = store.records()
    if problems:
        raise ResultsError("; ".join(problems))
    return as_rows(records)


def as_rows(records: Sequence[Record]) -> pandas.DataFrame:
    """Return records as ``load_results`` does."""
    import pandas

    from mixer_bench.report import rows
    from mixer_bench.report.models import About

    return pandas.DataFrame(rows.tidy(records, About.of(records)), columns=list(rows.COLUMNS))


@dataclass(frozen=True)
class Reported:
    """A report; ``str`` and ``print`` give its text."""

    text: str
    output: Path | None  # the file that it was written to
    figures: tuple[Path, ...]  # files
    records: int
    problems: tuple[str, ...]  # a line for each file that cannot be read, and for predictions that are gone
    failures: tuple[Path, ...]  # files of runs that failed

    def __str__(self) -> str:
        """Return the text."""
        return self.text


@documented(Options, *WHERE)
def report(
    results: Place | None = None,
    format: Format = "table",
    output: Place | None = None,
    baseline: str | None = None,
    figures: Place | None = None,
    colour: bool = False,
    thumbnails: bool = False,
    task: str | None = None,
    **options: Any,
) -> Reported:
    """Make comparison tables of the records in a results folder; what is damaged or failed is told on stderr.

    Args:
        results: results folder; None: MIXER_BENCH_RESULTS, else ``results``.
        format: how to write it.
        output: a file to write it to (html: report.html beside the records).
        baseline: a model; tables of paired differences from it are added.
        figures: a folder for figures, as SVG and PNG.
        colour: whether a table has the codes of a terminal's colours.
        thumbnails: whether the HTML page shows the images that were most surely taken for others.
        task: where images of your own lie, which give the page names: a folder, a list, hf:owner/name.
        **options:

    Raises:
        ResultsError: there are no records.
        UsageError: there are none of ``baseline``; there is no such task; ``thumbnails`` without the format html.
    """
    store = Store(place(results))
    if thumbnails and format != "html":
        raise UsageError(f"--thumbnails: images are shown in a page; ask for it with --format html, not {format}")
    looks = _looks(store, thumbnails, {"task": task, **options}) if format == "html" else None
    return _reported(store, format, output, baseline, figures, colour, looks)


def _reported(
    store: Store,
    format: Format,
    output: Place | None,
    baseline: str | None,
    figures: Place | None,
    colour: bool,
    looks: Looks | None,
) -> Reported:
    """Make and write the report; ``looks`` gives a page's runs class by class."""
    from mixer_bench.report import report as reports
    from mixer_bench.report.significance import Judge

    records, profiles, problems = _read(store)
    failures = store.failures()
    baseline = _readable(baseline, records, problems)
    warn(problems, failures)
    if not records and format != "html":
        raise no_records(store.folder)
    judge = Judge(store.answers)
    with _kept():
        if format == "html":
            text = reports.html(records, store.folder, problems, failures, profiles, judge, baseline, looks)
        else:
            text = reports.write(records, format, profiles, judge, baseline, colour)
        drawn = [] if figures is None else reports.draw(records, expanded(figures), profiles)
    warn(judge.problems)
    output = output or (store.folder / "report.html" if format == "html" else None)
    file = None if output is None else expanded(output)
    if file is not None:
        files.deliver(file, text)
    if not records:
        raise no_records(store.folder)
    return Reported(text, file, tuple(drawn), len(records), (*problems, *judge.problems), tuple(failures))


def _looks(store: Store, thumbnails: bool, given: dict[str, Any]) -> Looks:
    """Return what gives a run class by class, with names from the images that ``given`` options lead to."""
    from mixer_bench.report.formats.by_class import Look
    from mixer_bench.runs.per_class import per_class
    from mixer_bench.runs.request import tasks_of

    asked, _ = config_file.resolved(Options, given)
    own = {task.name: task for task in tasks_of(asked)}

    def look(record: Record) -> Look:
        with network.as_before():
            network.allow(False)
            file = store.place(record.run, ".json")
            told, there = per_class(file, own.get(record.run.task), asked.data_dir, asked.include)
            return Look(told, there is not None, there.test.images if there and thumbnails else None)

    return look


def _readable(baseline: str | None, records: Sequence[Record], problems: list[str]) -> str | None:
    """Return the baseline, or add to ``problems`` that its records may be among the damaged ones."""
    if not problems or baseline is None or any(record.run.model == baseline for record in records):
        return baseline
    problems.append(f"--baseline {baseline}: no record of it can be read")
    return None


def _read(store: Store) -> tuple[list[Record], list[Profile], list[str]]:
    """Return records and profiles, and a line for each file that is damaged."""
    records, problems = store.records()
    profiles, spoiled = store.profiles()
    return records, profiles, [*problems, *spoiled]


@contextlib.contextmanager
def _kept() -> Iterator[None]:
    """Look for no garbage in what is there already: of records, again and again, it takes a tenth of the time."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


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


def merge(into: Place, sources: Sequence[Place]) -> Merged:
    """Take up records, predictions, failures and profiles of other results folders; what is there stays as it is.

    Args:
        into: the results folder that takes them up.
        sources: results folders of other machines.

    Returns:
        Counts of what was copied, and ``problems``: a line for each file that was not taken up though it should be.

    Raises:
        UsageError: a source is no results folder, or is ``into``.
        ResultsError: ``into`` cannot be written.
    """
    from mixer_bench.results import merge as merging

    return merging.merge(expanded(into), [expanded(source) for source in sources])


def no_records(folder: Path) -> ResultsError:
    """Return the error for a results folder without records."""
    return ResultsError(f"no records in {folder}; make some with: {MAKE}")


def place(results: Place | None) -> Path:
    """Return the results folder that is named, else that of the environment, else the usual one."""
    return expanded(results or os.environ.get("MIXER_BENCH_RESULTS") or "results")


def warn(problems: Iterable[str], failures: Iterable[Path] = (), word: str = "warning") -> None:
    """Tell on stderr what cannot be read, and which runs failed."""
    for problem in problems:
        tell(f"{word}: {problem}")
    for file in failures:
        tell(f"failed: {file}: {reason(file)}")
