"""Batch normalisation over all processes, here a single one, against torch's own; test_processes has two."""

import copy

import pytest
import timm.layers
import torch
from torch import Tensor, nn

from mixer_bench.errors import UsageError
from mixer_bench.models import names, networks
from mixer_bench.training.batchnorm import OverAllProcesses, refuse_others


def results(layer: nn.Module, values: Tensor, slope: Tensor) -> list[Tensor]:
    """What a step makes of a layer: its output, all gradients, and its running statistics."""
    values = values.clone().requires_grad_()
    output = layer(values)
    (output * slope).sum().backward()
    gradients = [parameter.grad for parameter in layer.parameters() if parameter.grad is not None]
    return [output.detach(), values.grad, *gradients, *(buffer.double() for buffer in layer.buffers())]


LAYERS = {
    "images": (nn.BatchNorm2d(5, eps=1e-3), (6, 5, 4, 3)),
    "rows": (nn.BatchNorm1d(5), (7, 5)),
    "no parameters": (nn.BatchNorm2d(5, affine=False), (2, 5, 4, 4)),
    "cumulative": (nn.BatchNorm2d(5, momentum=None), (3, 5, 2, 2)),
    "timm's, with an activation": (timm.layers.BatchNormAct2d(5), (6, 5, 4, 3)),
}


@pytest.mark.parametrize("mean", [0.0, 300.0])
@pytest.mark.parametrize(("layer", "shape"), LAYERS.values(), ids=list(LAYERS))
def test_a_step_is_torchs_own(layer: nn.Module, shape: tuple[int, ...], mean: float) -> None:
    torch.manual_seed(0)
    layer = copy.deepcopy(layer).double()
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    values, slope = torch.randn(shape, dtype=torch.float64) * 0.3 + mean, torch.randn(shape, dtype=torch.float64)
    other = copy.deepcopy(layer)
    for _ in range(3):
        expected = results(layer, values, slope)
        with OverAllProcesses():
            computed = results(other, values, slope)
        assert len(computed) == len(expected)
        for ours, theirs in zip(computed, expected, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def test_half_precision_is_normalised_in_float32() -> None:
    torch.manual_seed(0)
    values = (torch.randn(6, 5, 4, 4) + 8).bfloat16()
    exact, layer = nn.BatchNorm2d(5)(values.float()), nn.BatchNorm2d(5)
    with OverAllProcesses():
        ours = layer(values)
    assert ours.dtype == torch.bfloat16
    torch.testing.assert_close(ours.float(), exact, rtol=0.01, atol=0.01)


def test_what_is_judged_and_weights_that_are_standardised_are_left_as_they_are() -> None:
    card = names.card("resnet_nano")
    assert card.architecture is not None
    for network in (networks.build(card.architecture, 3), nn.BatchNorm2d(3).eval()):
        images = torch.randn(2, 3, 64, 64)
        expected = network(images)
        with OverAllProcesses():
            assert torch.equal(network(images), expected)


def test_a_single_value_a_channel_is_refused() -> None:
    with OverAllProcesses(), pytest.raises(ValueError, match="a single value a channel"):
        nn.BatchNorm2d(3)(torch.zeros(1, 3, 1, 1))


def test_statistics_of_each_batch_alone_are_refused_by_name() -> None:
    refuse_others(nn.Sequential(nn.BatchNorm2d(3), nn.GroupNorm(1, 3)))
    with pytest.raises(UsageError, match=r"^1 normalises by each batch's own statistics"):
        refuse_others(nn.Sequential(nn.BatchNorm2d(3), nn.BatchNorm2d(3, track_running_stats=False)))


@pytest.mark.parametrize("layer", [nn.Dropout(0.1), timm.layers.DropPath(0.1)])
def test_what_is_dropped_at_random_is_refused_by_name(layer: nn.Module) -> None:
    refuse_others(nn.Sequential(nn.Dropout(0.0), timm.layers.DropPath(0.0)))
    with pytest.raises(UsageError, match=r"^1 drops at random, and several processes not what one does"):
        refuse_others(nn.Sequential(nn.Identity(), layer))
