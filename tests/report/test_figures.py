"""Which figures are drawn, their files, and loss curves: the same records give the same files."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from mixer_bench import report
from mixer_bench.cli import app
from mixer_bench.report import models
from mixer_bench.report.cells import cells_of
from mixer_bench.report.figures import curves, draw, style
from mixer_bench.report.figures.style import Drawn
from mixer_bench.report.models import About
from mixer_bench.results.record import Record
from mixer_bench.results.store import Predictions, Store
from tests.builders import a_record, a_run

MODELS = ("mixer_nano", "vit_nano", "resnet_nano", "random:mixer_nano")


def trained(model: str, seed: int, **changes: object) -> Record:
    run = a_run(model=model, protocol="finetune", config={"steps": 40, **changes}, seed=seed)
    curve = tuple((step, 3.0 / step + MODELS.index(model) + 0.1 * seed) for step in range(1, 41))
    return a_record(0.5, run, curve=curve)


@pytest.fixture
def records() -> list[Record]:
    return [trained(model, seed) for model in MODELS for seed in range(3)]


def about(records: list[Record]) -> About:
    return About(models.cards_of(records))


def loss_curves(records: list[Record]) -> list[Drawn]:
    known = about(records)
    return curves.loss_curves(curves.losses(cells_of(records, known)), known, style.styles(records, known))


def test_a_loss_curve_is_the_mean_over_seeds_with_its_range(records: list[Record]) -> None:
    (drawn,) = loss_curves(records)
    (axes,) = drawn.figure.axes
    lines = {line.get_label(): line for line in axes.get_lines()}
    assert list(lines) == list(MODELS)
    steps, losses = lines["vit_nano"].get_data()
    np.testing.assert_array_equal(steps, np.arange(1, 41))
    np.testing.assert_allclose(losses, [3.0 / step + 1.1 for step in range(1, 41)])
    band = axes.collections[1].get_paths()[0].vertices
    np.testing.assert_allclose(band[band[:, 0] == 1][:, 1].min(), 4.0)
    np.testing.assert_allclose(band[band[:, 0] == 1][:, 1].max(), 4.2)
    assert "3 seeds" in drawn.caption


def test_a_run_without_a_curve_takes_none_from_the_others(records: list[Record]) -> None:
    (drawn,) = loss_curves([records[0].model_copy(update={"curve": ()}), *records[1:]])
    lines = {line.get_label(): line for line in drawn.figure.axes[0].get_lines()}
    np.testing.assert_allclose(lines["mixer_nano"].get_data()[1], [3.0 / step + 0.15 for step in range(1, 41)])


def test_settings_have_a_figure_of_their_own(records: list[Record]) -> None:
    more = [*records, *(trained("mixer_nano", seed, batch_size=32) for seed in range(2))]
    names = [drawn.name for drawn in loss_curves(more)]
    assert names == ["loss colours finetune batch_size=None", "loss colours finetune batch_size=32"]


def test_families_are_told_apart_without_colour(records: list[Record]) -> None:
    (drawn,) = loss_curves(records)
    lines = drawn.figure.axes[0].get_lines()
    shapes = {(line.get_marker(), line.get_linestyle(), line.get_markerfacecolor()) for line in lines}
    assert len(shapes) == len(MODELS)
    assert len({line.get_marker() for line in lines}) == 3


def test_files_are_whole_and_the_same_each_time(records: list[Record], tmp_path: Path) -> None:
    for folder in ("one", "two"):
        files = report.draw(records, tmp_path / folder)
        stems = ("throughput_colours_finetune", "loss_colours_finetune")
        assert [file.name for file in files] == [f"{stem}.{kind}" for stem in stems for kind in ("svg", "png")]
    for file in files:
        assert file.read_bytes() == (tmp_path / "one" / file.name).read_bytes()
    assert (tmp_path / "one/captions.md").read_text().count("\n- `") == 1
    svg = (tmp_path / "one/loss_colours_finetune.svg").read_text()
    assert ElementTree.fromstring(svg).tag.endswith("svg")
    assert (tmp_path / "one/loss_colours_finetune.png").read_bytes().startswith(b"\x89PNG")


def test_report_draws_them_and_says_where(records: list[Record], tmp_path: Path, capsys) -> None:
    store = Store(tmp_path / "results")
    half = Predictions(np.zeros(90, int), np.arange(90) % 2, np.zeros(90, np.float32))
    for record in records:
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


def test_every_kind_of_one_report_gives_the_same_files_each_time(tmp_path: Path) -> None:
    study = [
        a_record(0.3 + place / 20 + shots / 50, a_run(model=model, task=task, config={"shots": shots}, seed=seed))
        for place, model in enumerate(MODELS)
        for task in ("a", "b", "c")
        for shots in (1, 5)
        for seed in range(2)
    ]
    one, two = (report.draw(study, tmp_path / name) for name in ("one", "two"))
    assert {file.name.partition("_")[0] for file in one} == {"throughput", "ranks", "shots"}
    assert [file.read_bytes() for file in one] == [file.read_bytes() for file in two]


def test_files_have_one_width_and_names_of_their_own(records: list[Record], tmp_path: Path) -> None:
    from PIL import Image

    limited = [r.model_copy(update={"run": r.run.model_copy(update={"limit": 10})}) for r in records]
    other = [r.model_copy(update={"run": r.run.model_copy(update={"data": "2" * 64})}) for r in records]
    files = [file for file in report.draw([*records, *limited, *other], tmp_path) if file.name.startswith("loss")]
    assert len(set(files)) == 6
    assert any("limited_to_10" in file.name for file in files)
    for file in files[1::2]:
        with Image.open(file) as image:
            assert image.width == 6.4 * draw.DPI
    (drawn, *_) = loss_curves(records)
    assert [file.stem for file in draw.save([drawn, drawn], tmp_path)][::2] == [
        "loss_colours_finetune",
        "loss_colours_finetune-2",
    ]


@pytest.mark.parametrize(("tasks", "drawn"), [(draw.MOST, True), (draw.MOST + 1, False)])
def test_figures_of_many_single_tasks_are_left_out_and_named(tasks: int, drawn: bool) -> None:
    study = [
        a_record(0.4 + place / 10, a_run(model=model, task=f"t{number}", config={"shots": shots}))
        for place, model in enumerate(MODELS[:2])
        for number in range(tasks)
        for shots in (1, 5)
    ]
    found = draw.draw(cells_of(study, about(study)), about(study))
    kinds = {one.name.split()[0] for one in found.drawn}
    assert kinds == ({"ranks", "shots"} if drawn else {"ranks"})
    notes = [f"Not drawn: accuracy over throughput and cost of single tasks, {2 * tasks} times"]
    notes += [] if drawn else [f"Not drawn: accuracy over shots of single tasks, {tasks} times"]
    assert [note[: len(start)] for note, start in zip(found.left_out, notes, strict=True)] == notes
    assert (len(found.drawn), len(found.left_out)) == ((2 + tasks, 1) if drawn else (2, 2))


def test_many_lines_are_thin_without_bands_and_all_differ() -> None:
    names = ["mixer_b16", "mixer_l16", "vit_ti16", "vit_s16", "vit_s32", "vit_b16", "vit_b32", "vit_l16", "resnet50"]
    names += ["resnet101", "mixer_nano", "random:mixer_nano", "pixels"]
    many = [
        a_record(0.5, a_run(model=name, weights=f"{n:064}", protocol="finetune", config={}), curve=((1, 2.0), (2, n)))
        for n, name in enumerate(names)
    ]
    (drawn,) = loss_curves(many)
    axes = drawn.figure.axes[0]
    assert len(axes.collections) == 0
    assert "without bands" in drawn.caption
    looks = {(line.get_marker(), line.get_color(), line.get_markerfacecolor()) for line in axes.get_lines()}
    assert len(looks) == len(names)
    (legend,) = drawn.figure.legends
    assert len(legend.get_texts()) == len(names)
    ends = {line.get_label(): line.get_ydata()[-1] for line in axes.get_lines()}
    shown = [ends[text.get_text()] for text in legend.get_texts()]
    assert shown == sorted(shown, reverse=True)
