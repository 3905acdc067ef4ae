"""The tables of single tasks: a row a model, a column a protocol and its settings. Pure; prints nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from mixer_bench.report.cells import Cell, real_cells
from mixer_bench.report.columns import of_task
from mixer_bench.report.index import Index
from mixer_bench.report.models import About
from mixer_bench.report.tables.table import TASK, Table, by_model, model_table
from mixer_bench.results.record import Record, Run
from mixer_bench.stats import metrics


def build(index: Index) -> list[Table]:
    """Return the tables of single tasks: by each task's metric, and by ImageNet's ReaL labels where they were used."""
    counts = Counter(variant.task for variant in index.variants)
    return [
        _table(group, index.about, counts[variant.task] > 1)
        for variant, cells in index.variants.items()
        for group in (cells, real_cells(cells))
        if group
    ]


def _table(cells: Sequence[Cell], about: About, varied: bool) -> Table:
    first, metric = cells[0].record, cells[0].metric
    variant = first.run.variant._replace(metric=metric)
    labels = of_task(cells)
    models = by_model(cells, about)
    rows = {model: {labels[cell.run.setting]: cell for cell in group} for model, group in models.items()}
    seeds = sorted({cell.seeds for cell in cells if cell.over_seeds})
    over = f" over {' or '.join(map(str, seeds))} seeds" if seeds else ""
    title = f"{variant.task}: {metrics.words(metric)} in %, mean ± 95 % interval{over}"
    title += f"; {first.n_test} test images, {first.num_classes} classes"
    title += f", {variant.mark}" if variant.mark else ""
    title += f"; limited to {variant.limit} a split" if variant.limit else ""
    title += f"; version {variant.task_version}, data {variant.data[:8]}" if varied else ""
    table = model_table(TASK, variant, title, list(labels.values()), models, rows, about)
    return replace(table, notes=(*table.notes, *_record_notes([record for cell in cells for record in cell.records])))


def _record_notes(records: Sequence[Record]) -> list[str]:
    notes = []
    edges = sorted({f"{r.run.model} {r.run.protocol}" for r in records if r.selection and r.selection.at_edge})
    if edges:
        notes.append(f"chosen at the grid's edge: {', '.join(edges)}")
    notes += sorted({f"{_run_words(r.run)}: {note}" for r in records for note in r.notes})
    notes += sorted({f"{r.run.model}: {note}" for r in records for note in r.extraction_notes})
    notes += sorted({f"data: {r.source} ({r.run.variant.shown_subset})" for r in records})
    return notes


def _run_words(run: Run) -> str:
    # Few-shot notes hold for every model alike, others for the one that was fitted.
    return f"{run.config['shots']}-shot" if "shots" in run.config else f"{run.model} {run.protocol}"
