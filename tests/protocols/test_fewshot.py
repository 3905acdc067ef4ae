"""The few-shot probe against a float64 re-statement of big_vision's rule, and against scikit-learn."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import Ridge as SklearnRidge

from mixer_bench.data.examples import Development, Examples
from mixer_bench.errors import DataError
from mixer_bench.protocols import fewshot
from mixer_bench.results.record import Drawn
from tests.builders import Given, colours, make_examples
from tests.restated_rules import big_vision


def random_task(width: int, train_counts: list[int], seed: int = 0) -> tuple[Development, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    classes = len(train_counts)
    centres = generator.normal(size=(classes, width))

    def draw(labels: np.ndarray) -> np.ndarray:
        return (centres[labels] + generator.normal(0, 2.0, (len(labels), width))).astype(np.float32)

    y = np.repeat(np.arange(classes), train_counts)
    y = y[generator.permutation(len(y))]
    train = make_examples(draw(y).reshape(len(y), 1, 1, width), y, "train")
    val_y = np.arange(4 * classes) % classes
    val = make_examples(draw(val_y).reshape(-1, 1, 1, width), val_y, "val")
    test_y = np.arange(200) % classes
    return Development(train, val, classes, "top1"), draw(test_y), test_y


CASES = {
    "more shots than dimensions": (6, [30] * 4, 25),
    "fewer shots than dimensions": (40, [30] * 4, 5),
    "one shot": (16, [30] * 5, 1),
    "a class with fewer than k": (12, [30, 3, 30, 1], 10),
    "as many as dimensions with bias": (19, [30] * 4, 5),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_every_prediction_is_the_restatements(case: str, seed: int) -> None:
    width, counts, shots = CASES[case]
    development, test_x, test_y = random_task(width, counts)
    test = make_examples(test_x.reshape(-1, 1, 1, width), test_y, "test")
    fitted = fewshot.fit(Given(), development, fewshot.Config(shots=shots), seed)
    ours = fitted.scores(test)
    train, val = development.train, development.val
    pool_x = np.concatenate([Given().features(train), Given().features(val)])
    pool_y = np.concatenate([train.labels, val.labels])
    expected = big_vision(pool_x, pool_y, test_x, len(counts), shots, seed)
    np.testing.assert_allclose(ours, expected, rtol=1e-8, atol=1e-10)
    assert (ours.argmax(1) == expected.argmax(1)).all()
    assert len(set(ours.argmax(1))) > 1, "the case must be able to tell classes apart"


@pytest.mark.parametrize("val_first", [True, False])
def test_the_pool_is_the_sources_own_split_in_its_own_order(val_first: bool) -> None:
    """big_vision draws from all of TFDS's train, whichever slice of it is val here."""
    development, test_x, test_y = random_task(12, [20, 20, 12])
    both = Examples.joined([development.train, development.val])
    cut = 15
    order = np.roll(np.arange(len(both)), cut) if val_first else np.arange(len(both))
    whole = Given().features(both)[order], both.labels[order]
    train, val = (both.take(np.arange(a, b)) for a, b in ((0, len(both) - cut), (len(both) - cut, len(both))))
    development = replace(development, train=train, val=val, order=order if val_first else None)
    test = make_examples(test_x.reshape(-1, 1, 1, 12), test_y, "test")
    ours = fewshot.fit(Given(), development, fewshot.Config(shots=5), 1).scores(test)
    np.testing.assert_allclose(ours, big_vision(*whole, test_x, 3, 5, 1), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(("rows", "columns"), [(50, 8), (8, 50)])
@pytest.mark.parametrize("l2", [1e-3, 1.0, 1024.0])
def test_one_decomposition_gives_sklearns_ridge_for_every_penalty(rows: int, columns: int, l2: float) -> None:
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(rows, columns)), generator.normal(size=(rows, 3))
    expected = SklearnRidge(alpha=l2, fit_intercept=False, solver="cholesky", tol=0).fit(x, y).coef_.T
    np.testing.assert_allclose(fewshot.ridge(x, y)(l2), expected, rtol=1e-6, atol=1e-9)


def test_singular_problems_stay_finite() -> None:
    x = np.repeat(np.eye(3), 2, axis=0)[:, [0, 0, 1, 2]]  # two equal columns
    assert np.isfinite(fewshot.ridge(x, x[:, :1])(1e-9)).all()


def test_of_several_penalties_the_best_on_val_is_taken_and_recorded() -> None:
    data, grid = colours(noise=70.0), (1.0, 1024.0, 1e7)
    chosen = fewshot.fit(Given(), data.development, fewshot.Config(shots=5, l2=grid), 0)
    train, val, test = (Given().features(part) for part in data.splits.values())
    # From train alone: what val chooses must not be learned from val.
    on_val = [big_vision(train, data.train.labels, val, 3, 5, 0, l2).argmax(1) for l2 in grid]
    scores = [np.mean(predicted == data.val.labels) for predicted in on_val]
    assert chosen.selection.scores == tuple(scores)
    assert (chosen.selection.split, chosen.drawn.pool) == ("val", len(data.train))
    assert chosen.selection.chosen == grid[int(np.argmax(scores))]
    expected = big_vision(train, data.train.labels, test, 3, 5, 0, chosen.selection.chosen)
    np.testing.assert_allclose(chosen.scores(data.test), expected, rtol=1e-6, atol=1e-8)
    assert fewshot.fit(Given(), data.development, fewshot.Config(shots=5), 0).selection is None, "one is no choice"


def test_classes_with_too_few_images_are_counted_and_a_draw_of_one_class_is_refused() -> None:
    development, _, _ = random_task(12, [30, 3, 30, 1])  # and four of each class in val
    assert fewshot.fit(Given(), development, fewshot.Config(shots=10), 0).drawn == Drawn(
        images=32, pool=80, short=2, fewest=5
    )
    development, _, _ = random_task(4, [5, 0, 0])
    alone = replace(development, val=development.train)
    with pytest.raises(DataError, match="holds 1 class"):
        fewshot.fit(Given(), alone, fewshot.Config(shots=1), 0)


def test_where_all_is_drawn_seeds_say_nothing_and_that_is_told() -> None:
    development, test_x, test_y = random_task(12, [2, 2, 2])
    test = make_examples(test_x.reshape(-1, 1, 1, 12), test_y, "test")
    for shots, whole in ((5, False), (6, True), (25, True)):
        fits = [fewshot.fit(Given(), development, fewshot.Config(shots=shots), seed) for seed in range(3)]
        assert [fitted.drawn.whole for fitted in fits] == [whole] * 3
        spread = np.ptp([fitted.scores(test) for fitted in fits], axis=0).max()
        assert (spread < 1e-9) == whole
    assert fits[0].drawn == Drawn(images=18, pool=18, short=3, fewest=6)
