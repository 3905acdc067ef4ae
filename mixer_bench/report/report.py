"""Records to reports: an index, tables and figures made of it, and formats they are written in. Never imports torch."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from mixer_bench.errors import UsageError, unknown
from mixer_bench.report import listed, rows, significance, verdict
from mixer_bench.report.figures import answers
from mixer_bench.report.figures import draw as figures
from mixer_bench.report.formats import eee, latex, model_card, sheet, terminal, text
from mixer_bench.report.formats import html as page
from mixer_bench.report.formats.by_class import Looks, closer
from mixer_bench.report.index import Index
from mixer_bench.report.models import About
from mixer_bench.report.significance import Judge
from mixer_bench.report.tables import against_published, averages, main, per_task
from mixer_bench.report.tables.table import Table
from mixer_bench.results.profiles import Profile
from mixer_bench.results.record import Record
from mixer_bench.results.store import reason
from mixer_bench.system import files
from mixer_bench.system.paths import real
from mixer_bench.task import task

FORMATS = ("table", "markdown", "csv", "latex", "json")  # that are text
WRITERS = {"markdown": text.markdown, "csv": sheet.as_csv, "latex": latex.latex}


def write(
    records: Sequence[Record],
    fmt: str,
    profiles: Sequence[Profile] = (),
    judge: Judge | None = None,
    baseline: str | None = None,
    colour: bool = False,
    folders: Sequence[str] = (),
) -> str:
    """Return the report on ``records`` as text.

    Args:
        records: of any tasks, models and protocols.
        fmt: one of ``FORMATS``.
        profiles: speeds, for the models that are the same networks.
        judge: marks the best and what is not significantly worse; None: nothing is marked.
        baseline: a model; tables of differences from it are added.
        colour: whether a terminal's table has colours.
        folders: the results folder of each record; none: JSON does not say it.

    Raises:
        UsageError: there are no records of ``baseline``, or the format has no differences.
    """
    if fmt == "json":
        _without(baseline, fmt)
        return json.dumps(rows.tidy(records, About.of(records), folders), indent=1) + "\n"
    tables = build(_index(records, profiles), judge, baseline)
    return terminal.terminal(tables, colour) if fmt == "table" else WRITERS[fmt](tables)


def save(
    records: Sequence[Record],
    fmt: str,
    output: Path,
    profiles: Sequence[Profile],
    judge: Judge,
    baseline: str | None,
    read: eee.Read,
) -> list[str]:
    """Write to ``output`` what is no text: to a file "parquet", to a folder "model-card", "eee" or "eee-samples".

    ``read`` gives label and prediction [N] of a record; other arguments are ``write``'s.

    Returns:
        What it leaves out, or left as it was, in words.

    Raises:
        UsageError: as ``write``.
        ResultsError: it cannot be written.
    """
    index = _index(records, profiles)
    if fmt == "parquet":
        with files.delivering(output) as opened:
            sheet.write_parquet(build(index, judge, baseline), opened)
        return []
    _without(baseline, fmt)
    models = listed.by_label(index)
    if fmt != "model-card":
        return eee.write(models, index.about, output, read if fmt == "eee-samples" else None)
    by_label = {label: [r for result in results for r in result.cell.records] for label, results in models.items()}
    bodies = {label: text.markdown(build(_index(its, profiles))) for label, its in by_label.items()}
    return model_card.write(models, bodies, output)


def _without(baseline: str | None, fmt: str) -> None:
    if baseline is not None:
        raise UsageError(f"--baseline: {fmt} holds the results themselves; csv has the differences")


def brief(records: Sequence[Record], profiles: Sequence[Profile], judge: Judge, colour: bool = False) -> str:
    """Return, for a terminal, verdicts on ``records`` and the tables that these are of; arguments as ``write``'s."""
    headlines = verdict.verdicts(build(_index(records, profiles), judge))
    return terminal.terminal([told.table for told in headlines[: verdict.MOST] if told.table], colour)


def _index(records: Sequence[Record], profiles: Sequence[Profile]) -> Index:
    return Index(records, About.of(records, profiles), task.tasks())


def build(index: Index, judge: Judge | None = None, baseline: str | None = None) -> list[Table]:
    """Return all tables, from a task's own to those that look across tasks."""
    models = {cell.run.model for cell in index.cells}
    if baseline is not None and baseline not in models:
        raise unknown("baseline among the records' models,", baseline, models)
    built = [*per_task.build(index), *averages.build(index), *main.build(index)]
    if judge is not None:
        less = [difference for table in built for difference in significance.differences(table, judge, baseline)]
        built = [*(significance.marked(table, judge) for table in built), *less]
    return [*built, *against_published.build(index)]


def html(
    records: Sequence[Record],
    folders: Sequence[Path],
    problems: Sequence[str] = (),
    failures: Sequence[Path] = (),
    profiles: Sequence[Profile] = (),
    judge: Judge | None = None,
    baseline: str | None = None,
    looks: Looks | None = None,
) -> str:
    """Return the report as one HTML page, with figures and with what is behind each number.

    Args:
        records: of the results folders.
        folders: the results folders; the page has their names and no path of this machine.
        problems: a line for each file there that is no record.
        failures: the files of runs that failed.
        profiles: for speeds.
        judge: as ``write`` takes it; is told which predictions ``looks`` could not use.
        baseline: likewise.
        looks: gives a run class by class; None: none is shown so.
    """
    index = _index(records, profiles)
    built = build(index, judge, baseline)
    told = verdict.verdicts(built)
    unused = judge.problems if judge is not None else []
    closely = closer(told[: verdict.MOST], looks, unused) if looks is not None else []
    names = {folder: real(folder).name or "results" for folder in folders}
    failed = [_without_paths(f"{file}: {reason(file)}", names) for file in failures]
    spoiled = [_without_paths(line, names) for line in (*problems, *unused)]
    asked = answers.questions(index, told[: verdict.MOST])
    return page.write(built, told, asked, records, spoiled, failed, ", ".join(names.values()), closely)


def _without_paths(line: str, names: Mapping[Path, str]) -> str:
    """Return a line that begins with a file's path, and may have it again in an error, with the folder's name alone."""
    for folder, name in names.items():
        here = re.compile(rf"(?<![\w./\\-]){re.escape(str(folder))}[/\\]")
        line = here.sub(f"{name}/" if len(names) > 1 else "", line)
    return line


def draw(records: Sequence[Record], folder: Path, profiles: Sequence[Profile] = ()) -> list[Path]:
    """Write the figures of ``records``, each as SVG and PNG, into ``folder``; return the files.

    ``captions.md`` beside them says what each shows and what was left out.
    """
    index = _index(records, profiles)
    return figures.save(figures.figures(index), folder)
