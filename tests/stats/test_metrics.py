"""Metrics against scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, recall_score

from mixer_bench.stats.metrics import METRICS, mean_per_class, top1


@pytest.mark.parametrize("seed", range(5))
def test_metrics_are_sklearns(seed: int) -> None:
    generator = np.random.default_rng(seed)
    label = generator.choice(6, size=300, p=[0.5, 0.3, 0.1, 0.05, 0.04, 0.01])
    prediction = np.where(generator.random(300) < 0.6, label, generator.integers(0, 6, 300))
    assert top1(prediction, label, 6) == accuracy_score(label, prediction)
    assert mean_per_class(prediction, label, 6) == pytest.approx(
        recall_score(label, prediction, labels=np.unique(label), average="macro")
    )


def test_a_class_that_does_not_occur_is_left_out_of_the_mean() -> None:
    label, prediction = np.array([0, 0, 2]), np.array([0, 1, 2])
    assert mean_per_class(prediction, label, 4) == pytest.approx((0.5 + 1.0) / 2)
    assert set(METRICS) == {"top1", "mean_per_class"}
