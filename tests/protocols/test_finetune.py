"""Full fine-tuning: the published settings, step by step against re-statements, and what becomes of faults."""

import contextlib
import dataclasses
import functools
import math
import os
import select
import signal
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from torch import nn

from mixer_bench import protocols
from mixer_bench.cli import app
from mixer_bench.data.examples import Development, TaskData
from mixer_bench.errors import UsageError
from mixer_bench.models import names, networks
from mixer_bench.protocols.base import Fitted
from mixer_bench.results.store import Store
from mixer_bench.system import claims
from mixer_bench.system import code as installed_code
from mixer_bench.training import distributed, dropout, finetuning
from mixer_bench.training.checkpoint import Diverged
from mixer_bench.training.framing import Frame
from mixer_bench.training.images import Corpus
from mixer_bench.training.network import Trainable
from mixer_bench.training.trainable import Point
from tests.builders import TOY, Given, colours, set_flags
from tests.forks import Started, forked, hang_up_in_training, signal_in_training
from tests.models.logits import with_its_classifier

pty = pytest.importorskip("pty", reason="needs a POSIX system")

QUICK = {"steps": 30, "warmup": 3, "batch_size": 20, "learning_rates": (0.01, 0.1)}


def test_the_classifier_starts_at_zero_and_the_rest_is_pretrained() -> None:
    for name in ("mixer_nano", "vit_nano", "resnet_nano"):
        card = names.card(name)
        backbone = Trainable(card, card.preprocessing, torch.device("cpu"), "fp32", "x", Path("unused"), print)
        network = backbone.network(7)
        body = networks.body(card, print).state_dict()
        for key, tensor in network.state_dict().items():
            if key in body:
                torch.testing.assert_close(tensor, body[key], rtol=0, atol=0)
            else:
                assert tensor.shape[0] == 7
                assert not tensor.any(), key
        network.eval()
        with torch.no_grad():
            assert not network(torch.randn(2, 3, 64, 64)).any()


# --- choosing and failing


def fit(backbone: Given, data: TaskData, seed: int = 0, **settings: object) -> Fitted:
    config = protocols.configure("finetune", {**QUICK, **settings})
    return protocols.get("finetune").fit(backbone, data.development, config, seed)


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


class Leaving(Given):
    """A person who breaks a training off after fifteen steps."""

    def heard(self, words: str, images: float, trained: bool = True, points: Sequence[Point] = ()) -> None:
        super().heard(words, images, trained, points)
        if "step 15/" in words:
            raise KeyboardInterrupt


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


# --- dropout


class Dropping(Given):
    """A linear layer with dropout before it, under a ViT's name for the place."""

    def network(self, num_classes: int) -> nn.Module:
        class Dropped(nn.Module):
            def __init__(self, inner: nn.Module) -> None:
                super().__init__()
                self.inner, self.pos_drop = inner, nn.Dropout(0.0)

            def forward(self, images: torch.Tensor) -> torch.Tensor:
                return self.inner(self.pos_drop(images))

        return Dropped(super().network(num_classes))


class LeavingDropping(Leaving, Dropping):
    """A person who breaks a training with dropout off after fifteen steps."""


def weights_of(backbone: Given) -> dict[str, torch.Tensor]:
    assert backbone.kept is not None
    return backbone.kept.state_dict()


def test_with_dropout_a_resumed_training_is_the_unbroken_one_to_the_bit(tmp_path: Path) -> None:
    data, settings = colours(noise=80.0), {"learning_rates": (0.01,), "dropout": 0.5}
    backbones = {name: Dropping(tmp_path / name) for name in ("whole", "broken", "without")}
    torch.manual_seed(5)
    whole = fit(backbones["whole"], data, **settings)
    assert torch.initial_seed() == 5, "whoever called draws on as before"
    with pytest.raises(KeyboardInterrupt):
        fit(LeavingDropping(tmp_path / "broken"), data, **settings)
    torch.manual_seed(6)
    again = fit(backbones["broken"], data, **settings)
    assert any("final: goes on" in words for words in backbones["broken"].said)
    without = fit(backbones["without"], data, learning_rates=(0.01,))
    assert whole.curve == again.curve != without.curve
    first, second = (weights_of(backbones[name]) for name in ("whole", "broken"))
    assert all(torch.equal(first[key], second[key]) for key in first)
    scores = [whole.scores(data.test), whole.scores(data.test)]
    np.testing.assert_array_equal(*scores, err_msg="nothing is dropped at test")
    assert whole.notes == ()


def test_a_network_without_a_place_for_dropout_is_trained_without_and_says_so(tmp_path: Path) -> None:
    (note,) = fit(Given(tmp_path), colours(), learning_rates=(0.01,), dropout=0.1).notes
    assert note == "dropout 0.1: the network has no place for it and was trained without"


@pytest.mark.parametrize(("name", "places"), [("vit_nano", True), ("mixer_nano", False), ("resnet_nano", False)])
def test_dropout_is_switched_on_where_timm_has_it(name: str, places: bool) -> None:
    """timm's own pos_drop_rate and proj_drop_rate, which together are vit_jax's dropout_rate."""
    card = names.card(f"random:{name}")
    network = networks.body(card, print)
    assert dropout.switch_on(network, 0.25) == places
    rates = {place: module.p for place, module in network.named_modules() if isinstance(module, nn.Dropout)}
    arguments = {"pos_drop_rate": 0.25, "proj_drop_rate": 0.25} if places else {}
    timms = getattr(timm.models, card.architecture.class_)(**card.architecture.args, **arguments)
    theirs = {place: module.p for place, module in timms.named_modules() if isinstance(module, nn.Dropout)}
    assert rates == {place: theirs[place] for place in rates}
    assert (0.25 in rates.values()) == places


def test_several_processes_refuse_dropout_in_one_line(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(distributed, "world", lambda: distributed.World(0, 2))
    with pytest.raises(UsageError, match="--set dropout=0") as refused:
        fit(Dropping(tmp_path), colours(), learning_rates=(0.01,), dropout=0.1)
    assert (refused.value.exit_code, "\n" in str(refused.value)) == (2, False)


# --- what is trained on


@pytest.mark.parametrize(("final", "depends"), [("train", False), ("train+val", True)])
def test_val_is_left_out_of_the_final_training_where_the_source_does_so(final: str, depends: bool, tmp_path) -> None:
    data, other = colours(), colours(seed=1)
    both = [data.development, Development(data.train, other.val, data.num_classes, data.metric)]
    backbones = [Given(tmp_path / name) for name in ("a", "b")]
    config = protocols.configure("finetune", {**QUICK, "learning_rates": (0.01,), "final": final})
    for backbone, development in zip(backbones, both, strict=True):
        protocols.get("finetune").fit(backbone, development, config, 0)
    first, second = map(weights_of, backbones)
    assert all(torch.equal(first[key], second[key]) for key in first) != depends


def test_the_search_judges_val_as_test_is_framed(tmp_path: Path, monkeypatch) -> None:
    shelved = []
    real = finetuning.shelved
    monkeypatch.setattr(finetuning, "shelved", lambda *given: shelved.append(given) or real(*given))
    data = colours()
    fitted = fit(Given(tmp_path), data, evaluation="whole")
    fitted.scores(data.test)
    trained, judged = Frame("shorter", 9, "area", None, "truncate"), Frame("squash", 8, "area", None, "truncate")
    frames = [(len(examples), frame) for examples, frame, _ in shelved]
    assert frames == [(90, trained), (30, judged), (30, judged), (90, judged)]


class OnMps(torch.Tensor):
    """A tensor of a device that has no float64, as Apple's GPUs have none."""

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        result = super().__torch_function__(function, types, args, kwargs or {})
        if function is torch.Tensor.cpu:
            return result.as_subclass(torch.Tensor)
        if isinstance(result, OnMps) and result.dtype == torch.float64:
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64")
        return result


def test_nothing_is_in_float64_on_the_device(tmp_path: Path, monkeypatch) -> None:
    on_device = []

    def brought(*given: object) -> torch.Tensor:
        on_device.append(images(*given).as_subclass(OnMps))
        return on_device[-1]

    images = Corpus.images
    monkeypatch.setattr(Corpus, "images", brought)
    fitted = fit(Given(tmp_path), colours(noise=20.0), learning_rates=(0.01,), mixup=0.2)
    scores = fitted.scores(colours(noise=20.0).test)
    assert (scores.dtype, type(fitted.curve[-1][1])) == (np.float64, float)
    np.testing.assert_allclose(scores.sum(axis=1), 1, rtol=0, atol=1e-12)
    with pytest.raises(TypeError, match="float64"):
        on_device[-1].double()


# --- by the command line


COMMAND = ["run", "--task", "digits", "--protocol", "finetune", "--limit", "60", "--preset", "small"]
SETTINGS = ("steps=12", "warmup=2", "batch_size=16", "learning_rates=0.01,0.03")


def test_a_finetuned_network_is_recorded_kept_and_loaded_again(tmp_path: Path, capsys) -> None:
    command = [
        *COMMAND,
        *set_flags(*SETTINGS),
        "--model",
        "mixer_nano,pixels",
        "--seeds",
        "2",
        "--output-dir",
        str(tmp_path),
    ]
    assert app.main([*command, "--save-model"]) == 0
    told = capsys.readouterr().err
    assert "pixels: no network that finetune could train; left out" in told
    assert "768 images to train on" in told
    assert "2 runs done, 0 failed; 768 images trained on" in told
    records = Store(tmp_path).records()[0]
    assert sorted(record.run.seed for record in records) == [0, 1]
    assert sum(record.cost.trained_images for record in records) == 4 * 12 * 16
    for record in records:
        assert [step for step, _ in record.curve] == list(range(1, 13))
        assert record.curve[0][1] == pytest.approx(math.log(10), abs=1e-6), (
            "a zero classifier gives every class a tenth"
        )
        assert record.selection.parameter == "learning rate"
        assert record.cost.throughput is None
        saved = Store(tmp_path).place(record.run, ".safetensors")
        card = names.card(f"file:{saved}?arch=mixer_nano&classes=10")
        assert with_its_classifier(card)(torch.zeros(1, 3, 64, 64)).shape == (1, 10)
    assert app.main([*command]) == 0
    assert "all 2 runs are there already" in capsys.readouterr().err
    assert app.main(["report", "--results", str(tmp_path)]) == 0
    assert "finetune" in capsys.readouterr().out


def test_features_keep_their_precision_beside_a_training_that_has_another(tmp_path: Path, monkeypatch) -> None:
    def no_training(*_: object) -> None:
        raise ArithmeticError("not wanted here")

    monkeypatch.setattr(finetuning, "finetune", no_training)
    command = ["run", "--task", "digits", "--limit", "60", "--model", "mixer_nano", "--seeds", "1", "--device", "cpu"]
    command += ["--protocol", "finetune,knn", "--precision", "fp16", "--output-dir", str(tmp_path)]
    assert app.main(command) == 1, "the training is a recorded failure"
    (record,) = Store(tmp_path).records()[0]
    assert (record.run.protocol, record.run.precision) == ("knn", "fp16")
    assert record.deviation is not None, "features named fp16 were computed in fp32"


def test_a_record_names_its_preset_unless_a_setting_was_changed(tmp_path: Path, monkeypatch) -> None:
    fitted = Fitted(lambda examples: np.eye(10)[examples.labels])
    monkeypatch.setattr(finetuning, "finetune", lambda *_: fitted)
    command = ["run", "--task", "digits", "--limit", "20", "--model", "mixer_nano", "--protocol", "finetune"]
    command += ["--seeds", "1", "--output-dir", str(tmp_path)]
    for more in ([], ["--preset", "small"], ["--preset", "small", "--set", "steps=7"]):
        assert app.main([*command, *more]) == 0
    presets_by_steps = {record.run.config["steps"]: record.preset for record in Store(tmp_path).records()[0]}
    assert presets_by_steps == {500: "mixer-paper", 400: "small", 7: None}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return tmp_path / "cache"


BROKEN_OFF = [*COMMAND, "--seeds", "1", "--model", "resnet_nano"]
BROKEN_OFF += set_flags(*SETTINGS, "learning_rates=0.03", "batch_size=4", "steps=14")
ENDS = {signal.SIGTERM: (143, "terminated"), signal.SIGINT: (130, "interrupted"), signal.SIGHUP: (129, "hung up")}


def test_interrupted_and_resumed_the_record_is_the_same(cache: Path) -> None:
    folder = cache.parent
    whole = forked(cache, *BROKEN_OFF, "--output-dir", "whole")
    assert whole.code == 0, whole.said
    (record,) = Store(folder / "whole").records()[0]
    for step, (number, (code, word)) in enumerate(ENDS.items(), 5):
        command = [*BROKEN_OFF, "--output-dir", number.name]
        stopped = forked(cache, *command, prepare=functools.partial(signal_in_training, step, number))
        assert stopped.code == code, stopped.said
        assert f"{word}; what is finished is kept; the same command does the rest" in stopped.said
        assert "Traceback" not in stopped.said
        (state,) = cache.rglob("*.state.pt")
        assert torch.load(state, weights_only=True)["progress"]["step"] == step + 1, "that step is done, no other"
        resumed = forked(cache, *command)
        assert resumed.code == 0, resumed.said
        (again,) = Store(folder / number.name).records()[0]
        assert (again.run, again.curve, again.metrics) == (record.run, record.curve, record.metrics)
        predictions = [Store(folder / name).predictions(record) for name in ("whole", number.name)]
        np.testing.assert_array_equal(predictions[0].score, predictions[1].score)
        assert list(cache.rglob("*.state.pt")) == []


def test_the_checkpoint_of_a_run_that_is_there_goes_at_the_next_start(cache: Path) -> None:
    """As of one that was killed after its record was written."""
    command = [*BROKEN_OFF, "--output-dir", "results"]
    assert forked(cache, *command, prepare=functools.partial(signal_in_training, 5, signal.SIGTERM)).code == 143
    (state,) = cache.rglob("*.state.pt")
    content = state.read_bytes()
    assert forked(cache, *command).code == 0
    other = state.with_name(state.name.replace(".", ".0", 1))
    for place in (state, other):
        place.write_bytes(content)
    assert forked(cache, *command).code == 0
    assert list(cache.rglob("*.state.pt")) == [other], "another run's stays"


def test_when_its_terminal_is_gone_a_training_leaves_a_checkpoint_and_ends_by_the_hang_up(cache: Path) -> None:
    """What it would still say to that terminal is an error of the system, and no reason to lose the work."""
    ours, theirs = pty.openpty()
    at_step = functools.partial(hang_up_in_training, 5, os.ttyname(theirs))
    started = Started(cache, *BROKEN_OFF, "--output-dir", "results", prepare=at_step)
    said = b""
    while b"at step 5" not in said and started.process.is_alive():
        said += os.read(ours, 1000) if select.select([ours], [], [], 0.1)[0] else b""
    os.close(ours), os.close(theirs)
    assert started.done().code == 129
    (state,) = cache.rglob("*.state.pt")
    assert torch.load(state, weights_only=True)["progress"]["step"] == 6
