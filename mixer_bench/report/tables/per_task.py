"""The tables of single tasks: a row a model, a column a protocol and its settings. Pure; prints nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from mixer_bench.report.cells import Cell, real_cells
from mixer_bench.report.columns import column_labels, column_order
from mixer_bench.report.models import About
from mixer_bench.report.tables.table import Table, by_model, notes_of, row_of, unfinished
from mixer_bench.results.record import Record, Run
from mixer_bench.stats import metrics
from mixer_bench.system.grouping import grouped


def build(cells: Sequence[Cell], about: About) -> list[Table]:
    """The tables of single tasks: one by each task's metric, and one by ImageNet's ReaL labels where they were used.

    Args:
        cells: of any tasks, models and protocols.
        about: what is known of the models.
    """
    by_task = grouped(cells, lambda cell: cell.run.variant)
    varied = {task for task, count in Counter(key[0] for key in by_task).items() if count > 1}
    tables = []
    for key, group in sorted(by_task.items(), key=lambda item: str(item[0])):
        tables.append(_table(group, about, key[0] in varied))
        if real := real_cells(group):
            tables.append(_table(real, about, key[0] in varied))
    return tables


def _table(cells: Sequence[Cell], about: About, varied: bool) -> Table:
    first, metric = cells[0].record, cells[0].metric
    labels = column_labels(cells)
    models = by_model(cells, about)
    speeds = about.speeds(list(models.values()))
    rows = [
        row_of(label, {labels[cell.run.setting]: cell for cell in group}, speed, group[0], about)
        for (label, group), speed in zip(models.items(), speeds.rows, strict=True)
    ]
    columns = tuple(dict.fromkeys(labels[key] for key in sorted(labels, key=column_order)))
    seeds = sorted({cell.seeds for cell in cells if cell.over_seeds})
    over = f" over {' or '.join(map(str, seeds))} seeds" if seeds else ""
    title = f"{first.run.task}: {metrics.of_record(metric).words} in %, mean ± 95 % interval{over}"
    title += f"; {first.n_test} test images, {first.num_classes} classes"
    title += f", {first.run.subset}" if first.run.subset != "official" else ""
    title += f"; limited to {first.run.limit} a split" if first.run.limit else ""
    title += f"; version {first.run.task_version}, data {first.run.data[:8]}" if varied else ""
    records = [record for cell in cells for record in cell.records]
    return Table(
        first.run.model_copy(update={"metric": metric}),
        title,
        columns,
        speeds.headings,
        tuple(rows),
        (*notes_of(cells), *unfinished(rows), *speeds.notes, *_record_notes(records)),
    )


def _record_notes(records: Sequence[Record]) -> list[str]:
    notes = []
    edges = sorted({f"{r.run.model} {r.run.protocol}" for r in records if r.selection and r.selection.at_edge})
    if edges:
        notes.append(f"chosen at the grid's edge: {', '.join(edges)}")
    notes += sorted({f"{_run_words(r.run)}: {note}" for r in records for note in r.notes})
    notes += sorted({f"{r.run.model}: {note}" for r in records for note in r.extraction_notes})
    notes += sorted({f"data: {r.source} ({r.run.subset})" for r in records})
    return notes


def _run_words(run: Run) -> str:
    """Few-shot notes hold for every model alike, others for the one that was fitted."""
    return f"{run.config['shots']}-shot" if "shots" in run.config else f"{run.model} {run.protocol}"
