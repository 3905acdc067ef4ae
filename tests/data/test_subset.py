"""Which of a task's sources is taken, and the least that its images may be."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from mixer_bench.data import loading, names
from mixer_bench.errors import Absent, DataError, UsageError
from mixer_bench.results.store import Store
from mixer_bench.runs import plan
from mixer_bench.runs.options import Options
from mixer_bench.runs.request import request
from mixer_bench.task.sources import Source, Subset
from mixer_bench.task.task import TASKS, load_tasks
from tests import vtab1k
from tests.hub_repositories import image

ALL = load_tasks(TASKS)


@pytest.mark.parametrize("name", [name for name, task in ALL.items() if "vtab" in task.tags])
def test_the_better_subset_is_asked_for_first_whatever_the_order_of_declaration(name: str) -> None:
    task = ALL[name].model_copy(update={"source": ALL[name].source[::-1]})
    asked: list[Source] = []

    def attempt(source: Source) -> None:
        asked.append(source)
        raise Absent("not here")

    with pytest.raises(DataError):
        loading.first(task, attempt)
    ranks = [get_args(Subset).index(source.subset) for source in asked]
    assert ranks == sorted(ranks) and len(asked) == len(task.source)


def planned(tmp_path: Path, **options: object) -> plan.Plan:
    values = {"model": ("pixels",), "protocol": ("knn",), "data_dir": tmp_path, "offline": True, **options}
    return plan.make(request(Options.model_validate(values)), Store(tmp_path / "results"))


def test_a_run_says_what_each_task_stands_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    vtab1k.make(tmp_path, [ALL["vtab/kitti_distance"]])
    todo = planned(tmp_path, task=("vtab/kitti_distance", "clipart"))
    assert [*plan.remarks(todo, None)] == ["vtab/kitti_distance: official-lossy, VTAB-1k folder, kitti"]


def test_what_is_less_than_asked_for_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    vtab1k.make(tmp_path, [ALL["vtab/kitti_distance"]])
    todo = planned(tmp_path, task=("vtab/kitti_distance",), subset="official")
    assert todo.asked == ()
    assert "no source is there" in str(todo.unavailable[0]) and "vtab1k_folder" not in str(todo.unavailable[0])
    assert planned(tmp_path, task=("vtab/kitti_distance",), subset="official-lossy").missing == 1
    for colour, name in enumerate("ab"):
        (tmp_path / "own" / name).mkdir(parents=True)
        for number in range(8):
            (tmp_path / "own" / name / f"{number}.png").write_bytes(image(colour, number))
    drawn = planned(tmp_path, task=(f"{tmp_path}/own",), subset="official")
    assert "its images are resampled, official is asked for (--subset)" in str(drawn.unavailable[0])


def test_a_task_that_has_nothing_of_the_kind_is_named() -> None:
    (task,) = names.chosen_tasks(["vtab/caltech101"], source="vtab1k_folder")
    with pytest.raises(UsageError, match="has no source that is official or better"):
        names._no_less("official", task)
