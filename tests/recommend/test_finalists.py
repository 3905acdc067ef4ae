"""Fine-tuning where there is time, paired with the probe on the same test images; labels by what is measured."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mixer_bench.recommend import finalists
from mixer_bench.recommend.finalists import Finalists
from mixer_bench.recommend.options import Options
from mixer_bench.results.store import Store, read_record
from tests.builders import a_run, right_of, save_answers

PROBE = a_run(protocol="linear", config={"C": [1.0]})
TUNED = a_run(protocol="finetune", config={"steps": 400})


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Finalists:
    """The toy's probe is done; its fine-tuning takes 100 s and is better by 10 points."""
    probed = save_answers(tmp_path, PROBE, right_of(0, worse=0.1))
    tuned = save_answers(tmp_path, TUNED, right_of(0))
    told: Any = SimpleNamespace(asked=1, seconds=100.0)
    monkeypatch.setattr(finalists.command, "foretold", lambda _: told)
    summary: Any = SimpleNamespace(unavailable=(), failed=(), records=(str(tuned),))
    monkeypatch.setattr(finalists.command, "do", lambda *_: summary)
    clock: Any = SimpleNamespace(left=200.0)
    every: Any = None
    return Finalists(
        Options(), {"toy": "toy"}, None, Store(tmp_path), clock, every, every, {"toy": [read_record(probed)]}
    )


def test_what_there_is_time_for_is_compared_with_its_probe(made: Finalists) -> None:
    made.tune(["toy"])
    tuned = made.told("toy")["tuned"]
    assert (tuned.gain, tuned.accuracy.value, tuned.record) == (pytest.approx(0.1), pytest.approx(0.7), TUNED.key)
    assert tuned.gain_ci95[0] > 0 and tuned.p < 0.05


def test_what_there_is_no_time_for_is_told_with_its_time(made: Finalists) -> None:
    made.clock.left = 99.0  # type: ignore[misc]
    made.tune(["toy", "toy"])
    assert made.told("toy")["tuned"].model_dump(exclude_none=True) == {"seconds": 100.0, "record": ""}


@pytest.mark.parametrize(("each", "known"), [(4, False), (40, True)])
def test_more_labels_are_extrapolated_from_enough_of_them(made: Finalists, each: int, known: bool) -> None:
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), each)
    features = (generator.normal(size=(3, 5))[labels] + generator.normal(0, 2, (3 * each, 5))).astype(np.float32)
    told = made.labels("toy", labels, features, 0.1, "cpu")
    assert (told.fewest, told.most, told.gain is not None) == (each, each, known)
    assert made.labels("toy", labels, None, 0.1, "cpu").gain is None
