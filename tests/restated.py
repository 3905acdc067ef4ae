"""MLP-Mixer, ViT and BiT ResNet-v2 once more: float64, numpy, formula by formula, from Google's official arrays.

Written from the papers (Tolstikhin et al. 2021, section 2; Dosovitskiy et al. 2021, equations 1 to 4; Kolesnikov et al.
2020, section 3) and, for what only the code tells, from vit_jax/models_mixer.py and models_vit.py of
google-research/vision_transformer and bit_jax/models.py and bit_pytorch/models.py of google-research/big_transfer.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Literal

import numpy as np
import scipy.special

Arrays = Mapping[str, np.ndarray]
LAYER_NORM_EPS = 1e-6  # flax.linen.LayerNorm and, before it, flax.nn.LayerNorm
GROUP_NORM_EPS = 1e-5  # BiT's own GroupNorm; flax's would be 1e-6
WEIGHT_EPS = 1e-10  # BiT's standardised convolutions, added to the variance; timm has 1e-8


def gelu(x: np.ndarray, exact: bool) -> np.ndarray:
    """Hendrycks & Gimpel 2016, section 2: x times the normal distribution function, or jax.nn.gelu's approximation."""
    if exact:
        return x * scipy.special.ndtr(x)
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def standardised(x: np.ndarray, axes: tuple[int, ...], eps: float) -> np.ndarray:
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + eps)


def layer_norm(arrays: Arrays, name: str, x: np.ndarray) -> np.ndarray:
    return standardised(x, (-1,), LAYER_NORM_EPS) * wide(arrays, f"{name}/scale") + wide(arrays, f"{name}/bias")


def dense(arrays: Arrays, name: str, x: np.ndarray) -> np.ndarray:
    return x @ wide(arrays, f"{name}/kernel") + wide(arrays, f"{name}/bias")


def wide(arrays: Arrays, name: str) -> np.ndarray:
    return arrays[name].astype(np.float64)


def numbered(arrays: Arrays, pattern: str) -> list[str]:
    """The modules whose path is ``pattern`` and a number, by that number."""
    numbers = {match[0]: int(match[1]) for name in arrays if (match := re.match(rf"{pattern}_(\d+)(?=/)", name))}
    return sorted(numbers, key=numbers.__getitem__)


def embedded(arrays: Arrays, name: str, images: np.ndarray) -> np.ndarray:
    """[N, H, W, 3] in squares of the kernel's size, each times the kernel: [N, tokens, D]."""
    kernel = wide(arrays, f"{name}/kernel")
    side, _, channels, width = kernel.shape
    rows, columns = images.shape[1] // side, images.shape[2] // side
    squares = images.reshape(len(images), rows, side, columns, side, channels).transpose(0, 1, 3, 2, 4, 5)
    return squares.reshape(len(images), rows * columns, -1) @ kernel.reshape(-1, width) + wide(arrays, f"{name}/bias")


def mixer_logits(arrays: Arrays, images: np.ndarray, *, exact_gelu: bool = False) -> np.ndarray:
    """Logits [N, classes] of normalised images, float64 [N, H, W, 3]; the arrays of either layout."""
    older = "embedding/kernel" in arrays
    x = embedded(arrays, "embedding" if older else "stem", images)
    for block in numbered(arrays, "Mixer/encoderblock" if older else "MixerBlock"):
        before, between = numbered(arrays, f"{block}/LayerNorm")
        w1, b1, w2, b2 = mlp(arrays, f"{block}/token_mixing", older)
        # Equation 1: the weights stand before x, whose columns are channels.
        hidden = gelu(w1.T @ layer_norm(arrays, before, x) + b1[:, None], exact_gelu)
        x = x + w2.T @ hidden + b2[:, None]
        w3, b3, w4, b4 = mlp(arrays, f"{block}/channel_mixing", older)
        x = x + gelu(layer_norm(arrays, between, x) @ w3 + b3, exact_gelu) @ w4 + b4
    pooled = layer_norm(arrays, "Mixer/encoder_norm" if older else "pre_head_layer_norm", x).mean(axis=1)
    return dense(arrays, "head", pooled)


def mlp(arrays: Arrays, name: str, older: bool) -> list[np.ndarray]:
    """Kernel [in, hidden], bias, kernel [hidden, out] and bias of the two layers."""
    if older:
        name = f"{name}_phase_0"
        return [wide(arrays, f"{name}/{part}").squeeze() for part in ("kernel1", "bias1", "kernel2", "bias2")]
    return [wide(arrays, f"{name}/Dense_{layer}/{part}") for layer in (0, 1) for part in ("kernel", "bias")]


def vit_logits(arrays: Arrays, images: np.ndarray, *, exact_gelu: bool = False) -> np.ndarray:
    """Logits [N, classes] of normalised images, float64 [N, H, W, 3]; numbered as before flax.linen or as in it."""
    x = embedded(arrays, "embedding", images)
    x = np.concatenate([np.repeat(wide(arrays, "cls"), len(x), axis=0), x], axis=1)
    x = x + wide(arrays, "Transformer/posembed_input/pos_embedding")
    for block in numbered(arrays, "Transformer/encoderblock"):
        before, between = numbered(arrays, f"{block}/LayerNorm")
        (attended,) = numbered(arrays, f"{block}/MultiHeadDotProductAttention")
        (block_mlp,) = numbered(arrays, f"{block}/MlpBlock")
        x = x + attention(arrays, attended, layer_norm(arrays, before, x))
        hidden = gelu(dense(arrays, f"{block_mlp}/Dense_0", layer_norm(arrays, between, x)), exact_gelu)
        x = x + dense(arrays, f"{block_mlp}/Dense_1", hidden)
    first = layer_norm(arrays, "Transformer/encoder_norm", x)[:, 0]
    if "pre_logits/kernel" in arrays:
        first = np.tanh(dense(arrays, "pre_logits", first))
    return dense(arrays, "head", first)


def attention(arrays: Arrays, name: str, x: np.ndarray) -> np.ndarray:
    """Vaswani et al. 2017, section 3.2: kernels [D, heads, per head], and [heads, per head, D] for ``out``."""
    query, key, value = (
        np.einsum("ntd,dhk->nhtk", x, wide(arrays, f"{name}/{part}/kernel"), optimize=True)
        + wide(arrays, f"{name}/{part}/bias")[:, None]
        for part in ("query", "key", "value")
    )
    weights = scipy.special.softmax(query @ key.swapaxes(2, 3) / math.sqrt(query.shape[-1]), axis=-1)
    out = np.einsum("nhtk,hkd->ntd", weights @ value, wide(arrays, f"{name}/out/kernel"), optimize=True)
    return out + wide(arrays, f"{name}/out/bias")


def bit_logits(arrays: Arrays, images: np.ndarray) -> np.ndarray:
    """Logits [N, classes] of normalised images, float64 [N, H, W, 3]."""
    # Zeros, not minus infinity, surround what is pooled: the stem ends without a ReLU, so it makes a difference.
    x = windows(convolved(arrays, "resnet/root_block", images, stride=2), side=3, stride=2).max(axis=(-2, -1))
    units = {match[0] for name in arrays if (match := re.match(r"resnet/block\d/unit\d\d", name))}
    for unit in sorted(units):
        x = bottleneck(arrays, unit, x, stride=2 if unit.endswith("unit01") and "block1" not in unit else 1)
    pooled = activated(arrays, "resnet", x).mean(axis=(1, 2))
    return pooled @ wide(arrays, "resnet/head/conv2d/kernel")[0, 0] + wide(arrays, "resnet/head/conv2d/bias")


def bottleneck(arrays: Arrays, name: str, x: np.ndarray, stride: int) -> np.ndarray:
    """He et al. 2016 with the stride on the 3x3 convolution; a projection starts from the activated input."""
    y = activated(arrays, f"{name}/a", x)
    projected = f"{name}/a/proj/standardized_conv2d/kernel" in arrays
    shortcut = convolved(arrays, f"{name}/a/proj", y, stride) if projected else x
    y = activated(arrays, f"{name}/b", convolved(arrays, f"{name}/a", y))
    y = activated(arrays, f"{name}/c", convolved(arrays, f"{name}/b", y, stride))
    return shortcut + convolved(arrays, f"{name}/c", y)


def activated(arrays: Arrays, name: str, x: np.ndarray, groups: int = 32) -> np.ndarray:
    """Wu & He 2018, then ReLU: [N, H, W, C], normalised over the image and over each group of channels."""
    split = x.reshape(*x.shape[:3], groups, -1)
    normal = standardised(split, (1, 2, 4), GROUP_NORM_EPS).reshape(x.shape)
    return np.maximum(0, normal * wide(arrays, f"{name}/group_norm/gamma") + wide(arrays, f"{name}/group_norm/beta"))


def convolved(arrays: Arrays, name: str, x: np.ndarray, stride: int = 1) -> np.ndarray:
    """Qiao et al. 2019: each filter has mean 0 and variance 1 over its height, width and inputs."""
    kernel = standardised(wide(arrays, f"{name}/standardized_conv2d/kernel"), (0, 1, 2), WEIGHT_EPS)
    return np.tensordot(windows(x, kernel.shape[0], stride), kernel.transpose(2, 0, 1, 3), axes=3)


def windows(x: np.ndarray, side: int, stride: int) -> np.ndarray:
    """[N, H, W, C] in zeros, half a side of them all around, to the squares in it: [N, H', W', C, side, side]."""
    edge = (side - 1) // 2
    padded = np.pad(x, ((0, 0), (edge, edge), (edge, edge), (0, 0)))
    return np.lib.stride_tricks.sliding_window_view(padded, (side, side), axis=(1, 2))[:, ::stride, ::stride]


class Draws:
    """Random parameters: nothing is 0 or 1, so that each one counts."""

    def __init__(self) -> None:
        self.generator = np.random.default_rng(0)
        self.arrays: dict[str, np.ndarray] = {}

    def uniform(self, name: str, *shape: int, mean: float = 0, std: float = 0.3) -> None:
        drawn = self.generator.random(shape, dtype=np.float32)  # a fifth of a normal draw's time
        self.arrays[name] = (drawn - np.float32(0.5)) * np.float32(math.sqrt(12) * std) + np.float32(mean)

    def layer(self, name: str, *shape: int, inputs: int, bias: tuple[int, ...] = ()) -> None:
        self.uniform(f"{name}/kernel", *shape, std=inputs**-0.5)
        self.uniform(f"{name}/bias", *(bias or shape[-1:]))

    def norm(self, name: str, width: int, scale: str = "scale", bias: str = "bias") -> None:
        self.uniform(f"{name}/{scale}", width, mean=1)
        self.uniform(f"{name}/{bias}", width)


def mixer_arrays(
    layout: Literal["newer", "older"], *, blocks: int, width: int, side: int, patch: int, classes: int
) -> dict[str, np.ndarray]:
    """A random checkpoint, its hidden widths the paper's (table 1); both layouts hold the same numbers."""
    tokens = (side // patch) ** 2
    draws = Draws()
    draws.layer("stem", patch, patch, 3, width, inputs=3 * patch**2)
    for block in (f"MixerBlock_{i}" for i in range(blocks)):
        for number, (kind, outside, hidden) in enumerate(
            (("token", tokens, width // 2), ("channel", width, 4 * width))
        ):
            draws.norm(f"{block}/LayerNorm_{number}", width)
            draws.layer(f"{block}/{kind}_mixing/Dense_0", outside, hidden, inputs=outside)
            draws.layer(f"{block}/{kind}_mixing/Dense_1", hidden, outside, inputs=hidden)
    draws.norm("pre_head_layer_norm", width)
    draws.layer("head", width, classes, inputs=width)
    return draws.arrays if layout == "newer" else dict(map(_older, draws.arrays.items()))


def _older(item: tuple[str, np.ndarray]) -> tuple[str, np.ndarray]:
    """One array as big_vision/models/mlp_mixer.py ``load`` expects it of an older file, axes of length 1 included."""
    name, array = item
    name = re.sub(r"^stem/", "embedding/", name)
    name = re.sub(r"^pre_head_layer_norm/", "Mixer/encoder_norm/", name)
    name = re.sub(r"^MixerBlock_", "Mixer/encoderblock_", name)
    if phase := re.fullmatch(r"(.*/(token|channel)_mixing)/Dense_([01])/(kernel|bias)", name):
        name = f"{phase[1]}_phase_0/{phase[4]}{int(phase[3]) + 1}"
        # A token's bias stands beside channels, a channel's beside tokens.
        array = array[None, :, None] if array.ndim == 1 and phase[2] == "token" else array[None]
    return name, array


def vit_arrays(
    *, blocks: int, width: int, heads: int, side: int, patch: int, classes: int, pre_logits: int = 0, linen=False
) -> Arrays:
    """A random checkpoint, with a hidden layer of ``pre_logits`` before the classifier if any.

    The parts of a block are counted through, as published files have it, or each kind by itself as flax.linen does.
    """
    tokens, hidden = (side // patch) ** 2, 4 * width
    draws = Draws()
    draws.layer("embedding", patch, patch, 3, width, inputs=3 * patch**2)
    draws.uniform("cls", 1, 1, width)
    draws.uniform("Transformer/posembed_input/pos_embedding", 1, 1 + tokens, width)
    per_head = width // heads
    for block in (f"Transformer/encoderblock_{i}" for i in range(blocks)):
        attended = f"{block}/MultiHeadDotProductAttention_{0 if linen else 1}"
        block_mlp = f"{block}/MlpBlock_{0 if linen else 3}"
        draws.norm(f"{block}/LayerNorm_0", width)
        for part in ("query", "key", "value"):
            draws.layer(f"{attended}/{part}", width, heads, per_head, inputs=width, bias=(heads, per_head))
        draws.layer(f"{attended}/out", heads, per_head, width, inputs=width)
        draws.norm(f"{block}/LayerNorm_{1 if linen else 2}", width)
        draws.layer(f"{block_mlp}/Dense_0", width, hidden, inputs=width)
        draws.layer(f"{block_mlp}/Dense_1", hidden, width, inputs=hidden)
    draws.norm("Transformer/encoder_norm", width)
    if pre_logits:
        draws.layer("pre_logits", width, pre_logits, inputs=width)
    draws.layer("head", pre_logits or width, classes, inputs=pre_logits or width)
    return draws.arrays


def bit_arrays(*, units: tuple[int, int, int, int], width: int, classes: int) -> dict[str, np.ndarray]:
    """A random checkpoint of that many units a block, ``width`` channels after the stem (64 in R50x1)."""
    draws = Draws()
    # Filters far wider than trained ones: with a variance near 1e-8 timm's eps would be seen beside BiT's own.
    draws.uniform("resnet/root_block/standardized_conv2d/kernel", 7, 7, 3, width, mean=0.2)
    inputs = width
    for block, count in enumerate(units, 1):
        inner = width * 2 ** (block - 1)
        for unit in (f"resnet/block{block}/unit{number:02d}" for number in range(1, count + 1)):
            shapes = {"a": (1, 1, inputs, inner), "b": (3, 3, inner, inner), "c": (1, 1, inner, 4 * inner)}
            for part, shape in shapes.items():
                draws.norm(f"{unit}/{part}/group_norm", shape[2], "gamma", "beta")
                draws.uniform(f"{unit}/{part}/standardized_conv2d/kernel", *shape, mean=0.2)
            if unit.endswith("01"):
                draws.uniform(f"{unit}/a/proj/standardized_conv2d/kernel", 1, 1, inputs, 4 * inner, mean=0.2)
            inputs = 4 * inner
    draws.norm("resnet/group_norm", inputs, "gamma", "beta")
    draws.layer("resnet/head/conv2d", 1, 1, inputs, classes, inputs=inputs)
    return draws.arrays
