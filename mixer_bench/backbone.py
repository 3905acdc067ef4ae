"""Models loaded into memory; the only module that imports timm."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import timm
import torch
from timm.layers import set_fused_attn
from torch import Tensor, nn

from mixer_bench import checkpoints, environment
from mixer_bench.errors import UsageError
from mixer_bench.preprocessing import Preprocessing
from mixer_bench.zoo import Architecture, Card

FAMILIES: dict[str, Literal["mixer", "vit", "resnet"]] = {
    "mixer_": "mixer",
    "vit_": "vit",
    "deit": "vit",
    "resnet": "resnet",
}


def build(architecture: Architecture, num_classes: int, seed: int = 0) -> nn.Module:
    """A network with random weights, drawn from ``seed`` whatever was drawn before.

    Raises:
        UsageError: timm has no such class or architecture.
    """
    # Written-out attention is the faster of timm's two on a CPU, in training by 1.4 (64 tokens, width 192).
    set_fused_attn(torch.cuda.is_available())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if architecture.timm is not None:
            registered: nn.Module = timm.create_model(architecture.timm, num_classes=num_classes, **architecture.args)
            return registered
        network = getattr(timm.models, architecture.class_ or "", None)
        if network is None:
            raise UsageError(f"timm.models has no network class {architecture.class_!r}")
        built: nn.Module = network(num_classes=num_classes, **architecture.args)
        return built


def headless(network: nn.Module) -> nn.Module:
    """``network`` without its classifier: images to the features before it ([N, D], "pre_logits")."""
    timm_network: Any = network  # every network of timm can do this; torch's type does not know
    timm_network.reset_classifier(0)
    return network


def normalise_(images: Tensor, preprocessing: Preprocessing) -> Tensor:
    """``(x / 255 - mean) / std`` of float images [N, 3, R, R] in 0..255, channel by channel, in place.

    In place because fresh memory for every batch costs more than the arithmetic: 34 against 8 us a 64 px picture.
    """
    mean = torch.tensor(preprocessing.mean, device=images.device).view(1, 3, 1, 1) * 255
    std = torch.tensor(preprocessing.std, device=images.device).view(1, 3, 1, 1) * 255
    return images.sub_(mean).div_(std)


class Backbone:
    """A model in memory, its weights frozen: squares of uint8 to features."""

    def __init__(self, network: nn.Module, preprocessing: Preprocessing, device: torch.device) -> None:
        """Keep a headless ``network``, in evaluation mode on ``device``."""
        self.preprocessing = preprocessing
        self.device = device
        self.overlaps = device.type != "cpu"
        self.network = network.eval().requires_grad_(requires_grad=False).to(device)
        self._inputs = torch.empty(0)

    @torch.inference_mode()
    def features(self, squares: np.ndarray) -> np.ndarray:
        """Features before the classifier ("pre_logits") of uint8 [N, R, R, 3], as float32 [N, D]."""
        # torch warns of read-only arrays, which is what a decoded picture is.
        given = squares if squares.flags.writeable else squares.copy()
        images = torch.from_numpy(given).to(self.device, non_blocking=True).permute(0, 3, 1, 2)
        found = self.network(normalise_(self._as_floats(images), self.preprocessing))
        # A copy, since a network that only reshapes gives a view of the memory that the next batch overwrites.
        features: np.ndarray = found.float().cpu().numpy().copy()
        return features

    def _as_floats(self, images: Tensor) -> Tensor:
        """``images`` as float32 in memory that all batches share: fresh pages for each cost 0.2 ms a 224 px picture."""
        if self._inputs.shape[1:] != images.shape[1:] or len(self._inputs) < len(images):
            self._inputs = torch.empty_like(images, dtype=torch.float32)
        return self._inputs[: len(images)].copy_(images)


def load(card: Card, preprocessing: Preprocessing, device: torch.device) -> Backbone:
    """The model of a card, ready to compute features of pictures prepared by ``preprocessing``.

    Raises:
        WeightsError: the checkpoint is missing, damaged, partial, or another network's.
    """
    # "fp32" means it on every device: PyTorch would compute convolutions on a GPU with ten bits of mantissa.
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")
    if card.architecture is None:
        return Backbone(nn.Flatten(), preprocessing, device)
    network = headless(build(card.architecture, num_classes=1))
    if file := card.weights_file:
        checkpoints.load_into(network, checkpoints.read(file), _head_of(card.architecture), file.name)
    return Backbone(network, preprocessing, device)


def _head_of(architecture: Architecture) -> tuple[str, ...]:
    """Prefixes of the classifier's tensors: what a network with a head has and one without has not."""
    with torch.device("meta"):
        whole = set(build(architecture, num_classes=2).state_dict())
        body = set(headless(build(architecture, num_classes=2)).state_dict())
    return tuple(sorted(whole - body)) or ("head.",)


def timm_card(name: str) -> Card | None:
    """A card for a timm architecture with weights of one's own; None if timm has no such architecture."""
    if not timm.is_model(name):
        return None
    defaults = timm.models.get_pretrained_cfg(name)
    if defaults is None:
        return None
    family = next((f for prefix, f in FAMILIES.items() if name.startswith(prefix)), "other")
    if defaults.crop_pct > 1:
        raise UsageError(f"{name}: timm crops it at {defaults.crop_pct} of the picture, beyond its edge")
    return Card(
        name=name,
        family=family,
        description=f"timm architecture {name}",
        weights="random",
        licence="-",
        architecture=Architecture(timm=name),
        preprocessing=Preprocessing(
            resolution=defaults.input_size[-1],
            mean=defaults.mean,
            std=defaults.std,
            interpolation=defaults.interpolation,
            crop_pct=defaults.crop_pct,
        ),
    )


def device_name(device: torch.device) -> str:
    """The processor's or GPU's own name."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else environment.processor()


def pick_device(name: str) -> torch.device:
    """The device of that name; ``auto`` is a GPU where there is one.

    Raises:
        UsageError: torch knows no such device, or it is not here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"--device {name}: {str(error).splitlines()[0]}") from None
    return device
