"""Batch normalisation over the batch of all processes that train one network: as one process would have it.

torch's SyncBatchNorm is for GPUs alone, and timm's networks have batch normalisation in classes of their own. Here the
function that all of them call is computed otherwise while a network is trained.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torch.overrides import TorchFunctionMode

from mixer_bench.errors import UsageError
from mixer_bench.training import distributed


class OverAllProcesses(TorchFunctionMode):
    """Under it, batches are normalised by the statistics of all processes' batches; the network must be in training."""

    def __torch_function__(
        self,
        function: Callable[..., Any],
        _types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call ``function``, or what stands in for it."""
        named = kwargs or {}
        # Weights, which are standardised by the same function, come without running statistics.
        if function is functional.batch_norm and args[1] is not None and named["training"]:
            return batch_norm(*args, **named)
        return function(*args, **named)


class _Summed(torch.autograd.Function):
    """The sum over all processes; as each has a part in all sums, its gradient is the sum of theirs."""

    @staticmethod
    def forward(_ctx: Any, value: Tensor) -> Tensor:
        return distributed.total(value.clone())

    @staticmethod
    def backward(_ctx: Any, slope: Tensor) -> Tensor:
        return distributed.total(slope.clone())


def batch_norm(
    values: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = True,  # noqa: ARG001
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise ``values`` [N, C, ...] of this process by mean and variance of all processes' values, per channel.

    The running statistics, which are renewed in place, end the same in all processes; their variance is the unbiased
    one. The parameters are those of ``torch.nn.functional.batch_norm``.

    Raises:
        ValueError: all processes together have a single value a channel.
    """
    exact = values.to(torch.promote_types(values.dtype, torch.float32))
    count = exact.numel() // exact.shape[1]
    part = torch.var_mean(exact, [0, *range(2, exact.ndim)], correction=0)
    # In float64 the mean's square can be taken off again: the digits that it costs are not those of a float32.
    var, mean = (moment.double() for moment in part)
    counts, sums, squares = _Summed.apply(
        torch.stack([torch.full_like(mean, count), count * mean, count * (var + mean.square())])
    )
    whole = counts.detach()
    if whole[0] <= 1:
        raise ValueError(f"a single value a channel cannot be normalised by its batch: {tuple(values.shape)}")
    mean = sums / whole
    var = (squares / whole - mean.square()).clamp(min=0)
    with torch.no_grad():
        running_mean.lerp_(mean.to(running_mean), momentum)
        running_var.lerp_((var * whole / (whole - 1)).to(running_var), momentum)
    scale = (var + eps).rsqrt()
    scale = scale if weight is None else scale * weight
    shift = -mean * scale
    shift = shift if bias is None else shift + bias
    shape = (1, -1) + (1,) * (values.ndim - 2)
    normalised: Tensor = exact * scale.to(exact.dtype).view(shape) + shift.to(exact.dtype).view(shape)
    return normalised.to(values.dtype)


def normalises(network: nn.Module) -> bool:
    """Return whether batch normalisation is in the network, which keeps running statistics."""
    return any(name.endswith("running_mean") for name, _ in network.named_buffers())


def refuse_others(network: nn.Module) -> None:
    """Refuse layers that several processes would not compute as one does.

    Raises:
        UsageError: batch normalisation keeps no running statistics, so that what it gives depends on which images are
            judged together; or a layer draws at random what it drops (dropout, stochastic depth).
    """
    for name, module in network.named_modules():
        if isinstance(module, _BatchNorm) and module.running_mean is None:
            raise UsageError(f"{name} normalises by each batch's own statistics; train it in one process")
        dropped = module.p if isinstance(module, _DropoutNd) else getattr(module, "drop_prob", None)
        if dropped:
            raise UsageError(f"{name} drops at random, and several processes not what one does; train in one process")
