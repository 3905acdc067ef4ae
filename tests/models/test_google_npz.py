"""Google's official checkpoints in timm's networks give the logits that papers and published code define."""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
import torch
from timm.layers import StdConv2d
from torch import nn

from mixer_bench.errors import WeightsError
from mixer_bench.models import google_npz, networks
from mixer_bench.models.card import Architecture
from tests import restated
from tests.models.logits import CLASSES, Arrays, difference, official

FLOAT32 = 1e-5  # largest difference of logits, relative to the largest logit
FLOAT64 = 1e-12


def network_of(timm: str, arrays: Arrays, gelu: str = "tanh") -> nn.Module:
    with torch.device("meta"):  # what is drawn would be overwritten
        network = networks.build(Architecture(timm=timm), num_classes=CLASSES)
    network.load_state_dict(google_npz.tensors(arrays, "checkpoint.npz"), strict=True, assign=True)
    for module in network.modules():
        if isinstance(module, nn.GELU):
            module.approximate = gelu
    return network.eval()


@pytest.mark.parametrize(
    ("name", "timm"),
    [
        ("mixer_s32", "mixer_s32_224"),
        ("mixer_s32, older", "mixer_s32_224"),
        ("vit_tiny", "vit_tiny_patch16_224"),
        ("resnet50x1", "resnetv2_50x1_bit"),
    ],
)
def test_in_double_precision_the_definition_is_met_to_the_last_digits(name: str, timm: str) -> None:
    arrays, images, logits = official(name)
    network = network_of(timm, arrays).double()
    for module in network.modules():
        if isinstance(module, StdConv2d):
            module.eps = restated.WEIGHT_EPS
    assert difference(network, images, logits) <= FLOAT64


@pytest.mark.parametrize(
    ("name", "timm", "define"),
    [
        ("mixer_s32", "mixer_s32_224", restated.mixer_logits),
        ("vit_tiny", "vit_tiny_patch16_224", restated.vit_logits),
    ],
)
def test_the_other_form_of_gelu_is_told_apart(name: str, timm: str, define: Callable[..., np.ndarray]) -> None:
    arrays, images, logits = official(name)
    exact = network_of(timm, arrays, gelu="none")
    assert difference(exact, images, logits) > 5 * FLOAT32
    assert difference(exact, images, define(arrays, images, exact_gelu=True)) <= FLOAT32


class Toy(NamedTuple):
    """A checkpoint as small as its kind allows, of any layout."""

    arrays: Arrays
    logits: Callable[..., np.ndarray]
    side: int
    cancelled: str  # names of parameters that the formulas cancel


toy_mixer = functools.partial(restated.mixer_arrays, blocks=2, width=16, side=8, patch=4, classes=3)
toy_vit = functools.partial(restated.vit_arrays, blocks=2, width=16, heads=2, side=8, patch=4, classes=3, pre_logits=8)
TOYS = {
    # The same number for all channels of a token, which every LayerNorm that follows takes off again.
    "mixer": Toy(toy_mixer("newer"), restated.mixer_logits, 8, "MixerBlock_./token_mixing/Dense_1/bias"),
    "older mixer": Toy(toy_mixer("older"), restated.mixer_logits, 8, "Mixer/encoderblock_./token_mixing_phase_0/bias2"),
    # The same number for all keys of a query, which softmax takes off.
    "vit": Toy(toy_vit(), restated.vit_logits, 8, ".*/key/bias"),
    "linen vit": Toy(toy_vit(linen=True), restated.vit_logits, 8, ".*/key/bias"),
    "bit": Toy(restated.bit_arrays(units=(2, 1, 1, 1), width=32, classes=3), restated.bit_logits, 32, "-"),
}


@pytest.mark.parametrize("kind", TOYS)
def test_each_parameter_moves_the_logits_unless_it_cancels(kind: str) -> None:
    """Without this, equal logits would not say that each array is in its place."""
    toy = TOYS[kind]
    images = np.random.default_rng(1).uniform(-1, 1, (1, toy.side, toy.side, 3))
    expected = toy.logits(toy.arrays, images)
    still = set()
    for name, array in toy.arrays.items():
        rolled = {**toy.arrays, name: np.roll(array, 1)}
        if np.abs(toy.logits(rolled, images) - expected).max() < 1e3 * FLOAT32 * np.abs(expected).max():
            still.add(name)
    assert still == {name for name in toy.arrays if re.fullmatch(toy.cancelled, name)}


def test_parameters_that_cancel_are_in_their_places_too() -> None:
    mixer, vit = TOYS["mixer"].arrays, TOYS["vit"].arrays
    bias = google_npz.tensors(mixer, "f")["blocks.1.mlp_tokens.fc2.bias"]
    assert_same(bias, mixer["MixerBlock_1/token_mixing/Dense_1/bias"])
    attention = "Transformer/encoderblock_1/MultiHeadDotProductAttention_1"
    query_key_value = [vit[f"{attention}/{part}/bias"].ravel() for part in ("query", "key", "value")]
    assert_same(google_npz.tensors(vit, "f")["blocks.1.attn.qkv.bias"], np.concatenate(query_key_value))


def assert_same(tensor: torch.Tensor, array: np.ndarray) -> None:
    np.testing.assert_array_equal(tensor.numpy(), array)


def assert_alike(first: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert first.keys() == other.keys()
    assert all(torch.equal(tensor, other[name]) for name, tensor in first.items())


def replaced(kind: str, *pairs: tuple[str, str]) -> Arrays:
    """A toy's arrays with parts of their names replaced."""
    arrays = TOYS[kind].arrays
    for old, new in pairs:
        arrays = {name.replace(old, new): array for name, array in arrays.items()}
    return arrays


@pytest.mark.parametrize(
    ("kind", "other"),
    [
        ("mixer", TOYS["older mixer"].arrays),
        (
            "mixer",  # counted on from phase to phase
            replaced(
                "older mixer", ("channel_mixing_phase_0", "channel_mixing_phase_1"), ("LayerNorm_1", "LayerNorm_2")
            ),
        ),
        ("vit", TOYS["linen vit"].arrays),
        ("bit", replaced("bit", ("resnet/", ""))),
        ("bit", replaced("bit", ("/standardized_conv2d/", "/standardized_conv2d_12/"))),
    ],
    ids=["older mixer", "older mixer, counted on", "vit of flax.linen", "bit without resnet/", "bit numbered"],
)
def test_other_names_for_the_same_give_the_same(kind: str, other: Arrays) -> None:
    assert_alike(google_npz.tensors(TOYS[kind].arrays, "f"), google_npz.tensors(other, "f"))


@pytest.mark.parametrize("kind", TOYS)
@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_tensors_are_float32_contiguous_and_their_own(kind: str, dtype: type) -> None:
    arrays = {name: array.astype(dtype) for name, array in TOYS[kind].arrays.items()}
    for array in arrays.values():
        array.flags.writeable = False
    tensors = google_npz.tensors(arrays, "f")
    assert all(tensor.dtype == torch.float32 and tensor.is_contiguous() for tensor in tensors.values())
    assert sum(tensor.numel() for tensor in tensors.values()) == sum(array.size for array in arrays.values())
    before = google_npz.tensors(arrays, "f")
    for tensor in tensors.values():
        tensor.zero_()
    assert_alike(before, google_npz.tensors(arrays, "f"))


def test_the_hidden_layer_of_a_classifier_keeps_a_name_of_its_own() -> None:
    tensors = google_npz.tensors(TOYS["vit"].arrays, "f")
    assert_same(tensors["pre_logits.fc.weight"], TOYS["vit"].arrays["pre_logits/kernel"].T)
    assert tensors["head.weight"].shape == (3, 8)


def hybrid(arrays: Arrays) -> Arrays:
    """R50+ViT of vit_jax/models_vit.py: a ResNet's blocks before the embedding."""
    return {
        **arrays,
        "conv_root/kernel": np.ones((7, 7, 3, 64), np.float32),
        "gn_root/scale": np.ones((1, 1, 1, 64), np.float32),
        "block1/unit1/conv1/kernel": np.ones((1, 1, 64, 64), np.float32),
        "block1/unit1/gn_proj/bias": np.ones((1, 1, 1, 256), np.float32),
    }


def with_optimiser(arrays: Arrays) -> Arrays:
    return {f"opt/target/{name}": array for name, array in arrays.items()} | {"opt/state/step": np.array(7)}


def changed(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Arrays], Arrays]:
    return lambda arrays: {**arrays, name: change(arrays[name])}


@pytest.mark.parametrize(
    ("kind", "spoil", "said"),
    [
        ("mixer", lambda _: {}, "it holds nothing"),
        ("mixer", lambda _: {"arr_0": np.ones(3)}, "no checkpoint of MLP-Mixer.*it holds arr_0"),
        (
            "mixer",
            lambda arrays: {**arrays, "decoder/kernel": np.ones((2, 2))},
            "1 arrays .* of MLP-Mixer .decoder/kernel",
        ),
        ("mixer", lambda arrays: {**arrays, **TOYS["bit"].arrays}, "have no place in the layout of BiT.*MixerBlock_0"),
        ("older mixer", lambda arrays: {**arrays, "Mixer/pos_embedding": np.ones((1, 4, 16))}, "Mixer/pos_embedding"),
        ("vit", hybrid, r"4 arrays have no place in the layout of ViT .block1/unit1/conv1/kernel, .*, \.\.\."),
        ("vit", with_optimiser, "no checkpoint of.*opt/state/step"),
        ("vit", lambda arrays: {**arrays, "cls ": arrays["cls"]}, "cls "),
        (
            "linen vit",
            lambda arrays: {**arrays, **TOYS["vit"].arrays},
            "is a second array for 'blocks.0.attn.query.weight'",
        ),
        ("mixer", changed("stem/kernel", lambda a: a[0]), r"'stem/kernel' is \[4, 3, 16\] .* where floats with 4 axes"),
        ("vit", changed("head/bias", lambda a: a.astype(np.int64)), r"'head/bias' is \[3\] of int64"),
        ("bit", changed("resnet/head/conv2d/kernel", lambda a: a.view("V4")), "where floats"),
    ],
)
def test_what_is_none_of_these_files_is_refused(kind: str, spoil: Callable[[Arrays], Arrays], said: str) -> None:
    with pytest.raises(WeightsError, match=f"^of mine.npz.*{said}.*give the plain checkpoint"):
        google_npz.tensors(spoil(dict(TOYS[kind].arrays)), "of mine.npz")


@pytest.mark.parametrize("kind", TOYS)
def test_an_array_of_another_rank_is_refused_whichever_it_is(kind: str) -> None:
    arrays = TOYS[kind].arrays
    for name, array in arrays.items():
        for other in (np.stack([array, array]), array.reshape(-1)[0], np.ones((2,) * 6)):
            with pytest.raises(WeightsError, match=re.escape(f"{name!r} is {list(other.shape)}")):
                google_npz.tensors({**arrays, name: other}, "of mine.npz")


@pytest.mark.parametrize("kind", TOYS)
def test_an_array_of_another_size_is_refused_or_shows(kind: str) -> None:
    whole = google_npz.tensors(TOYS[kind].arrays, "f")
    for name, array in TOYS[kind].arrays.items():
        with contextlib.suppress(WeightsError):
            tensors = google_npz.tensors({**TOYS[kind].arrays, name: np.zeros((0,) * array.ndim)}, "f")
            assert {n: t.shape for n, t in tensors.items()} != {n: t.shape for n, t in whole.items()}


def test_attention_that_is_not_whole_is_left_for_the_loader_to_name() -> None:
    name = "Transformer/encoderblock_1/MultiHeadDotProductAttention_1/key/kernel"
    tensors = google_npz.tensors({n: array for n, array in TOYS["vit"].arrays.items() if n != name}, "f")
    assert "blocks.1.attn.qkv.weight" not in tensors
    assert {"blocks.1.attn.query.weight", "blocks.1.attn.value.weight", "blocks.1.attn.qkv.bias"} <= tensors.keys()
