"""Which figures are drawn, their files, and lines: the same records give the same files."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from mixer_bench.cli import app
from mixer_bench.report import report
from mixer_bench.report.figures import draw, style
from mixer_bench.report.index import Index
from mixer_bench.report.models import About
from mixer_bench.results.record import Record
from mixer_bench.results.store import Predictions, Store
from tests.builders import TOY, a_record, a_run, plots_of

SQUASHED = TOY.model_copy(update={"resize": "squash"})
MODELS = ("mixer_nano", "vit_nano", "resnet_nano", "random:mixer_nano")


def trained(model: str, seed: int, **changes: object) -> Record:
    run = a_run(model=model, protocol="finetune", config={"steps": 40, **changes}, seed=seed)
    curve = tuple((step, 3.0 / step + MODELS.index(model) + 0.1 * seed) for step in range(1, 41))
    return a_record(0.5, run, curve=curve)


def few_shot(models: tuple[str, ...], tasks: int, seeds: int = 1) -> list[Record]:
    return [
        a_record(0.3 + place / 20 + shots / 50, a_run(model=model, task=f"t{task}", config={"shots": shots}, seed=seed))
        for place, model in enumerate(models)
        for task in range(tasks)
        for shots in (1, 5)
        for seed in range(seeds)
    ]


RECORDS = [trained(model, seed) for model in MODELS for seed in range(3)]


def test_a_loss_curve_is_the_mean_over_seeds_with_its_range() -> None:
    (plot,) = plots_of(RECORDS, "loss")
    assert [line.label for line in plot.lines] == list(MODELS)
    line = plot.lines[1]
    assert line.x == tuple(range(1, 41))
    np.testing.assert_allclose(line.y, [3.0 / step + 1.1 for step in line.x])
    np.testing.assert_allclose(line.band[:, 0], [4.0, 4.2])
    assert "mean of 3 seeds, the band from the lowest to the highest" in plot.caption


def test_a_run_without_a_curve_takes_none_from_the_others() -> None:
    (plot,) = plots_of([RECORDS[0].model_copy(update={"curve": ()}), *RECORDS[1:]], "loss")
    np.testing.assert_allclose(plot.lines[0].y, [3.0 / step + 0.15 for step in range(1, 41)])


def test_settings_have_a_figure_of_their_own() -> None:
    more = [*RECORDS, *(trained("mixer_nano", seed, batch_size=32) for seed in range(2))]
    names = [plot.name for plot in plots_of(more, "loss")]
    assert names == ["loss colours finetune batch_size=None", "loss colours finetune batch_size=32"]


def test_each_model_has_a_marker_and_a_colour_of_its_own_and_a_twin_is_hollow() -> None:
    names = ("mixer_nano", "vit_nano", "resnet_nano", "mixer_b16", "mixer_l16")
    models = (*names, *(f"random:{name}" for name in names), "pixels", "timm:a.b", "file:x?arch=y")
    records = [a_record(run=a_run(model=name, weights=name)) for name in models]
    records += [a_record(run=a_run(model=name, weights=name, task="other", preprocessing=SQUASHED)) for name in models]
    look = style.styles(records, About.of(records))
    looks = [look(record) for record in records[: len(models)]]
    assert len({each.marker for each in looks}) == len({each.colour for each in looks}) == len(models)
    assert [each.face == "white" for each in looks] == [name.startswith("random:") for name in models]
    assert [look(record) for record in records[len(models) :]] == looks, "the same in every figure"


def test_many_lines_are_thin_without_bands_and_all_differ() -> None:
    names = ["mixer_b16", "mixer_l16", "vit_ti16", "vit_s16", "vit_s32", "vit_b16", "vit_b32", "vit_l16", "resnet50"]
    names += ["resnet101", "mixer_nano", "random:mixer_nano", "pixels"]
    many = [
        a_record(0.5, a_run(model=name, weights=f"{n:064}", protocol="finetune", config={}), curve=((1, 2.0), (2, n)))
        for n, name in enumerate(names)
    ]
    (plot,) = plots_of(many, "loss")
    assert "without bands" in plot.caption
    assert len({line.style for line in plot.lines}) == len(names)
    figure = plot.figure()
    assert not figure.axes[0].collections
    assert {line.get_linewidth() for line in figure.axes[0].get_lines()} == {1}
    ends = {line.label: line.y[-1] for line in plot.lines}
    shown = [ends[text.get_text()] for text in figure.legends[0].get_texts()]
    assert shown == sorted(ends.values(), reverse=True)


def test_lines_and_bands_are_drawn_as_they_are() -> None:
    (plot,) = plots_of(RECORDS, "loss")
    axes = plot.figure().axes[0]
    for line, drawn, band in zip(plot.lines, axes.get_lines(), axes.collections, strict=True):
        np.testing.assert_array_equal(drawn.get_data(), [line.x, line.y])
        assert drawn.get_markerfacecolor() == line.style.face
        assert (drawn.get_label(), drawn.get_linewidth()) == (line.label, 1 if line.style.untrained else 1.8)
        ends = band.get_paths()[0].vertices
        np.testing.assert_allclose((ends[:, 1].min(), ends[:, 1].max()), (line.band.min(), line.band.max()))
    assert axes.get_ylim()[0] == 0


def test_accuracy_over_shots_has_a_line_a_model_and_a_band_over_seeds() -> None:
    records = [r for r in few_shot(MODELS, tasks=1, seeds=3) if r.run.seed < 2 or r.run.model == MODELS[0]]
    records = [r.model_copy(update={"metrics": a_record(0.5 + 0.01 * r.run.seed).metrics}) for r in records]
    single = [r for r in records if r.run.model != MODELS[1] or r.run.seed == 0]
    (plot,) = plots_of(single, "shots")
    assert [(line.label, line.x) for line in plot.lines] == [(model, (1, 5)) for model in MODELS]
    np.testing.assert_allclose([line.y for line in plot.lines], np.repeat([[51], [50], [50.5], [50.5]], 2, axis=1))
    half = 4.302653 / 3**0.5  # Student's, of three seeds one point apart
    np.testing.assert_allclose(plot.lines[0].band, [[51 - half] * 2, [51 + half] * 2], rtol=1e-5)
    assert np.isnan(plot.lines[1].band).all(), "a single run has no band"
    assert "over 2 or 3 seeds, of the test sample for a single run" in plot.caption
    axes = plot.figure().axes[0]
    assert (axes.get_xscale(), list(axes.get_xticks()), len(axes.collections)) == ("log", [1, 5], 3)
    assert plots_of([r for r in single if r.run.config["shots"] == 1], "shots") == []


def test_files_are_whole_and_the_same_each_time(tmp_path: Path) -> None:
    limited = [r.model_copy(update={"run": r.run.model_copy(update={"limit": 10})}) for r in RECORDS]
    study = [*RECORDS, *limited, *few_shot(MODELS, tasks=3, seeds=2)]
    files, again = (report.draw(study, tmp_path / name) for name in ("one", "two"))
    assert len(set(files)) == len(files)
    assert {file.stem.partition("_")[0] for file in files} == {"throughput", "loss", "ranks", "shots"}
    assert any("limited_to_10" in file.name for file in files)
    assert [file.read_bytes() for file in files] == [file.read_bytes() for file in again]
    for vector, raster in zip(files[::2], files[1::2], strict=True):
        assert ElementTree.fromstring(vector.read_text()).tag.endswith("svg")
        with Image.open(raster) as image:
            assert (image.format, image.width) == ("PNG", 6.4 * draw.DPI)


def test_equal_names_are_told_apart_by_a_number_and_all_have_captions(tmp_path: Path) -> None:
    (plot,) = plots_of(RECORDS, "loss")
    files = draw.save(draw.Figures((plot, plot), ("Not drawn: the rest.",)), tmp_path)
    names = ["loss_colours_finetune", "loss_colours_finetune-2"]
    assert [file.stem for file in files][::2] == names
    captions = [*(f"- `{name}`: {plot.caption}" for name in names), "", "Not drawn: the rest."]
    assert (tmp_path / "captions.md").read_text().splitlines() == captions


def test_report_draws_them_and_says_where(tmp_path: Path, capsys) -> None:
    store = Store(tmp_path / "results")
    half = Predictions(np.zeros(900, int), np.arange(900) % 2, np.zeros(900, np.float32))
    for record in RECORDS:
        store.save(record, half)
    command = ["report", "--results", str(tmp_path / "results"), "--figures", str(tmp_path / "figures")]
    assert app.main(command) == 0
    assert f"4 files of figures in {tmp_path / 'figures'}" in capsys.readouterr().out
    (tmp_path / "file").write_text("")
    assert app.main([*command[:-1], str(tmp_path / "file")]) == 1
    assert "name another folder" in capsys.readouterr().err
    for file in (tmp_path / "results").rglob("*.json"):
        file.unlink()
    store.save(a_record(), half)
    assert app.main(command) == 0
    assert "no figures" in capsys.readouterr().out


@pytest.mark.parametrize(("tasks", "kinds"), [(draw.MOST, ["ranks", "shots"]), (draw.MOST + 1, ["ranks"])])
def test_figures_of_many_single_tasks_are_left_out_and_named(tasks: int, kinds: list[str]) -> None:
    study = few_shot(MODELS[:2], tasks)
    figures = draw.figures(Index(study, About(), {}))
    assert sorted({plot.name.split()[0] for plot in figures.plots}) == kinds
    assert len(figures.plots) == 2 + tasks * ("shots" in kinds)
    notes = [f"Not drawn: accuracy over throughput and cost of single tasks, {2 * tasks} times"]
    notes += [] if "shots" in kinds else [f"Not drawn: accuracy over shots of single tasks, {tasks} times"]
    assert [note.partition(" a task")[0] for note in figures.left_out] == notes
