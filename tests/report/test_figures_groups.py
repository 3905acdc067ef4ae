"""Heat maps and bars of groups of tasks, and accuracy over shots."""

from __future__ import annotations

import statistics

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle
from matplotlib.text import Annotation

from mixer_bench.report import models
from mixer_bench.report.cells import cells_of
from mixer_bench.report.figures import boards as figures_data
from mixer_bench.report.figures import curves, draw, groups, style
from mixer_bench.report.figures.style import Drawn
from mixer_bench.report.models import About
from mixer_bench.report.tables import averages
from mixer_bench.results.record import Record
from mixer_bench.task.task import TASKS, load_tasks
from tests.builders import a_record, a_run

ALL = load_tasks(TASKS)
GROUPS = {group.tag: group for group in averages.averages(ALL)}
MODELS = ("mixer_nano", "vit_nano", "random:mixer_nano")
# As printed in ViT's table 9.
PRINTED = (
    "Caltech101 CIFAR-100 DTD Flowers102 Pets Sun397 SVHN Camelyon EuroSAT Resisc45 Retinopathy Clevr-Count Clevr-Dist "
    "DMLab dSpr-Loc dSpr-Ori KITTI-Dist sNORB-Azim sNORB-Elev"
)


def value(model: str, task: str, shots: int = 5, seed: int = 0) -> float:
    number = sorted(ALL).index(task)
    return round(0.3 + 0.01 * number + 0.1 * MODELS.index(model) + 0.002 * shots + 0.005 * seed, 4)


def study(tag: str = "vtab", without: tuple[tuple[str, str], ...] = (), shots: tuple[int, ...] = (5,)) -> list[Record]:
    return [
        a_record(
            value(model, task, count, seed),
            a_run(
                model=model,
                weights=f"{MODELS.index(model)}" * 64,
                task=task,
                task_version=ALL[task].version,
                config={"shots": count},
                seed=seed,
            ),
        )
        for model in MODELS
        for task in GROUPS[tag].members
        for count in shots
        for seed in range(3)
        if (model, task) not in without
    ]


def drawn(records: list[Record], kind: str) -> list[Drawn]:
    known = About(models.cards_of(records))
    found = draw.draw(cells_of(records, known), known, ALL)
    return [one for one in found.drawn if one.name.split()[0] == kind]


def hatched(one: Drawn) -> set[tuple[int, int]]:
    patches = [p for p in one.figure.axes[0].patches if isinstance(p, Rectangle) and p.get_hatch()]
    return {(round(p.get_y() + 0.5), round(p.get_x() + 0.5)) for p in patches}


def test_a_heat_map_has_the_papers_order_and_the_cells_of_the_tables() -> None:
    (one,) = drawn(study(), "tasks")
    axes = one.figure.axes[0]
    columns = [text.get_text() for text in axes.get_xticklabels()]
    assert " ".join(columns) == PRINTED
    assert [text.get_text() for text in axes.get_yticklabels()] == list(MODELS)
    tasks = [task for members in groups.ordered(GROUPS["vtab"]).values() for task in members]
    texts = {text.get_position(): text.get_text() for text in axes.texts if not isinstance(text, Annotation)}
    for row, model in enumerate(MODELS):
        for column, task in enumerate(tasks):
            mean = statistics.fmean(value(model, task, 5, seed) for seed in range(3))
            assert texts[column, row] == f"{100 * mean:.1f}"
    assert {"Natural", "Specialized", "Structured"} <= {text.get_text() for text in axes.texts}
    assert hatched(one) == set()


def test_colours_are_relative_to_the_task_and_missing_cells_hatched() -> None:
    without = (("vit_nano", "vtab/pets"), ("mixer_nano", "vtab/dmlab"))
    (one,) = drawn(study(without=without), "tasks")
    axes = one.figure.axes[0]
    columns = [text.get_text() for text in axes.get_xticklabels()]
    assert hatched(one) == {(1, columns.index("Pets")), (0, columns.index("DMLab"))}
    colours = axes.images[0].get_array()
    np.testing.assert_allclose(colours[:, columns.index("SVHN")], [0, 0.5, 1])
    np.testing.assert_allclose(colours[::2, columns.index("Pets")], [0, 1])
    assert colours.mask.sum() == 2
    assert "Hatched: not measured" in one.caption


def test_the_colours_grow_steadily_lighter_in_grey() -> None:
    from matplotlib import colormaps

    red, green, blue, _ = colormaps[groups.COLOURS](np.linspace(0, 1, 64)).T
    assert (np.diff(0.2126 * red + 0.7152 * green + 0.0722 * blue) > 0).all()


def test_bars_are_the_means_that_are_complete() -> None:
    (one,) = drawn(study(without=(("vit_nano", "vtab/pets"),)), "means")
    panels = {axes.get_title(loc="left"): axes for axes in one.figure.axes}
    assert list(panels) == ["Natural (7)", "Specialized (4)", "Structured (8)", "Mean (19)"]
    for name, part in zip(panels, ("vtab/natural", "vtab/specialized", "vtab/structured", "vtab"), strict=True):
        members = [task for task in ALL.values() if part in task.tags]
        lengths = {round(bar.get_y() + 0.35): bar.get_width() for bar in panels[name].patches}
        complete = [n for n, model in enumerate(MODELS) if model != "vit_nano" or part not in ("vtab/natural", "vtab")]
        assert lengths == {
            n: pytest.approx(
                100 * statistics.fmean(value(MODELS[n], task.name, 5, seed) for task in members for seed in range(3))
            )
            for n in complete
        }
        bar = panels[name].containers[0].lines[2][0].get_segments()[0][:, 0]
        assert bar[1] - bar[0] == pytest.approx(2 * 4.302653 * 0.5 / 3**0.5, rel=1e-5)
    assert "Mean withheld, vit_nano: no vtab/pets." in one.caption


def test_another_group_needs_no_line_of_code() -> None:
    records = study("avg5")
    (heat,), (bars,) = drawn(records, "tasks"), drawn(records, "means")
    columns = [text.get_text() for text in heat.figure.axes[0].get_xticklabels()]
    assert columns == ["ImageNet", "CIFAR-10", "CIFAR-100", "Pets", "Flowers102"]
    assert [axes.get_title(loc="left") for axes in bars.figure.axes] == ["Mean (5)"]
    assert next(one.name for one in drawn(records, "throughput")) == "throughput Avg. 5, mean of 5 tasks 5-shot"


def test_few_tasks_of_a_group_or_one_model_have_no_heat_map() -> None:
    few = [r for r in study() if "vtab/natural" in ALL[r.run.task].tags]
    assert drawn(few, "tasks") == []
    assert [axes.get_title(loc="left") for axes in drawn(few, "means")[0].figure.axes] == ["Natural (7)"]
    one = [r for r in study() if r.run.model == "mixer_nano"]
    assert drawn(one, "tasks") == drawn(one, "means") == []


def test_variants_of_a_task_never_share_a_cell() -> None:
    other = [
        r.model_copy(update={"run": r.run.model_copy(update={"data": "2" * 64})})
        for r in study()
        if r.run.task == "vtab/pets"
    ]
    (heat,) = drawn([*study(), *other], "tasks")
    assert "Left out, in more than one variant: vtab/pets." in heat.caption
    assert {column for _, column in hatched(heat)} == {4}
    limited = [r.model_copy(update={"run": r.run.model_copy(update={"limit": 10})}) for r in study()]
    names = [one.name for one in drawn([*study(), *limited], "tasks")]
    assert names == ["tasks VTAB-1k 5-shot", "tasks VTAB-1k (limited to 10 a split) 5-shot"]


def test_accuracy_over_shots_has_a_line_a_model_and_a_band_over_seeds() -> None:
    records = [r for r in study(shots=(1, 5, 25)) if r.run.task == "vtab/dtd"]
    (one,) = drawn(records, "shots")
    axes = one.figure.axes[0]
    lines = {line.get_label(): line for line in axes.get_lines()}
    assert list(lines) == list(MODELS)
    for number, model in enumerate(MODELS):
        shots, means = lines[model].get_data()
        assert list(shots) == [1, 5, 25]
        np.testing.assert_allclose(means, [100 * value(model, "vtab/dtd", count, 1) for count in shots])
        band = axes.collections[number].get_paths()[0].vertices
        at = band[band[:, 0] == 5][:, 1]
        assert at.max() - at.min() == pytest.approx(2 * 4.302653 * 0.5 / 3**0.5, rel=1e-5)
        assert to_hex(axes.collections[number].get_facecolor()[0]) == lines[model].get_color().lower()
    assert (axes.get_xscale(), list(axes.get_xticks())) == ("log", [1, 5, 25])
    assert "over 3 seeds" in one.caption


def test_single_runs_have_lines_without_bands_and_one_shot_alone_no_figure() -> None:
    records = [r for r in study(shots=(1, 5)) if r.run.task == "vtab/dtd" and r.run.seed == 0]
    (one,) = drawn(records, "shots")
    assert len(one.figure.axes[0].collections) == 0
    assert drawn([r for r in records if r.run.config["shots"] == 1], "shots") == []


def test_means_over_shots_need_every_task() -> None:
    records = study(shots=(1, 5), without=(("vit_nano", "vtab/pets"),))
    known = About(models.cards_of(records))
    boards = figures_data.mean_boards(figures_data.sheets(cells_of(records, known), ALL), known, ALL)
    (group,) = curves.by_shots(boards)
    one = curves.shot_curve(group, style.styles(records, known))
    assert [line.get_label() for line in one.figure.axes[0].get_lines()] == ["mixer_nano", "random:mixer_nano"]
    assert [board.lacking for board in group] == [("vit_nano",), ("vit_nano",)]
