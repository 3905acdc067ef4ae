"""Dropout in a network that was built without."""

from __future__ import annotations

import re

from torch import nn

# A ViT's places, by timm's names: after the position embedding, after attention's projection, twice in the MLP. They
# are those of vit_jax's `dropout_rate` (models_vit.py), which leaves attention's own weights alone.
PLACES = re.compile(r"pos_drop|blocks\.\d+\.(attn\.proj_drop|mlp\.drop[12])")


def switch_on(network: nn.Module, rate: float) -> bool:
    """Set the rate of dropout where a ViT has it; return whether there is such a place (a Mixer has none)."""
    places = [module for name, module in network.named_modules() if PLACES.fullmatch(name)]
    dropouts = [module for module in places if isinstance(module, nn.Dropout)]
    if not isinstance(getattr(network, "pos_drop", None), nn.Dropout):  # other networks may have MLPs of that name
        return False
    for module in dropouts:
        module.p = rate
    return True
