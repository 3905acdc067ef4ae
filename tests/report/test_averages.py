"""Means over VTAB-1k and over the paper's five: what they are, and when there is none."""

from __future__ import annotations

import re
import statistics

import numpy as np
import pytest
from scipy import stats as scipy_stats

from mixer_bench import protocols, report
from mixer_bench.models import names
from mixer_bench.report.index import Index
from mixer_bench.report.models import About
from mixer_bench.report.tables import averages
from mixer_bench.report.tables import table as tables
from mixer_bench.results.record import Measured, Record
from mixer_bench.task.task import TASKS, load_tasks
from tests.builders import a_record, a_run, tables_of

ALL = load_tasks(TASKS)
VTAB = sorted(name for name, task in ALL.items() if "vtab" in task.tags)
GROUPS = {"Natural (7)": "vtab/natural", "Specialized (4)": "vtab/specialized", "Structured (8)": "vtab/structured"}
# ViT-H/14 of JFT on VTAB-1k, in percent (Dosovitskiy et al. 2021, table 9) and the means printed there and in its
# figure 2: another's numbers, so that the rule is checked by another's arithmetic.
VIT_H14 = {
    **{"caltech101": 95.3, "cifar100": 85.5, "dtd": 75.2, "flowers102": 99.7, "pets": 97.2, "sun397": 65.0},
    **{"svhn": 88.9, "patch_camelyon": 83.3, "eurosat": 96.7, "resisc45": 91.4, "retinopathy": 76.6},
    **{"clevr_count": 91.7, "clevr_distance": 63.8, "dmlab": 53.1, "dsprites_location": 79.4},
    **{"dsprites_orientation": 63.3, "kitti_distance": 84.5, "smallnorb_azimuth": 33.2, "smallnorb_elevation": 51.2},
}


def one(task: str, value: float, seed: int = 0, **changes: object) -> Record:
    run = a_run(
        **{
            "task": task,
            "task_version": ALL[task].version,
            "data": f"{task:0<64}"[:64],
            "seed": seed,
            "model": "mixer_nano",
            "weights": "a" * 64,
            **changes,
        }
    )
    measured = Measured(value=value, ci95=(max(0.0, value - 0.02), min(1.0, value + 0.02)))
    return a_record(value, run, metrics={"top1": measured})


def built(records: list[Record]) -> list[tables.Table]:
    known = About({"mixer_nano": names.card("mixer_nano")})
    return averages.build(Index.of(records, known, ALL))


def test_the_published_row_gives_the_published_means() -> None:
    (table,) = built([one(f"vtab/{name}", value / 100) for name, value in VIT_H14.items()])
    (row,) = table.rows
    means = {name: round(100 * cell.mean, 2) for name, cell in row.cells.items()}
    assert means == {"Natural (7)": 86.69, "Specialized (4)": 87.0, "Structured (8)": 65.03, "Mean (19)": 77.63}
    assert table.columns == (*GROUPS, "Mean (19)")


def test_the_mean_is_over_tasks_and_its_interval_over_seeds() -> None:
    generator = np.random.default_rng(0)
    values = {(task, seed): float(generator.uniform(0.2, 0.9)) for task in VTAB for seed in range(4)}
    (table,) = built([one(task, value, seed) for (task, seed), value in values.items()])
    (row,) = table.rows
    for name, tag in {**GROUPS, "Mean (19)": "vtab"}.items():
        members = [task for task in VTAB if tag in ALL[task].tags]
        by_seed = [statistics.fmean(values[task, seed] for task in members) for seed in range(4)]
        cell = row.cells[name]
        assert cell.mean == pytest.approx(statistics.fmean(by_seed))
        low, high = scipy_stats.t.interval(0.95, 3, loc=cell.mean, scale=scipy_stats.sem(by_seed))
        assert cell.half == pytest.approx((high - low) / 2)


def test_with_one_run_a_task_the_test_samples_variances_add_up() -> None:
    (table,) = built([one(task, 0.5) for task in VTAB])
    assert table.rows[0].cells["Mean (19)"].half == pytest.approx((19 * 0.02**2) ** 0.5 / 19)
    assert any("one run of a task at least" in note for note in table.notes)


def test_with_other_seeds_on_a_task_the_tasks_intervals_add_up() -> None:
    seeds = dict.fromkeys(VTAB, (0, 1, 2)) | {VTAB[0]: (0, 1)}
    records = [one(task, 0.5 + 0.01 * seed, seed) for task, own in seeds.items() for seed in own]
    cell = built(records)[0].rows[0].cells["Mean (19)"]
    halves = [
        scipy_stats.t.ppf(0.975, len(s) - 1) * scipy_stats.sem([0.01 * seed for seed in s]) for s in seeds.values()
    ]
    assert cell.half == pytest.approx(sum(half**2 for half in halves) ** 0.5 / 19)
    assert cell.seeds == 2


def test_a_mean_says_how_far_another_test_sample_moves_it() -> None:
    (table,) = built([one(task, 0.5 + 0.01 * seed, seed) for task in VTAB for seed in range(3)])
    cell = table.rows[0].cells["Mean (19)"]
    assert cell.sampling_half == pytest.approx((19 * 0.02**2) ** 0.5 / 19)


def test_one_task_of_pre_training_marks_the_mean() -> None:
    known = names.card("mixer_nano")
    seen = known.model_copy(update={"in_domain": (VTAB[0],)})
    records = [one(task, 0.5) for task in VTAB]
    for card, marked in ((known, False), (seen, True)):
        about = About({"mixer_nano": card})
        (table,) = averages.build(Index.of(records, about, ALL))
        assert table.rows[0].cells["Mean (19)"].in_domain is marked
        assert any("some of these tasks" in note for note in table.notes) is marked


@pytest.mark.parametrize("missing", VTAB)
def test_without_one_of_the_19_its_groups_mean_and_the_whole_are_withheld(missing: str) -> None:
    (table,) = built([one(task, 0.5) for task in VTAB if task != missing])
    lost = {name for name, tag in GROUPS.items() if tag in ALL[missing].tags}
    assert set(table.rows[0].cells) == set(GROUPS) - lost
    assert f"mean withheld, mixer_nano: no {missing}" in table.notes


def test_a_few_tasks_of_a_group_are_not_called_a_mean_that_is_missing() -> None:
    few = [task for task in VTAB if "vtab/structured" in ALL[task].tags][:7]
    assert built([one(task, 0.5) for task in few]) == []
    assert len(built([one(task, 0.5) for task in VTAB[:10]])) == 1
    specialized = [task for task in VTAB if "vtab/specialized" in ALL[task].tags]
    (table,) = built([one(task, 0.5) for task in specialized])
    assert set(table.rows[0].cells) == {"Specialized (4)"}


def test_the_title_counts_the_subsets_and_the_worst_is_the_tables() -> None:
    subsets = ["official"] * 3 + ["official-lossy"] * 10 + ["resampled"] * 6
    (table,) = built([one(task, 0.5, subset=subset) for task, subset in zip(VTAB, subsets, strict=True)])
    assert "resampled: 6 of 19 tasks, official-lossy: 10 of 19 tasks, official: 3 of 19 tasks" in table.title
    assert table.measured_on.subset == "resampled"


def test_two_preprocessings_of_a_model_are_two_rows_and_never_averaged_together() -> None:
    small = a_run().preprocessing
    large = small.model_copy(update={"resolution": 16})
    (table,) = built(
        [one(task, 0.5, preprocessing=small) for task in VTAB[:10]]
        + [one(task, 0.9, preprocessing=large) for task in VTAB[10:]]
    )
    assert len(table.rows) == 2
    assert not any("Mean (19)" in row.cells for row in table.rows)
    (table,) = built([one(task, 0.5, preprocessing=p) for task in VTAB for p in (small, large)])
    assert [row.cells["Mean (19)"].mean for row in table.rows] == pytest.approx([0.5, 0.5])
    assert ["8 px" in row.model for row in table.rows].count(True) == 1


def test_two_variants_of_a_task_are_never_averaged_together() -> None:
    lossy = [one(task, 0.5, subset="official-lossy") for task in VTAB]
    other = [one(task, 0.7, subset="resampled", data="f" * 64) for task in VTAB]
    found = {table.measured_on.subset: table for table in built([*lossy, *other])}
    assert found["official-lossy"].rows[0].cells["Mean (19)"].mean == pytest.approx(0.5)
    assert found["resampled"].rows[0].cells["Mean (19)"].mean == pytest.approx(0.7)
    (mixed,) = built([*lossy, one(VTAB[0], 0.9, subset="official-lossy", data="e" * 64)])
    assert set(mixed.rows[0].cells) == {"Specialized (4)", "Structured (8)"}
    assert any(f"more than one variant of {VTAB[0]}" in note for note in mixed.notes)
    assert not any("no vtab" in note for note in mixed.notes)


def test_limited_runs_have_a_mean_of_their_own_that_says_so() -> None:
    tables_ = built([one(task, 0.5) for task in VTAB] + [one(task, 0.1, limit=40) for task in VTAB])
    assert [table.rows[0].cells["Mean (19)"].mean for table in tables_] == pytest.approx([0.5, 0.1])
    assert "limited to 40 a split" in tables_[1].title


def test_records_of_an_older_task_version_are_not_averaged_with_new_ones() -> None:
    old = one(VTAB[0], 0.9, task_version=ALL[VTAB[0]].version + 1)
    (table,) = built([old, *(one(task, 0.5) for task in VTAB[1:])])
    assert "Mean (19)" not in table.rows[0].cells


def test_avg_5_is_the_papers_five() -> None:
    five = {name for name, task in ALL.items() if "avg5" in task.tags}
    assert five == {"imagenet", "cifar10", "cifar100", "pets", "flowers102_2040"}
    values = dict(zip(sorted(five), (88.55, 99.50, 94.55, 97.56, 99.68), strict=True))  # ViT-H/14: 95.97 printed
    (table,) = built([one(task, value / 100) for task, value in values.items()])
    assert 100 * table.rows[0].cells["Mean (5)"].mean == pytest.approx(95.97, abs=0.01)


@pytest.mark.parametrize("fmt", ["table", "markdown", "csv"])
def test_each_format_has_the_means(fmt: report.Format, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    told = report.write([one(f"vtab/{name}", value / 100) for name, value in VIT_H14.items()], fmt)
    assert re.search(r"77\.6|0\.776", told)
    if fmt == "table":
        assert max(map(len, told.splitlines())) <= 100


# --- settings that differ from task to task by a preset's own rule


EXAMPLES = {"imagenet": (1_271_158, 10_009), "cifar10": (49_000, 1_000), "cifar100": (49_000, 1_000)}


def finetuned(name: str, preset: str, seed: int) -> Record:
    train, val = EXAMPLES.get(name, (1_800, 200))
    module = protocols.get("finetune")
    config = protocols.configure("finetune", module.defaults(preset, ALL[name], train + val))
    changes = {"protocol": "finetune", "config": config.model_dump(mode="json"), "protocol_version": module.version}
    return one(name, 0.9 - 0.01 * seed, seed, **changes).model_copy(update={"n_train": train, "n_val": val})


def test_a_preset_is_one_setting_though_its_steps_differ_from_task_to_task() -> None:
    avg5 = sorted(name for name, task in ALL.items() if "avg5" in task.tags)
    records = [finetuned(name, "mixer-paper", seed) for name in avg5 for seed in (0, 1)]
    assert len({record.run.config["steps"] for record in records}) > 1, "else this shows nothing"
    (table,) = built(records)
    assert table.title.startswith("Avg. 5, finetune mixer-paper:")
    assert table.rows[0].cells["Mean (5)"].mean == pytest.approx(0.895)
    both = built([*records, *(finetuned(name, "bit-hyperrule", 0) for name in avg5)])
    assert [table.title.split(":")[0] for table in both] == [
        "Avg. 5, finetune bit-hyperrule",
        "Avg. 5, finetune mixer-paper",
    ]
    per_task = tables_of(
        [r for r in [*records, finetuned("pets", "bit-hyperrule", 0)] if r.run.task == "pets"], About()
    )
    assert per_task[0].columns == ("finetune bit-hyperrule", "finetune mixer-paper")


def test_a_setting_of_no_preset_is_named_by_what_differs() -> None:
    changed = finetuned("pets", "mixer-paper", 0)
    config = {**changed.run.config, "momentum": 0.8}
    changed = changed.model_copy(update={"run": changed.run.model_copy(update={"config": config})})
    (table,) = tables_of([finetuned("pets", "mixer-paper", 0), changed])
    assert set(table.columns) == {"finetune momentum=0.9", "finetune momentum=0.8"}
