"""Full fine-tuning: what a training starts from, what it is trained on, dropout, and the record of a command."""

import math
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from torch import nn

from mixer_bench import protocols
from mixer_bench.cli import app
from mixer_bench.data.examples import Development
from mixer_bench.errors import UsageError
from mixer_bench.models import names, networks
from mixer_bench.protocols.base import Fitted
from mixer_bench.results.store import Store
from mixer_bench.training import distributed, dropout, finetuning
from mixer_bench.training.framing import Frame
from mixer_bench.training.images import Corpus
from mixer_bench.training.network import Trainable
from tests.builders import Given, colours, set_flags
from tests.models.logits import with_its_classifier
from tests.protocols.trainings import COMMAND, QUICK, SETTINGS, Leaving, fit, weights_of


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
