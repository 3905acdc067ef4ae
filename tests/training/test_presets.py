"""The published settings of fine-tuning: which a task gets, and what they cost."""

import json
from pathlib import Path

import pytest

from mixer_bench import protocols
from mixer_bench.cli import app
from mixer_bench.protocols.finetune import cost, defaults
from mixer_bench.task import task
from mixer_bench.training import presets
from mixer_bench.training.settings import Config

ALL = task.tasks()


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


def test_the_default_preset_is_the_papers_and_its_cost_is_counted_in_images() -> None:
    assert defaults(None, ALL["pets"], 3_680) == defaults("mixer-paper", ALL["pets"], 3_680)
    assert protocols.configure("finetune", defaults(None, ALL["pets"], 3_680)) == Config()
    assert cost(Config()) == (4 * 500 * 512, 500 * 512)
    assert cost(Config(learning_rates=(0.1,))) == (0, 500 * 512)


@pytest.mark.parametrize("preset", presets.presets())
def test_every_preset_is_valid_for_every_task_and_leaves_labels_alone(preset: str) -> None:
    """BiT, appendix F: no flips where left and right are the label, no crops where the place or the distance is."""
    no_flip = {"vtab/dsprites_orientation", "vtab/dsprites_location", "vtab/smallnorb_azimuth", "digits"}
    structured = ("clevr_count", "clevr_distance", "dmlab", "kitti_distance", "dsprites_location")
    no_crop = {f"vtab/{name}" for name in structured}
    for name in ALL:
        config = protocols.configure("finetune", defaults(preset, ALL[name], 1_000))
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


def test_show_protocol_says_what_a_preset_changes(capsys) -> None:
    assert app.main(["show", "protocol", "finetune", "--preset", "vit-paper"]) == 0
    text = capsys.readouterr().out
    assert "Dosovitskiy et al. 2021, appendix B.1.1" in text
    assert "learning_rates: 0.001, 0.003, 0.01, 0.03 (mixer-paper: 0.003, 0.01, 0.03, 0.06)" in text
    assert app.main(["show", "protocol", "finetune", "--json"]) == 0
    assert set(presets.presets()) <= set(json.loads(capsys.readouterr().out)["presets"])
    assert app.main(["show", "protocol", "knn", "--preset", "vit-paper"]) == 2
