"""What another preparation costs, against runs of cards that state it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import mixer_bench
from mixer_bench.cli import app
from mixer_bench.data.decoding import decode, integer_fast
from tests.protocols.test_head import made  # noqa: F401  a fixture

Made = tuple[str, Path, torch.nn.Module]


@pytest.fixture
def audited(made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> dict[tuple[str, str], dict]:  # noqa: F811
    """All ways' prices, on the fixture's images saved as JPEG."""
    model, images, _ = made
    for file in images.glob("*/*/*.png"):
        place = tmp_path / "own" / file.relative_to(images).with_suffix(".jpg")
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.open(file).resize((90, 70)).save(place, quality=60)
    figure = tmp_path / "costs.svg"
    done = mixer_bench.audit_preprocessing(f"{tmp_path}/own", model, figure=figure, device="cpu")
    assert capsys.readouterr() == ("", ""), "a function prints nothing"
    assert figure.read_text().count("<use") > 10
    return {(price.aspect, price.words): price.model_dump() for price in done.prices}


def test_each_way_gives_what_a_card_that_states_it_gives_and_its_difference(
    audited: dict[tuple[str, str], dict],
    made: Made,  # noqa: F811
    tmp_path: Path,
) -> None:
    source = Path(made[0].removeprefix("local-dir:"))
    changes = {
        ("", "the card's own"): {},
        ("normalisation", "values from 0 to 1"): {"mean": [0, 0, 0], "std": [1, 1, 1]},
        ("crop", "0.875 of the side"): {"crop_pct": 0.875},
        ("filter", "nearest"): {"interpolation": "nearest"},
    }
    for number, (way, change) in enumerate(changes.items()):
        folder = tmp_path / f"model{number}"
        folder.mkdir()
        config = json.loads((source / "config.json").read_text())
        config["pretrained_cfg"] |= change
        (folder / "config.json").write_text(json.dumps(config))
        (folder / "model.safetensors").symlink_to(source / "model.safetensors")
        options = {"protocol": "knn", "output_dir": tmp_path / "results"}
        rows = mixer_bench.run(task=f"{tmp_path}/own", model=f"local-dir:{folder}", **options)
        assert audited[way]["accuracy"] == rows.set_index("metric").value["top1"], way
    own = audited[("", "the card's own")]["accuracy"]
    for price in audited.values():
        assert price["difference"] == pytest.approx(price["accuracy"] - own)
        assert price["ci95"][0] <= price["difference"] + 1e-9 and price["difference"] <= price["ci95"][1] + 1e-9
    assert {aspect for aspect, _ in audited} == {"", "normalisation", "resize", "crop", "filter", "size", "decoding"}


def test_the_fast_transform_is_off_by_little_and_by_something(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "x.jpg", quality=75)
    content = (tmp_path / "x.jpg").read_bytes()
    gap = np.abs(integer_fast(content, "x").astype(int) - decode(content, "x"))
    assert 0 < gap.mean() < 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--task", "digits", "--model", "mixer_nano", "--figure", "x.pdf"], "must end in .svg or .png"),
        (["--task", "digits,clipart", "--model", "mixer_nano"], "one task and one model"),
        (["--task", "digits", "--model", "pixels"], "judges no features of it"),
        (["--task", "digits", "--model", "mixer_nano", "--protocol", "finetune"], "judges no features of it"),
        (["--task", "digits", "--model", "mixer_nano", "--protocol", "head"], "no classifier of digits's classes"),
    ],
)
def test_what_cannot_be_audited_is_one_line(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.main(["audit-preprocessing", *arguments]) == 2
    told = capsys.readouterr().err
    assert words in told and told.count("\n") == 1
