"""BitFit: of a pretrained network only the biases and the classifier are trained (Ben Zaken et al. 2022, section 3).

Departures: images instead of text, and SGD with the settings of `finetune`, with larger learning rates.
"""

from mixer_bench.protocols.base import Protocol
from mixer_bench.protocols.finetune import cost
from mixer_bench.training.settings import Config as TrainingConfig

VERSION = 1  # raise it whenever a score could change


class Config(TrainingConfig):
    """The settings of `finetune`; biases bear larger learning rates than weights do."""

    learning_rates: tuple[float, ...] = (0.01, 0.03, 0.1, 0.3)


def only_biases(network, seed):
    """Freeze what is neither a bias nor the classifier; nothing is drawn, so the seed is of no use here."""
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name.endswith(".bias"))
    network.get_classifier().requires_grad_()
    return network


def fit(backbone, development, config, seed):
    """Choose the learning rate on val, then train on train and val with ``seed``, as `finetune` does."""
    from mixer_bench.training.finetuning import Method, finetune  # imports torch, which `list protocols` does without

    return finetune(backbone, development, config, seed, Method(f"bitfit {VERSION}", only_biases))


PROTOCOL = Protocol(VERSION, Config, fit, trains=True, cost=cost)
