"""Heat maps and bars of groups of tasks."""

from __future__ import annotations

import statistics

import numpy as np
import pytest

from mixer_bench.report.figures import groups
from mixer_bench.report.figures.style import OVER_DARK, OVER_LIGHT
from mixer_bench.report.index import Index
from mixer_bench.report.models import About
from mixer_bench.results.record import Record
from mixer_bench.task.task import TASKS, load_tasks
from tests.builders import a_record, a_run, plots_of

ALL = load_tasks(TASKS)
GROUPS = {group.tag: group for group in Index([], About(), ALL).averages}
MODELS = ("mixer_nano", "vit_nano", "random:mixer_nano")
# As printed in ViT's table 9.
PRINTED = (
    "Caltech101 CIFAR-100 DTD Flowers102 Pets Sun397 SVHN Camelyon EuroSAT Resisc45 Retinopathy Clevr-Count Clevr-Dist "
    "DMLab dSpr-Loc dSpr-Ori KITTI-Dist sNORB-Azim sNORB-Elev"
)


def value(model: str, task: str, seed: int = 0) -> float:
    return round(0.3 + 0.01 * sorted(ALL).index(task) + 0.1 * MODELS.index(model) + 0.005 * seed, 4)


def study(tag: str = "vtab", without: tuple[tuple[str, str], ...] = (), shots: tuple[int, ...] = (5,)) -> list[Record]:
    def run(model: str, task: str, count: int, seed: int) -> Record:
        place, version, config = f"{MODELS.index(model)}" * 64, ALL[task].version, {"shots": count}
        asked = a_run(model=model, weights=place, task=task, task_version=version, config=config, seed=seed)
        return a_record(value(model, task, seed), asked)

    pairs = [(model, task) for model in MODELS for task in GROUPS[tag].members if (model, task) not in without]
    return [run(*pair, count, seed) for pair in pairs for count in shots for seed in range(3)]


def changed(records: list[Record], **changes: object) -> list[Record]:
    return [record.model_copy(update={"run": record.run.model_copy(update=changes)}) for record in records]


def columns(heat_map: groups.HeatMap) -> list[str]:
    return [groups.short(task) for task in heat_map.tasks]


def test_a_heat_map_has_the_papers_order_and_the_cells_of_the_tables() -> None:
    (plot,) = plots_of(study(), "tasks")
    assert " ".join(columns(plot)) == PRINTED
    assert {name: len(tasks) for name, tasks in plot.parts.items()} == {"Natural": 7, "Specialized": 4, "Structured": 8}
    assert plot.models == MODELS
    means = {place: statistics.fmean(value(*place, seed) for seed in range(3)) for place in plot.cells}
    assert {place: cell.mean for place, cell in plot.cells.items()} == pytest.approx(means)
    assert len(means) == 3 * 19


def test_colours_are_relative_to_the_task_and_missing_cells_hatched() -> None:
    without = (("vit_nano", "vtab/pets"), ("mixer_nano", "vtab/dmlab"))
    same = [r for r in study(without=without) if r.run.task != "vtab/dtd"]
    same += [a_record(0.5, record.run) for record in study() if record.run.task == "vtab/dtd"]
    (plot,) = plots_of(same, "tasks")
    shares = {name: plot.shares[:, place] for place, name in enumerate(columns(plot))}
    np.testing.assert_allclose(shares["SVHN"], [0, 0.5, 1])
    np.testing.assert_allclose(shares["DTD"], [0.5, 0.5, 0.5])
    np.testing.assert_allclose(shares["Pets"][::2], [0, 1])
    missing = [(0, columns(plot).index("DMLab")), (1, columns(plot).index("Pets"))]
    assert list(zip(*np.nonzero(plot.shares.mask), strict=True)) == missing
    assert "Hatched: not measured" in plot.caption
    axes = plot.figure().axes[0]
    assert axes.patch.get_hatch()
    assert list(zip(*np.nonzero(axes.images[0].get_array().mask), strict=True)) == missing
    np.testing.assert_array_equal(axes.images[0].get_array(), plot.shares)


def test_a_heat_map_is_drawn_with_numbers_and_names() -> None:
    (plot,) = plots_of(study(), "tasks")
    axes = plot.figure().axes[0]
    assert [text.get_text() for text in axes.get_xticklabels()] == columns(plot)
    assert [text.get_text() for text in axes.get_yticklabels()] == list(MODELS)
    assert set(plot.parts) <= {text.get_text() for text in axes.texts}
    texts = {text.get_position(): text for text in axes.texts if text.get_text() not in plot.parts}
    for (model, task), cell in plot.cells.items():
        text = texts[plot.tasks.index(task), MODELS.index(model)]
        colour = OVER_LIGHT if model == MODELS[-1] else OVER_DARK if model == MODELS[0] else text.get_color()
        assert (text.get_text(), text.get_color()) == (f"{100 * cell.mean:.1f}", colour)


def test_the_colours_grow_steadily_lighter_in_grey() -> None:
    from matplotlib import colormaps

    red, green, blue, _ = colormaps[groups.COLOURS](np.linspace(0, 1, 64)).T
    assert (np.diff(0.2126 * red + 0.7152 * green + 0.0722 * blue) > 0).all()


def test_bars_are_the_means_that_are_complete() -> None:
    (plot,) = plots_of(study(without=(("vit_nano", "vtab/pets"),)), "means")
    parts = ("vtab/natural", "vtab/specialized", "vtab/structured", "vtab")
    assert list(plot.panels) == ["Natural (7)", "Specialized (4)", "Structured (8)", "Mean (19)"]
    for part, cells in zip(parts, plot.panels.values(), strict=True):
        members = [task.name for task in ALL.values() if part in task.tags]
        means = {m: statistics.fmean(value(m, task, seed) for task in members for seed in range(3)) for m in MODELS}
        if part in ("vtab/natural", "vtab"):
            del means["vit_nano"]
        assert {model: cell.mean for model, cell in cells.items()} == pytest.approx(means)
    assert "Mean withheld, vit_nano: no vtab/pets." in plot.caption
    for axes, (name, cells) in zip(plot.figure().axes, plot.panels.items(), strict=True):
        assert axes.get_title(loc="left") == name
        drawn = {list(plot.models)[round(bar.get_y() + 0.35)]: bar.get_width() / 100 for bar in axes.patches}
        assert drawn == pytest.approx({model: cell.mean for model, cell in cells.items()})
        error = axes.containers[0].lines[2][0].get_segments()[0][:, 0]
        assert error[1] - error[0] == pytest.approx(2 * 4.302653 * 0.5 / 3**0.5, rel=1e-5)


def test_another_group_needs_no_line_of_code() -> None:
    records = study("avg5")
    (heat_map,), (bars,) = plots_of(records, "tasks"), plots_of(records, "means")
    assert columns(heat_map) == ["ImageNet", "CIFAR-10", "CIFAR-100", "Pets", "Flowers102"]
    assert list(bars.panels) == ["Mean (5)"]
    assert plots_of(records, "throughput")[0].name == "throughput Avg. 5, mean of 5 tasks 5-shot"


def test_few_tasks_of_a_group_or_one_model_have_no_heat_map() -> None:
    few = [r for r in study() if "vtab/natural" in ALL[r.run.task].tags]
    assert plots_of(few, "tasks") == []
    assert list(plots_of(few, "means")[0].panels) == ["Natural (7)"]
    alone = [r for r in study() if r.run.model == "mixer_nano"]
    assert plots_of(alone, "tasks") == plots_of(alone, "means") == []


def test_variants_of_a_task_never_share_a_cell() -> None:
    other = changed([r for r in study() if r.run.task == "vtab/pets"], data="2" * 64)
    (plot,) = plots_of([*study(), *other], "tasks")
    assert "Left out, in more than one variant: vtab/pets." in plot.caption
    assert set(np.nonzero(plot.shares.mask)[1]) == {4}
    names = [plot.name for plot in plots_of([*study(), *changed(study(), limit=10)], "tasks")]
    assert names == ["tasks VTAB-1k 5-shot", "tasks VTAB-1k (limited to 10 a split) 5-shot"]


def test_means_over_shots_need_every_task() -> None:
    records = study(shots=(1, 5), without=(("vit_nano", "vtab/pets"),))
    over_shots = plots_of(records, "shots")[0]
    assert over_shots.name == "shots VTAB-1k, mean of 19 tasks few-shot"
    assert [(line.label, line.x) for line in over_shots.lines] == [(m, (1, 5)) for m in MODELS if m != "vit_nano"]
    assert "without all tasks: vit_nano." in plots_of(records, "throughput")[0].caption
