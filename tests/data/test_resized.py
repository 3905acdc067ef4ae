"""Copies made smaller, of every task whose published images' size is known, are not taken for the published ones."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from mixer_bench.data import resized
from mixer_bench.data.rows import Rows, Stored
from mixer_bench.task.task import TASKS, load_tasks

ALL = load_tasks(TASKS)
KNOWN = [name for name, task in ALL.items() if task.pixels]


def copy(sizes: list[tuple[int, int]]) -> list[Rows]:
    """A split of white images of these widths and heights."""

    def content(position: int) -> bytes:
        buffer = io.BytesIO()
        Image.new("1", sizes[position], 1).save(buffer, "PNG")
        return buffer.getvalue()

    return [Rows.all(Stored(str, content), np.zeros(len(sizes), np.int64))]


def test_the_size_is_declared_of_all_whose_images_may_be_someones_copy() -> None:
    shifted = {"imagenet_a", "imagenet_r", "imagenet_sketch", "imagenet_v2"}  # their makers' folders, of any size
    assert set(ALL) - set(KNOWN) == {"clipart", "digits", *shifted}


@pytest.mark.parametrize("name", KNOWN)
def test_half_as_wide_and_high_is_another_size(name: str) -> None:
    least, most = ALL[name].pixels or (0, 0)
    width, height = most // 32 * 2, 16
    assert resized.said(ALL[name], copy([(width, height)] * 3)) == ""
    words = resized.said(ALL[name], copy([(width // 2, height // 2)] * 3))
    assert "another size" in words
    assert f"{width * height // 4:,} pixels or less, not {least:,}" in words


def test_a_few_of_another_size_are_no_other_copy() -> None:
    assert resized.said(ALL["cifar10"], copy([(32, 32)] * 15 + [(16, 16)])) == ""
    assert resized.said(ALL["cifar10"], copy([(16, 16)] * 15 + [(32, 32)])) != ""


def test_of_a_split_without_images_none_is_looked_at() -> None:
    assert resized.said(ALL["cifar10"], copy([])) == ""
    assert "256 pixels" in resized.said(ALL["cifar10"], [*copy([]), *copy([(16, 16)])])
    assert [resized.looked_at(count) for count in (0, 1, 3, 15)] == [[], [0], [0, 1, 2], [0, 2, 4, 6, 8, 10, 12, 14]]
