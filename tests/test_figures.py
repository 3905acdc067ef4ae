"""Figures hold what the records say, and the same records give the same files."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from mixer_bench import cli, report
from mixer_bench.record import Predictions, Record, Store
from mixer_bench.report import figures
from mixer_bench.report.about import About
from tests.conftest import a_record, a_run

MODELS = ("mixer_nano", "vit_nano", "resnet_nano", "random:mixer_nano")


def trained(model: str, seed: int, **changes: object) -> Record:
    run = a_run(model=model, protocol="finetune", config={"steps": 40, **changes}, seed=seed)
    curve = tuple((step, 3.0 / step + MODELS.index(model) + 0.1 * seed) for step in range(1, 41))
    return a_record(0.5, run, curve=curve)


@pytest.fixture
def records() -> list[Record]:
    return [trained(model, seed) for model in MODELS for seed in range(3)]


def about(records: list[Record]) -> About:
    return About(report.cards_of(records))


def test_a_loss_curve_is_the_mean_over_seeds_with_its_range(records: list[Record]) -> None:
    (drawn,) = figures.loss_curves(records, about(records))
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


def test_settings_have_a_figure_of_their_own(records: list[Record]) -> None:
    more = [*records, *(trained("mixer_nano", seed, batch_size=32) for seed in range(2))]
    names = [drawn.name for drawn in figures.loss_curves(more, about(more))]
    assert names == ["loss colours finetune batch_size=None", "loss colours finetune batch_size=32"]


def test_families_are_told_apart_without_colour(records: list[Record]) -> None:
    (drawn,) = figures.loss_curves(records, about(records))
    lines = drawn.figure.axes[0].get_lines()
    shapes = {(line.get_marker(), line.get_linestyle(), line.get_markerfacecolor()) for line in lines}
    assert len(shapes) == len(MODELS)
    assert len({line.get_marker() for line in lines}) == 3


def test_files_are_whole_and_the_same_each_time(records: list[Record], tmp_path: Path) -> None:
    for folder in ("one", "two"):
        files = report.draw(records, tmp_path / folder)
        assert [file.name for file in files] == ["loss_colours_finetune.svg", "loss_colours_finetune.png"]
    for kind in ("svg", "png"):
        one, two = ((tmp_path / folder / f"loss_colours_finetune.{kind}").read_bytes() for folder in ("one", "two"))
        assert one == two
    svg = (tmp_path / "one/loss_colours_finetune.svg").read_text()
    assert ElementTree.fromstring(svg).tag.endswith("svg")
    assert (tmp_path / "one/loss_colours_finetune.png").read_bytes().startswith(b"\x89PNG")


def test_report_draws_them_and_says_where(records: list[Record], tmp_path: Path, capsys) -> None:
    store = Store(tmp_path / "results")
    nothing = Predictions(np.zeros(90, int), np.zeros(90, int), np.zeros(90, np.float32))
    for record in records:
        store.save(record, nothing)
    command = ["report", "--results", str(tmp_path / "results"), "--figures", str(tmp_path / "figures")]
    assert cli.main(command) == 0
    assert f"2 files of figures in {tmp_path / 'figures'}" in capsys.readouterr().out
    (tmp_path / "file").write_text("")
    assert cli.main([*command[:-1], str(tmp_path / "file")]) == 1
    assert "name another folder" in capsys.readouterr().err
    for file in (tmp_path / "results").rglob("*.json"):
        file.unlink()
    store.save(a_record(), nothing)
    assert cli.main(command) == 0
    assert "no figures" in capsys.readouterr().out
