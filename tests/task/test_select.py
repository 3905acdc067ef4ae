"""Tasks by name, group and glob."""

import re

import pytest

from mixer_bench.errors import UsageError
from mixer_bench.task.task import select, tasks

TAGS = {"birds": ("fine",), "vtab/dmlab": ("vtab",)} | dict.fromkeys(
    ("vtab/pets", "vtab/svhn"), ("vtab", "vtab/natural")
)
KNOWN = {name: tasks()["digits"].model_copy(update={"name": name, "tags": tags}) for name, tags in TAGS.items()}


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["birds"], ["birds"]),
        (["vtab"], ["vtab/dmlab", "vtab/pets", "vtab/svhn"]),
        (["vtab/natural"], ["vtab/pets", "vtab/svhn"]),
        (["vtab/*"], ["vtab/dmlab", "vtab/pets", "vtab/svhn"]),
        (["*"], ["birds", "vtab/dmlab", "vtab/pets", "vtab/svhn"]),
        (["*/[ps]*"], ["vtab/pets", "vtab/svhn"]),
        (["vtab/svhn", "birds", "vtab"], ["vtab/svhn", "birds", "vtab/dmlab", "vtab/pets"]),
        (["birds", "birds"], ["birds"]),
        ([], []),
    ],
)
def test_names_groups_and_globs_select_in_order_each_once(names: list[str], expected: list[str]) -> None:
    assert [task.name for task in select(names, KNOWN)] == expected


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("bird", "did you mean birds?"),
        ("vtab/pet", "did you mean vtab/pets"),
        ("vtab/naturl", "did you mean vtab/natural"),
        ("nothing like it", "known: birds, fine, vtab, vtab/dmlab"),
        ("q*", "known: birds"),
    ],
)
def test_an_unknown_name_is_quoted_with_the_nearest_known(name: str, hint: str) -> None:
    with pytest.raises(UsageError, match=re.escape(f"unknown task {name!r}; {hint}")):
        select(["birds", name], KNOWN)


def test_the_embedded_tasks_are_a_group() -> None:
    assert {"clipart", "digits"} <= {task.name for task in select(["embedded"], tasks())}
