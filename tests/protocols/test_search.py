"""The search of fine-tuning's learning rate: once for all seeds, cheaper where asked, and past rates that diverge."""

import contextlib
import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from mixer_bench import protocols
from mixer_bench.errors import UsageError
from mixer_bench.system import claims
from mixer_bench.system import code as installed_code
from mixer_bench.training.checkpoint import Diverged
from tests.builders import TOY, Given, colours
from tests.protocols.trainings import QUICK, Leaving, fit


def test_the_rate_is_searched_once_for_all_seeds_and_never_again(tmp_path: Path) -> None:
    backbones = [Given(tmp_path), Given(tmp_path)]
    first, second = (fit(backbone, colours(noise=80.0), seed) for seed, backbone in enumerate(backbones))
    assert first.selection == second.selection
    assert (first.images, second.images) == (3 * 600, 600)
    assert any("rate 0.01: known" in words for words in backbones[1].said)
    assert [backbone.skipped for backbone in backbones] == [0, 2 * 600], "the search was the first seed's"
    assert backbones[0].kept is not None
    first.finished(), second.finished()
    assert sorted(file.suffix for file in tmp_path.iterdir()) == [".json", ".json"]


def test_rates_that_another_process_tries_are_waited_for_last_and_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    data, rates = colours(noise=80.0), (0.01, 0.03, 0.1)
    alone = fit(Given(tmp_path), data, learning_rates=rates)
    notes = [file.rename(file.with_suffix(".theirs")) for file in sorted(tmp_path.glob("*.json"))]
    theirs = notes[0].with_suffix(".json")
    with contextlib.ExitStack() as other, caplog.at_level("INFO", logger="mixer_bench"):
        assert other.enter_context(claims.claimed(theirs))

        def done(_seconds: float) -> None:
            assert len(list(tmp_path.glob("*.json"))) == 2, "the other two are tried meanwhile"
            notes[0].rename(theirs)
            other.close()

        monkeypatch.setattr(claims.time, "sleep", done)
        shared = fit(Given(tmp_path), data, learning_rates=rates)
    assert "waiting for another process that tries rate 0.0" in caplog.text or "tries rate 0.1" in caplog.text
    assert shared.selection == alone.selection
    assert (alone.images, shared.images) == (4 * 600, 3 * 600)


@pytest.mark.parametrize("changed", ["code", "metric", "images", "precision", "identity", "preprocessing"])
def test_a_search_that_anything_else_would_decide_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: str
) -> None:
    data, backbone = colours(noise=80.0), Given(tmp_path)
    fit(backbone, data)
    if changed == "code":
        monkeypatch.setattr(installed_code, "installed", lambda _protocol: {"finetune": "0" * 12})
    elif changed == "metric":
        data = dataclasses.replace(data, metric="mean_per_class")
    elif changed == "images":
        data = colours(noise=81.0)
    else:
        others = {
            "precision": "bf16",
            "identity": "1" * 64,
            "preprocessing": TOY.model_copy(update={"mean": (0, 0, 0)}),
        }
        monkeypatch.setattr(Given, changed, others[changed])
    assert fit(Given(tmp_path), data, 1).images == 3 * 600


def test_a_rate_of_another_grid_is_known(tmp_path: Path) -> None:
    data = colours(noise=80.0)
    fit(Given(tmp_path), data)
    assert fit(Given(tmp_path), data, learning_rates=(0.1, 0.03)).images == 2 * 600, "0.03, and the final training"


def test_one_rate_costs_no_search() -> None:
    rates = [protocols.configure("finetune", {**QUICK, "learning_rates": grid}) for grid in ((0.1,), (0.1, 0.2))]
    assert [protocols.get("finetune").cost(config) for config in rates] == [(0, 600), (2 * 600, 600)]


# --- a cheaper search


@pytest.mark.parametrize(
    ("rates", "settings", "rungs"),
    [
        (1, {}, []),
        (4, {}, [(4, 400)]),
        (4, {"search_steps": 0.25}, [(4, 100)]),
        (4, {"search_steps": 40}, [(4, 40)]),
        (2, {"search": "halving"}, [(2, 200)]),
        (3, {"search": "halving"}, [(3, 100), (2, 200)]),
        (4, {"search": "halving"}, [(4, 100), (2, 200)]),
        (5, {"search": "halving"}, [(5, 50), (3, 100), (2, 200)]),
        (8, {"search": "halving", "search_steps": 0.5}, [(8, 25), (4, 50), (2, 100)]),
    ],
)
def test_rates_are_tried_rung_after_rung_and_the_cost_says_so(rates: int, settings: dict, rungs: list) -> None:
    grid = tuple(0.01 * (1 + rate) for rate in range(rates))
    config = protocols.configure("finetune", {"learning_rates": grid, "steps": 400, "batch_size": 10, **settings})
    assert config.rungs == rungs
    steps = sum(count * (end - begin) for (count, end), begin in zip(rungs, [0, *(e for _, e in rungs)], strict=False))
    assert protocols.get("finetune").cost(config) == (10 * steps, 4000)


@pytest.mark.parametrize("wrong", [0, -0.5, 1.5, 31, "nan"])
def test_no_search_is_longer_than_the_training(wrong: object) -> None:
    with pytest.raises(UsageError, match="search_steps"):
        protocols.configure("finetune", {**QUICK, "search_steps": wrong})


def test_a_run_that_searches_as_ever_keeps_its_key() -> None:
    dumped = protocols.configure("finetune", QUICK).model_dump(mode="json")
    assert not {"search", "search_steps"} & dumped.keys()
    cheaper = protocols.configure("finetune", {**QUICK, "search": "halving", "search_steps": "0.25"})
    assert cheaper.model_dump(mode="json") == {**dumped, "search": "halving", "search_steps": 0.25}
    assert protocols.configure("finetune", cheaper.model_dump(mode="json")) == cheaper


def test_a_shorter_search_is_that_of_a_shorter_training(tmp_path: Path) -> None:
    data = colours(noise=80.0)
    cheaper = fit(Given(tmp_path), data, steps=40, warmup=8, search_steps=0.25)
    shorter = fit(Given(tmp_path), data, steps=10, warmup=2)
    assert cheaper.selection == shorter.selection
    assert (cheaper.images, shorter.images) == ((2 * 10 + 40) * 20, 10 * 20), "the rates were known"
    chosen = cheaper.selection.chosen
    alone = fit(Given(), data, steps=40, warmup=8, learning_rates=(chosen,))
    np.testing.assert_array_equal(cheaper.scores(data.test), alone.scores(data.test))


HALVING = {"search": "halving", "learning_rates": (1e-6, 0.003, 0.01, 0.1), "steps": 40}


def test_halving_trains_the_better_rates_on_from_where_they_are(tmp_path: Path) -> None:
    data, backbone = colours(noise=80.0), Given(tmp_path)
    fitted = fit(backbone, data, **HALVING)
    assert fitted.images == backbone.images == (4 * 10 + 2 * 10 + 40) * 20
    assert sorted(file.suffixes[0] for file in tmp_path.glob("*.json")) == [".10"] * 4 + [".20"] * 2
    fitted.finished()
    assert not list(tmp_path.glob("*.pt"))
    # Stopped at once where the last rung stops, a training of that rate is as far: same weights, same score.
    (note,) = fitted.notes
    last = [float(rate) for rate in note.partition("10; ")[2].partition(" up to")[0].split(", ")]
    assert len(last) == 2
    assert fitted.selection.chosen in last
    for rate in last:
        alone = fit(Given(), data, **{**HALVING, "learning_rates": (rate, 1e-7)})
        scores = dict(zip(fitted.selection.grid, fitted.selection.scores, strict=True))
        assert alone.selection.scores[-1] == scores[rate]
    again = Given(tmp_path)
    assert fit(again, data, 1, **HALVING).selection == fitted.selection
    assert again.skipped == (4 * 10 + 2 * 10) * 20, "the search is known"


def test_a_halved_search_that_is_broken_off_goes_on_where_it_was(tmp_path: Path) -> None:
    data, again = colours(noise=80.0), Given(tmp_path)
    whole = fit(Given(), data, **HALVING)
    with pytest.raises(KeyboardInterrupt):
        fit(Leaving(tmp_path), data, **HALVING)  # in the second rung
    fitted = fit(again, data, **HALVING)
    assert (fitted.selection, fitted.notes, fitted.curve) == (whole.selection, whole.notes, whole.curve)
    assert again.images == whole.images


def test_halving_leaves_rates_that_diverge(tmp_path: Path) -> None:
    rates = {"learning_rates": (1e-9, 1e7, 1e8, 1e9), "clip": 0.0, "search": "halving"}
    fitted = fit(Exploding(tmp_path), colours(noise=20.0), **rates)
    assert fitted.selection.chosen == 1e-9
    assert [score is None for score in fitted.selection.scores] == [False, True, True, True]
    assert any(note.endswith("1e-09 up to step 15") for note in fitted.notes)


def test_what_was_trained_before_is_not_told_as_trained_now(tmp_path: Path) -> None:
    data, again = colours(noise=80.0), Given(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        fit(Leaving(tmp_path), data, learning_rates=(0.01,))
    fitted = fit(again, data, learning_rates=(0.01,))
    assert again.images == fitted.images == 30 * 20
    assert again.skipped == 10 * 20, "ten steps were in the checkpoint"
    curve = tuple((point.step, point.values["loss"]) for point in again.points if point.training == "final")
    assert curve == fitted.curve, "what was in the checkpoint is drawn as well"


class Exploding(Given):
    """A network whose loss is no number at large rates: its output squares itself."""

    def network(self, num_classes: int) -> nn.Module:
        class Squared(nn.Module):
            def __init__(self, inner: nn.Module) -> None:
                super().__init__()
                self.inner = inner

            def forward(self, images: torch.Tensor) -> torch.Tensor:
                return (self.inner(images) * 1e3) ** 3

        network = super().network(num_classes)
        nn.init.normal_(network[1].weight, std=1e-6)
        return Squared(network)


def test_a_diverged_rate_fails_by_itself_and_has_no_score(tmp_path: Path) -> None:
    data, rates = colours(noise=20.0), {"learning_rates": (1e-9, 1e9), "clip": 0.0}
    fitted = fit(Exploding(tmp_path), data, **rates)
    assert fitted.selection.chosen == 1e-9
    assert [score is None for score in fitted.selection.scores] == [False, True]
    assert any("learning rate 1e+09 diverged" in note for note in fitted.notes)
    again = Exploding(tmp_path)
    assert fit(again, data, 1, **rates).selection == fitted.selection
    assert any("rate 1e+09: known" in words for words in again.said), "what is known to diverge is not tried again"
    with pytest.raises(Diverged, match="at every rate"):
        fit(Exploding(tmp_path), data, learning_rates=(1e8, 1e9), clip=0.0)
