"""Weights are loaded whole or refused; timm itself would fill the gaps with random numbers."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from mixer_bench.cli import app
from mixer_bench.errors import WeightsError
from mixer_bench.models import backbone, checkpoints, names, networks

NAME = "mixer_nano"
NANOS = ["mixer_nano", "vit_nano", "resnet_nano"]


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    architecture = names.card(NAME).architecture
    return networks.headless(networks.build(architecture, 1, seed=7)).state_dict()


def file_of(state: dict[str, torch.Tensor], folder: Path) -> str:
    save_file(state, folder / "weights.safetensors")
    return f"file:{folder / 'weights.safetensors'}?arch={NAME}"


def load(model: str) -> backbone.Backbone:
    card = names.card(model)
    return backbone.load(card, card.preprocessing, torch.device("cpu"))


@pytest.mark.parametrize("name", NANOS)
def test_written_and_read_again_the_features_are_the_same(name: str, tmp_path: Path) -> None:
    card = names.card(name)
    network = networks.headless(networks.build(card.architecture, 1, seed=3)).eval()
    checkpoints.write(network, tmp_path / "w.safetensors", torch.float32)
    again = load(f"file:{tmp_path / 'w.safetensors'}?arch={name}")
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(again.network(images), network(images), rtol=0, atol=0)


def test_half_precision_files_are_half_as_large_and_load_as_float32(state, tmp_path: Path) -> None:
    network = networks.headless(networks.build(names.card(NAME).architecture, 1, seed=7))
    for dtype in (torch.float32, torch.float16):
        checkpoints.write(network, tmp_path / f"{dtype}.safetensors", dtype)
    full, half = (tmp_path / f"{d}.safetensors" for d in (torch.float32, torch.float16))
    assert half.stat().st_size < 0.6 * full.stat().st_size
    assert {tensor.dtype for tensor in checkpoints.read(half).values()} == {torch.float32}
    assert {tensor.dtype for tensor in load_file(half).values()} == {torch.float16}


def test_a_classifier_in_the_file_is_left_out(state, tmp_path: Path) -> None:
    with_head = {**state, "head.weight": torch.zeros(100, 192), "head.bias": torch.zeros(100)}
    assert load(file_of(with_head, tmp_path)).network(torch.zeros(1, 3, 64, 64)).shape == (1, 192)


def without_block(state):
    return {name: tensor for name, tensor in state.items() if not name.startswith("blocks.2.")}


def with_stranger(state):
    return {**state, "decoder.weight": torch.zeros(3)}


def other_shape(state):
    return {**state, "norm.weight": torch.ones(191)}


def not_a_number(state):
    broken = state["norm.weight"].clone()
    broken[0] = float("nan")
    return {**state, "norm.weight": broken}


def other_architecture(state):
    del state
    return networks.headless(networks.build(names.card("vit_nano").architecture, 1)).state_dict()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (without_block, "tensors are missing .blocks.2"),
        (with_stranger, "decoder.weight"),
        (other_shape, r"norm.weight: \[191\] in the file, \[192\] in the network"),
        (not_a_number, "infinite or undefined values .norm.weight"),
        (other_architecture, "missing"),
    ],
)
def test_what_does_not_fit_is_refused(change, said: str, state, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=said):
        load(file_of(change(dict(state)), tmp_path))


@pytest.mark.parametrize("content", ["truncated", b"", b"<html>404 Not Found</html>", b"\x80\x04\x95pickle"])
def test_what_is_no_safetensors_file_is_refused(content, state, tmp_path: Path) -> None:
    model = file_of(state, tmp_path)
    file = tmp_path / "weights.safetensors"
    file.write_bytes(file.read_bytes()[:5000] if content == "truncated" else content)
    with pytest.raises(WeightsError, match="no whole safetensors file"):
        load(model)


@pytest.mark.parametrize("change", [without_block, other_architecture])
def test_a_refused_checkpoint_ends_with_3_and_leaves_no_record(change, state, tmp_path: Path, capsys) -> None:
    model = file_of(change(dict(state)), tmp_path)
    command = ["run", "--task", "digits", "--limit", "40", "--model", model, "--protocol", "fewshot"]
    code = app.main([*command, "--output-dir", str(tmp_path / "r")])
    assert code == 3
    assert "does not fit the network" in capsys.readouterr().err
    assert list((tmp_path / "r").rglob("*.json")) == []


def test_a_missing_file_ends_with_3(tmp_path: Path, capsys) -> None:
    model = f"file:{tmp_path}/nothing.safetensors?arch={NAME}"
    assert app.main(["run", "--task", "digits", "--model", model, "--output-dir", str(tmp_path)]) == 3
    assert "there is no such file" in capsys.readouterr().err
