"""Which cells may stand beside each other: variants of a task's data, limits, versions and settings never mix."""

from __future__ import annotations

import pytest

from mixer_bench.report import rows
from mixer_bench.report.formats import sheet, text
from mixer_bench.report.index import Index, Sheet
from mixer_bench.report.models import About
from mixer_bench.report.tables import per_task
from tests.builders import a_record, a_run, tables_of
from tests.report.test_averages import ALL, VTAB, measured

FIRST, WHOLE = VTAB[0], "VTAB-1k"


def sizes(sheets: list[Sheet]) -> list[tuple[str, int | None, int, tuple[str, ...]]]:
    return [(getattr(sheet, "on", sheet.name), sheet.limit, len(sheet.cells), sheet.doubled) for sheet in sheets]


@pytest.mark.parametrize(
    ("changes", "of_groups", "whole", "by_limit"),
    [
        (  # other data
            {"data": "e" * 64},
            [(WHOLE, None, 18, (FIRST,))],
            (18, (FIRST,)),
            [("5-shot", None, 18, (FIRST,))],
        ),
        (
            {"subset": "resampled", "data": "e" * 64},
            [(WHOLE, None, 19, ()), ("VTAB's 19 tasks (resampled)", None, 1, ())],
            (18, (FIRST,)),
            [("5-shot", None, 18, (FIRST,))],
        ),
        (
            {"limit": 40},
            [(WHOLE, None, 19, ()), (f"{WHOLE} (limited to 40 a split)", 40, 1, ())],
            (19, ()),
            [("5-shot", None, 19, ()), ("5-shot", 40, 1, ())],
        ),
        (  # not the present version of the task
            {"task_version": ALL[FIRST].version + 1},
            [(WHOLE, None, 19, ())],
            (19, ()),
            [("5-shot", None, 18, (FIRST,))],
        ),
        (
            {"config": {"shots": 10, "l2": [1024.0]}},
            [(WHOLE, None, 19, ()), (WHOLE, None, 1, ())],
            (19, ()),
            [("5-shot", None, 19, ()), ("10-shot", None, 1, ())],
        ),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_what_differs_is_on_a_sheet_of_its_own_or_left_out_and_named(
    changes: dict[str, object],
    of_groups: list[tuple[str, int | None, int, tuple[str, ...]]],
    whole: tuple[int, tuple[str, ...]],
    by_limit: list[tuple[str, int | None, int, tuple[str, ...]]],
) -> None:
    index = Index([*map(measured, VTAB), measured(FIRST, 0.9, **changes)], About(), ALL)
    assert sizes(index.of_groups) == of_groups
    sheets, doubled = index.whole
    assert (len(sheets[0].cells), doubled) == whole
    assert sizes(index.by_limit) == by_limit


def test_a_tasks_variants_have_names_and_tables_of_their_own() -> None:
    changes = [{}, {"limit": 40}, {"subset": "resampled"}, {"data": "e" * 64}, {"task_version": 2}, {"metric": "x"}]
    index = Index([measured(FIRST, **change) for change in changes], About(), ALL)
    assert [len(cells) for cells in index.variants.values()] == [1] * len(changes)
    data = f"{FIRST:0<8}"[:8]
    assert set(index.names.values()) == {
        f"{FIRST} (limited to 40 a split)",
        f"{FIRST} (resampled)",
        f"{FIRST} (version 1, data {data}, top1)",
        f"{FIRST} (version 1, data {data}, x)",
        f"{FIRST} (version 1, data eeeeeeee, top1)",
        f"{FIRST} (version 2, data {data}, top1)",
    }
    assert len({table.title for table in per_task.build(index)}) == len(changes)


@pytest.mark.parametrize(
    ("preset", "sheets"),
    [("mixer-paper", ["finetune mixer-paper"]), (None, ["finetune steps=100", "finetune steps=500"])],
)
def test_the_preset_of_a_record_joins_tasks_that_are_not_known_here(preset: str | None, sheets: list[str]) -> None:
    records = [
        a_record(run=a_run(task=f"mine {steps}", protocol="finetune", config={"steps": steps}), preset=preset)
        for steps in (100, 500)
    ]
    assert [sheet.name for sheet in Index(records, About(), ALL).by_limit] == sheets


@pytest.mark.parametrize("subset", ["official", "resampled"])
def test_images_of_ones_own_are_marked_as_no_others_are(subset: str) -> None:
    """No other examples of them are published: whether splits were drawn here, its source says."""
    own = a_record(0.5, a_run(task="folder/shop", subset=subset))
    made = tables_of([own])
    written = text.markdown(made)
    assert "(own)" in written and "not on the published examples" not in written
    assert "resampled" not in written + sheet.as_csv(made) and ",own," in sheet.as_csv(made)
    assert [row["subset"] for row in rows.tidy([own], About())] == ["own"]
