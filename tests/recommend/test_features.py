"""Features part by part: each image once, and at the end what a run looks for."""

import functools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from mixer_bench.data.examples import TaskData
from mixer_bench.recommend.features import Parts
from mixer_bench.runs.features import CachedFeatures, Computer, Network
from mixer_bench.runs.machine import Machine
from mixer_bench.system.progress import quiet
from tests.builders import TOY, MeanColour, a_run

COMPUTER = Computer(16, "a test's", {"device": "cpu"})
RUN = a_run(preprocessing=TOY)


def parts(data: TaskData, backbone: Any, cache: Path) -> Parts:
    here: Any = SimpleNamespace(
        cache=cache, computer=COMPUTER, load=lambda *_: backbone, resizer=lambda _: None, device=torch.device("cpu")
    )
    here.fill = functools.partial(Machine.fill, here)
    card: Any = None
    return Parts(data, [20, len(data.train)], [(card, RUN)], here)


def of_run(cache: Path, backbone: Any) -> CachedFeatures:
    return CachedFeatures(Network.of(RUN), cache, load=lambda: backbone, computer=COMPUTER)


def test_each_image_goes_through_the_network_once_and_a_run_finds_all(task_data: TaskData, tmp_path: Path) -> None:
    backbone = MeanColour()
    made = parts(task_data, backbone, tmp_path)
    made.compute([RUN.model], 0, quiet, "first")
    assert backbone.images == 20 and made.features(RUN.model, 0).shape == (20, 12)
    made.compute([RUN.model], 1, quiet, "last")
    assert backbone.images == 60 + 30 and made.lost == {}
    cache = of_run(tmp_path, None)
    train, val = cache.features(task_data.train), cache.features(task_data.val)
    assert np.array_equal(train, MeanColour().features(np.asarray(task_data.train.images)))
    assert cache.provenance[0].images == 60
    seen, labels = made.features(RUN.model, 1), made.labels(1)
    rows = [np.flatnonzero((np.concatenate([train, val]) == row).all(axis=1))[0] for row in seen]
    assert sorted(rows) == list(range(90)) and rows != sorted(rows)
    assert np.array_equal(np.concatenate([task_data.train.labels, task_data.val.labels])[rows], labels)


def test_what_a_run_has_computed_is_taken(task_data: TaskData, tmp_path: Path) -> None:
    of_run(tmp_path, MeanColour()).features(task_data.train)
    backbone = MeanColour()
    made = parts(task_data, backbone, tmp_path)
    made.compute([RUN.model], 0, quiet, "first")
    assert backbone.images == 0
    made.compute([RUN.model], 1, quiet, "last")
    assert backbone.images == 30
    again = parts(task_data, None, tmp_path)
    again.compute([RUN.model], 1, quiet, "again")
    assert np.array_equal(again.features(RUN.model, 1), made.features(RUN.model, 1))


def test_a_network_that_fails_is_lost_with_its_reason(task_data: TaskData, tmp_path: Path) -> None:
    class Broken(MeanColour):
        def features(self, squares: np.ndarray) -> np.ndarray:
            return super().features(squares) * np.nan

    made = parts(task_data, Broken(), tmp_path)
    made.compute([RUN.model], 0, quiet, "first")
    assert "infinite or undefined features" in made.lost[RUN.model]


@pytest.mark.parametrize("kept", [True, False])
def test_without_room_for_a_cache_features_are_there_all_the_same(
    task_data: TaskData, tmp_path: Path, kept: bool
) -> None:
    if not kept:
        (tmp_path / "features").write_text("a file where the folder would be")
    made = parts(task_data, MeanColour(), tmp_path)
    made.compute([RUN.model], 1, quiet, "only")
    assert made.features(RUN.model, 1).shape == (90, 12)
