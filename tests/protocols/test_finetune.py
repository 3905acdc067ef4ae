"""Full fine-tuning: the published settings, step by step against re-statements, and what becomes of faults."""

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from mixer_bench import protocols
from mixer_bench.cli import app
from mixer_bench.models import names, networks
from mixer_bench.protocols.finetune import cost, defaults
from mixer_bench.results.store import Store
from mixer_bench.task import task
from mixer_bench.training import finetuning, presets
from mixer_bench.training.loop import Diverged
from mixer_bench.training.network import Trainable
from mixer_bench.training.settings import Config
from tests.builders import Given, colours
from tests.models.logits import with_its_classifier

CPU = torch.device("cpu")
QUICK = {"steps": 30, "warmup": 3, "batch_size": 20, "learning_rates": (0.01, 0.1)}
ALL = task.tasks()


def quick(**settings: object) -> Config:
    return Config.model_validate({**QUICK, **settings})


# --- the published settings


@pytest.mark.parametrize(
    ("preset", "name", "examples", "steps", "rates"),
    [
        # MLP-Mixer, appendix C; ViT, table 4.
        ("mixer-paper", "cifar10", 50_000, 10_000, (0.003, 0.01, 0.03, 0.06)),
        ("mixer-paper", "pets", 3_680, 500, (0.003, 0.01, 0.03, 0.06)),
        ("mixer-paper", "flowers102_2040", 2_040, 500, (0.003, 0.01, 0.03, 0.06)),
        ("mixer-paper", "imagenet", 1_281_167, 20_000, (0.003, 0.01, 0.03, 0.06)),
        ("mixer-paper", "vtab/pets", 1_000, 2_500, (0.003, 0.01, 0.03)),
        ("mixer-paper", "clipart", 625, 500, (0.003, 0.01, 0.03, 0.06)),
        ("vit-paper", "cifar100", 50_000, 10_000, (0.001, 0.003, 0.01, 0.03)),
        ("vit-paper", "vtab/sun397", 1_000, 2_500, (0.01,)),
        ("vit-paper", "imagenet", 1_281_167, 20_000, (0.003, 0.01, 0.03, 0.06)),
        ("bit-hyperrule", "vtab/dtd", 1_000, 500, (0.003,)),
        ("bit-hyperrule", "cifar10", 50_000, 10_000, (0.003,)),
        ("official-cifar10", "cifar10", 50_000, 10_000, (0.03,)),
        ("vtab-light", "vtab/dtd", 1_000, 2_500, (0.01, 0.1)),
    ],
)
def test_a_preset_is_what_its_source_says(preset: str, name: str, examples: int, steps: int, rates: tuple) -> None:
    config = protocols.configure("finetune", defaults(preset, ALL[name], examples))
    assert (config.steps, config.learning_rates) == (steps, rates)
    assert (config.batch_size, config.momentum, config.weight_decay) == (512, 0.9, 0)
    if preset in ("mixer-paper", "vit-paper"):
        assert (config.clip, config.decay, config.mixup) == (1, "cosine", 0)
        assert config.warmup == (500 if steps >= 10_000 else 100)


def test_the_default_preset_is_the_papers() -> None:
    assert defaults(None, ALL["pets"], 3_680) == defaults("mixer-paper", ALL["pets"], 3_680)
    assert protocols.configure("finetune", defaults(None, ALL["pets"], 3_680)) == Config()


@pytest.mark.parametrize("preset", presets.presets())
def test_every_preset_is_valid_for_every_task_and_leaves_labels_alone(preset: str) -> None:
    """BiT, appendix F: no flips where left and right are the label, no crops where the place or the distance is."""
    no_flip = {"vtab/dsprites_orientation", "vtab/dsprites_location", "vtab/smallnorb_azimuth", "digits"}
    structured = ("clevr_count", "clevr_distance", "dmlab", "kitti_distance", "dsprites_location")
    no_crop = {f"vtab/{name}" for name in structured}
    for name, one in ALL.items():
        config = protocols.configure("finetune", defaults(preset, one, 1_000))
        assert not (config.flip and name in no_flip)
        assert not (config.crop != "none" and name in no_crop)
        if preset == "mixer-paper":
            assert config.flip == (name not in no_flip)
            assert (config.crop == "random") == (name not in no_crop)


def test_unknown_presets_and_presets_without_a_protocol_are_refused(tmp_path: Path, capsys) -> None:
    command = ["run", "--task", "digits", "--model", "mixer_nano", "--limit", "20", "--output-dir", str(tmp_path)]
    assert app.main([*command, "--protocol", "finetune", "--preset", "mixer-papr"]) == 2
    assert "did you mean mixer-paper" in capsys.readouterr().err
    assert app.main([*command, "--protocol", "knn", "--preset", "mixer-paper"]) == 2
    assert "none of knn has presets" in capsys.readouterr().err


def test_the_cost_is_counted_in_images() -> None:
    assert cost(quick()) == (2 * 30 * 20, 30 * 20)
    assert cost(quick(learning_rates=(0.1,))) == (0, 600)


# --- step by step


def test_the_classifier_starts_at_zero_and_the_rest_is_pretrained() -> None:
    for name in ("mixer_nano", "vit_nano", "resnet_nano"):
        card = names.card(name)
        backbone = Trainable(card, card.preprocessing, CPU, "fp32", "x", Path("unused"), print)
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


def test_the_rate_is_searched_once_for_all_seeds_and_never_again(tmp_path: Path) -> None:
    data, config = colours(noise=80.0), quick()
    first = Given(tmp_path)
    one = protocols.get("finetune").fit(first, data.development, config, 0)
    second = Given(tmp_path)
    two = protocols.get("finetune").fit(second, data.development, config, 1)
    assert one.selection == two.selection
    assert (one.images, two.images) == (3 * 600, 600)
    assert any("rate 0.01: known" in words for words in second.said)
    assert (first.skipped, second.skipped) == (0, 3 * 600 - 600), "the search was the first seed's"
    assert first.kept is not None
    one.finished(), two.finished()
    assert sorted(file.suffix for file in tmp_path.iterdir()) == [".json", ".json"]


class Leaving(Given):
    """A person who breaks a training off after fifteen steps."""

    def heard(self, words: str, images: float, trained: bool = True) -> None:
        super().heard(words, images, trained)
        if "step 15/" in words:
            raise KeyboardInterrupt


def test_what_was_trained_before_is_not_told_as_trained_now(tmp_path: Path) -> None:
    data, config = colours(noise=80.0), quick(learning_rates=(0.01,), steps=30)
    with pytest.raises(KeyboardInterrupt):
        protocols.get("finetune").fit(Leaving(tmp_path), data.development, config, 0)
    again = Given(tmp_path)
    protocols.get("finetune").fit(again, data.development, config, 0)
    assert again.images == 30 * config.batch_size
    assert again.skipped == 10 * config.batch_size, "ten steps were in the checkpoint"


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
    data = colours(noise=20.0)
    config = quick(learning_rates=(1e-9, 1e9), clip=0.0)
    fitted = protocols.get("finetune").fit(Exploding(tmp_path), data.development, config, 0)
    assert fitted.selection.chosen == 1e-9
    assert fitted.selection.scores[0] is not None
    assert fitted.selection.scores[1] is None
    assert any("learning rate 1e+09 diverged" in note for note in fitted.notes)
    # What is known to diverge is not tried again.
    again = Exploding(tmp_path)
    assert protocols.get("finetune").fit(again, data.development, config, 1).selection == fitted.selection
    with pytest.raises(Diverged, match="at every rate"):
        protocols.get("finetune").fit(
            Exploding(tmp_path), data.development, quick(learning_rates=(1e8, 1e9), clip=0.0), 0
        )


# --- by the command line


COMMAND = ["run", "--task", "digits", "--protocol", "finetune", "--limit", "60", "--preset", "small"]
SETTINGS = ["--set", "steps=12", "--set", "warmup=2", "--set", "batch_size=16", "--set", "learning_rates=0.01,0.03"]


def test_a_finetuned_network_is_recorded_kept_and_loaded_again(tmp_path: Path, capsys) -> None:
    command = [*COMMAND, *SETTINGS, "--model", "mixer_nano,pixels", "--seeds", "2", "--output-dir", str(tmp_path)]
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


KILLED = """
import sys, signal
from mixer_bench.cli import app
from mixer_bench.training import finetuning
train = finetuning.train
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job has it ignored

def killed(network, optimizer, batch_at, loop, checkpoint, on_log):
    def at(step):
        if step == int(sys.argv[1]) and not checkpoint.file.exists():
            signal.raise_signal(getattr(signal, sys.argv[2]))
        return batch_at(step)
    return train(network, optimizer, at, loop, checkpoint, on_log)

finetuning.train = killed
sys.exit(app.main(sys.argv[3:]))
"""


@pytest.mark.parametrize(("step", "name", "code"), [(5, "SIGTERM", 143), (7, "SIGINT", 130)])
def test_interrupted_and_resumed_the_record_is_the_same(
    step: int, name: str, code: int, tmp_path: Path, monkeypatch
) -> None:
    common = ["20" if part == "60" else part for part in COMMAND]
    common += [*SETTINGS, "--set", "learning_rates=0.03", "--set", "steps=60", "--set", "batch_size=4"]
    common += ["--model", "resnet_nano", "--seeds", "1"]
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def run(folder: str, *before: str) -> subprocess.CompletedProcess[str]:
        monkeypatch.setenv("MIXER_BENCH_CACHE", str(tmp_path / f"cache {folder}"))
        command = [sys.executable, *(before or ("-m", "mixer_bench")), *common, "--output-dir", str(tmp_path / folder)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    whole = run("whole")
    assert whole.returncode == 0, whole.stderr
    stopped = run("parts", "-c", KILLED, str(step), name)
    assert stopped.returncode == code, stopped.stderr
    assert "the same command does the rest" in stopped.stderr
    assert len(list((tmp_path / "cache parts").rglob("*.state.pt"))) == 1
    resumed = run("parts")
    assert resumed.returncode == 0, resumed.stderr
    (one,), (other,) = (Store(tmp_path / folder).records()[0] for folder in ("whole", "parts"))
    assert one.run == other.run
    assert one.curve == other.curve
    assert one.metrics == other.metrics
    predictions = [Store(tmp_path / folder).predictions(one.run) for folder in ("whole", "parts")]
    np.testing.assert_array_equal(predictions[0].score, predictions[1].score)
    assert list((tmp_path / "cache parts").rglob("*.state.pt")) == []


def test_two_processes_give_the_curve_and_the_metrics_of_one(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    common = [*COMMAND, *SETTINGS, "--model", "vit_nano", "--seeds", "1", "--device", "cpu", "--set", "batch_size=15"]
    for folder, more in (("one", []), ("two", ["--gpus-per-run", "2"])):
        monkeypatch.setenv("MIXER_BENCH_CACHE", str(tmp_path / f"cache {folder}"))
        command = [sys.executable, "-m", "mixer_bench", *common, *more, "--output-dir", str(tmp_path / folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode == 0, done.stderr
    (one,), (two,) = (Store(tmp_path / folder).records()[0] for folder in ("one", "two"))
    assert one.run == two.run
    assert [step for step, _ in one.curve] == [step for step, _ in two.curve]
    np.testing.assert_allclose([loss for _, loss in one.curve], [loss for _, loss in two.curve], atol=1e-6)
    assert one.metrics == two.metrics
    assert one.selection == two.selection


def test_show_protocol_says_what_a_preset_changes(capsys) -> None:
    assert app.main(["show", "protocol", "finetune", "--preset", "vit-paper"]) == 0
    text = capsys.readouterr().out
    assert "Dosovitskiy et al. 2021, appendix B.1.1" in text
    assert "learning_rates: 0.001, 0.003, 0.01, 0.03 (mixer-paper: 0.003, 0.01, 0.03, 0.06)" in text
    assert app.main(["show", "protocol", "finetune", "--json"]) == 0
    assert set(presets.presets()) <= set(json.loads(capsys.readouterr().out)["presets"])
    assert app.main(["show", "protocol", "knn", "--preset", "vit-paper"]) == 2
