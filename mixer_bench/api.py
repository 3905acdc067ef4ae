"""The verbs as calls: what the command line and ``import mixer_bench`` share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mixer_bench import data
from mixer_bench.data.names import Columns, Names, chosen_tasks, parts
from mixer_bench.errors import MixerBenchError, ResultsError
from mixer_bench.models import names
from mixer_bench.report import rows
from mixer_bench.report.models import About
from mixer_bench.results.record import Record
from mixer_bench.results.store import Store, read_record
from mixer_bench.runs.command import run_command
from mixer_bench.runs.request import PROTOCOLS, Overwrite, precision_for, request
from mixer_bench.system.machine import Precision

if TYPE_CHECKING:
    import pandas

    from mixer_bench.models.backbone import Backbone


def run(  # noqa: PLR0913  the flags of the command
    task: Names,
    model: Names,
    protocol: Names = PROTOCOLS,
    *,
    preset: str | None = None,
    shots: int | Sequence[int] = (),
    seeds: int = 3,
    limit: int | None = None,
    settings: Mapping[str, Any] | None = None,
    resolution: int | None = None,
    device: str = "auto",
    precision: Precision | Literal["auto"] = "auto",
    batch_size: int | None = None,
    data_dir: str | Path | None = None,
    output_dir: str | Path = "results",
    overwrite: Overwrite = "failed",
    image: str | None = None,
    label: str | None = None,
    source: str | None = None,
) -> pandas.DataFrame:
    """Measure models on tasks, as ``mixer-bench run`` does, and return the rows of these very runs.

    Returns:
        One row a run and metric, the columns of ``load_results``.

    Raises:
        MixerBenchError: an unknown name, missing data or weights, or a run that failed.
    """
    asked = request(
        tasks=parts(task),
        models=parts(model),
        protocols=parts(protocol),
        settings=settings or {},
        shots=(shots,) if isinstance(shots, int) else shots,
        seeds=seeds,
        limit=limit,
        overwrite=overwrite,
        data_dir=Path(data_dir) if data_dir else None,
        include=[],
        columns=Columns(image, label),
        source=source,
        resolution=resolution,
        precision=precision_for(precision, device),
        preset=preset,
    )
    done = run_command(asked, Path(output_dir), device=device, batch_size=batch_size, quiet=True)
    if done.exit_code:
        raise MixerBenchError(
            "; ".join([*map(str, done.outcome.unavailable), *(f"failed: {f}" for f in done.failures)])
        )
    store = Store(Path(output_dir))
    return _frame([read_record(store.place(run, ".json")) for run in done.plan.asked])


def load_results(folder: str | Path = "results") -> pandas.DataFrame:
    """All records of a results folder as a tidy table: one row a run and metric, values in [0, 1].

    Raises:
        ResultsError: no such folder, or a file there is no whole record.
    """
    store = Store(Path(folder))
    if not (store.folder / "runs").is_dir():
        raise ResultsError(f"{store.folder}: there are no results here")
    records, problems = store.records()
    if problems:
        raise ResultsError("; ".join(problems))
    return _frame(records)


def _frame(records: Sequence[Record]) -> pandas.DataFrame:
    import pandas

    return pandas.DataFrame(rows.tidy(records, About.of(records)), columns=list(rows.COLUMNS))


def load_task(name: str, data_dir: str | Path | None = None) -> data.TaskData:
    """The images and labels of a task, by its name or as a folder, a list or a hub address."""
    return data.load(chosen_tasks([name])[0], Path(data_dir) if data_dir else None)


def load_model(name: str, device: str = "auto") -> Backbone:
    """A model ready to compute features, with its checkpoint's own preprocessing."""
    from mixer_bench.models import backbone
    from mixer_bench.models import device as device_module

    card = names.card(name)
    return backbone.load(card, card.preprocessing, device_module.pick_device(device))
