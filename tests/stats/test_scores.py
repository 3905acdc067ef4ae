"""AUROC and calibration against scikit-learn, sums written out and simulation; and what scores are."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from mixer_bench.errors import UsageError
from mixer_bench.stats import metrics, scores
from mixer_bench.stats.scores import Bin
from mixer_bench.task.task import Task, tasks


def drawn(generator: np.random.Generator, count: int, classes: int, sure: float) -> tuple[np.ndarray, np.ndarray]:
    """Logits of which ``sure`` says how far they are from chance, and labels drawn by their probabilities."""
    logits = sure * generator.normal(size=(count, classes))
    likely = scores.probabilities(logits, "logits")
    return logits, (likely.cumsum(axis=1) < generator.random((count, 1))).sum(axis=1)


@pytest.mark.parametrize("classes", [2, 5])
def test_the_area_is_sklearns(classes: int) -> None:
    logits, label = drawn(np.random.default_rng(classes), 300, classes, 2.0)
    likely = np.round(scores.probabilities(logits, "logits"), 2)  # with ties
    likely /= likely.sum(axis=1, keepdims=True)
    expected = roc_auc_score(label, likely[:, 1] if classes == 2 else likely, multi_class="ovr")
    assert scores.area(likely, label, classes) == pytest.approx(expected, abs=1e-12)


def test_the_area_is_the_share_of_pairs_in_the_right_order() -> None:
    margins, label = np.array([[0.9, -1.0], [0.2, 0.5], [0.2, 0.1], [-0.5, 2.0], [0.1, 0.1]]), np.array([0, 0, 1, 1, 1])
    of_0 = (3 + 0.5 + 2) / 6  # 0.9 above all three; 0.2 level with one and above two
    of_1 = (2 + 1 + 2 - 1 + 0) / 6  # 0.1 above one, 2.0 above both, 0.1 above one
    assert scores.area(margins, label, 2) == pytest.approx((of_0 + of_1) / 2)


def test_a_class_that_does_not_occur_has_no_area_and_one_class_alone_none() -> None:
    logits, label = drawn(np.random.default_rng(0), 100, 3, 1.0)
    wider = np.hstack([logits, np.full((100, 1), -np.inf)])
    assert scores.area(wider, label, 4) == scores.area(logits, label, 3)
    assert np.isnan(scores.area(logits, np.zeros(100, int), 3))


def test_calibration_error_by_hand() -> None:
    """Two bins, from 0.6 to 0.667 and from 0.933 to 1: 0.65 sure and 2 of 4 right, 0.95 sure and 1 of 2."""
    first = np.array([0.65, 0.65, 0.65, 0.65, 0.95, 0.95])
    likely, label = np.stack([first, 1 - first], axis=1), np.array([0, 0, 1, 1, 0, 1])
    assert scores.calibration_error(likely, label, 2) == pytest.approx((4 * 0.15 + 2 * 0.45) / 6)
    assert scores.reliability(first, label == 0) == [
        Bin(answers=4, confidence=0.65, accuracy=0.5),
        Bin(answers=2, confidence=0.95, accuracy=0.5),
    ]


def test_who_is_as_right_as_he_says_is_calibrated_and_who_says_too_much_is_not() -> None:
    logits, label = drawn(np.random.default_rng(0), 20_000, 4, 2.0)
    for times, low, high in ((1, 0, 0.012), (3, 0.1, 0.3)):
        likely = scores.probabilities(times * logits, "logits")
        assert low < scores.calibration_error(likely, label, 4) < high


@pytest.mark.parametrize(("metric", "times"), [("auroc", 1), ("ece", 3)])
def test_intervals_cover_as_they_say(metric: str, times: float) -> None:
    """ECE where something is amiss: of what is all but right it is never far from what its own noise makes it."""
    generator, chosen = np.random.default_rng(0), metrics.get(metric)

    def sample(count: int) -> tuple[np.ndarray, np.ndarray, int]:
        logits, label = drawn(generator, count, 3, 1.5)
        return scores.probabilities(times * logits, "logits"), label, 3

    expected = chosen.score(*sample(200_000))
    ends = [chosen.interval(*sample(300)) for _ in range(300)]
    assert 0.92 <= np.mean([low <= expected <= high for low, high in ends]) <= 0.985


@pytest.mark.parametrize("metric", ["auroc", "ece"])
def test_few_images_are_no_certainty(metric: str) -> None:
    label = np.array([0, 0, 1, 1])
    low, high = metrics.get(metric).interval(np.eye(2)[label], label, 2)
    assert high - low > 0.3


def test_what_scores_are_decides_whether_they_are_probabilities() -> None:
    values = np.array([[1.0, 3.0], [2.0, 2.0]])
    np.testing.assert_allclose(scores.probabilities(values, "votes"), [[0.25, 0.75], [0.5, 0.5]])
    np.testing.assert_allclose(scores.probabilities(values, "logits")[0, 1], 1 / (1 + np.exp(-2)))
    np.testing.assert_allclose(scores.probabilities(np.array([[0.0, -np.inf]]), "logits"), [[1, 0]])
    assert scores.probabilities(values, "order") is None
    assert metrics.Given.of(values, "order").confidence is None


@pytest.mark.parametrize("name", ["auroc", "ece"])
def test_no_task_is_selected_by_it(name: str) -> None:
    with pytest.raises((UsageError, ValueError), match="recorded beside a task's own metric"):
        Task.model_validate({**tasks()["digits"].model_dump(), "metric": name})
