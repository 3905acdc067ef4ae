"""Networks compiled by torch.compile: all but their classifiers, so that one graph serves every task."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from mixer_bench.errors import UsageError
from mixer_bench.system.network import first_line

BACKEND = "inductor"
# Graphs of one class of timm's: of each architecture, resolution, precision and batch size one for training and one for
# judging. torch would stop at 8 and go on without compiling; here it goes on to so many, and then it fails.
LIMITS = {"recompile_limit": 256, "accumulated_recompile_limit": 1024, "fail_on_recompile_limit_hit": True}


def check(device: torch.device) -> None:
    """Compile a small function, so that what is missing for that is known before anything else is done.

    Raises:
        UsageError: nothing can be compiled here.
    """
    try:
        compiles = torch.compile(_compiled_or_not, backend=BACKEND)(torch.zeros(8, device=device)).any().item()
    except Exception as error:  # noqa: BLE001  compilers fail in their own ways
        reason = first_line(getattr(error, "inner_exception", error))
        raise UsageError(
            f"--compile: torch.compile does not work for {device} here ({reason}); install a C++ compiler, for a GPU "
            "Triton as well, or leave --compile out"
        ) from None
    if not compiles:
        raise UsageError(
            "--compile: torch.compile is switched off; unset TORCHDYNAMO_DISABLE and TORCH_COMPILE_DISABLE, or leave "
            "--compile out"
        )


def _compiled_or_not(zeros: Tensor) -> Tensor:
    return zeros + 1 if torch.compiler.is_compiling() else zeros


def compiled(network: nn.Module, name: str) -> nn.Module:
    """Compile in place what a network does before its classifier, as it is when images come; return it.

    Where it is judged, a batch smaller than one before is filled up with zeros: it would have a graph of its own else.

    Raises:
        UsageError: the classifier is no part by itself.
    """
    features = getattr(type(network), "forward_features", None)
    if features is None:
        raise UsageError(
            f"--compile: {name} has no forward_features, as timm's networks have, and would be compiled anew for each "
            "number of classes; leave --compile out"
        )
    # Held weakly: a network that held itself would not go, and its memory with it, when it is let go.
    graph, held, most = _graph(features, BACKEND), weakref.ref(network), 0

    def forward_features(images: Tensor, *rest: Any, **named: Any) -> Any:
        nonlocal most
        module, count = held(), len(images)
        assert module is not None
        if not module.training:
            most = max(most, count)
            images = nn.functional.pad(images, (0, 0, 0, 0, 0, 0, 0, most - count))  # laid out in memory as they are
        with torch._dynamo.config.patch(LIMITS):
            output = graph(module, images, *rest, **named)
        return output if len(images) == count else _first(output, count)

    vars(network)["forward_features"] = forward_features
    return network


@functools.cache  # what torch knows of a function is the function's: all networks of a class share it
def _graph(features: Callable[..., Any], backend: str) -> Callable[..., Any]:
    return torch.compile(features, backend=backend, dynamic=False)


def _first(output: Any, count: int) -> Any:
    """Return what belongs to the first images, of a tensor or several."""
    if isinstance(output, Tensor):
        return output[:count]
    return type(output)(_first(part, count) for part in output)
