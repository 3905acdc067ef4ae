"""The contract every protocol keeps; a new module in protocols/ is tested without a new test."""

import dataclasses

import numpy as np
import pytest
from pydantic import BaseModel, ValidationError, model_validator

from mixer_bench import protocols
from mixer_bench.data.examples import Development, TaskData
from mixer_bench.errors import UsageError
from mixer_bench.system import schema
from tests.builders import Given, colours

ALL = protocols.names()
LEARNING = [name for name in ALL if not protocols.get(name).trained_classes]
# The published settings are for networks and sets of another size.
SMALL = {"finetune": {"steps": 40, "warmup": 4, "batch_size": 20, "learning_rates": (0.003, 0.03, 0.1)}}


def small(name: str, **settings: object) -> BaseModel:
    return protocols.configure(name, {**SMALL.get(name, {}), **settings})


def scores_of(name: str, data: TaskData, seed: int = 0, **settings: object) -> np.ndarray:
    fitted = protocols.get(name).fit(Given(), data.development, small(name, **settings), seed)
    return fitted.scores(data.test)


def test_the_published_protocols_are_there() -> None:
    assert {"fewshot", "linear", "knn", "finetune"} <= set(ALL)


@pytest.mark.parametrize("name", ALL)
def test_it_names_its_source_and_departures_and_its_config_is_frozen_and_complete(name: str) -> None:
    protocol = protocols.get(name)
    assert "et al." in protocol.documentation
    assert "Departure" in protocol.documentation
    assert isinstance(protocol.version, int)
    config = protocol.config()
    for field in [*type(config).model_fields][:1]:
        with pytest.raises(ValidationError):
            setattr(config, field, getattr(config, field))
    with pytest.raises(ValidationError):
        type(config)(no_such_setting=1)


@pytest.mark.parametrize("name", LEARNING)
def test_solves_a_separable_task(name: str) -> None:
    data = colours(noise=10.0)
    assert np.mean(scores_of(name, data).argmax(1) == data.test.labels) > 0.95


@pytest.mark.parametrize("name", LEARNING)
def test_same_seed_same_scores_and_only_seeded_protocols_depend_on_it(name: str) -> None:
    data = colours(noise=110.0, counts=(120, 30, 90))
    first, again, other = (scores_of(name, data, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.array_equal(first, other) == (not protocols.get(name).seeded)


@pytest.mark.parametrize("name", LEARNING)
def test_no_choice_depends_on_test_labels(name: str) -> None:
    """The whole path with the test labels shuffled: every selection and every test score stays as it was."""
    data = colours(noise=110.0)
    shuffled_labels = np.random.default_rng(1).permutation(data.test.labels)
    shuffled = dataclasses.replace(data, test=dataclasses.replace(data.test, labels=shuffled_labels))
    assert not np.array_equal(data.test.labels, shuffled.test.labels)
    grids = {"fewshot": {"l2": (1.0, 32.0, 1024.0, 1e5)}}
    config = small(name, **grids.get(name, {}))
    before, after = (protocols.get(name).fit(Given(), d.development, config, 0) for d in (data, shuffled))
    assert before.selection is not None
    assert len(set(before.selection.scores)) > 1, "the grid must have something to choose"
    assert before.selection == after.selection
    np.testing.assert_array_equal(before.scores(data.test), after.scores(shuffled.test))


def test_what_protocols_are_given_holds_no_test_split() -> None:
    assert {field.name for field in dataclasses.fields(Development)} == {
        *("train", "val", "num_classes", "metric"),
        *("order", "class_names"),  # the former of train and val
    }
    data = colours()
    test_digests = set(data.test.digests)
    assert not test_digests & (set(data.development.train.digests) | set(data.development.val.digests))


@pytest.mark.parametrize("name", LEARNING)
def test_the_number_of_classes_is_the_tasks_not_the_samples(name: str) -> None:
    data = colours(classes=3)
    train = data.train.take(np.flatnonzero(data.train.labels != 2))
    more = dataclasses.replace(data, train=train, class_names=tuple("abcde"))
    assert scores_of(name, more).shape == (len(data.test), 5)


@pytest.mark.parametrize("name", LEARNING)
def test_selection_says_when_it_sits_at_the_edge(name: str) -> None:
    grids = {"fewshot": {"l2": "1,1024"}, "linear": {"C": "1,10"}, "knn": {"k": "1,2"}}
    config = small(name, **grids.get(name, {}))
    assert protocols.get(name).fit(Given(), colours(noise=5.0).development, config, 0).selection.at_edge is True


def test_settings_are_parsed_by_their_types() -> None:
    assert protocols.configure("fewshot", {"shots": "5", "l2": "1,2.5"}).l2 == (1.0, 2.5)
    assert protocols.configure("fewshot", {"l2": "64"}).l2 == (64.0,)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"shot": "5"}, "did you mean shots"),
        ({"shots": "five"}, "shots"),
        ({"shots": "0"}, "shots"),
        ({"l2": ""}, "l2"),
        ({"l2": "1,,2"}, "l2"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        protocols.configure("fewshot", settings)


def test_a_rule_on_several_settings_is_told_without_a_traceback() -> None:
    class Ordered(schema.Frozen):
        low: int = 1
        high: int = 2

        @model_validator(mode="after")
        def _in_order(self) -> "Ordered":
            if self.low > self.high:
                raise ValueError("low lies above high")
            return self

    with pytest.raises(UsageError, match=r"^setting of toy: low lies above high"):
        schema.validated("setting of toy", Ordered, {"low": "3"})


def test_an_unknown_protocol_is_answered_with_near_ones() -> None:
    with pytest.raises(UsageError, match="did you mean fewshot"):
        protocols.get("few_shot")
