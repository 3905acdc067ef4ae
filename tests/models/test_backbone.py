"""A model in memory: batches that do not fit, lower precision, and what is told of both."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from mixer_bench.cli import app
from mixer_bench.errors import WeightsError
from mixer_bench.models import backbone, names, networks
from mixer_bench.models.backbone import Backbone
from mixer_bench.models.card import Architecture
from mixer_bench.results.store import Store
from mixer_bench.runs import request
from tests.builders import TOY

CPU = torch.device("cpu")


class Hungry(nn.Module):
    """Mean colour, out of memory for more than ``most`` images at once."""

    def __init__(self, most: int, error: type[Exception] = torch.OutOfMemoryError, said: str = "out of memory") -> None:
        super().__init__()
        self.most, self.error, self.said = most, error, said
        self.seen: list[int] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.seen.append(len(images))
        if len(images) > self.most:
            raise self.error(self.said)
        return images.mean(dim=(2, 3))


def squares(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("error", "said"),
    [(torch.OutOfMemoryError, "CUDA out of memory"), (RuntimeError, "DefaultCPUAllocator: can't allocate memory")],
)
def test_a_batch_that_does_not_fit_is_halved_for_good_and_it_is_said(error: type[Exception], said: str) -> None:
    network = Hungry(3, error, said)
    model = Backbone(network, TOY, CPU)
    expected = Backbone(Hungry(100), TOY, CPU).features(squares(20))
    np.testing.assert_allclose(model.features(squares(20)), expected, rtol=0, atol=1e-6)
    assert network.seen == [20, 10, 5, *[3] * 6, 2]
    assert model.notes == ("memory ran out: batches of 3 images went through the network at once",)
    network.seen.clear()
    assert model.features(squares(8)).shape == (8, 3)
    assert network.seen == [3, 3, 2], "for good"


def test_one_image_that_does_not_fit_is_an_error_and_no_feature() -> None:
    with pytest.raises(torch.OutOfMemoryError):
        Backbone(Hungry(0), TOY, CPU).features(squares(4))
    with pytest.raises(RuntimeError, match="another fault"):
        Backbone(Hungry(0, RuntimeError, "another fault"), TOY, CPU).features(squares(4))


# What gives no row an image: feature maps and tokens. (ResNets pool again from the call that takes their classifier off
# in timm 1.0.29, and no longer in 1.0.31.)
UNPOOLED = {
    "tokens of a ViT": Architecture(timm="vit_tiny_patch16_224", args={"global_pool": "", "img_size": 32}),
    "tokens of a Mixer": Architecture(timm="mixer_s32_224", args={"global_pool": "", "img_size": 64}),
    "maps of a ConvNeXt": Architecture(timm="convnext_atto", args={"global_pool": ""}),
}


@pytest.mark.parametrize("kind", UNPOOLED)
@pytest.mark.parametrize("count", [1, 4])
def test_anything_but_a_row_an_image_is_refused_wherever_a_network_is_used(kind: str, count: int) -> None:
    images = torch.zeros(count, 3, UNPOOLED[kind].args.get("img_size", 64), UNPOOLED[kind].args.get("img_size", 64))
    network = networks.headless(networks.build(UNPOOLED[kind], 1)).eval()
    with pytest.raises(WeightsError, match=f"for {count} images, not one row of numbers an image: have it pool"):
        Backbone(network, TOY.model_copy(update={"resolution": images.shape[-1]}), CPU).features(
            np.zeros((count, *images.shape[2:], 3), np.uint8)
        )


@pytest.mark.parametrize("protocol", ["fewshot", "finetune"])
def test_a_network_that_is_not_pooled_ends_with_3_and_leaves_no_record(protocol: str, tmp_path: Path, capsys) -> None:
    place = tmp_path / "net"
    place.mkdir()
    args = {"global_pool": ""}
    network = networks.build(Architecture(timm="convnext_atto", args=args), 7)
    save_file(network.state_dict(), place / "model.safetensors")
    config = {"architecture": "convnext_atto", "num_classes": 7, "model_args": args, "pretrained_cfg": {}}
    (place / "config.json").write_text(json.dumps(config))
    command = ["run", "--task", "digits", "--model", f"local-dir:{place}", "--limit", "20", "--seeds", "1"]
    command += ["--output-dir", str(tmp_path / "r")]
    assert app.main([*command, "--protocol", protocol]) == 3
    assert re.search(r"convnext_atto gives \[\d+, 320, 7, 7\] for \d+ images", capsys.readouterr().err)
    assert not list((tmp_path / "r").rglob(f"{protocol}*"))


@pytest.mark.parametrize("name", ["mixer_nano", "vit_nano", "resnet_nano"])
def test_bf16_features_are_near_fp32s_and_the_distance_is_measured(name: str) -> None:
    card = names.card(name)
    images = np.random.default_rng(1).integers(0, 256, (24, 64, 64, 3), dtype=np.uint8)
    exact = backbone.load(card, card.preprocessing, CPU)
    low = backbone.load(card, card.preprocessing, CPU, "bf16")
    expected, features = exact.features(images), low.features(images)
    assert features.dtype == np.float32
    first = slice(backbone.COMPARED)
    distance = np.linalg.norm(features[first] - expected[first]) / np.linalg.norm(expected[first])
    assert low.deviation == pytest.approx(distance, rel=1e-3)
    assert 1e-4 < low.deviation < 0.03, "bf16 has eight bits of mantissa"
    assert exact.deviation is None


def test_precision_is_identity_and_the_deviation_is_recorded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["run", "--task", "digits", "--model", "mixer_nano", "--limit", "200", "--shots", "5", "--seeds", "1"]
    command += ["--protocol", "fewshot"]
    for precision in ("fp32", "bf16", "auto"):
        assert app.main([*command, "--device", "cpu", "--precision", precision, "--output-dir", str(tmp_path)]) == 0
    records = {record.run.precision: record for record in Store(tmp_path).records()[0]}
    assert records.keys() == {"fp32", "bf16"}, "auto is fp32 on a CPU"
    assert records["fp32"].deviation is None
    assert 1e-4 < records["bf16"].deviation < 0.03
    top1 = [record.metrics["top1"].value for record in records.values()]
    assert abs(top1[0] - top1[1]) < 0.05
    assert records["fp32"].run.key != records["bf16"].run.key
    # The deviation comes with features from the cache, too.
    again = ["--overwrite", "always", "--precision", "bf16", "--output-dir", str(tmp_path)]
    assert app.main([*command, "--device", "cpu", *again]) == 0
    assert {r.deviation for r in Store(tmp_path).records()[0]} == {None, records["bf16"].deviation}
    capsys.readouterr()
    assert app.main(["report", "--results", str(tmp_path)]) == 0
    assert "mixer_nano (bf16)" in capsys.readouterr().out


def test_auto_precision_does_not_load_torch_where_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mixer_bench.system.machine.may_have_gpu", lambda: False)
    monkeypatch.setattr("mixer_bench.models.device.pick_device", lambda _name: pytest.fail("torch was asked"))
    assert request.precision_for("auto", "auto") == "fp32"
    assert request.precision_for("auto", "cpu") == "fp32"
    assert request.precision_for("bf16", "auto") == "bf16"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_auto_is_half_precision_on_a_gpu_near_fp32() -> None:
    card = names.card("mixer_nano")
    precision = request.precision_for("auto", "cuda")
    assert precision in ("bf16", "fp16")
    model = backbone.load(card, card.preprocessing, torch.device("cuda"), precision)
    model.features(np.random.default_rng(1).integers(0, 256, (24, 64, 64, 3), dtype=np.uint8))
    assert model.deviation is not None
    assert model.deviation < 0.03


def test_a_record_says_where_the_model_is_from(tmp_path: Path) -> None:
    command = ["run", "--task", "digits", "--model", "mixer_nano,random:mixer_nano,pixels", "--limit", "20"]
    command += ["--protocol", "fewshot"]
    assert app.main([*command, "--shots", "1", "--seeds", "1", "--output-dir", str(tmp_path)]) == 0
    origins = {record.run.model: record.origin for record in Store(tmp_path).records()[0]}
    nano, twin, pixels = (origins[name] for name in ("mixer_nano", "random:mixer_nano", "pixels"))
    assert (nano.family, nano.pretrain, nano.recipe, nano.source) == (
        "mixer",
        "tiny-in",
        "tiny_imagenet",
        "embedded:mixer_nano",
    )
    assert (nano.parameters, nano.cost_words, nano.in_domain) == (
        1_273_792,
        "0.77 CPU-core-h",
        ("imagenet", "imagenet_v2"),
    )
    assert (twin.pretrain, twin.cost_words, twin.network) == ("none", "none", nano.network)
    assert (pixels.pretrain, pixels.network, pixels.parameters) == ("none", None, None)
    assert "/" not in json.dumps([o.model_dump() for o in origins.values()])
