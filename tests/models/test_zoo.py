"""Every card; a new one is tested without a new test."""

import contextlib
import json
from pathlib import Path

import pytest
import torch

from mixer_bench.cli import app
from mixer_bench.errors import UsageError, WeightsError
from mixer_bench.models import backbone, names, networks, origin, timm_cards, weights, zoo
from mixer_bench.models.card import Architecture, Card
from mixer_bench.task import task

NETWORKS = [name for name, card in zoo.cards().items() if card.architecture]
EMBEDDED = [name for name, card in zoo.cards().items() if "embedded" in card.tags]
OF_TIMM = [name for name, card in zoo.cards().items() if card.weights.startswith("hf-hub:timm/")]
# MLP-Mixer, table 1, without the classifier; the paper prints millions (19, 18, 60, 59, 206, 207, 431).
TABLE_1 = {
    "mixer_s32": 18_591_624,
    "mixer_s16": 18_015_264,
    "mixer_b32": 59_524_428,
    "mixer_b16": 59_111_472,
    "mixer_l32": 205_914_264,
    "mixer_l16": 207_171_168,
    "mixer_h14": 431_069_952,
}


MADE: dict[str, tuple[torch.nn.Module, torch.Size]] = {}


def made(architecture: Architecture, side: int) -> tuple[torch.nn.Module, torch.Size]:
    """The network without numbers, and the size of what it makes of two images; cards of other weights share it."""
    key = f"{architecture} at {side}"
    if key not in MADE:
        with torch.device("meta"):
            network = networks.headless(networks.build(architecture, num_classes=10)).eval()
            MADE[key] = network, network(torch.zeros(2, 3, side, side)).shape
    return MADE[key]


@pytest.mark.parametrize("name", NETWORKS)
def test_a_card_is_the_network_it_says(name: str) -> None:
    card = names.card(name)
    side = card.preprocessing.resolution
    network, features = made(card.architecture, side)
    assert features == (2, card.width)
    if card.any_size:
        assert made(card.architecture, side // 2 + 1)[1] == (2, card.width)
    assert sum(p.numel() for p in network.parameters()) == card.parameters
    assert card.recipe in zoo.recipes()
    assert card.pretrain == zoo.recipes()[card.recipe].pretrain
    gelus = {m.approximate for m in network.modules() if isinstance(m, torch.nn.GELU)}
    if card.architecture.gelu is not None:
        # Google's, trained in flax: nn.gelu is the tanh approximation there, LayerNorm's epsilon 1e-6.
        assert gelus == {card.architecture.gelu}
        assert {m.eps for m in network.modules() if isinstance(m, torch.nn.LayerNorm)} == {1e-6}


@pytest.mark.parametrize("name", OF_TIMM)
def test_a_card_agrees_with_timm_on_preprocessing_classes_and_licence(name: str) -> None:
    card = names.card(name)
    tag = card.weights.removeprefix("hf-hub:timm/")
    timm = timm_cards.tagged_card(f"{card.architecture.timm}.{tag.partition('.')[2]}", {})
    assert timm.architecture == card.architecture, "timm's tag says whose arithmetic it is"
    assert timm.preprocessing == card.preprocessing
    assert timm.any_size == card.any_size or card.family == "resnet"
    assert card.classes in (timm.classes, None)
    assert timm.licence.casefold() == card.licence.casefold()
    assert timm.weights == card.weights
    assert names.card(f"timm:{tag}") == card == names.card(f"hf-hub:timm/{tag}")


@pytest.mark.parametrize("name", TABLE_1)
def test_parameters_are_the_papers(name: str) -> None:
    assert names.card(name).parameters == TABLE_1[name]


def test_names_in_cards_and_recipes_exist() -> None:
    tasks = task.tasks()
    used = {card.recipe for card in zoo.cards().values()} - {None}
    assert used == set(zoo.recipes())
    for card in zoo.cards().values():
        assert set(card.in_domain) <= set(tasks), card.name
        assert {reference.task for reference in card.references} <= set(tasks), card.name


def test_a_glob_gives_the_cards_whose_weights_can_be_had() -> None:
    assert names.matching(["pixels", "*_nano", "mixer_nano"]) == ["pixels", "mixer_nano", "vit_nano", "resnet_nano"]
    without = {name for name, card in zoo.cards().items() if card.weights.startswith(("unpublished", "elsewhere"))}
    assert without and set(names.matching(["*"])) == set(zoo.cards()) - without
    assert names.matching(["file:w[1].pth?arch=x"]) == ["file:w[1].pth?arch=x"], "a path is no glob"
    with pytest.raises(UsageError, match=r"'mixer_h1\?' matches no model whose weights can be had"):
        names.matching(["mixer_h1?"])


def test_the_plain_names_are_the_in21k_row_and_the_mislabelled_tags_tell_the_truth() -> None:
    for name in ("mixer_b16", "mixer_l16", "vit_b16", "vit_b32", "vit_l16", "resnet50", "resnet101", "resnet152x2"):
        assert names.card(name).pretrain == "in21k"
    for name in ("mixer_b16", "mixer_l16"):
        wrong = names.card(f"timm:{name}_224.goog_in21k_ft_in1k")
        assert (wrong.name, wrong.pretrain) == (f"{name}_in1k", "in1k")
        assert "never pre-trained on ImageNet-21k" in wrong.note
    assert {c.name for c in zoo.chosen("mixer", "in21k")} == {"mixer_b16", "mixer_l16"}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("timm:mixer_b16_224", r"no tag.*timm:mixer_b16_224.goog_in21k \(mixer_b16\)"),
        ("timm:mixer_b16_224_in21k", r"given up; today it is timm:mixer_b16_224.goog_in21k_ft_in1k \(mixer_b16_in1k"),
        ("timm:mixer_b16_224.goog_in22k", "unknown tag 'goog_in22k'"),
        ("timm:mixer_s16_224.goog", "no weights for it; random:mixer_s16_224 is the network untrained"),
        ("random:random:mixer_nano", "unknown model"),
        ("hf-hub:me/mix@", "a revision is named"),
        ("hf-hub:a/b/c", "named owner/name"),
        ("timm:mixer_b61_224.goog_in21k", "did you mean mixer_b16_224"),
        ("mixer_b16_224.goog_in21k", "timm:mixer_b16_224.goog_in21k"),
        ("random:timm:pixels.x", "unknown timm architecture"),
        ("random:mixer_b16_224.nope", "unknown architecture 'mixer_b16_224.nope'"),
        ("timm:vit_large_patch14_clip_224.openai", r"take timm:vit_large_patch14_clip_quickgelu_224\.openai"),
        ("mixer_nan", "did you mean mixer_nano"),
        ("random:pixels", "no network"),
        ("random:", "unknown model"),
        ("random:vit_nan", "did you mean"),
        ("file:w.safetensors", "must say which network"),
    ],
)
def test_a_name_that_is_unknown_or_leaves_the_weights_open_is_refused(name: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        names.card(name)


def test_names_that_are_another_network_in_timm_are_known() -> None:
    clashing = {n for n, c in zoo.cards().items() if timm_cards.timm_card(n) and c.architecture.timm != n}
    assert clashing == set(names.AMBIGUOUS)


def test_a_pinned_revision_is_the_same_card() -> None:
    card, pinned = names.card("mixer_b16_in1k"), names.card("hf-hub:timm/mixer_b16_224.goog_in21k_ft_in1k@v1")
    assert (pinned.name, pinned.revision) == ("hf-hub:timm/mixer_b16_224.goog_in21k_ft_in1k@v1", "v1")
    assert pinned.model_copy(update={"name": card.name, "revision": None}) == card
    assert pinned.source.endswith("@v1")


@pytest.mark.parametrize(
    ("name", "gelu", "eps"),
    [
        ("vit_base_patch16_384.augreg_in21k_ft_in1k", "tanh", None),
        ("vit_base_patch16_224.augreg2_in21k_ft_in1k", None, None),  # timm's own training
        ("resnetv2_152x2_bit.goog_in21k_ft_in1k", None, 1e-10),
        ("convnext_base.fb_in22k", None, None),
    ],
)
def test_googles_weights_without_a_card_are_computed_as_google_does(name: str, gelu, eps) -> None:
    architecture = names.card(f"timm:{name}").architecture
    assert (architecture.gelu, architecture.standardisation_eps) == (gelu, eps)


def test_an_enlarged_network_is_not_the_one_made_at_that_size() -> None:
    card = names.card("random:mixer_nano").at(128)
    made = card.model_copy(update={"architecture": card.network, "enlarged": None})
    assert made.network == card.network
    assert weights.identity(made) != weights.identity(card)


def test_any_timm_name_with_a_tag_works(tmp_path: Path) -> None:
    card = names.card("timm:efficientnet_b0.ra_in1k")
    assert card.weights == "hf-hub:timm/efficientnet_b0.ra_in1k"
    assert (card.classes, card.family, card.pretrain) == (1000, "other", "ra_in1k (its tag)")
    assert names.card("random:timm:efficientnet_b0.ra_in1k").weights == "random"
    assert names.card("timm:vit_base_patch16_clip_224.openai").name == "vit_b16_clip"
    (tmp_path / "w.safetensors").write_bytes(b"weights")
    for model in ("random:mixer_b16_224", f"file:{tmp_path / 'w.safetensors'}?arch=mixer_b16_224"):
        card = names.card(model)
        assert (card.family, card.architecture.timm) == ("mixer", "mixer_b16_224")
        assert (card.preprocessing.resolution, card.preprocessing.mean) == (224, (0.5, 0.5, 0.5))


def test_weights_that_are_not_there_are_an_error_that_says_what_can_be_done(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"never published; random:mixer_s16.*file:PATH\?arch=mixer_s16"):
        weights.identity(names.card("mixer_s16"))
    with pytest.raises(WeightsError, match="no such file"):
        names.card(f"file:{tmp_path}/w.safetensors?arch=mixer_nano")


# Records are known by them: what changes one makes the program measure again what is there.
IDENTITIES = {
    "mixer_nano": "352ae7bc328dd2dc",
    "vit_nano": "046c16cc440fc8ab",
    "resnet_nano": "eb5519c608d91ab4",
    "random:mixer_nano": "9ec5764c9802ad90",
    "pixels": "c40dd4322f6afa64",
}


def test_identities_stay_what_they_are() -> None:
    assert {name: weights.identity(names.card(name))[:16] for name in IDENTITIES} == IDENTITIES
    assert weights.identity(names.card("mixer_nano").at(128))[:16] == "ca91f802bb78dfa5"


@pytest.mark.parametrize("name", EMBEDDED)
def test_an_embedded_checkpoint_is_small_loads_and_knows_its_origin(name: str) -> None:
    card = names.card(name)
    assert weights.place(card).stat().st_size < 3_000_000
    backbone.load(card, card.preprocessing, torch.device("cpu"))
    assert 1_150_000 < card.parameters < 1_450_000
    record = origin.pretraining(card)
    assert record.terms
    assert min(record.device_seconds, record.flops) > 0
    assert record.loss_curve[-1][1] < record.loss_curve[0][1] - 1
    assert record.images_seen == record.loss_curve[-1][0] * record.recipe["batch_size"]
    assert record.val_accuracy > 0.15, "a hundred classes: chance is 0.01"


def test_the_embedded_checkpoints_were_trained_alike() -> None:
    records = [origin.pretraining(names.card(name)) for name in EMBEDDED]
    assert len({(r.images_seen, str(r.recipe), r.data) for r in records}) == 1


@pytest.mark.parametrize("name", EMBEDDED)
def test_the_random_twin_is_the_same_network_with_other_weights(name: str) -> None:
    card, twin = names.card(name), names.card(f"random:{name}")
    assert twin.architecture == card.architecture
    assert twin.preprocessing == card.preprocessing
    assert weights.identity(twin) != weights.identity(card)
    assert origin.pretraining(twin) is None
    first, second = (networks.build(twin.architecture, 1) for _ in range(2))
    torch.testing.assert_close(first.state_dict(), second.state_dict(), rtol=0, atol=0)


def test_building_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    networks.build(names.card("mixer_nano").architecture, 1)
    torch.testing.assert_close(torch.rand(3), expected, rtol=0, atol=0)


def test_identity_is_content_not_place(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "w.safetensors").write_bytes(b"weights")
    first, second = (names.card(f"file:{tmp_path / n / 'w.safetensors'}?arch=mixer_nano") for n in ("a", "b"))
    assert weights.identity(first) == weights.identity(second)
    assert first.name == second.name == "file:w.safetensors?arch=mixer_nano"
    (tmp_path / "b" / "w.safetensors").write_bytes(b"other weights")
    assert weights.identity(first) != weights.identity(second)
    other = names.card(f"file:{tmp_path / 'a' / 'w.safetensors'}?arch=vit_nano")
    assert weights.identity(other) != weights.identity(first)


GOOD = """
[m]
family = "mixer"
description = "a network"
weights = "embedded:m"
licence = "Apache-2.0"
architecture = { timm = "mixer_s32_224" }
preprocessing = { resolution = 64, mean = [0.5, 0.5, 0.5], std = [0.5, 0.5, 0.5], interpolation = "bicubic" }
"""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (GOOD, None),
        ("[m]\nfamily = 'mixer'", "model 'm': key"),
        ("[m]\nfamly = 'mixer'", "model 'm': key"),
        ("not toml", "cards.toml"),
        ("resnet50 = inf", "'resnet50' is a value; a card is a table"),
        (GOOD + "recipe = ['mixer_i1k']", "unknown recipe"),
        ("[m]\nfamily = '\udcff'", "cards.toml: 'utf-8' codec"),
        (GOOD.replace("embedded:m", "embeded:m"), "model 'm': key 'weights'"),
        (GOOD.replace("embedded:m", "none"), "goes with a card without an architecture"),
    ],
)
def test_a_wrong_card_names_file_and_key(text: str, said: str | None, tmp_path: Path) -> None:
    (tmp_path / "cards.toml").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(UsageError, match=said) if said else contextlib.nullcontext():
        zoo.read_cards(tmp_path / "cards.toml")


def test_packages_add_cards_and_a_broken_one_hides_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("mine", "pixels"):
        (tmp_path / f"{name}.toml").write_text(GOOD.replace("[m]", f"[{name}]"))
    points = {"good": "mine", "taken": "pixels", "broken": "nowhere"}
    monkeypatch.setattr(zoo.plugins, "names", lambda _group: set(points))
    monkeypatch.setattr(zoo.plugins, "load", lambda _kind, _group, point: lambda: tmp_path / f"{points[point]}.toml")
    monkeypatch.setattr(zoo, "cards", zoo.cards.__wrapped__)
    monkeypatch.setattr(names, "cards", zoo.cards)
    monkeypatch.setattr(names, "of_plugins", zoo.of_plugins.__wrapped__)
    monkeypatch.setattr(zoo, "of_plugins", zoo.of_plugins.__wrapped__)
    assert names.card("mine").weights == "embedded:m"
    assert names.card("pixels").weights == "none"
    with pytest.raises(UsageError, match=r"unknown .*nowhere\.toml.*'taken': there is a model named pixels"):
        names.card("mien")


def test_pixels_are_the_normalised_image() -> None:
    card = names.card("pixels")
    squares = torch.arange(64 * 64 * 3, dtype=torch.uint8).reshape(1, 64, 64, 3).numpy()
    features = backbone.load(card, card.preprocessing, torch.device("cpu")).features(squares)
    expected = (squares.astype("float64").transpose(0, 3, 1, 2).reshape(1, -1) / 255 - 0.5) / 0.5
    assert abs(features - expected).max() < 1e-6


def test_weights_that_lie_elsewhere_are_refused_with_the_way_to_them(tmp_path: Path, capsys) -> None:
    card = names.card("scaling_mlp_b12_1024")
    width, hidden, inputs, blocks, classes = 1024, 4096, 3 * 64 * 64, 12, 11_230
    block = width * hidden + hidden + hidden * width + width + 2 * width  # two layers and a LayerNorm
    assert card.parameters == inputs * width + width + blocks * block
    assert round((card.parameters + width * classes + classes) / 1e6) == 125  # the repository's README: 124M
    for verb in (["run", "--output-dir", str(tmp_path)], ["prepare"]):
        assert app.main([*verb, "--task", "digits", "--model", card.name]) == 3
        assert "https://github.com/gregorbachmann/scaling_mlps" in capsys.readouterr().err
    assert app.main(["run", "--task", "digits", "--model", f"random:{card.name}"]) == 2


def test_a_card_says_who_of_its_authors_verified_it(capsys) -> None:
    assert app.main(["show", "model", "resmlp_36_distilled_in1k", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["verified_by"], told["verification"]) == (None, None)
    assert app.main(["show", "model", "pixels"]) == 0
    assert "verified_by: none of its authors yet" in capsys.readouterr().out
    values = names.card("pixels").model_dump(by_alias=True)
    verified = {"verified_by": "A. Author", "verification": "https://example.org/thread"}
    assert Card.model_validate({**values, **verified}).verified_by == "A. Author"
    for name, value in verified.items():
        with pytest.raises(ValueError, match="both or neither"):
            Card.model_validate({**values, name: value})
