"""Weights from the hub, from folders and files, by the command line as a user has it."""

from __future__ import annotations

import io
import json
import shutil
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from mixer_bench.cli import app
from mixer_bench.errors import UsageError, WeightsError
from mixer_bench.models import names, networks, weights
from mixer_bench.models import origin as origin_module
from mixer_bench.models.card import Architecture
from mixer_bench.results.store import Store
from tests.loopback import User
from tests.models.logits import difference, nano_state, official, with_its_classifier

TINY = "timm/vit_tiny_patch16_224.augreg_in21k"  # the smallest of the zoo's checkpoints on the hub


def put(repository: Path, architecture: str, classes: int, seed: int = 5, **config: object) -> Path:
    """A folder or repository in timm's layout, with random weights."""
    repository.mkdir(parents=True)
    network = networks.build(Architecture(timm=architecture), num_classes=classes, seed=seed)
    save_file(network.state_dict(), repository / "model.safetensors")
    written = {"num_classes": classes, "in_chans": 3}  # timm writes them, too
    given = {"architecture": architecture, "num_classes": classes, "model_args": written}
    given |= {"pretrained_cfg": {"crop_pct": 0.9}, **config}
    (repository / "config.json").write_text(json.dumps(given))
    return repository


def run(model: str, *more: str, task: str = "digits") -> list[str]:
    few = ["--protocol", "fewshot", "--limit", "20", "--shots", "1", "--seeds", "1"]
    return ["run", "--task", task, "--model", model, *few, *more]


# --- the hub


def test_a_checkpoint_of_the_zoo_comes_from_the_hub_then_from_the_cache_then_offline(user: User) -> None:
    place = put(user.hub.root / "models" / TINY, "vit_tiny_patch16_224", 21843)
    first = user.run(*run("vit_ti16", "--output-dir", "a"))
    assert first.returncode == 0, first.stderr
    assert f"fetching model.safetensors of {TINY}" in first.stderr
    (record,) = Store(user.home / "a").records()[0]
    assert record.origin is not None
    assert (record.origin.source, record.origin.commit) == (f"hf-hub:{TINY}", user.hub.commit(place))
    assert (record.origin.pretrain, record.origin.family) == ("in21k", "vit")

    sent = sum(user.hub.sent.values())
    # By timm's own name it is the same model, and what is done is not done again.
    again = user.run(*run(f"timm:{TINY.removeprefix('timm/')}", "--output-dir", "a"))
    assert "all 1 runs are there already" in again.stderr
    assert sum(user.hub.sent.values()) == sent, "weights were fetched a second time"

    user.hub.__exit__()
    cut_off = user.run(*run("vit_ti16", "--output-dir", "b"))
    assert (cut_off.returncode, "using what was fetched before" in cut_off.stderr) == (0, True), cut_off.stderr
    offline = user.run(*run("vit_ti16", "--offline", "--output-dir", "c"))
    assert (offline.returncode, offline.stderr.count("hub")) == (0, 0), offline.stderr
    keys = {Store(user.home / folder).records()[0][0].run.key for folder in "abc"}
    assert len(keys) == 1

    elsewhere = user.run(*run("vit_ti16", "--offline", "--output-dir", "d"), HF_HOME=str(user.home / "other"))
    assert elsewhere.returncode == 3
    assert f"vit_ti16: hf-hub:{TINY}: not fetched yet" in elsewhere.stderr
    unreachable = user.run(*run("vit_ti16", "--output-dir", "d"), HF_HOME=str(user.home / "other"))
    assert unreachable.returncode == 3
    assert "file:PATH?arch=NAME" in unreachable.stderr
    assert not list((user.home / "d").rglob("*.json"))


def test_a_model_of_ones_own_on_the_hub_and_what_is_refused(user: User) -> None:
    models = user.hub.root / "models"
    put(models / "me/small", "mixer_s32_224", 10)
    put(models / TINY, "vit_tiny_patch16_224", 1000)  # another checkpoint under the zoo's name
    put(models / "me/locked", "mixer_s32_224", 10)
    user.hub.gated.add("me/locked")
    shutil.copytree(models / "me/small", models / "me/bare")
    (models / "me/bare/model.safetensors").unlink()
    put(models / "me/other", "mixer_s32_224", 10)
    (models / "me/other/config.json").write_text("{}")

    done = user.run(*run("hf-hub:me/small", "--output-dir", "a"))
    assert done.returncode == 0, done.stderr
    (record,) = Store(user.home / "a").records()[0]
    assert record.run.model == "hf-hub:me/small"
    assert record.run.preprocessing.crop_pct == 0.9
    for model, said in (
        ("vit_ti16", "tells 1,000 classes apart, not 21,843"),
        ("hf-hub:me/locked", "accept terms"),
        ("hf-hub:me/bare", "has neither model.safetensors nor pytorch_model.bin"),
        ("hf-hub:me/nothing", "me/nothing"),
        ("hf-hub:me/other", "config.json is not of timm's form"),
    ):
        refused = user.run(*run(model, "--output-dir", "b"))
        assert refused.returncode == 3, refused.stderr
        assert said in refused.stderr, refused.stderr
        assert "Traceback" not in refused.stderr
    assert not list((user.home / "b").rglob("*.json"))


def test_prepare_fetches_and_checks_weights_ahead(user: User) -> None:
    put(user.hub.root / "models" / TINY, "vit_tiny_patch16_224", 21843)
    done = user.run("prepare", "--task", "digits", "--model", "vit_ti16,mixer_nano,mixer_s16")
    assert done.returncode == 3
    assert "mixer_s16: its weights were never published" in done.stderr
    assert "2 of 3 models prepared" in done.stdout
    user.hub.__exit__()
    assert user.run(*run("vit_ti16", "--offline", "--output-dir", "a")).returncode == 0


# --- the web


class Answer(io.BytesIO):
    """What a server sends, with the length it announces."""

    def __init__(self, content: bytes, announced: int) -> None:
        super().__init__(content)
        self.headers = {"Content-Length": str(announced)}


def test_a_file_of_the_web_is_kept_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIXER_BENCH_CACHE", str(tmp_path))
    card = names.card("mixer_b32_sam_in1k")
    assert card.weights.startswith("https://")
    answers = iter([Answer(b"half", 8), Answer(b"thewhole", 8)])
    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: next(answers))
    with pytest.raises(WeightsError, match=r"^mixer_b32_sam_in1k: .*\(8 bytes were announced, 4 came\); run again"):
        weights.place(card)
    assert not [file for file in tmp_path.rglob("*") if file.is_file()]
    for _ in range(2):  # the second time it is there
        assert weights.place(card).read_bytes() == b"thewhole"
    monkeypatch.setattr("mixer_bench.system.network.offline", lambda: True)
    with pytest.raises(WeightsError, match="not fetched yet, and the network is not to be used"):
        weights.place(names.card("mixer_b16_sam_in1k"))


# --- folders and files


def test_a_local_directory_is_the_file_in_it(tmp_path: Path) -> None:
    place = put(
        tmp_path / "net", "mixer_s32_224", 10, pretrained_cfg={"mean": [0.1, 0.2, 0.3], "input_size": [3, 224, 224]}
    )
    card = names.card(f"local-dir:{place}")
    assert (card.name, card.source, card.classes) == ("local-dir:net", "local-dir:net", 10)
    assert card.preprocessing.mean == (0.1, 0.2, 0.3)
    assert card.preprocessing.interpolation == "bicubic"
    images = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    same = names.card(f"file:{place / 'model.safetensors'}?arch=mixer_s32_224&classes=10")
    with torch.no_grad():
        features = [networks.body(c, print).eval()(images) for c in (card, same)]
    torch.testing.assert_close(*features, rtol=0, atol=0)
    assert weights.identity(card) == weights.identity(same)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (None, "no config.json"),
        ("not json", "not of timm's form"),
        ({"architecture": "mixer_x"}, "no architecture of timm's"),
        ({"architecture": "pixels"}, "no architecture of timm's"),
        ({"model_args": {"bogus": 1}}, "timm cannot build"),
        ({"model_args": {"pretrained": True}}, "sets pretrained"),
        ({"pretrained_cfg": {"crop_mode": "border"}}, "crop mode border"),
        ({"pretrained_cfg": {"input_size": [3, 224, 192]}}, "224 x 192"),
        ({"pretrained_cfg": {"image_mean": [0.5, 0.5, 0.5]}}, "image_mean, which timm does not know"),
        ({"pretrained_cfg": {"mean": [123.7, 116.3, 103.5], "std": [58.4, 57.1, 57.4]}}, "divide them by 255"),
        ({"mean": [0.5] * 3, "pretrained_cfg": {"mean": [0.4] * 3}}, "mean once in pretrained_cfg and otherwise"),
        ({"num_classes": 7}, "10 classes apart, not 7"),
        ({}, "there is no file 'model.safetensors'"),
    ],
)
def test_a_spoiled_directory_is_refused(config, said: str, tmp_path: Path, capsys) -> None:
    place = put(tmp_path / "net", "mixer_s32_224", 10)
    file = place / "config.json"
    if config is None:
        file.unlink()
    else:
        file.write_text(config if isinstance(config, str) else json.dumps({"architecture": "mixer_s32_224", **config}))
    if config == {}:
        (place / "model.safetensors").unlink()
    assert app.main(run(f"local-dir:{place}", "--output-dir", str(tmp_path / "r"))) in (2, 3)
    assert said in capsys.readouterr().err
    assert not list((tmp_path / "r").rglob("*.json"))


@pytest.mark.parametrize("architecture", ["resnet18", "vit_tiny_patch16_224", "mixer_s32_224"])
def test_a_folder_that_timm_wrote_is_read(architecture: str, tmp_path: Path) -> None:
    import timm

    network = timm.create_model(architecture, num_classes=7)
    timm.models.save_for_hf(network, tmp_path / "saved")
    card = names.card(f"local-dir:{tmp_path / 'saved'}")
    loaded = with_its_classifier(card).state_dict()
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(loaded[name], tensor, rtol=0, atol=0)


@pytest.mark.parametrize("architecture", ["resnet18", "vit_tiny_patch16_224", "mixer_s32_224"])
def test_timms_old_flat_form_says_the_same(architecture: str, tmp_path: Path) -> None:
    """Before timm 0.9 all keys stood side by side; timm itself reads both."""
    import timm

    timm.models.save_for_hf(timm.create_model(architecture, num_classes=7), tmp_path / "saved")
    file = tmp_path / "saved" / "config.json"
    config = json.loads(file.read_text())
    said = {"mean": [0.1, 0.2, 0.3], "std": [1, 1, 1], "interpolation": "bilinear", "crop_pct": 0.9}
    config["pretrained_cfg"].update(said)
    file.write_text(json.dumps(config))
    today = names.card(f"local-dir:{tmp_path / 'saved'}")
    flat = {**config.pop("pretrained_cfg"), **config}
    file.write_text(json.dumps(flat))
    assert names.card(f"local-dir:{tmp_path / 'saved'}") == today
    assert today.preprocessing.model_dump(include=set(said)) == {**said, "mean": (0.1, 0.2, 0.3), "std": (1, 1, 1)}


def test_a_checkpoint_that_is_squashed_is_squashed_by_its_own_rule(tmp_path: Path) -> None:
    squashed = {"crop_mode": "squash", "crop_pct": 1.0}
    card = names.card(f"local-dir:{put(tmp_path / 'net', 'mixer_s32_224', 10, pretrained_cfg=squashed)}")
    assert card.preprocessing.resize == card.preprocessing.for_task("crop").resize == "squash"


def test_what_a_name_is_checked_for_is_part_of_its_identity(tmp_path: Path, capsys) -> None:
    """Features that one name put into the cache must not let another through that is refused."""
    bare = {name: tensor for name, tensor in nano_state().items() if not name.startswith("head.")}
    save_file(bare, tmp_path / "w.safetensors")
    shutil.copy(tmp_path / "w.safetensors", tmp_path / "w.other")
    assert app.main(run(f"file:{tmp_path / 'w.safetensors'}?arch=mixer_nano", "--output-dir", str(tmp_path / "r"))) == 0
    for name in ("w.safetensors?arch=mixer_nano&classes=1000", "w.other?arch=mixer_nano"):
        assert app.main(run(f"file:{tmp_path / name}", "--output-dir", str(tmp_path / "r"))) == 3
    assert len(Store(tmp_path / "r").records()[0]) == 1


def test_a_folders_name_is_never_taken_for_a_commit(tmp_path: Path) -> None:
    place = tmp_path / "snapshots" / "secret" / "x"
    place.mkdir(parents=True)
    save_file(nano_state(), place / "w.safetensors")
    (place / "w.json").write_text('{"a": 1}')  # nor any file beside it for a record of pre-training
    origin = origin_module.origin(names.card(f"file:{place / 'w.safetensors'}?arch=mixer_nano"), fetch=True)
    assert (origin.commit, origin.source, origin.cost) == (None, "file:w.safetensors", None)


def test_an_ambiguous_architecture_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a?b.pth").write_bytes(b"")
    with pytest.raises(UsageError, match=r"BiT's in this zoo.*arch=resnetv2_50x1_bit or arch=resnet50_in1k"):
        names.card(f"file:{tmp_path / 'a?b.pth'}?arch=resnet50")


# --- Google's files, the whole path


@pytest.mark.parametrize(
    ("name", "architecture", "side", "tolerance"),
    [
        # The zoo's card and timm's bare architecture: a file of Google's is computed as Google does in both.
        ("mixer_s32", "mixer_s32", 224, 1e-5),
        ("mixer_s32, older", "mixer_s32_224", 224, 1e-5),
        ("mixer_b16", "mixer_b16_224", 224, 1e-5),
        ("vit_tiny", "vit_ti16", 224, 1e-5),
        # 50 convolutions of up to 4,608 terms round more in float32: six draws gave 5e-6 to 1e-5.
        ("resnet50x1", "resnetv2_50x1_bit", 64, 3e-5),
    ],
)
def test_an_official_file_gives_the_restatements_logits(
    name: str, architecture: str, side: int, tolerance: float, tmp_path: Path
) -> None:
    arrays, images, logits = official(name, side)
    np.savez(tmp_path / "official.npz", **arrays)
    card = names.card(f"file:{tmp_path / 'official.npz'}?arch={architecture}&classes=21")
    assert difference(with_its_classifier(card), images, logits) < tolerance
