"""Means over VTAB-1k and over the paper's five: what they are, and when there is none."""

from __future__ import annotations

import re
import statistics

import numpy as np
import pytest
from scipy import stats as scipy_stats

from mixer_bench import protocols
from mixer_bench.models import names
from mixer_bench.report import report
from mixer_bench.report.index import Index
from mixer_bench.report.models import About
from mixer_bench.report.tables import averages
from mixer_bench.report.tables.table import Table
from mixer_bench.results.record import Measured, Record
from mixer_bench.task.task import TASKS, load_tasks
from tests.builders import a_record, a_run, tables_of

ALL = load_tasks(TASKS)
VTAB = sorted(name for name, task in ALL.items() if "vtab" in task.tags)
AVG5 = sorted(name for name, task in ALL.items() if "avg5" in task.tags)
GROUPS = {"Natural (7)": "vtab/natural", "Specialized (4)": "vtab/specialized", "Structured (8)": "vtab/structured"}
# ViT-H/14 of JFT on VTAB-1k, in percent (Dosovitskiy et al. 2021, table 9) and the means printed there and in its
# figure 2: another's numbers, so that the rule is checked by another's arithmetic.
VIT_H14 = {
    **{"caltech101": 95.3, "cifar100": 85.5, "dtd": 75.2, "flowers102": 99.7, "pets": 97.2, "sun397": 65.0},
    **{"svhn": 88.9, "patch_camelyon": 83.3, "eurosat": 96.7, "resisc45": 91.4, "retinopathy": 76.6},
    **{"clevr_count": 91.7, "clevr_distance": 63.8, "dmlab": 53.1, "dsprites_location": 79.4},
    **{"dsprites_orientation": 63.3, "kitti_distance": 84.5, "smallnorb_azimuth": 33.2, "smallnorb_elevation": 51.2},
}
PUBLISHED = {f"vtab/{name}": value / 100 for name, value in VIT_H14.items()}


def measured(task: str, value: float = 0.5, seed: int = 0, **changes: object) -> Record:
    """A record of the task's present version."""
    model = {"model": "mixer_nano", "weights": "a" * 64}
    known = {"task": task, "task_version": ALL[task].version, "data": f"{task:0<64}"[:64], "seed": seed}
    run = a_run(**{**model, **known, **changes})
    ends = (max(0.0, value - 0.02), min(1.0, value + 0.02))
    return a_record(run=run, metrics={run.metric: Measured(value=value, ci95=ends)})


def built(records: list[Record], **changes: object) -> list[Table]:
    known = About({"mixer_nano": names.card("mixer_nano").model_copy(update=changes)})
    return averages.build(Index(records, known, ALL))


def test_the_published_rows_give_the_published_means() -> None:
    (table,) = built([measured(task, value) for task, value in PUBLISHED.items()])
    means = {name: round(100 * cell.mean, 2) for name, cell in table.rows[0].cells.items()}
    assert means == {"Natural (7)": 86.69, "Specialized (4)": 87.0, "Structured (8)": 65.03, "Mean (19)": 77.63}
    assert table.columns == (*GROUPS, "Mean (19)")
    assert AVG5 == ["cifar10", "cifar100", "flowers102_2040", "imagenet", "pets"]
    five = zip(AVG5, (0.9950, 0.9455, 0.9968, 0.8855, 0.9756), strict=True)  # ViT-H/14: 95.97 printed
    (table,) = built([measured(task, value) for task, value in five])
    assert 100 * table.rows[0].cells["Mean (5)"].mean == pytest.approx(95.97, abs=0.01)


def test_the_mean_is_over_tasks_and_its_interval_over_seeds() -> None:
    generator = np.random.default_rng(0)
    values = {(task, seed): float(generator.uniform(0.2, 0.9)) for task in VTAB for seed in range(4)}
    (table,) = built([measured(task, value, seed) for (task, seed), value in values.items()])
    for name, tag in {**GROUPS, "Mean (19)": "vtab"}.items():
        members = [task for task in VTAB if tag in ALL[task].tags]
        by_seed = [statistics.fmean(values[task, seed] for task in members) for seed in range(4)]
        cell = table.rows[0].cells[name]
        assert cell.mean == pytest.approx(statistics.fmean(by_seed))
        low, high = scipy_stats.t.interval(0.95, 3, loc=cell.mean, scale=scipy_stats.sem(by_seed))
        assert cell.half == pytest.approx((high - low) / 2)
        assert cell.sampling_half == pytest.approx((len(members) * 0.02**2) ** 0.5 / len(members))


@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)])
def test_with_one_run_or_other_seeds_on_a_task_the_tasks_variances_add_up(seeds: tuple[int, ...]) -> None:
    by_task = dict.fromkeys(VTAB, seeds) | {VTAB[0]: seeds[:2]}
    (table,) = built([measured(task, 0.5 + 0.01 * seed, seed) for task, drawn in by_task.items() for seed in drawn])
    cell = table.rows[0].cells["Mean (19)"]
    halves = [
        scipy_stats.t.ppf(0.975, len(drawn) - 1) * scipy_stats.sem(0.01 * np.array(drawn)) if len(drawn) > 1 else 0.02
        for drawn in by_task.values()
    ]
    assert cell.half == pytest.approx(sum(half**2 for half in halves) ** 0.5 / 19)
    assert cell.seeds == len(by_task[VTAB[0]])
    assert ("*" in table.legend) == (len(seeds) == 1)


@pytest.mark.parametrize(
    ("seen", "converged", "marks"),
    [((), True, "*"), ((VTAB[0],), True, "*†"), ((), False, "*!"), ((VTAB[0],), False, "*!†")],
)
def test_one_task_of_pre_training_or_that_did_not_converge_marks_the_mean(
    seen: tuple[str, ...], converged: bool, marks: str
) -> None:
    first = measured(VTAB[0]).model_copy(update={"converged": converged})
    (table,) = built([first, *(measured(task) for task in VTAB[1:])], in_domain=seen)
    assert table.rows[0].cells["Mean (19)"].marks == marks
    assert "".join(table.legend) == marks


@pytest.mark.parametrize("missing", VTAB)
def test_without_one_of_the_19_its_groups_mean_and_the_whole_are_withheld(missing: str) -> None:
    (table,) = built([measured(task) for task in VTAB if task != missing])
    lost = {name for name, tag in GROUPS.items() if tag in ALL[missing].tags}
    assert set(table.rows[0].cells) == set(GROUPS) - lost
    assert table.withheld == (f"mean withheld, mixer_nano: no {missing}",)
    assert set(table.withheld) < set(table.notes)


def test_a_few_tasks_of_a_group_are_not_called_a_mean_that_is_missing() -> None:
    few = [task for task in VTAB if "vtab/structured" in ALL[task].tags][:7]
    assert built([measured(task) for task in few]) == []
    assert len(built([measured(task) for task in VTAB[:10]])) == 1
    (table,) = built([measured(task) for task in VTAB if "vtab/specialized" in ALL[task].tags])
    assert set(table.rows[0].cells) == {"Specialized (4)"}


def test_the_title_counts_the_subsets_and_the_worst_is_the_tables() -> None:
    subsets = ["official"] * 3 + ["official-lossy"] * 10 + ["resampled"] * 6
    (table,) = built([measured(task, subset=subset) for task, subset in zip(VTAB, subsets, strict=True)])
    assert "resampled: 6 of 19 tasks, official-lossy: 10 of 19 tasks, official: 3 of 19 tasks" in table.title
    assert table.measured_on.subset == "resampled"


def test_two_preprocessings_of_a_model_are_two_rows_and_never_averaged_together() -> None:
    small = a_run().preprocessing
    large = small.model_copy(update={"resolution": 16})
    halves = [measured(task, 0.5, preprocessing=small) for task in VTAB[:10]]
    (table,) = built([*halves, *(measured(task, 0.9, preprocessing=large) for task in VTAB[10:])])
    assert len(table.rows) == 2
    assert not any("Mean (19)" in row.cells for row in table.rows)
    (table,) = built([measured(task, preprocessing=p) for task in VTAB for p in (small, large)])
    assert [row.cells["Mean (19)"].mean for row in table.rows] == pytest.approx([0.5, 0.5])
    assert ["8 px" in row.model for row in table.rows].count(True) == 1


def test_of_a_task_in_two_variants_there_is_no_mean() -> None:
    (table,) = built([*map(measured, VTAB), measured(VTAB[0], 0.9, data="e" * 64)])
    assert set(table.rows[0].cells) == {"Specialized (4)", "Structured (8)"}
    assert table.withheld == (f"means withheld: more than one variant of {VTAB[0]}; see their own tables",)


def test_where_all_tasks_are_in_two_variants_the_table_says_why_it_is_empty() -> None:
    (table,) = built([measured(task, data=data * 64) for task in AVG5 for data in "12"])
    assert [(row.model, row.cells) for row in table.rows] == [("mixer_nano", {})]
    assert table.withheld == (f"means withheld: more than one variant of {', '.join(AVG5)}; see their own tables",)
    assert "official: 5 of 5 tasks" in table.title


def test_limited_runs_have_a_mean_of_their_own_that_says_so() -> None:
    whole, limited = built([*map(measured, VTAB), *(measured(task, 0.1, limit=40) for task in VTAB)])
    assert [table.rows[0].cells["Mean (19)"].mean for table in (whole, limited)] == pytest.approx([0.5, 0.1])
    assert "limited to 40 a split" in limited.title


@pytest.mark.parametrize("fmt", ["table", "markdown", "csv"])
def test_each_format_has_the_means(fmt: report.Format, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    told = report.write([measured(task, value) for task, value in PUBLISHED.items()], fmt)
    assert re.search(r"77\.6|0\.776", told)
    assert fmt != "csv" or "\nmean of vtab,1,,official,," in told
    assert fmt != "table" or max(map(len, told.splitlines())) <= 100


# --- settings that differ from task to task by a preset's own rule


EXAMPLES = {
    **{"imagenet": (1_271_158, 10_009), "cifar10": (49_000, 1_000), "cifar100": (49_000, 1_000)},
    "pets": (19_900, 100),  # BiT's rule counts both: from 20,000 on it trains for longer
}


def finetuned(name: str, preset: str, seed: int, **settings: object) -> Record:
    train, val = EXAMPLES.get(name, (1_800, 200))
    protocol = protocols.get("finetune")
    config = protocols.configure("finetune", protocol.defaults(preset, ALL[name], train + val))
    run = {"protocol": "finetune", "config": {**config.model_dump(mode="json"), **settings}}
    record = measured(name, 0.9 - 0.01 * seed, seed, **run, protocol_version=protocol.version)
    return record.model_copy(update={"n_train": train, "n_val": val})


def test_a_preset_is_one_setting_though_its_steps_differ_from_task_to_task() -> None:
    records = [finetuned(name, "mixer-paper", seed) for name in AVG5 for seed in (0, 1)]
    assert len({record.run.config["steps"] for record in records}) > 1, "else this shows nothing"
    (table,) = built(records)
    assert table.title.startswith("Avg. 5, finetune mixer-paper:")
    assert table.rows[0].cells["Mean (5)"].mean == pytest.approx(0.895)
    both = built([*records, *(finetuned(name, "bit-hyperrule", 0) for name in AVG5)])
    assert [table.title.split(":")[0] for table in both] == [
        "Avg. 5, finetune bit-hyperrule",
        "Avg. 5, finetune mixer-paper",
    ]
    (pets,) = tables_of([finetuned("pets", preset, 0) for preset in ("mixer-paper", "bit-hyperrule")])
    assert pets.columns == ("finetune bit-hyperrule", "finetune mixer-paper")


def test_a_setting_of_no_preset_is_named_by_what_differs() -> None:
    (table,) = tables_of([finetuned("pets", "mixer-paper", 0), finetuned("pets", "mixer-paper", 0, momentum=0.8)])
    assert set(table.columns) == {"finetune momentum=0.9", "finetune momentum=0.8"}
