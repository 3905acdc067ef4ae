"""Records to reports and rows: the verb report, and load_results."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mixer_bench.api.results import Place, Places, no_records, places, warn
from mixer_bench.errors import ResultsError, UsageError
from mixer_bench.results.several import Several
from mixer_bench.runs.options import Options
from mixer_bench.system import config_file, files, network
from mixer_bench.system.options import documented
from mixer_bench.system.paths import expanded

if TYPE_CHECKING:
    import pandas

    from mixer_bench.report.formats.by_class import Looks
    from mixer_bench.results.profiles import Profile
    from mixer_bench.results.record import Record

WHERE = ("include", "data_dir", "image", "label")  # options that say where images are
Format = Literal["table", "markdown", "csv", "latex", "html", "json", "parquet", "model-card", "eee", "eee-samples"]
FOLDERS = ("model-card", "eee", "eee-samples")  # formats of many files


def load_results(folders: Places | None = None) -> pandas.DataFrame:
    """Return all records of results folders as a tidy table: one row a run and metric, values in [0, 1].

    The column ``folder`` says where a row is from; a run that several folders have is that of the first of them.

    Args:
        folders: a results folder, or several; None: MIXER_BENCH_RESULTS, else ``results``.

    Raises:
        ResultsError: no such folder, a file there is no whole record, or two folders have other values of one run.
    """
    several = Several(places(folders))
    for folder in several.folders:
        if not (folder / "runs").is_dir():
            raise ResultsError(f"{folder}: there are no results here")
    records, problems = several.records()
    if problems:
        raise ResultsError("; ".join(problems))
    return as_rows(records, several.names(records))


def as_rows(records: Sequence[Record], folders: Sequence[str]) -> pandas.DataFrame:
    """Return records as ``load_results`` does; ``folders`` has the results folder of each."""
    import pandas

    from mixer_bench.report import rows
    from mixer_bench.report.models import About

    return pandas.DataFrame(rows.tidy(records, About.of(records), folders), columns=list(rows.COLUMNS))


@dataclass(frozen=True)
class Reported:
    """A report; ``str`` and ``print`` give its text."""

    text: str  # empty where the format is none
    output: Path | None  # the file or folder that it was written to
    figures: tuple[Path, ...]  # files
    records: int
    problems: tuple[str, ...]  # a line for each file that cannot be read, and for predictions that are gone
    failures: tuple[Path, ...]  # files of runs that failed

    def __str__(self) -> str:
        """Return the text."""
        return self.text


@documented(Options, *WHERE)
def report(
    results: Places | None = None,
    format: Format = "table",
    output: Place | None = None,
    baseline: str | None = None,
    figures: Place | None = None,
    colour: bool = False,
    thumbnails: bool = False,
    task: str | None = None,
    **options: Any,
) -> Reported:
    """Make comparison tables of the records in results folders; what is damaged or failed is told on stderr.

    Args:
        results: a results folder, or several, read as one; None: MIXER_BENCH_RESULTS, else ``results``.
        format: how to write it; eee-samples is eee with a line for each prediction, of about 600 bytes.
        output: a file to write it to (html: report.html beside the records), of model-card and eee a folder.
        baseline: a model; tables of paired differences from it are added.
        figures: a folder for figures, as SVG and PNG.
        colour: whether a table has the codes of a terminal's colours.
        thumbnails: whether the HTML page shows the images that were most surely taken for others.
        task: where images of your own lie, which give the page names: a folder, a list, hf:owner/name.
        **options:

    Raises:
        ResultsError: there are no records, or the report cannot be written.
        UsageError: there are none of ``baseline``; there is no such task; ``task`` or ``thumbnails`` without the format
            html, or no ``output`` where the format needs one.
    """
    several = Several(places(results))
    if task and format != "html":
        raise UsageError(f"--task gives a page (--format html) names of classes and chooses no results: not {format}")
    if thumbnails and format != "html":
        raise UsageError(f"--thumbnails: images are shown in a page; ask for it with --format html, not {format}")
    if format == "html" and len(several.folders) == 1:
        output = output or several.folders[0] / "report.html"
    if output is None and format in ("html", "parquet", *FOLDERS):
        what = "a folder" if format in FOLDERS else "a file"
        raise UsageError(f"--format {format} is written to {what}: name it with --output")
    looks = _looks(several, thumbnails, {"task": task, **options}) if format == "html" else None
    file = None if output is None else expanded(output)
    return _reported(several, format, file, baseline, figures, colour, looks)


def _reported(
    several: Several,
    format: Format,
    output: Path | None,
    baseline: str | None,
    figures: Place | None,
    colour: bool,
    looks: Looks | None,
) -> Reported:
    """Make and write the report; ``looks`` gives a page's runs class by class."""
    from mixer_bench.report import report as reports
    from mixer_bench.report.significance import Judge

    records, profiles, problems = _read(several)
    failures = several.failures()
    baseline = _readable(baseline, records, problems)
    warn(problems, failures)
    if not records and format != "html":
        raise no_records(*several.folders)
    judge, text = Judge(several.answers), ""
    with _kept():
        if format == "html":
            text = reports.html(records, several.folders, problems, failures, profiles, judge, baseline, looks)
        elif output is not None and (format == "parquet" or format in FOLDERS):
            warn(reports.save(records, format, output, profiles, judge, baseline, several.answers), word="note")
        else:
            text = reports.write(records, format, profiles, judge, baseline, colour, several.names(records))
        drawn = [] if figures is None else reports.draw(records, expanded(figures), profiles)
    warn(judge.problems)
    if output is not None and text:
        files.deliver(output, text)
    if not records:
        raise no_records(*several.folders)
    told = (*problems, *judge.problems)
    return Reported(text, output, tuple(drawn), len(records), told, tuple(failures))


def _looks(several: Several, thumbnails: bool, given: dict[str, Any]) -> Looks:
    """Return what gives a run class by class, with names from the images that ``given`` options lead to."""
    from mixer_bench.report.formats.by_class import Look
    from mixer_bench.runs.per_class import per_class
    from mixer_bench.runs.request import tasks_of

    asked, _ = config_file.resolved(Options, given)
    own = {task.name: task for task in tasks_of(asked)}

    def look(record: Record) -> Look:
        with network.as_before():
            network.allow(False)
            file = several.store(record).place(record.run, ".json")
            told, there = per_class(file, own.get(record.run.task), asked.data_dir, asked.include)
            return Look(told, there is not None, there.test.images if there and thumbnails else None)

    return look


def _readable(baseline: str | None, records: Sequence[Record], problems: list[str]) -> str | None:
    """Return the baseline, or add to ``problems`` that its records may be among the damaged ones."""
    if not problems or baseline is None or any(record.run.model == baseline for record in records):
        return baseline
    problems.append(f"--baseline {baseline}: no record of it can be read")
    return None


def _read(several: Several) -> tuple[list[Record], list[Profile], list[str]]:
    """Return records and profiles, and a line for each file that is damaged."""
    records, problems = several.records()
    profiles, spoiled = several.profiles()
    return records, profiles, [*problems, *spoiled]


@contextlib.contextmanager
def _kept() -> Iterator[None]:
    """Look for no garbage in what is there already: of records, again and again, it takes a tenth of the time."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
