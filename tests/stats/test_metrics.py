"""Metrics against scikit-learn and against sums written out, their intervals against simulation, and plug-ins."""

import math
from collections.abc import Iterator
from importlib.metadata import EntryPoint, EntryPoints

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, recall_score

from mixer_bench.errors import UsageError
from mixer_bench.stats import intervals, metrics
from mixer_bench.stats.metrics import Metric
from mixer_bench.system import plugins
from tests.builders import a_record, a_run

OTHERS = {
    "top1": accuracy_score,
    "mean_per_class": lambda label, prediction: recall_score(
        label, prediction, labels=np.unique(label), average="macro"
    ),
    "macro_f1": lambda label, prediction: np.mean([
        f1_score(label == c, prediction == c) for c in np.unique([label, prediction])
    ]),
}  # fmt: skip


def answers(generator: np.random.Generator, count: int = 300) -> tuple[np.ndarray, np.ndarray]:
    label = generator.choice(6, size=count, p=[0.5, 0.3, 0.1, 0.05, 0.04, 0.01])
    return np.where(generator.random(count) < 0.6, label, generator.integers(0, 7, count)), label


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("seed", range(5))
def test_scores_are_sklearns_and_lie_in_their_intervals(name: str, seed: int) -> None:
    prediction, label = answers(np.random.default_rng(seed))
    metric = metrics.get(name)
    score = metric.score(prediction, label, 7)
    assert score == pytest.approx(OTHERS[name](label, prediction), abs=1e-12)
    low, high = metric.interval(prediction, label, 7)
    assert 0 <= low < score < high <= 1
    if metric.pairs:
        assert score == pytest.approx(np.average(prediction == label, weights=metric.example_weights(label)))


def test_mean_per_class_is_the_plain_mean_of_the_shares_of_occurring_classes() -> None:
    """To the last digit: choices on val go by it, and no stored choice may turn."""
    prediction, label = answers(np.random.default_rng(9))
    total, right = (np.bincount(values, minlength=7) for values in (label, label[prediction == label]))
    expected = float(np.mean(right[total > 0] / total[total > 0]))
    assert metrics.get("mean_per_class").score(prediction, label, 7) == pytest.approx(expected, abs=1e-15)
    assert metrics.get("mean_per_class").score(np.array([0, 1, 2]), np.array([0, 0, 2]), 4) == 0.75


def test_the_interval_of_the_mean_per_class_adds_wilsons_in_squares() -> None:
    prediction, label = answers(np.random.default_rng(3))
    halves = []
    for number in np.unique(label):
        members = prediction[label == number] == number
        low, high = intervals.proportion_interval(int(members.sum()), len(members))
        halves.append((high - low) / 2)
    half = math.sqrt(sum(half**2 for half in halves)) / len(halves)
    metric = metrics.get("mean_per_class")
    score = metric.score(prediction, label, 7)
    assert metric.interval(prediction, label, 7) == pytest.approx((score - half, min(1, score + half)), abs=1e-12)


@pytest.mark.parametrize("name", ["mean_per_class", "macro_f1"])
def test_intervals_cover_as_they_say(name: str) -> None:
    """Simulated tests of a classifier with known class accuracies: 95 % intervals hold the truth about that often."""
    generator, metric = np.random.default_rng(0), metrics.get(name)
    truth, sizes = np.array([0.9, 0.5, 0.7]), np.array([40, 60, 100])

    def sample(label: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
        return np.where(generator.random(len(label)) < truth[label], label, (label + 1) % 3), label, 3

    label = np.repeat(np.arange(3), sizes)
    expected = metric.score(*sample(np.repeat(label, 5_000)))
    ends = [metric.interval(*sample(label)) for _ in range(400)]
    assert 0.92 <= np.mean([low <= expected <= high for low, high in ends]) <= 0.985


def test_the_interval_of_macro_f1_is_the_jackknifes() -> None:
    """Some of a large class are taken for one of two small ones."""
    generator, metric = np.random.default_rng(0), metrics.get("macro_f1")
    label = generator.choice(3, 400, p=[0.86, 0.07, 0.07])
    prediction = np.where((label == 0) & (generator.random(400) < 0.1), generator.integers(1, 3, 400), label)
    without = [metric.score(np.delete(prediction, place), np.delete(label, place), 3) for place in range(400)]
    low, high = metric.interval(prediction, label, 3)
    assert (high - low) / 2 == pytest.approx(1.96 * np.std(without) * math.sqrt(399), rel=0.03)


def test_the_interval_of_macro_f1_is_linear_in_each_example() -> None:
    """The score's derivative by an example's weight, worked out by giving it a little more; few examples."""
    label, prediction = np.array([0] * 20 + [1] * 8 + [2] * 4), np.array([0] * 15 + [1] * 9 + [2] * 6 + [0, 2])

    def score(weights: np.ndarray) -> float:
        return float(f1_score(label, prediction, average="macro", sample_weight=weights))

    moves = [(score(1 + 1e-6 * (np.arange(32) == n)) - score(np.ones(32))) / 1e-6 for n in range(32)]
    low, high = metrics.get("macro_f1").interval(prediction, label, 3)
    assert (high - low) / 2 == pytest.approx(1.96 * np.std(moves, ddof=1) * math.sqrt(32), rel=1e-4)


def test_one_image_has_an_interval_without_a_warning() -> None:
    low, high = metrics.get("macro_f1").interval(np.array([1]), np.array([1]), 2)
    assert 0 < low < high == 1


@pytest.mark.parametrize("name", OTHERS)
def test_few_right_answers_are_not_certainty(name: str) -> None:
    label = np.array([0, 0, 1, 1])
    low, high = metrics.get(name).interval(label, label, 2)
    assert low < 0.9
    assert high == 1.0


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("label", [np.arange(10), np.zeros(5, int)], ids=["as many classes as images", "one class"])
def test_few_images_of_many_classes_are_scored_without_a_warning(name: str, label: np.ndarray) -> None:
    for prediction in (label, label + 1):
        assert metrics.get(name).score(prediction, label, 11) == float(np.mean(prediction == label))


ALWAYS = ["top1", "mean_per_class", "macro_f1"]


def test_records_hold_every_metric_that_their_scores_allow() -> None:
    prediction, label = answers(np.random.default_rng(1))
    accepted = [(guess,) if guess else () for guess in prediction]
    ordered, likely = (metrics.Given.of(0.5 + np.eye(7)[prediction], scale) for scale in ("order", "votes"))
    assert list(metrics.measured(ordered, label, None, 7, "top1")) == [*ALWAYS, "auroc"]
    assert list(metrics.measured(likely, label, None, 7, "top1")) == [*ALWAYS, "auroc", "ece"]
    assert list(metrics.measured(likely, label, [()] * 300, 7, "top1")) == [*ALWAYS, "auroc", "ece"]
    one = metrics.Given.of(np.ones((5, 2)), "votes")
    assert list(metrics.measured(one, np.zeros(5, int), None, 2, "top1")) == [*ALWAYS, "ece"]
    values = metrics.measured(ordered, label, accepted, 7, "top1")
    assert list(values) == [*ALWAYS, "real", "auroc"]
    assert values["real"][0] == 1.0
    assert a_record(run=a_run(metric="macro_f1"), metrics={"macro_f1": {"value": 0.5, "ci95": (0.4, 0.6)}})


SHARE_OF_FIRST = Metric("first", "share of class 0", lambda guess, *_: float((guess == 0).mean()), lambda *_: (0, 1))


@pytest.fixture
def plugged(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Metrics that installed packages name, good and bad."""
    values = dict.fromkeys(("first", "top1", "other"), f"{__name__}:SHARE_OF_FIRST") | {"bare": "math:pi"}
    points = EntryPoints(EntryPoint(name, value, metrics.GROUP) for name, value in values.items())
    monkeypatch.setattr(plugins, "entry_points", points.select)
    for cached in (metrics.get, metrics.names):
        cached.cache_clear()
    yield
    for cached in (metrics.get, metrics.names):
        cached.cache_clear()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("top1", "mixer-bench has one of that name"),
        ("bare", r"'bare' of an unknown package \(math:pi\): it must be a Metric with name='bare'"),
        ("other", "it must be a Metric with name='other'"),
        ("frst", "mean first"),
    ],
)
def test_a_package_brings_a_metric_and_a_bad_one_is_refused_alone(plugged: None, name: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        metrics.get(name)
    assert metrics.get("first") is SHARE_OF_FIRST
    assert (metrics.words("first"), metrics.pairs("macro_f1")) == ("share of class 0", False)


def test_a_record_of_a_metric_that_is_not_installed_is_known_by_name() -> None:
    assert (metrics.words("first"), metrics.pairs("first")) == ("first", False)


@pytest.mark.parametrize(("guess", "expected"), [(0, 1.0), (1, 0.0)])
def test_a_single_class_among_the_examples_is_measured_without_a_warning(guess: int, expected: float) -> None:
    label = np.zeros(5, np.int64)
    for name in ("top1", "mean_per_class"):
        assert metrics.get(name).score(np.full(5, guess), label, 2) == expected
    assert metrics.get("macro_f1").score(np.full(5, guess), label, 2) == expected
