"""Who judges a network or takes its features sees it as it will be used, and changes nothing of it.

In training mode batch normalisation goes by the other images of a batch, and keeps their statistics, and dropout leaves
out at random.
"""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from mixer_bench import protocols
from mixer_bench.data.examples import Examples
from mixer_bench.models import names
from mixer_bench.models.backbone import Backbone
from mixer_bench.training import finetuning, framing, pretrain
from mixer_bench.training.images import Corpus
from mixer_bench.training.network import Trainable
from tests.builders import TOY, Given, colours

CPU = torch.device("cpu")
EXAMPLES = colours(noise=60.0).test


def restless() -> nn.Sequential:
    """A network in training mode, with statistics of other images than it is shown."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.BatchNorm2d(3), nn.Flatten(), nn.Dropout(0.5), nn.Linear(8 * 8 * 3, 3))
    network[0].running_mean.copy_(torch.tensor([0.3, -0.2, 0.5]))
    network[0].running_var.copy_(torch.tensor([2.0, 0.5, 1.5]))
    return network.train()


def restated(network: nn.Sequential, examples: Examples) -> np.ndarray:
    """What it gives in use, float64 [N, 3]."""
    x = (np.stack([examples.images[i] for i in range(len(examples))]) / 255 - 0.5) / 0.5
    mean, variance = np.array([0.3, -0.2, 0.5]), np.array([2.0, 0.5, 1.5])
    flat = ((x - mean) / np.sqrt(variance + 1e-5)).transpose(0, 3, 1, 2).reshape(len(x), -1)
    weight, bias = (parameter.detach().double().numpy() for parameter in network[3].parameters())
    return flat @ weight.T + bias


def by_finetuning(network: nn.Module) -> np.ndarray:
    data, config = colours(noise=60.0), protocols.configure("finetune", {"evaluation": "whole"})
    task = finetuning._Task(Given(), data.development, config, finetuning.FULL)
    return np.log(task.probabilities(network, EXAMPLES))


def by_extraction(network: nn.Module) -> np.ndarray:
    squares = np.stack([EXAMPLES.images[i] for i in range(len(EXAMPLES))])
    return Backbone(network, TOY, CPU).features(squares)


@pytest.mark.parametrize("judge", [by_finetuning, by_extraction])
def test_it_is_seen_as_it_will_be_used(judge) -> None:
    network = restless()
    before = copy.deepcopy(network.state_dict())
    given, expected = judge(network), restated(network, EXAMPLES)
    if judge is by_finetuning:  # log-probabilities are logits up to a number of each image
        given, expected = (scores - scores.mean(axis=1, keepdims=True) for scores in (given, expected))
    np.testing.assert_allclose(given, expected, atol=1e-4)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_a_pretrained_network_is_judged_so_too() -> None:
    network = restless()
    before, right = copy.deepcopy(network.state_dict()), restated(network, EXAMPLES).argmax(1) == EXAMPLES.labels
    accuracy = pretrain._accuracy(network, Corpus(EXAMPLES, framing.of_card(TOY), CPU), TOY)
    assert accuracy == pytest.approx(right.mean())
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_a_network_that_was_only_looked_at_has_the_statistics_of_its_checkpoint() -> None:
    card = names.card("random:resnet10t")
    preprocessing = card.preprocessing.model_copy(update={"resolution": 64})
    network = Trainable(card, preprocessing, CPU, "fp32", "x", Path("unused"), print).network(3)
    counts = [tensor for name, tensor in network.state_dict().items() if name.endswith("num_batches_tracked")]
    assert counts
    assert not any(counts)
