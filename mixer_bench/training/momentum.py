"""SGD whose momentum is kept in float32 or, as in the public code of ViT and Mixer, in bfloat16."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from mixer_bench.training.settings import Config


def sgd(network: nn.Module, config: Config, rate: float) -> torch.optim.Optimizer:
    """Return the optimizer of what of ``network`` is trained.

    In bfloat16 it is optax's ``trace(momentum, accumulator_dtype=bfloat16)`` as XLA compiles it: the sum of gradient
    and momentum is float32 and makes the update, what is kept of it is rounded, and so is the factor, 0.9 to 0.8984375.
    """
    half = config.momentum_dtype == "bfloat16"
    optimizer = torch.optim.SGD(
        [parameter for parameter in network.parameters() if parameter.requires_grad],
        lr=rate,
        momentum=torch.tensor(config.momentum).bfloat16().item() if half else config.momentum,
        weight_decay=config.weight_decay,
        fused=True,
    )
    if half:
        optimizer.register_step_post_hook(_round_momentum)
    return optimizer


def _round_momentum(optimizer: torch.optim.Optimizer, *_: Any) -> None:
    """Round what is kept; it stays in float32, which holds every bfloat16."""
    for state in optimizer.state.values():
        if state.get("momentum_buffer") is not None:
            state["momentum_buffer"].copy_(state["momentum_buffer"].bfloat16())
