"""Weights at another resolution: the paper's block-diagonal initialisation, held to the property that defines it."""

from pathlib import Path

import numpy as np
import pytest
import torch

from mixer_bench.cli import app
from mixer_bench.errors import UsageError, WeightsError
from mixer_bench.models import backbone, names, networks, resolution, weights
from mixer_bench.models.card import Card
from mixer_bench.results.store import Store

# Parameters without the classifier and forward multiply-adds at 448 px, in millions: MLP-Mixer's formulas worked out.
AT_448 = {"mixer_b16": 86.2, "mixer_l16": 279.5, "mixer_h14": 588.4}


def exact(card: Card) -> torch.nn.Module:
    return networks.body(card, print).double().eval()


def restated(tensor: np.ndarray, layer: str, grid: int, times: int) -> np.ndarray:
    """The enlarged tensor entry by entry: only tokens of one part of the image are connected."""
    side = grid * times
    tokens = [(row, column) for row in range(side) for column in range(side)]
    part = {t: (t[0] // grid) * times + t[1] // grid for t in tokens}
    within = {t: (t[0] % grid) * grid + t[1] % grid for t in tokens}
    hidden = tensor.shape[0] if layer == "fc1" else (tensor.shape[1] if tensor.ndim == 2 else 0)
    if tensor.ndim == 1:
        return np.tile(tensor, times**2) if layer == "fc1" else np.array([tensor[within[t]] for t in tokens])
    large = np.zeros((times**2 * hidden, side**2))
    small = tensor if layer == "fc1" else tensor.T
    for place, token in enumerate(tokens):
        rows = slice(part[token] * hidden, (part[token] + 1) * hidden)
        large[rows, place] = small[:, within[token]]
    return large if layer == "fc1" else large.T


@pytest.mark.parametrize(("grid", "times", "hidden"), [(2, 2, 3), (3, 2, 5), (2, 3, 4)])
def test_every_entry_is_the_restatements(grid: int, times: int, hidden: int) -> None:
    generator = torch.Generator().manual_seed(grid)
    for layer, shape in (
        ("fc1", (hidden, grid**2)),
        ("fc1", (hidden,)),
        ("fc2", (grid**2, hidden)),
        ("fc2", (grid**2,)),
    ):
        tensor = torch.randn(shape, generator=generator)
        large = resolution.block_diagonal(tensor, layer, grid, times)
        np.testing.assert_array_equal(large.numpy(), restated(tensor.numpy(), layer, grid, times).astype(np.float32))


@pytest.mark.parametrize(("name", "times"), [("mixer_nano", 2), ("mixer_nano", 3), ("random:mixer_s32", 2)])
def test_a_mixer_at_first_sees_the_parts_of_the_image_one_by_one(name: str, times: int) -> None:
    """Pre-logits of the large image are the mean of those of its K x K parts (appendix C: the blocks do not mix)."""
    card = names.card(name)
    side = card.preprocessing.resolution
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(2, 3, side * times, side * times, dtype=torch.float64, generator=generator)
    with torch.no_grad():
        large, network = exact(card.at(side * times))(images), exact(card)
        parts = [part for row in images.split(side, dim=2) for part in row.split(side, dim=3)]
        small = torch.stack([network(part) for part in parts]).mean(0)
    assert (large - small).abs().max() < 1e-12 * small.abs().max()


def test_without_the_permutation_the_property_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    card = names.card("mixer_nano")
    images = torch.randn(1, 3, 128, 128, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        right = exact(card.at(128))(images)
        monkeypatch.setattr(resolution, "part_order", lambda grid, times: torch.arange((grid * times) ** 2))
        wrong = exact(card.at(128))(images)
    assert (wrong - right).abs().max() > 0.1 * right.abs().max()


@pytest.mark.parametrize("name", AT_448)
def test_the_enlarged_mixer_has_the_papers_size(name: str) -> None:
    with torch.device("meta"):
        network = networks.headless(networks.build(names.card(name).at(448).network, 1))
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(AT_448[name], abs=0.05)


def test_a_vits_position_embedding_is_resized_as_a_image() -> None:
    small, large = networks.body(names.card("vit_nano"), print), networks.body(names.card("vit_nano").at(128), print)
    grid = small.pos_embed.reshape(1, 8, 8, -1).permute(0, 3, 1, 2).double()
    expected = torch.nn.functional.interpolate(grid, (16, 16), mode="bicubic", antialias=True, align_corners=False)
    torch.testing.assert_close(
        large.pos_embed.double(), expected.permute(0, 2, 3, 1).reshape(1, 256, -1), rtol=0, atol=1e-5
    )
    for name, tensor in small.state_dict().items():
        if name != "pos_embed":
            torch.testing.assert_close(large.state_dict()[name], tensor, rtol=0, atol=0)


def test_a_class_token_keeps_its_own_position() -> None:
    card = names.card("random:vit_ti16")
    small, large = networks.body(card, print), networks.body(card.at(448), print)
    assert large.pos_embed.shape == (1, 1 + 28 * 28, 192)
    torch.testing.assert_close(large.pos_embed[:, 0], small.pos_embed[:, 0], rtol=0, atol=0)


def test_a_resnet_is_the_same_network_at_any_resolution() -> None:
    card = names.card("resnet_nano")
    assert card.at(96).network == card.network
    assert weights.identity(card.at(96)) == weights.identity(card)
    assert card.at(96).preprocessing.resolution == 96


def test_the_own_resolution_is_the_card_itself() -> None:
    card = names.card("mixer_nano")
    assert card.at(64) is card
    assert card.at(None) is card


@pytest.mark.parametrize(
    ("name", "side", "said"),
    [
        ("mixer_nano", 96, r"whole multiples of 64 px \(128, 192"),
        ("mixer_nano", 32, "whole multiples"),
        ("resmlp_12_in1k", 448, "only Mixer, ViT and ResNet"),
        ("swin_b_in22k", 448, "only Mixer, ViT and ResNet"),
        ("vit_nano", 100, "8 px, which do not divide"),
        ("random:timm:vit_tiny_r_s16_p8_224.augreg_in21k", 384, "not known"),
    ],
)
def test_what_cannot_be_had_is_refused(name: str, side: int, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        names.card(name).at(side)


def test_a_tensor_that_depends_on_the_resolution_in_an_unknown_way_is_refused() -> None:
    with pytest.raises(WeightsError, match=r"bias_table depends on the resolution"):
        resolution.enlarged({"bias_table": torch.zeros(4)}, {"bias_table": torch.Size([16])}, (2, 4), lambda t: t)


RUN = ["run", "--protocol", "fewshot", "--task", "digits", "--limit", "30", "--shots", "1", "--seeds", "1"]


def test_a_run_at_twice_the_resolution_is_a_row_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = ["--output-dir", str(tmp_path)]
    for more in ([], ["--resolution", "128"]):
        assert app.main([*RUN, "--model", "mixer_nano,pixels", *more, *results]) == 0
    records, _ = Store(tmp_path).records()
    assert {r.run.preprocessing.resolution for r in records if r.run.model == "mixer_nano"} == {64, 128}
    capsys.readouterr()
    assert app.main(["report", "--results", str(tmp_path)]) == 0
    table = capsys.readouterr().out
    assert all(f"{row} " in table for row in ("mixer_nano (64 px)", "mixer_nano (128 px)", "pixels (128 px)"))
    # A model that cannot go there stops only itself.
    assert app.main([*RUN, "--model", "mixer_nano,resnet_nano", "--resolution", "96", *results]) == 2
    assert "whole multiples of 64 px" in capsys.readouterr().err
    assert [r.run.model for r in Store(tmp_path).records()[0] if r.run.preprocessing.resolution == 96] == [
        "resnet_nano"
    ]


def test_loading_goes_through_the_same_path(tmp_path: Path) -> None:
    card = names.card("mixer_nano").at(128)
    loaded = backbone.load(card, card.preprocessing, torch.device("cpu"))
    assert loaded.features(np.zeros((1, 128, 128, 3), dtype=np.uint8)).shape == (1, 192)
