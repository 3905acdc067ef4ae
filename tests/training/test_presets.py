"""The published settings of fine-tuning: which a task gets, and what they cost."""

import csv
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
ALL_PRESETS = {*presets.presets()} - {"small"}


with (Path(__file__).parent / "preset_cells.csv").open(encoding="utf-8", newline="") as file:
    CELLS = list(csv.DictReader(file))


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: f"{cell['preset']}: {cell['tasks'].split()[0]}")
def test_each_task_is_framed_and_scheduled_as_the_source_says(cell: dict[str, str]) -> None:
    """The table was written from the sources, which it names; MIX, VIT, BIT are papers, the rest is code (docs)."""
    assert cell["source"]
    for name in cell["tasks"].split():
        examples = 1_000 if name.startswith("vtab/") else int(cell["examples"])
        config = protocols.configure("finetune", defaults(cell["preset"], ALL[name], examples))
        assert isinstance(config, Config)
        crop = [config.crop, config.crop_law, str(config.smallest_crop)]
        told = {
            "resolution": str(presets.preset(cell["preset"]).resolution_of(ALL[name], examples)),
            "frame": config.frame,
            "ratio": "{}/{}".format(*config.ratio),
            "crop": " ".join(crop if config.crop == "inception" else crop[:1]),
            "flip": "yes" if config.flip else "no",
            "evaluation": config.evaluation,
            "operator": f"{config.resample} {config.quantise}",
            "rates": " ".join(map(str, config.learning_rates)),
            "schedule": " ".join(map(str, [config.decay, config.steps, config.warmup, *config.decay_at])),
        }
        expected = {key: cell[key].replace("inception tf", "inception tf 0.05") for key in told}
        assert told == expected, name


def test_every_published_preset_has_a_cell_for_every_task_its_source_speaks_of() -> None:
    told = {
        name: {task for cell in CELLS if cell["preset"] == name for task in cell["tasks"].split()}
        for name in ALL_PRESETS
    }
    papers = {name for name, known in ALL.items() if "paper" in known.tags}
    vtab = {name for name in papers if name.startswith("vtab/")}
    public = {"cifar10", "cifar100", "imagenet"}
    several = dict.fromkeys(("mixer-paper", "vit-paper", "bit-hyperrule", "bit-torch", "bit-tf"), papers)
    alone = {"scenic-vtab": vtab, "vtab-light": vtab, "big-vision-transfer": papers - vtab}
    assert told == {**several, **alone, "vit-public": public, "mixer-public": {"cifar10"}}


@pytest.mark.parametrize(
    ("preset", "name", "recipe"),
    [  # batch, dtype of the momentum, clip, dropout, mixup, what the final training takes, counted from
        # vision_transformer's and big_vision's code: optax.trace in bfloat16, clip 1, no mixup; ViT's README: 0.1.
        ("mixer-paper", "cifar10", (512, "bfloat16", 1, 0, 0, "train+val", 0)),
        ("vit-paper", "cifar10", (512, "bfloat16", 1, 0.1, 0, "train+val", 0)),
        ("vit-paper", "vtab/pets", (512, "bfloat16", 1, 0.1, 0, "train+val", 0)),
        ("vit-public", "cifar10", (512, "bfloat16", 1, 0, 0, "train", 1)),  # k = 1..T from 2021-05 to 2022-10
        ("mixer-public", "cifar10", (512, "bfloat16", 1, 0, 0, "train", 1)),
        ("scenic-vtab", "vtab/pets", (512, "bfloat16", 1, 0, 0, "train+val", 0)),
        ("big-vision-transfer", "pets", (512, "bfloat16", 1, 0, 0, "train", 0)),
        # BiT, section 3.3 and bit_hyperrule.py: mixup from 20,000 images on; no clip.
        ("bit-hyperrule", "pets", (512, "float32", 0, 0, 0, "train+val", 0)),
        ("bit-hyperrule", "cifar10", (512, "float32", 0, 0, 0.1, "train+val", 0)),
        ("bit-hyperrule", "vtab/pets", (512, "float32", 0, 0, 0, "train+val", 0)),
        ("bit-torch", "cifar10", (128, "float32", 0, 0, 0.1, "train+val", 0)),
        ("bit-torch", "imagenet", (512, "float32", 0, 0, 0.1, "train+val", 0)),
        ("bit-tf", "cifar10", (512, "float32", 0, 0, 0.1, "train", 0)),
        ("vtab-light", "vtab/pets", (512, "float32", 0, 0, 0, "train+val", 0)),
    ],
)
def test_a_presets_recipe_is_its_sources(preset: str, name: str, recipe: tuple) -> None:
    examples = {"pets": 3_680, "cifar10": 50_000, "imagenet": 1_281_167}.get(name, 1_000)
    config = protocols.configure("finetune", defaults(preset, ALL[name], examples))
    assert isinstance(config, Config)
    told = (config.batch_size, config.momentum_dtype, config.clip, config.dropout, config.mixup, config.final)
    assert (*told, config.count_from) == recipe
    assert (config.momentum, config.weight_decay) == (0.9, 0)


@pytest.mark.parametrize("name", presets.presets())
def test_a_preset_leaves_no_choice_of_framing_to_a_default(name: str) -> None:
    """Defaults are another preset's."""
    stated = {"frame", "ratio", "crop", "flip", "evaluation", "resample", "quantise", "clip", "decay", "momentum_dtype"}
    assert stated <= presets.preset(name).settings.keys()
    assert presets.preset(name).open


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
        if name in no_crop:
            assert (config.frame, config.ratio, config.evaluation) == ("squash", (1, 1), "whole")
        elif preset == "mixer-paper":
            assert config.crop == "random"
            assert config.flip == (name not in no_flip)


def test_unknown_presets_and_presets_without_a_protocol_are_refused(tmp_path: Path, capsys) -> None:
    command = ["run", "--task", "digits", "--model", "mixer_nano", "--limit", "20", "--output-dir", str(tmp_path)]
    assert app.main([*command, "--protocol", "finetune", "--preset", "mixer-papr"]) == 2
    assert "did you mean mixer-paper" in capsys.readouterr().err
    assert app.main([*command, "--protocol", "knn", "--preset", "mixer-paper"]) == 2
    assert "none of knn has presets" in capsys.readouterr().err


def test_a_run_says_where_its_resolution_is_not_the_sources(tmp_path: Path, capsys, quick_speeds) -> None:
    command = ["run", "--task", "clipart", "--model", "mixer_nano,resnet_nano", "--protocol", "finetune", "--dry-run"]
    command += ["--output-dir", str(tmp_path)]
    for preset, side in (("bit-torch", 128), ("mixer-paper", 224)):
        assert app.main([*command, "--preset", preset, "--set", "steps=7"]) == 0
        told = capsys.readouterr().err
        assert f"resnet_nano: preset {preset} is of {side} px, this run of 64 (--resolution {side})" in told
    assert app.main([*command, "--preset", "bit-torch", "--resolution", "128"]) == 0
    assert "px, this run" not in capsys.readouterr().err
    assert app.main([*command, "--preset", "small"]) == 0
    assert "px, this run" not in capsys.readouterr().err, "of no source"


def test_settings_are_checked_with_those_of_the_preset_task_by_task(tmp_path: Path, capsys, quick_speeds) -> None:
    command = ["run", "--model", "mixer_nano", "--protocol", "finetune", "--dry-run", "--output-dir", str(tmp_path)]
    assert app.main([*command, "--task", "clipart", "--preset", "vit-paper", "--set", "crop=inception"]) == 0
    capsys.readouterr()
    assert app.main([*command, "--task", "vtab/pets,vtab/dmlab", "--set", "frame=shorter"]) == 2
    assert capsys.readouterr().err.startswith("error: vtab/dmlab: setting of finetune: crop=none shows the whole image")


def test_show_protocol_says_what_a_preset_changes(capsys) -> None:
    assert app.main(["show", "protocol", "finetune", "--preset", "vit-paper"]) == 0
    text = capsys.readouterr().out
    assert "Dosovitskiy et al. 2021, appendix B.1.1" in text
    assert "learning_rates: 0.001, 0.003, 0.01, 0.03 (mixer-paper: 0.003, 0.01, 0.03, 0.06)" in text
    assert "resolution: 384" in text
    assert app.main(["show", "protocol", "finetune", "--json"]) == 0
    assert set(presets.presets()) <= set(json.loads(capsys.readouterr().out)["presets"])
    assert app.main(["show", "protocol", "knn", "--preset", "vit-paper"]) == 2
