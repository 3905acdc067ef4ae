"""The momentum kept in bfloat16, against optax's."""

import numpy as np
import pytest
import torch
from torch import nn

from mixer_bench.training.momentum import sgd
from mixer_bench.training.settings import Config

# Parameters after each of six updates by optax 0.2.8, jax 0.10.2, compiled, on a CPU:
# chain(trace(0.9, accumulator_dtype=bfloat16), scale(-0.5)) of the gradients below, from zeros.
THEIRS = """
0.125 0.078125 -0.0714285746216774
-0.0751953125 0.1483154296875 -0.27833449840545654
-0.31755828857421875 0.13336181640625 -0.6786248683929443
-0.34764862060546875 0.16680192947387695 -1.324065089225769
-0.6246280670166016 0.1656022071838379 -2.2602789402008057
-0.8738040924072266 0.2582760453224182 -3.5311355590820312
"""


def gradient(step: int) -> list[float]:
    return [((step * 7 + 3) % 11 - 5) / 8, ((step * 5 + 1) % 13 - 6) / 32, (step + 1) / 7]


def trained(dtype: str) -> np.ndarray:
    layer = nn.Linear(3, 1, bias=False)
    nn.init.zeros_(layer.weight)
    optimizer = sgd(layer, Config(momentum_dtype=dtype), 0.5)
    places = []
    for step in range(6):
        layer.weight.grad = torch.tensor([gradient(step)])
        optimizer.step()
        places.append(layer.weight[0].tolist())
    return np.array(places)


def test_a_bfloat16_momentum_is_optaxs() -> None:
    theirs = np.array([line.split() for line in THEIRS.split("\n") if line], np.float64)
    np.testing.assert_allclose(trained("bfloat16"), theirs, rtol=1e-6)


def restated(rounded) -> np.ndarray:
    """Momentum SGD in float64; what is kept, and the factor, as ``rounded`` makes them."""
    weight, momentum, places = np.zeros(3), np.zeros(3), []
    for step in range(6):
        update = np.array(gradient(step)) + rounded(np.array(0.9)) * momentum
        weight, momentum = weight - 0.5 * update, rounded(update)
        places.append(weight)
    return np.array(places)


def bfloat16(values: np.ndarray) -> np.ndarray:
    """To 8 significant bits, ties to even."""
    mantissa, exponent = np.frexp(values)
    return np.ldexp(np.rint(mantissa * 256) / 256, exponent)


@pytest.mark.parametrize(("dtype", "rounded"), [("bfloat16", bfloat16), ("float32", np.asarray)])
def test_momentum_is_what_float64_says(dtype: str, rounded) -> None:
    np.testing.assert_allclose(trained(dtype), restated(rounded), rtol=1e-5)
    assert abs(restated(bfloat16) - restated(np.asarray)).max() > 1e-3, "the two are told apart"
