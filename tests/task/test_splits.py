"""Index arithmetic: TFDS's split grammar, big_vision's few-shot draw, splits by class."""

import re
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixer_bench.errors import DataError, UsageError
from mixer_bench.task import splits

modest = settings(max_examples=60)


# --- resolve


@st.composite
def part_and_positions(draw: st.DrawFn) -> tuple[str, int, str, list[int]]:
    """A split's name and size, a slice of it as text, and the positions that the text means."""
    name = draw(st.sampled_from(["train", "test", "validation", "train_1k"]))
    size = draw(st.integers(1, 400))
    start = draw(st.integers(0, size - 1))
    stop = draw(st.integers(start + 1, size))
    first = "" if start == 0 and draw(st.booleans()) else str(start - size * draw(st.booleans()))
    last = "" if stop == size and draw(st.booleans()) else str(stop - size * (stop < size and draw(st.booleans())))
    text = name if (first, last) == ("", "") and draw(st.booleans()) else f"{name}[{first}:{last}]"
    return name, size, text, list(range(start, stop))


@modest
@given(
    st.lists(part_and_positions(), min_size=1, max_size=4, unique_by=lambda part: part[0]), st.sampled_from(["", " "])
)
def test_a_sum_gives_its_parts_in_order_with_or_without_spaces(
    parts: list[tuple[str, int, str, list[int]]], space: str
) -> None:
    text = f"{space}+{space}".join(part[2] for part in parts)
    found = splits.resolve(text, {"other": 7, **{part[0]: part[1] for part in parts}})
    assert [(name, indices.tolist()) for name, indices in found] == [(name, where) for name, _, _, where in parts]


@modest
@given(st.integers(1, 5000), st.integers(0, 99), st.integers(1, 100))
def test_percent_bounds_are_rounded_to_the_nearest_example(size: int, low: int, high: int) -> None:
    start, stop = (round(Fraction(size * percent, 100)) for percent in (low, high))
    text = f"train[{low}%:{high}%]"
    if start < stop:
        assert splits.resolve(text, {"train": size})[0][1].tolist() == list(range(start, stop))
    else:
        with pytest.raises(UsageError, match=re.escape(text)):
            splits.resolve(text, {"train": size})


@pytest.mark.parametrize(
    ("expression", "complaint"),
    [
        ("", "name[start:stop]"),
        ("train+", "name[start:stop]"),
        ("train[5]", "name[start:stop]"),
        ("train[-101:]", "100 examples"),
        ("train[:1.5%]", "name[start:stop]"),
        ("train[:10", "name[start:stop]"),
        ("train[::2]", "name[start:stop]"),
        ("train-val", "name[start:stop]"),
        ("trian", "there is no split 'trian'; there are test, train"),
        ("train[5:5]", "100 examples"),
        ("train[7:5]", "100 examples"),
        ("train[:0]", "100 examples"),
        ("train[:101]", "100 examples"),
        ("train[100:]", "100 examples"),
        ("train[:101%]", "100 examples"),
        ("train[:10]+test[:6]", "'test[:6]' does not lie within the 5 examples"),
    ],
)
def test_a_wrong_expression_is_quoted_with_the_reason(expression: str, complaint: str) -> None:
    with pytest.raises(UsageError, match=re.escape(complaint)) as caught:
        splits.resolve(expression, {"train": 100, "test": 5})
    assert repr(expression) in str(caught.value)


# --- few_shot


@st.composite
def labels_and_classes(draw: st.DrawFn) -> tuple[np.ndarray, int]:
    num_classes = draw(st.integers(1, 6))
    labels = draw(st.lists(st.integers(0, num_classes - 1), min_size=1, max_size=60))
    return np.array(labels, dtype=np.int64), num_classes


def big_vision(labels: np.ndarray, num_classes: int, shots: int, seed: int) -> list[int]:
    """big_vision, evaluators/fewshot_lsr.py, said again."""
    rng = np.random.default_rng(seed)
    drawn = []
    for label in range(num_classes):
        permuted = rng.permutation(np.where(labels == label)[0])
        drawn += permuted[:shots].tolist()
    return drawn


@modest
@given(labels_and_classes(), st.integers(1, 30), st.integers(0, 2**32))
def test_the_draw_is_big_visions(labelled: tuple[np.ndarray, int], shots: int, seed: int) -> None:
    assert splits.few_shot(*labelled, shots, seed).tolist() == big_vision(*labelled, shots, seed)


@pytest.mark.parametrize("shots", [0, -1])
def test_less_than_one_shot_is_refused(shots: int) -> None:
    with pytest.raises(UsageError, match=f"1 or more, not {shots}"):
        splits.few_shot(np.array([0, 1]), 2, shots, 0)


# --- stratified

SHARES = [(0.6, 0.2, 0.2), (0.8, 0.2), (0.5, 0.5), (0.98, 0.01, 0.01), (0.02, 0.49, 0.49), (0.1, 0.3, 0.3, 0.3)]
SHARES += [(0.01, 0.33, 0.33, 0.33)]


def cut(sizes: list[int], shares: tuple[float, ...], seed: int) -> tuple[np.ndarray, list[np.ndarray]]:
    labels = np.random.default_rng(1).permutation(np.repeat(np.arange(len(sizes)), sizes))
    return labels, splits.stratified(labels, shares, tuple(f"class {i}" for i in range(len(sizes))), seed)


@modest
@given(
    st.lists(st.integers(4, 13) | st.integers(4, 60), min_size=1, max_size=5),
    st.sampled_from(SHARES),
    st.integers(0, 99),
)
def test_parts_are_disjoint_cover_everything_and_hold_every_class(
    sizes: list[int], shares: tuple[float, ...], seed: int
) -> None:
    labels, parts = cut(sizes, shares, seed)
    assert len(parts) == len(shares)
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(labels)))
    for part in parts:
        assert part.tolist() == sorted(part.tolist())
        assert np.bincount(labels[part], minlength=len(sizes)).min() >= 1


@modest
@given(st.integers(50, 400), st.sampled_from(SHARES[:3]), st.integers(0, 99))
def test_each_class_is_divided_in_the_proportions_asked_for(size: int, shares: tuple[float, ...], seed: int) -> None:
    labels, parts = cut([size, size + 7], shares, seed)
    for label, of_class in enumerate((size, size + 7)):
        for share, part in zip(shares, parts, strict=True):
            assert abs(int((labels[part] == label).sum()) - share * of_class) <= 1


def test_the_seed_decides_the_parts() -> None:
    draws = [[part.tolist() for part in cut([20, 20], (0.8, 0.2), seed)[1]] for seed in (0, 0, 1)]
    assert draws[0] == draws[1]
    assert draws[0] != draws[2]


@pytest.mark.parametrize(("size", "shares"), [(2, (0.6, 0.2, 0.2)), (1, (0.8, 0.2)), (0, (0.8, 0.2))])
def test_a_class_too_small_to_split_is_named(size: int, shares: tuple[float, ...]) -> None:
    with pytest.raises(DataError, match=rf"'class 1' has {size} images?; {len(shares)} or more"):
        cut([10, size], shares, 0)
