"""Examples: choosing, joining, fingerprints, limits; and what a protocol may not see."""

import dataclasses
import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixer_bench.data.examples import Development, Examples, TaskData

modest = settings(max_examples=40)


def examples(count: int, first: int = 0) -> Examples:
    """Images whose only value is their number."""
    images = np.arange(first, first + count, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    digests = tuple(hashlib.sha256(image.tobytes()).hexdigest() for image in images)
    return Examples(images, np.arange(count) % 3, tuple(f"{first + index}.png" for index in range(count)), digests)


def numbers(examples: Examples) -> list[int]:
    return [int(examples.images[index][0, 0, 0]) for index in range(len(examples))]


def task_data(train: Examples, val: Examples, test: Examples) -> TaskData:
    return TaskData(train, val, test, ("a", "b", "c"), "top1", "toy", "official")


TOY = task_data(examples(30), examples(10, 30), examples(20, 40))


@modest
@given(st.lists(st.integers(0, 19), max_size=40))
def test_taking_keeps_image_label_name_and_digest_together(indices: list[int]) -> None:
    whole = examples(20, 5)
    taken = whole.take(np.array(indices, dtype=np.int64))
    assert len(taken) == len(taken.images) == len(indices)
    assert numbers(taken) == [5 + index for index in indices]
    assert taken.labels.tolist() == [index % 3 for index in indices]
    assert taken.names == tuple(f"{5 + index}.png" for index in indices)
    assert taken.digests == tuple(whole.digests[index] for index in indices)


@modest
@given(st.lists(st.integers(0, 6), min_size=1, max_size=5))
def test_joining_puts_one_part_after_the_other(sizes: list[int]) -> None:
    starts = np.cumsum([0, *sizes[:-1]]).tolist()
    joined = Examples.joined([examples(size, start) for size, start in zip(sizes, starts, strict=True)])
    assert len(joined) == len(joined.images) == sum(sizes)
    assert numbers(joined) == list(range(sum(sizes)))
    assert joined.names == tuple(f"{index}.png" for index in range(sum(sizes)))
    assert joined.labels.tolist() == [index % 3 for size in sizes for index in range(size)]
    with pytest.raises(IndexError):
        joined.images[sum(sizes)]


def test_choosing_from_a_choice_counts_from_the_choice() -> None:
    assert numbers(examples(10).take(np.array([9, 7, 5, 3])).take(np.array([1, 3]))) == [7, 3]


def test_the_fingerprint_is_that_of_content_and_labels_not_of_names() -> None:
    toy = examples(6)
    renamed = dataclasses.replace(toy, names=tuple("uvwxyz"))
    assert renamed.fingerprint == toy.fingerprint == examples(6).fingerprint
    others = {
        "content": examples(6, 1),
        "number": examples(5),
        "order": toy.take(np.array([1, 0, 2, 3, 4, 5])),
        "label": dataclasses.replace(toy, labels=np.array([0, 1, 2, 0, 1, 1])),
    }
    assert len({toy.fingerprint, *(other.fingerprint for other in others.values())}) == 5


def test_moving_an_example_to_another_split_changes_the_tasks_fingerprint() -> None:
    whole = examples(20)
    nine, ten = (
        task_data(whole.take(np.arange(0, cut)), whole.take(np.arange(cut, 15)), whole.take(np.arange(15, 20)))
        for cut in (9, 10)
    )
    assert len({nine.fingerprint, ten.fingerprint, task_data(nine.val, nine.train, nine.test).fingerprint}) == 3


def test_what_a_protocol_learns_from_holds_no_test_examples() -> None:
    assert {field.name for field in dataclasses.fields(Development)} == {
        "train",
        "val",
        "num_classes",
        "metric",
        "order",
        "class_names",
    }
    assert TOY.development == Development(TOY.train, TOY.val, 3, "top1", class_names=TOY.class_names)


@pytest.mark.parametrize("limit", [1, 7, 10, 25, 100])
def test_a_limit_keeps_at_most_so_many_a_split_in_order_and_a_smaller_one_a_part_of_them(limit: int) -> None:
    limited = TOY.limited(limit)
    for name, kept in limited.splits.items():
        whole = TOY.splits[name]
        assert len(kept) == min(limit, len(whole))
        assert numbers(kept) == sorted(set(numbers(kept)) & set(numbers(whole)))
        assert set(numbers(TOY.limited(max(1, limit // 2)).splits[name])) <= set(numbers(kept))
    assert limited.fingerprint == TOY.limited(limit).fingerprint


def test_no_limit_changes_nothing() -> None:
    assert TOY.limited(None) is TOY
    assert TOY.limited(1000).fingerprint == TOY.fingerprint
