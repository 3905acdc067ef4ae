"""Every card; a new one is tested without a new test."""

from pathlib import Path

import pytest
import torch

from mixer_bench import backbone, zoo
from mixer_bench.errors import UsageError, WeightsError

NETWORKS = [name for name, card in zoo.cards().items() if card.architecture]
EMBEDDED = [name for name, card in zoo.cards().items() if "embedded" in card.tags]


@pytest.mark.parametrize("name", NETWORKS)
def test_a_card_builds_and_takes_its_own_input(name: str) -> None:
    card = zoo.card(name)
    side = card.preprocessing.resolution
    with torch.device("meta"):
        network = backbone.headless(backbone.build(card.architecture, num_classes=10)).eval()
        features = network(torch.zeros(2, 3, side, side))
    assert features.shape == (2, network.num_features)
    assert set(card.preprocessing.mean) | set(card.preprocessing.std) <= {0.5}


@pytest.mark.parametrize("name", EMBEDDED)
def test_an_embedded_checkpoint_is_small_loads_and_knows_its_origin(name: str) -> None:
    card = zoo.card(name)
    assert card.weights_file.stat().st_size < 3_000_000
    loaded = backbone.load(card, card.preprocessing, torch.device("cpu"))
    parameters = sum(p.numel() for p in loaded.network.parameters())
    assert 1_150_000 < parameters < 1_450_000
    record = card.pretraining
    assert record is not None
    assert record.terms
    assert record.device_seconds > 0
    assert record.flops > 0
    assert record.loss_curve[-1][1] < record.loss_curve[0][1] - 1
    assert record.images_seen == record.loss_curve[-1][0] * record.recipe["batch_size"]
    assert record.val_accuracy > 0.15, "a hundred classes: chance is 0.01"


def test_the_embedded_checkpoints_were_trained_alike() -> None:
    records = [zoo.card(name).pretraining for name in EMBEDDED]
    assert len({(r.images_seen, str(r.recipe), r.data) for r in records}) == 1


@pytest.mark.parametrize("name", EMBEDDED)
def test_the_random_twin_is_the_same_network_with_other_weights(name: str) -> None:
    card, twin = zoo.card(name), zoo.card(f"random:{name}")
    assert twin.architecture == card.architecture
    assert twin.preprocessing == card.preprocessing
    assert twin.weights_hash() != card.weights_hash()
    assert twin.pretraining is None
    first, second = (backbone.build(twin.architecture, 1) for _ in range(2))
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_building_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    backbone.build(zoo.card("mixer_nano").architecture, 1)
    torch.testing.assert_close(torch.rand(3), expected, rtol=0, atol=0)


def test_identity_is_content_not_place(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "w.safetensors").write_bytes(b"weights")
    first, second = (zoo.card(f"file:{tmp_path / n / 'w.safetensors'}?arch=mixer_nano") for n in ("a", "b"))
    assert first.weights_hash() == second.weights_hash()
    assert first.name == second.name == "file:w.safetensors?arch=mixer_nano"
    (tmp_path / "b" / "w.safetensors").write_bytes(b"other weights")
    assert first.weights_hash() != second.weights_hash()
    other = zoo.card(f"file:{tmp_path / 'a' / 'w.safetensors'}?arch=vit_nano")
    assert other.weights_hash() != first.weights_hash()


def test_weights_of_ones_own_for_a_timm_architecture(tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_bytes(b"weights")
    card = zoo.card(f"file:{tmp_path / 'w.safetensors'}?arch=mixer_b16_224")
    assert card.family == "mixer"
    assert card.preprocessing.resolution == 224
    assert card.preprocessing.mean == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("mixer_nan", "did you mean mixer_nano"),
        ("random:pixels", "no network"),
        ("random:", "unknown model"),
        ("random:vit_nan", "did you mean"),
    ],
)
def test_unknown_models_are_answered_with_near_ones(name: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        zoo.card(name)


def test_a_file_must_say_its_network(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="must say which network"):
        zoo.card(f"file:{tmp_path}/w.safetensors")
    with pytest.raises(WeightsError, match="no such file"):
        zoo.card(f"file:{tmp_path}/w.safetensors?arch=mixer_nano")


GOOD = """
[m]
family = "mixer"
description = "a network"
weights = "embedded:m"
licence = "Apache-2.0"
architecture = { timm = "mixer_s32_224" }
preprocessing = { resolution = 64, mean = [0.5, 0.5, 0.5], std = [0.5, 0.5, 0.5], interpolation = "bicubic" }
"""


def test_the_card_that_others_are_spoiled_from_is_right(tmp_path: Path) -> None:
    (tmp_path / "cards.toml").write_text(GOOD)
    assert zoo.read_cards(tmp_path / "cards.toml")["m"].weights == "embedded:m"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[m]\nfamily = 'mixer'", "model 'm': key"),
        ("[m]\nfamly = 'mixer'", "model 'm': key"),
        ("not toml", "cards.toml"),
        (GOOD.replace("embedded:m", "embeded:m"), "model 'm': key 'weights'"),
        (GOOD.replace("embedded:m", "none"), "goes with a card without an architecture"),
    ],
)
def test_a_wrong_card_names_file_and_key(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "cards.toml").write_text(text)
    with pytest.raises(UsageError, match=said):
        zoo.read_cards(tmp_path / "cards.toml")


def test_pixels_are_the_normalised_picture() -> None:
    card = zoo.card("pixels")
    squares = torch.arange(64 * 64 * 3, dtype=torch.uint8).reshape(1, 64, 64, 3).numpy()
    features = backbone.load(card, card.preprocessing, torch.device("cpu")).features(squares)
    expected = (squares.astype("float64").transpose(0, 3, 1, 2).reshape(1, -1) / 255 - 0.5) / 0.5
    assert abs(features - expected).max() < 1e-6
