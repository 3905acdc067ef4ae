"""Many models: figures that stay readable, and answers that do not fill the memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from mixer_bench.report.figures import scatter
from mixer_bench.report.figures.style import CROWD, LABEL_CHARS, folded
from mixer_bench.results import answers
from mixer_bench.results.record import Record
from mixer_bench.results.store import Store
from mixer_bench.task.task import tasks
from tests.builders import a_record, a_run, plots_of, right_of, save_answers

MANY = CROWD + 10
NAMES = [f"model {number:02}" for number in range(MANY)]
MEMBERS = sorted(name for name, task in tasks().items() if "vtab" in task.tags)


def crowd(count: int = MANY, shots: tuple[int, ...] = (5,), members: tuple[str, ...] = ("colours",)) -> list[Record]:
    """The later a model, the better and the faster, but for the last ten, which are fast alone."""
    records = []
    for number, name in enumerate(NAMES[:count]):
        cost = a_record().cost.model_copy(update={"throughput": 1.0 + number})
        value = 0.3 + 0.01 * number if number < CROWD else 0.1
        for task in members:
            version = tasks()[task].version if task in tasks() else 1
            for each in shots:
                asked = a_run(
                    model=name, weights=f"{number:064}", task=task, task_version=version, config={"shots": each}
                )
                records.append(a_record(value, asked, cost=cost))
    return records


def test_of_a_crowd_the_front_alone_is_named_and_all_are_drawn() -> None:
    (plane,) = plots_of(crowd(), "throughput")
    axes = plane.figure().axes[0]
    assert {text.get_text() for text in axes.texts} == {NAMES[CROWD - 1], NAMES[-1]}
    assert sum(len(container[0].get_xdata()) for container in axes.containers) == MANY
    assert f"Of {MANY} models those on the front alone are named" in plane.caption


def test_who_is_left_out_is_counted_where_names_would_fill_a_page() -> None:
    count = scatter.MOST_NAMED + 1
    others = [a_run(model=f"other {n}", weights=f"{n + 100:064}", config={"shots": 10}) for n in range(count)]
    plane, _ = plots_of([*crowd(3), *(a_record(run=run) for run in others)], "throughput")
    assert f"Left out, without this setting: {count} models." in plane.caption


def test_of_a_front_that_is_a_crowd_some_are_named() -> None:
    style = scatter.Style("#000000", "o", (), untrained=False)
    spots = tuple(scatter.Spot(f"{n}", 1.0 + n, 90.0 - n, 0.1, style) for n in range(MANY))
    plane = scatter.Plane("throughput", "t", "c", "x", "y", spots, larger=True)
    assert len(plane.front) == MANY
    assert [spot.label for spot in plane.named] == [f"{n}" for n in range(scatter.MOST_NAMED)]


def test_of_a_crowd_the_highest_lines_are_named_and_the_others_are_grey() -> None:
    (plot,) = plots_of(crowd(shots=(1, 5)), "shots")
    figure = plot.figure()
    told = [text.get_text() for text in figure.legends[0].get_texts()]
    assert told == NAMES[CROWD - 1 :: -1]
    colours = {line.get_label() if line.get_label() in told else "": line.get_color() for line in figure.axes[0].lines}
    assert len(figure.axes[0].lines) == MANY
    assert colours.pop("") not in colours.values()
    assert f"Of {MANY} models the highest have colours and names" in plot.caption


def test_of_a_crowd_no_numbers_are_written_beside_names_that_all_stand() -> None:
    records = crowd(members=tuple(MEMBERS))
    (tiles,), (bars,) = plots_of(records, "tasks"), plots_of(records, "means")
    for plot, kept in ((tiles, tiles.parts), (bars, ())):
        axes = plot.figure().axes[0]
        assert [text.get_text() for text in axes.get_yticklabels()] == NAMES
        assert {text.get_text() for text in axes.texts} == set(kept)
        assert "no numbers are written; the tables have them all" in plot.caption


def test_long_names_break_between_their_words() -> None:
    name = "timm:beit_base_patch16_224.in22k_ft_in22k_in1k"
    assert folded(name).split("\n") == ["timm:beit_base_patch16_", "224.in22k_ft_in22k_in1k"]
    assert folded("resnet50 (fp16, 384 px, from a folder)").split("\n") == ["resnet50 (fp16, 384 px,", "from a folder)"]
    assert all(len(line) <= LABEL_CHARS for line in folded("x" * 100).split("\n"))


def test_a_reader_keeps_no_more_answers_than_it_may(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(4):
        save_answers(tmp_path, a_run(seed=seed), right_of(seed))
    store = Store(tmp_path)
    asked: list[int] = []

    def read(record: Record) -> object:
        asked.append(record.run.seed)
        return store.answers(record)

    records = sorted(store.records()[0], key=lambda record: record.run.seed)
    monkeypatch.setattr(answers, "MOST_KEPT", 2 * records[0].n_test)
    reader = answers.Reader(read)
    for seed in (0, 1, 1, 0, 2, 2, 1, 0, 3):
        assert (reader.answers(records[seed]).right == right_of(seed)).all()
    assert asked == [0, 1, 2, 0, 3], "the first of three goes; what is kept is not read again"


def test_records_that_say_the_same_say_it_once(tmp_path: Path) -> None:
    store, words = Store(tmp_path), {"processor": "a processor", "torch": "2.0"}
    for seed in range(2):
        save_answers(tmp_path, a_run(seed=seed, config={"shots": 5, "l2": [1.0]}), right_of(seed))
    save_answers(tmp_path, a_run(seed=2, config={"shots": 5, "l2": [1]}), right_of(2))
    first, second, third = sorted(store.records()[0], key=lambda record: record.run.seed)
    for part in ("environment", "code"):
        assert getattr(first, part) is getattr(second, part)
    for part in ("preprocessing", "config", "weights", "setting", "variant", "network"):
        assert getattr(first.run, part) is getattr(second.run, part)
    assert first.run.config is not third.run.config, "1 is not 1.0: they have other keys"
    assert a_record(environment=words).environment is a_record(environment=dict(words)).environment
