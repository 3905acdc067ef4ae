"""Pre-training on toy images: deterministic, and its record is true. Killed and resumed: tests/runs/test_kills.py."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn

import mixer_bench
from mixer_bench.cli import app
from mixer_bench.errors import DataError
from mixer_bench.models import origin
from mixer_bench.training import pretrain
from tests.builders import set_flags

# The recipe's bf16 is emulated on many CPUs, a minute for what takes seconds: it has one test.
SETTINGS = ["epochs=2", "batch_size=8", "warmup_epochs=0.5", "precision=fp32"]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes that differ in hue, train and val, 64 px."""
    folder = tmp_path_factory.mktemp("images")
    generator = np.random.default_rng(0)
    for split, count in (("train", 24), ("val", 6)):
        for number, name in enumerate(("red", "blue")):
            (folder / split / name).mkdir(parents=True)
            for index in range(count):
                image = generator.integers(0, 120, (64, 64, 3), dtype=np.uint8)
                image[..., 2 * number] += 120
                Image.fromarray(image).save(folder / split / name / f"{index}.png")
    return folder


def arguments(images: Path, output: Path, *more: str) -> list[str]:
    command = ["pretrain", "resnet_nano", "--data", str(images), "--output", str(output)]
    return [*command, "--threads", "1", "--terms", "made up", *set_flags(*SETTINGS, *more)]


def test_the_record_says_what_was_done(images: Path, tmp_path: Path, capsys) -> None:
    assert app.main(arguments(images, tmp_path, "precision=bf16")) == 0
    assert str(tmp_path / "resnet_nano.safetensors") in capsys.readouterr().out
    record = origin.read_pretraining(tmp_path / "resnet_nano.json")
    assert record.images_seen == 2 * 48
    assert record.recipe["epochs"] == 2
    assert record.terms == "made up"
    assert record.data == images.name
    assert record.loss_curve[-1][0] == 12
    assert record.val_images == 12
    assert 0 <= record.val_accuracy <= 1
    assert str(images) not in (tmp_path / "resnet_nano.json").read_text(), "records carry no folders"
    # 81 M multiply-adds forward for an image (two FLOPs each), and twice that backward.
    assert record.flops == pytest.approx(96 * 3 * 2 * 81e6, rel=0.05)


def test_the_seed_decides_everything(images: Path, tmp_path: Path, capsys) -> None:
    for name, seed in (("a", 0), ("c", 1)):
        assert app.main(arguments(images, tmp_path / name, f"seed={seed}")) == 0
    capsys.readouterr()
    settings = dict(setting.split("=") for setting in [*SETTINGS, "seed=0"])
    threads = torch.get_num_threads()
    weights = mixer_bench.pretrain("resnet_nano", data=images, output=tmp_path / "b", settings=settings, threads=1)
    assert weights == tmp_path / "b" / "resnet_nano.safetensors"
    assert (torch.get_num_threads(), capsys.readouterr()) == (threads, ("", "")), "a function leaves nothing behind"
    first, again, other = (load_file(tmp_path / n / "resnet_nano.safetensors") for n in "abc")
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not all(torch.equal(first[key], other[key]) for key in first)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["pretrain", "mixer_nan", "--data", "."], "did you mean mixer_nano"),
        (["pretrain", "pixels", "--data", "DATA", "--set", "batch_size=4"], "no network"),
        (["pretrain", "mixer_nano", "--data", "DATA", "--set", "epoch=1"], "did you mean epochs"),
        (["pretrain", "mixer_nano", "--data", "DATA", "--set", "batch_size=1000"], "fewer than one batch"),
        (["pretrain", "mixer_nano", "--data", "no/such/folder"], "no such folder"),
        (["pretrain", "random:mixer_nano", "--data", "DATA", "--set", "batch_size=4"], "name the card itself"),
        (["pretrain", "mixer_nano", "--data", "DATA", "--set", "smallest_crop=5"], "smallest_crop"),
    ],
)
def test_wrong_requests_are_answered_in_one_line(command, said: str, images: Path, tmp_path: Path, capsys) -> None:
    filled = [str(images) if part == "DATA" else part for part in command]
    assert app.main([*filled, "--output", str(tmp_path)]) in (2, 3)
    assert said in capsys.readouterr().err


def test_a_missing_split_is_named() -> None:
    with pytest.raises(DataError, match="named val or valid"):
        pretrain._split({"train": None}, pretrain.VALIDATION)


def test_counting_the_work_of_a_step_leaves_the_network_as_it_is() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 36, 2))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    assert pretrain._flops_of_step(network, (torch.rand(2, 3, 8, 8), torch.tensor([0, 1]))) > 0
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
