"""Comparisons against exact sums, a plain-loop restatement in fractions, and simulation."""

import math
from fractions import Fraction
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special
from scipy import stats as scipy_stats

from mixer_bench.stats import paired

PAIRS = 1_000


def mcnemar_by_fractions(only_a: int, only_b: int) -> Fraction:
    """Sum of all outcomes of a fair coin that are at most as likely as this one."""
    count = only_a + only_b
    seen = math.comb(count, only_a)
    return Fraction(sum(math.comb(count, k) for k in range(count + 1) if math.comb(count, k) <= seen), 2**count)


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 0), (1, 0), (0, 5), (6, 0), (3, 9), (7, 7), (30, 12), (101, 140)])
def test_mcnemar_is_the_binomial_sum(only_a: int, only_b: int) -> None:
    assert paired.mcnemar(only_a, only_b) == pytest.approx(float(mcnemar_by_fractions(only_a, only_b)), rel=1e-9)


@cache
def rejected_share(discordant: int) -> float:
    """Chance that a fair coin tossed so often has an exact p of 5 % or less."""
    likely = scipy_stats.binom.pmf(np.arange(discordant + 1), discordant, 0.5)
    tail = np.cumsum(likely)
    critical = np.searchsorted(2 * tail, 0.05, side="right")  # so many outcomes from the end are rejected
    return float(2 * tail[critical - 1]) if critical else 0.0


@pytest.mark.parametrize(
    ("examples", "share", "rate"), [(642, 0.1, 3.8), (642, 0.3, 4.2), (2000, 0.1, 4.2), (2000, 0.3, 4.5)]
)
def test_false_alarms_of_mcnemar_are_as_documented(examples: int, share: float, rate: float) -> None:
    """Of two equally good models with this share of discordant examples; summed, not simulated."""
    chance = scipy_stats.binom.pmf(np.arange(examples + 1), examples, share)
    likely = np.flatnonzero(chance > 1e-7)
    measured = 100 * sum(chance[count] * rejected_share(int(count)) for count in likely)
    assert measured == pytest.approx(rate, abs=0.06)


def right_answers(seed: int, seeds: int, examples: int) -> tuple[np.ndarray, np.ndarray]:
    """Two models' correctness [S, N]; A slightly better."""
    generator = np.random.default_rng(seed)
    ease = generator.normal(0.5, 1, (1, examples))
    a, b = (ease + shift + generator.normal(0, 1, (seeds, examples)) > 0 for shift in (0.3, 0.0))
    return a, b


@pytest.mark.parametrize("seed", range(3))
def test_one_seed_is_mcnemar_with_the_bootstrap_of_resampled_examples(seed: int) -> None:
    a, b = right_answers(seed, 1, 300)
    result = paired.compare(a, b)
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    assert result.difference == pytest.approx((only_a - only_b) / 300)
    assert result.p == pytest.approx(float(mcnemar_by_fractions(only_a, only_b)))
    expected = scipy_stats.bootstrap(
        (a[0].astype(float) - b[0],), np.mean, method="percentile", n_resamples=9_999, batch=1_000, rng=7
    ).confidence_interval
    assert result.ci95 == pytest.approx((expected.low, expected.high), abs=0.005)
    assert (result.seeds, result.examples, result.seed_variance) == (1, 300, None)
    assert result.sampling_variance == pytest.approx(np.var(a[0].astype(float) - b[0], ddof=1) / 300)
    assert (result.degrees, result.method) == (299, "exact McNemar")


def two_way(values: list[list[Fraction]]) -> tuple[Fraction, Fraction, Fraction, Fraction]:
    """Mean and mean squares of seeds, examples and interaction, by plain loops over a two-way table."""
    seeds, examples = len(values), len(values[0])
    mean = sum(sum(row) for row in values) / (seeds * examples)
    rows = [sum(row) / examples for row in values]
    columns = [sum(row[i] for row in values) / seeds for i in range(examples)]
    between_seeds = examples * sum((row - mean) ** 2 for row in rows) / (seeds - 1)
    between_examples = seeds * sum((column - mean) ** 2 for column in columns) / (examples - 1)
    left = Fraction(0)
    for s in range(seeds):
        for i in range(examples):
            left += (values[s][i] - rows[s] - columns[i] + mean) ** 2
    return mean, between_seeds, between_examples, left / ((seeds - 1) * (examples - 1))


@pytest.mark.parametrize(("seed", "seeds", "examples"), [(0, 2, 40), (1, 3, 60), (2, 10, 25)])
def test_several_seeds_are_the_two_way_table(seed: int, seeds: int, examples: int) -> None:
    a, b = right_answers(seed, seeds, examples)
    table = [[Fraction(int(x) - int(y)) for x, y in zip(*rows, strict=True)] for rows in zip(a, b, strict=True)]
    mean, among, between, left = two_way(table)
    cells = seeds * examples
    result = paired.compare(a, b)
    assert result.difference == pytest.approx(float(mean))
    assert result.seed_variance == pytest.approx(float(among / cells))
    assert result.sampling_variance == pytest.approx(float(max(between - left, Fraction(0)) / cells))
    error = math.sqrt(result.seed_variance + result.sampling_variance)
    upper = float(among / cells) * (seeds - 1) / scipy_stats.chi2.ppf(0.3, seeds - 1)
    sampling = result.sampling_variance
    degrees = (upper + sampling) ** 2 / (upper**2 / (seeds - 1) + sampling**2 / (examples - 1))
    student = scipy_stats.t(degrees, scale=error)
    half = student.isf(0.025)
    assert result.p == pytest.approx(2 * student.sf(abs(float(mean))))
    assert result.ci95 == pytest.approx((max(-1, float(mean) - half), min(1, float(mean) + half)))
    found = scipy_stats.nct.sf(half / error, degrees, result.detectable / error)
    assert found == pytest.approx(0.8, abs=1e-4) or result.detectable == 1
    assert (result.seeds, result.examples, result.method) == (seeds, examples, "seeds x examples")
    assert result.degrees == pytest.approx(degrees)


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("right", [0, 1, None])
def test_identical_models_do_not_differ(seeds: int, right: int | None) -> None:
    answers = right_answers(0, seeds, 50)[0] if right is None else np.full((seeds, 50), right)
    result = paired.compare(answers, answers.copy())
    assert (result.difference, result.p, result.ci95, result.sampling_variance) == (0, 1, (0, 0), 0)
    assert result.detectable == pytest.approx(6 / 50)  # fewer discordant examples are never significant


def test_all_against_nothing_is_as_sure_as_the_examples_are_many() -> None:
    right, wrong = np.ones((3, 20)), np.zeros((3, 20))
    result = paired.compare(right, wrong)
    assert (result.difference, result.seed_variance) == (1, 0)
    assert result.p == pytest.approx(2 / 2**20)


def test_seeds_equal_by_chance_are_not_certainty() -> None:
    """Both seeds favour A by one example: no variance among seeds, and none that examples would explain."""
    assert 0.05 < paired.compare(np.array([[1, 0], [0, 1]]), np.zeros((2, 2))).p < 1


@pytest.mark.parametrize("seeds", [1, 4])
def test_weights_give_the_difference_of_mean_per_class_accuracies(seeds: int) -> None:
    sizes = np.array([10, 30, 60])
    label = np.repeat(np.arange(3), sizes)
    a, b = right_answers(5, seeds, 100)
    result = paired.compare(a, b, 1 / sizes[label])
    by_class = [a[:, label == c].mean() - b[:, label == c].mean() for c in range(3)]
    assert result.difference == pytest.approx(np.mean(by_class))
    if seeds == 1:
        assert result.method == "paired t over examples"
        share = 1 / (3 * sizes[label])
        left = a[0].astype(float) - b[0] - result.difference
        assert result.sampling_variance == pytest.approx(
            sum((w * r) ** 2 for w, r in zip(share, left, strict=True)) * 100 / 99
        )


@pytest.mark.parametrize("seeds", [1, 3])
def test_equal_weights_change_nothing(seeds: int) -> None:
    a, b = right_answers(6, seeds, 80)
    result, expected = paired.compare(a, b, np.full(80, 0.7)), paired.compare(a, b)
    assert result.method == expected.method
    assert (result.difference, result.p) == pytest.approx((expected.difference, expected.p))


tables = st.tuples(st.integers(1, 4), st.integers(2, 12)).flatmap(
    lambda shape: st.tuples(
        *[st.lists(st.booleans(), min_size=shape[0] * shape[1], max_size=shape[0] * shape[1])] * 2, st.just(shape)
    )
)


@given(tables, st.randoms(use_true_random=False))
def test_swapped_models_swap_signs_and_the_order_of_examples_is_nothing(drawn: tuple, random: object) -> None:
    a, b = (np.array(values).reshape(drawn[2]) for values in drawn[:2])
    result, swapped = paired.compare(a, b), paired.compare(b, a)
    order = np.random.default_rng(random.randrange(2**32)).permutation(a.shape[1])
    shuffled = paired.compare(a[:, order], b[:, order])
    assert 0 <= result.p <= 1
    assert result.ci95[0] <= result.difference <= result.ci95[1] or result.method == "exact McNemar"
    assert 0 < result.detectable <= 1
    for other, sign in ((swapped, -1), (shuffled, 1)):
        assert other.difference == pytest.approx(sign * result.difference, abs=1e-12)
        for field in ("p", "sampling_variance", "detectable"):
            assert getattr(other, field) == pytest.approx(getattr(result, field), rel=1e-6, abs=1e-12)


def test_holm_step_by_step() -> None:
    """0.01 x 4, 0.02 x 3, then 0.03 x 2 may not fall below 0.06, and 0.9 x 1."""
    assert paired.holm([0.03, 0.01, 0.9, 0.02]) == pytest.approx([0.06, 0.04, 0.9, 0.06])
    assert paired.holm([0.6, 0.5]) == [1.0, 1.0]
    assert paired.holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=30))
def test_holm_raises_every_p_and_keeps_their_order(ps: list[float]) -> None:
    adjusted = paired.holm(ps)
    assert all(p <= q <= 1 for p, q in zip(ps, adjusted, strict=True))
    assert sorted(adjusted) == [adjusted[i] for i in sorted(range(len(ps)), key=lambda i: (ps[i], adjusted[i]))]


def simulate(
    generator: np.random.Generator, seeds: int, examples: int, shift: float, better: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Answers [S, N] of two models: logits of example, model on example, seed (sd ``shift``) and seed on example."""
    ease = generator.normal(1, 1.5, (1, examples))
    models = []
    for gain in (better, 0.0):
        own, seed = generator.normal(gain, 1, (1, examples)), generator.normal(0, shift, (seeds, 1))
        models.append(ease + own + seed + generator.normal(0, 0.7, (seeds, examples)) > 0)
    return models[0], models[1]


def exact_power(discordant: int, examples: int, difference: float) -> float:
    """How often the exact test finds so large a difference: each example discordant and in A's favour by chance."""
    share, found = discordant / examples, 0.0
    for count in range(1, examples + 1):
        for_a = np.arange(count // 2 + 1, count + 1)
        seen = for_a[2 * scipy_stats.binom.sf(for_a - 1, count, 0.5) <= 0.05]
        power = scipy_stats.binom.pmf(seen, count, (1 + difference / share) / 2).sum()
        found += scipy_stats.binom.pmf(count, examples, share) * power
    return found


@pytest.mark.parametrize(("discordant", "examples"), [(20, 100), (20, 642), (128, 642), (100, 1_000)])
def test_what_one_seed_could_detect_is_found_four_times_in_five_by_the_exact_test(
    discordant: int, examples: int
) -> None:
    a, b = np.zeros((2, 1, examples), bool)
    a[0, : discordant // 2], b[0, discordant // 2 : discordant] = True, True
    detectable = paired.compare(a, b).detectable
    assert 0.8 <= exact_power(discordant, examples, detectable) <= 0.85
    share, difference = discordant / examples, detectable - 1 / examples
    sides = 1.959964 * math.sqrt(share) + 0.841621 * math.sqrt(share - difference**2)  # Miettinen's condition
    assert difference * math.sqrt(examples) == pytest.approx(sides, rel=1e-6)


@pytest.mark.parametrize("seeds", [3, 10])
@pytest.mark.parametrize("shift", [0.0, 0.1, 0.3])  # 0, 1.5 and 5 points of accuracy
def test_false_alarms_over_seeds_are_near_five_percent(seeds: int, shift: float) -> None:
    generator = np.random.default_rng(2024)
    alarms = sum(paired.compare(*simulate(generator, seeds, 642, shift)).p < 0.05 for _ in range(PAIRS))
    assert 0.03 <= alarms / PAIRS <= 0.07


def test_false_alarms_of_mean_per_class_accuracy_are_near_five_percent() -> None:
    generator = np.random.default_rng(5)
    weights = np.repeat(1 / np.array([10, 30, 60, 200, 342]), [10, 30, 60, 200, 342])
    for seeds in (1, 3):
        alarms = sum(
            paired.compare(*simulate(generator, seeds, 642, 0.1 * (seeds > 1)), weights).p < 0.05 for _ in range(PAIRS)
        )
        assert 0.03 <= alarms / PAIRS <= 0.07


@pytest.mark.parametrize(("seeds", "shift"), [(1, 0.0), (3, 0.1), (10, 0.1)])
def test_a_detectable_difference_is_found_four_times_in_five(seeds: int, shift: float) -> None:
    """Models as far apart as their own data say can be seen, found by a first look at equal ones."""
    generator = np.random.default_rng(7)
    pilot = [paired.compare(*simulate(generator, seeds, 642, shift)).detectable for _ in range(100)]
    wanted = float(np.mean(pilot))
    spread = math.sqrt(1.5**2 + 1 + shift**2 + 0.7**2)  # sd of the logits: accuracy is the normal integral at mean / sd
    better = spread * float(special.ndtri(special.ndtr(1 / spread) + wanted)) - 1
    results = [paired.compare(*simulate(generator, seeds, 642, shift, better)) for _ in range(600)]
    assert np.mean([result.difference for result in results]) == pytest.approx(wanted, abs=0.003)
    found = np.mean([result.p < 0.05 for result in results])
    assert 0.75 <= found <= 0.85
