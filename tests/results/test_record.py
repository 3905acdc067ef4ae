"""A record: identity, values that are refused, and the schema that is shipped."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from mixer_bench.models.card import Cost, Origin
from mixer_bench.models.names import card
from mixer_bench.models.origin import origin
from mixer_bench.models.preprocessing import Preprocessing
from mixer_bench.results import naming
from mixer_bench.results.record import Measured, Record, Run, Selection
from mixer_bench.results.store import Store
from tests.builders import TOY, a_run


def test_the_key_of_a_given_run_never_changes() -> None:
    """If this fails, every stored result of every user has become stale: raise a version instead."""
    assert a_run().key == "aedf99af915c06ad"
    before = TOY.model_copy(update={"version": 1})
    assert a_run(preprocessing=before).key == "c1684093be8afa18", "of records made before Preprocessing's version 2"


SIDES = {
    "resolution": 9,
    "mean": (0.4, 0.5, 0.5),
    "std": (0.4, 0.5, 0.5),
    "version": 1,
    "interpolation": "bicubic",
    "crop_pct": 0.9,
    "resize": "squash",
}


OTHER = {
    "weights": "2" * 64,
    "task": "others",
    "task_version": 2,
    "data": "2" * 64,
    "subset": "resampled",
    "limit": 10,
    "metric": "mean_per_class",
    "metric_version": 2,
    "protocol": "linear",
    "protocol_version": 2,
    "config": {"shots": 6, "l2": [1024.0]},
    "seed": 1,
    "precision": "bf16",
}


CHANGES = [{field: value} for field, value in OTHER.items()]


CHANGES += [{"preprocessing": TOY.model_copy(update={part: value})} for part, value in SIDES.items()]


@pytest.mark.parametrize("change", CHANGES, ids=[*OTHER, *SIDES])
def test_every_field_but_the_models_name_is_identity(change: dict) -> None:
    assert a_run(**change).key != a_run().key
    assert a_run(model="an alias").key == a_run().key
    assert (a_run(**change).but_seed == a_run().but_seed) == ("seed" in change)
    assert {*OTHER, "model", "preprocessing"} == set(Run.model_fields)
    assert set(SIDES) == set(Preprocessing.model_fields)


def test_the_order_of_settings_does_not_matter() -> None:
    assert a_run(config={"l2": [1024.0], "shots": 5}).key == a_run().key


@pytest.mark.parametrize("value", [float("nan"), -0.1, 1.1, float("inf")])
def test_what_is_no_share_is_no_score(value: float) -> None:
    with pytest.raises(ValidationError):
        Measured(value=value, ci95=(0, 1))


@pytest.mark.parametrize(
    ("cost", "said"),
    [
        ((0.77, "CPU-core-h", False), "0.77 CPU-core-h"),
        ((1010, "TPUv3-core-d", True), "~1,010 TPUv3-core-d"),
        ((3, "d", False), "3 d"),
        (None, "?"),
    ],
)
def test_costs_are_said_in_words(cost: tuple[float, str, bool] | None, said: str) -> None:
    known = cost and Cost(amount=cost[0], unit=cost[1], extrapolated=cost[2], source="a test")
    told = Origin.model_validate({**origin(card("vit_nano")).model_dump(), "cost": known})
    assert told.cost_words == said
    assert Origin.model_validate_json(told.model_dump_json()) == told


def test_the_shipped_schema_is_the_records() -> None:
    shipped = json.loads((Path(__file__).parents[2] / "mixer_bench" / "results" / "record.schema.json").read_text())
    assert shipped == Record.model_json_schema()


def test_the_schema_describes_every_field_by_the_comment_beside_it() -> None:
    schema = Record.model_json_schema()
    kinds = {"Record": schema, **schema["$defs"]}
    bare = [
        f"{name}.{field}"
        for name, kind in kinds.items()
        for field, of in kind["properties"].items()
        if not of.get("description")
    ]
    assert bare == []
    assert schema["$defs"]["Run"]["properties"]["weights"]["description"] == "SHA-256 of architecture and checkpoint"
    assert schema["$defs"]["Preprocessing"]["properties"]["version"]["description"].startswith("Raised whenever")


def test_a_changed_copy_of_a_run_has_its_own_key() -> None:
    run = a_run()
    before = (run.key, run.setting)
    other = run.model_copy(update={"seed": 7, "config": {"shots": 9}})
    assert other.key == a_run(seed=7, config={"shots": 9}).key != before[0]
    assert other.setting != before[1]
    assert (run.key, run.setting) == before


def test_failures_carry_no_folders(tmp_path: Path) -> None:
    error = FileNotFoundError(2, "No such file or directory", "/home/alice/secret/cat.jpg")
    text = Store(tmp_path).save_failure(a_run(), error).read_text()
    assert "cat.jpg" in text
    assert "alice" not in text


@pytest.mark.parametrize(
    ("grid", "scores", "edge"),
    [
        ((1.0, 10.0, 100.0), [0.9, 0.1, 0.1], True),
        ((1.0, 10.0, 100.0), [0.1, 0.9, 0.1], False),
        ((1.0, 10.0, 100.0), [0.1, 0.1, 0.9], True),
        ((10.0, 1.0, 100.0), [0.9, 0.1, None], False),
        ((1.0,), [0.9], False),
    ],
)
def test_a_choice_at_the_grids_edge_is_marked_whatever_its_order(grid, scores: list[float], edge: bool) -> None:
    assert Selection.best("C", grid, scores, 5).at_edge == edge


def test_of_equal_scores_the_first_is_chosen_and_one_that_diverged_never() -> None:
    assert Selection.best("C", (1.0, 10.0, 100.0), (0.5, 0.9, 0.9), 30).chosen == 10.0
    assert Selection.best("learning rate", (0.01, 0.1, 1.0), (None, 0.0, None), 30).chosen == 0.1


def test_an_interval_may_be_a_point() -> None:
    assert Measured(value=1.0, ci95=(1.0, 1.0)).ci95 == (1.0, 1.0)


def test_weights_are_told_apart_by_their_first_eight_digits() -> None:
    runs = [a_run(weights=digit * 64) for digit in "12"]
    assert list(naming.groups(runs).values()) == [f"colours toy fewshot 5-shot weights={digit * 8}" for digit in "12"]
