"""Google's official JAX checkpoints (.npz) in timm's names: MLP-Mixer, ViT and BiT. numpy in, torch out.

A layout is a table: which of the file's names is which of timm's, and how the axes turn. Names are the published
code's: google-research/vision_transformer (vit_jax/models_mixer.py, models_vit.py), google-research/big_vision
(models/mlp_mixer.py ``load``, models/bit_paper.py) and google-research/big_transfer (bit_pytorch/models.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mixer_bench.errors import WeightsError

SHOWN = 3  # how many names an error lists
OTHERWISE = "give the plain checkpoint of one network, or a safetensors file with timm's names"


class _Axes(NamedTuple):
    """How many axes the file's array has, and how they become the tensor's."""

    rank: int
    turn: Callable[[Tensor], Tensor]
    squeezed: bool = False  # whether the file may keep axes of length 1 beside them


_VECTOR = _Axes(1, lambda a: a)
_TOKENS = _Axes(3, lambda a: a)  # [1, tokens, D]
_DENSE = _Axes(2, lambda a: a.T)  # [in, out]
_CONV = _Axes(4, lambda a: a.permute(3, 2, 0, 1))  # [height, width, in, out]
_INTO_HEADS = _Axes(3, lambda a: a.reshape(a.shape[0], a.shape[1] * a.shape[2]).T)  # [in, heads, per head]
_FROM_HEADS = _Axes(3, lambda a: a.reshape(a.shape[0] * a.shape[1], a.shape[2]).T)  # [heads, per head, out]
_OF_HEADS = _Axes(2, lambda a: a.reshape(-1))  # [heads, per head]

_Rule = tuple[str, str, _Axes]  # names that match the first whole become the second, with what the groups caught


def _layer(official: str, timm: str, kernel: _Axes, bias: _Axes = _VECTOR, number: str = "") -> tuple[_Rule, _Rule]:
    return (f"{official}/kernel{number}", f"{timm}.weight", kernel), (f"{official}/bias{number}", f"{timm}.bias", bias)


def _norm(official: str, timm: str) -> tuple[_Rule, _Rule]:
    weight = (f"{official}/(?:scale|gamma)", f"{timm}.weight", _VECTOR)
    return weight, (f"{official}/(?:bias|beta)", f"{timm}.bias", _VECTOR)


_MIXER = (
    *_layer("stem", "stem.proj", _CONV),
    *_norm(r"MixerBlock_(\d+)/LayerNorm_0", "blocks.{}.norm1"),
    *_layer(r"MixerBlock_(\d+)/(token|channel)_mixing/Dense_0", "blocks.{}.mlp_{}s.fc1", _DENSE),
    *_layer(r"MixerBlock_(\d+)/(token|channel)_mixing/Dense_1", "blocks.{}.mlp_{}s.fc2", _DENSE),
    *_norm(r"MixerBlock_(\d+)/LayerNorm_1", "blocks.{}.norm2"),
    *_norm("pre_head_layer_norm", "norm"),
    *_layer("head", "head", _DENSE),
)
# Before flax.linen one count ran over all parts of a module, so that only the order of such numbers has a meaning
# (flax.training.checkpoints.convert_pre_linen): a ViT's second LayerNorm is 2 or 1, its attention 1 or 0.
_OLD = r"Mixer/encoderblock_(\d+)"
_OLD_MLP = rf"{_OLD}/(token|channel)_mixing_phase_\d+"
_OLD_AXES = (_DENSE._replace(squeezed=True), _VECTOR._replace(squeezed=True))
_OLD_MIXER = (
    *_layer("embedding", "stem.proj", _CONV),
    *_norm(f"{_OLD}/LayerNorm_0", "blocks.{}.norm1"),
    *_layer(_OLD_MLP, "blocks.{}.mlp_{}s.fc1", *_OLD_AXES, number="1"),
    *_layer(_OLD_MLP, "blocks.{}.mlp_{}s.fc2", *_OLD_AXES, number="2"),
    *_norm(rf"{_OLD}/LayerNorm_[1-9]\d*", "blocks.{}.norm2"),
    *_norm("Mixer/encoder_norm", "norm"),
    *_layer("head", "head", _DENSE),
)
_ENCODER = r"Transformer/encoderblock_(\d+)"
_ATTENTION = f"{_ENCODER}/MultiHeadDotProductAttention_[01]"
_VIT = (
    ("cls", "cls_token", _TOKENS),
    ("Transformer/posembed_input/pos_embedding", "pos_embed", _TOKENS),
    *_layer("embedding", "patch_embed.proj", _CONV),
    *_norm(f"{_ENCODER}/LayerNorm_0", "blocks.{}.norm1"),
    *_layer(f"{_ATTENTION}/(query|key|value)", "blocks.{}.attn.{}", _INTO_HEADS, _OF_HEADS),
    *_layer(f"{_ATTENTION}/out", "blocks.{}.attn.proj", _FROM_HEADS),
    *_norm(f"{_ENCODER}/LayerNorm_[12]", "blocks.{}.norm2"),
    *_layer(f"{_ENCODER}/MlpBlock_[03]/Dense_0", "blocks.{}.mlp.fc1", _DENSE),
    *_layer(f"{_ENCODER}/MlpBlock_[03]/Dense_1", "blocks.{}.mlp.fc2", _DENSE),
    *_norm("Transformer/encoder_norm", "norm"),
    *_layer("pre_logits", "pre_logits.fc", _DENSE),
    *_layer("head", "head", _DENSE),
)
_UNIT = r"(?:resnet/)?block(\d+)/unit(\d+)"
_KERNEL = r"(?:standardized_conv2d(?:_\d+)?/)?kernel"  # some files number them (bit_paper.py)
_BIT = (
    (f"(?:resnet/)?root_block/{_KERNEL}", "stem.conv.weight", _CONV),
    *_norm(f"{_UNIT}/a/group_norm", "stages.{}.blocks.{}.norm1"),
    (f"{_UNIT}/a/proj/{_KERNEL}", "stages.{}.blocks.{}.downsample.conv.weight", _CONV),
    (f"{_UNIT}/a/{_KERNEL}", "stages.{}.blocks.{}.conv1.weight", _CONV),
    *_norm(f"{_UNIT}/b/group_norm", "stages.{}.blocks.{}.norm2"),
    (f"{_UNIT}/b/{_KERNEL}", "stages.{}.blocks.{}.conv2.weight", _CONV),
    *_norm(f"{_UNIT}/c/group_norm", "stages.{}.blocks.{}.norm3"),
    (f"{_UNIT}/c/{_KERNEL}", "stages.{}.blocks.{}.conv3.weight", _CONV),
    *_norm("(?:resnet/)?group_norm", "norm"),
    *_layer("(?:resnet/)?head/conv2d", "head.fc", _CONV),
)
# With each table, where the files count blocks from: timm begins at 0.
_LAYOUTS = {"MLP-Mixer": (_MIXER, 0), "older MLP-Mixer": (_OLD_MIXER, 0), "ViT": (_VIT, 0), "BiT ResNet-v2": (_BIT, 1)}


def tensors(arrays: Mapping[str, np.ndarray], source: str) -> dict[str, Tensor]:
    """Return a checkpoint's arrays as contiguous float32 tensors in timm's names and shapes, head included.

    Every array finds a place; whether the network is whole is for the caller to compare. The hidden layer before the
    classifier of the first ViT files comes as ``pre_logits.fc``, which timm's ViT does not have.

    Raises:
        WeightsError: no layout known here, an array without a place in it (a hybrid network, an optimiser's state), two
            arrays for one place, or one that is not of floats or has not the number of axes of its kind of layer.
    """
    state: dict[str, Tensor] = {}
    for official, (timm, axes) in _places(arrays, source).items():
        if timm in state:
            raise WeightsError(f"{source}: {official!r} is a second array for {timm!r}; {OTHERWISE}")
        array = arrays[official]
        squeezed = array.squeeze() if axes.squeezed and array.ndim > axes.rank else array
        if squeezed.ndim != axes.rank or squeezed.dtype.kind != "f":
            told = f"{official!r} is {list(array.shape)} of {array.dtype}, where floats with {axes.rank} axes belong"
            raise WeightsError(f"{source}: {told}; {OTHERWISE}")
        state[timm] = axes.turn(torch.from_numpy(squeezed.astype(np.float32, order="C"))).contiguous()
    # timm joins query, key and value; what makes no whole keeps its name, for the loader to tell.
    for query in [name for name in state if ".attn.query." in name]:
        names = [query.replace(".query.", f".{part}.") for part in ("query", "key", "value")]
        if len({state[name].shape if name in state else None for name in names}) == 1:
            state[query.replace(".query.", ".qkv.")] = torch.cat([state.pop(name) for name in names])
    return state


def _places(arrays: Mapping[str, np.ndarray], source: str) -> dict[str, tuple[str, _Axes]]:
    """Return where each array belongs in the layout that knows most of their names."""
    known = {layout: {n: p for n in arrays if (p := _place(n, *table))} for layout, table in _LAYOUTS.items()}
    layout, places = max(known.items(), key=lambda item: len(item[1]))
    strangers = arrays.keys() - places.keys()
    if not places:
        problem = f" is no checkpoint of {', '.join(_LAYOUTS)}: it holds {shortened(strangers) or 'nothing'}"
    elif strangers:
        problem = f": {len(strangers)} arrays have no place in the layout of {layout} ({shortened(strangers)})"
    else:
        return places
    raise WeightsError(f"{source}{problem}; {OTHERWISE}")


def _place(name: str, rules: tuple[_Rule, ...], first: int) -> tuple[str, _Axes] | None:
    for official, timm, axes in rules:
        if match := re.fullmatch(official, name):
            return timm.format(*(int(g) - first if g.isdecimal() else g for g in match.groups())), axes
    return None


def shortened(names: Collection[str]) -> str:
    """Return the first of some names, as errors list them."""
    return ", ".join(sorted(names)[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
