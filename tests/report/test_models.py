"""What tables say of models besides scores: origin, in-domain marks, speeds from profiles."""

import pytest

from mixer_bench.models import names
from mixer_bench.models import origin as origin_module
from mixer_bench.models.card import Origin
from mixer_bench.report.models import About
from mixer_bench.report.tables import table as tables
from mixer_bench.results.profiles import Profile
from mixer_bench.results.record import Record
from tests.builders import a_profile, a_record, a_run, tables_of

CPU, GPU = "a processor", "NVIDIA H100 80GB HBM3"


def profiled(name: str, throughput: float, device: str = CPU, precision: str = "fp32", resolution: int = 8) -> Profile:
    network = names.card(name).network.digest
    return a_profile(
        model=name,
        network=network,
        throughput=throughput,
        device_name=device,
        precision=precision,
        resolution=resolution,
    )


def measured(name: str, task: str = "colours", **origin: object) -> Record:
    known = origin_module.origin(names.card(name)).model_copy(update=origin)
    return a_record(run=a_run(model=name, task=task), origin=known)


def row_of(table: tables.Table, model: str) -> tables.Row:
    return next(row for row in table.rows if row.model == model)


def test_speeds_are_extractions_where_nothing_was_profiled() -> None:
    (table,) = tables_of([measured("mixer_nano"), measured("pixels")])
    assert table.speed_headings == ("img/s",)
    assert (row_of(table, "mixer_nano").speeds, row_of(table, "pixels").speeds) == ((250.0,), (None,))
    assert "img/s: feature extraction, a processor, batch 64" in table.notes


def test_profiles_take_their_place_and_models_without_are_named() -> None:
    records = [measured(name) for name in ("mixer_nano", "random:mixer_nano", "vit_nano", "pixels")]
    (table,) = tables_of(records, About(profiles=[profiled("mixer_nano", 1234.0)]))
    assert row_of(table, "mixer_nano").speeds == (1234.0,)
    assert row_of(table, "random:mixer_nano").speeds == (1234.0,), "weights do not change the speed"
    assert row_of(table, "vit_nano").speeds == (None,)
    assert "img/s: forward pass, best batch size (mixer-bench profile), a processor, 2 threads, fp32" in table.notes
    assert "not profiled there: vit_nano" in table.notes


def test_each_device_has_a_column_and_the_one_with_most_models_comes_first() -> None:
    profiles = [
        profiled("mixer_nano", 1.0),
        profiled("mixer_nano", 9.0, GPU, "bf16"),
        profiled("vit_nano", 8.0, GPU, "bf16"),
    ]
    (table,) = tables_of([measured("mixer_nano"), measured("vit_nano")], About(profiles=profiles))
    assert table.speed_headings == ("img/s (1)", "img/s (2)")
    assert row_of(table, "mixer_nano").speeds == (9.0, 1.0)
    assert row_of(table, "vit_nano").speeds == (8.0, None)
    assert any(
        note == f"img/s (1): forward pass, best batch size (mixer-bench profile), {GPU}, bf16" for note in table.notes
    )


def test_a_disturbed_profile_is_said() -> None:
    profile = profiled("mixer_nano", 1.0).model_copy(update={"disturbed": True})
    (table,) = tables_of([measured("mixer_nano")], About(profiles=[profile]))
    assert any("other processes took CPUs" in note for note in table.notes)


def test_a_profile_at_another_resolution_is_another_network() -> None:
    (table,) = tables_of([measured("mixer_nano")], About(profiles=[profiled("mixer_nano", 1.0, resolution=128)]))
    assert table.speed_headings == ("img/s",)
    assert row_of(table, "mixer_nano").speeds == (250.0,)


def test_tasks_whose_images_were_seen_in_pretraining_have_a_dagger() -> None:
    records = [measured("mixer_nano", "imagenet"), measured("pixels", "imagenet"), measured("mixer_nano")]
    built = {
        table.measured_on.task: table for table in tables_of(records, About({"mixer_nano": names.card("mixer_nano")}))
    }
    assert row_of(built["imagenet"], "mixer_nano").cells["5-shot"].text == "50.0 ±4.0*†"
    assert row_of(built["imagenet"], "pixels").cells["5-shot"].text == "50.0 ±4.0*"
    assert "†" not in row_of(built["colours"], "mixer_nano").cells["5-shot"].text
    assert any(note.startswith("† images of this task") for note in built["imagenet"].notes)
    assert not any(note.startswith("†") for note in built["colours"].notes)


def test_a_card_corrected_since_is_the_better_witness() -> None:
    record = measured("mixer_b16_in1k", pretrain="in21k", cost=None)
    about = About({"mixer_b16_in1k": names.card("mixer_b16_in1k")})
    assert about.pretraining(record) == "in1k ~10 TPUv3-core-d"


def test_a_card_of_other_weights_is_none() -> None:
    record = measured("mixer_b16", source="hf-hub:someone/else", pretrain="in1k", cost=None)
    assert About({"mixer_b16": names.card("mixer_b16")}).pretraining(record) == "in1k"
    replaced = measured("mixer_nano")  # the toy's hash is not that of the checkpoint
    assert About({"mixer_nano": names.card("mixer_nano")}).pretraining(replaced) == "tiny-in other weights"


@pytest.mark.parametrize(("origin", "said"), [(None, "?"), ({"pretrain": "lvd", "cost": "3 d"}, "lvd 3 d")])
def test_a_model_without_a_card_is_known_by_its_record(origin: dict[str, str] | None, said: str) -> None:
    known = (
        None
        if origin is None
        else Origin.model_validate({**origin_module.origin(names.card("vit_nano")).model_dump(), **origin})
    )
    assert About().pretraining(a_record(run=a_run(model="file:x.pth?arch=y"), origin=known)) == said
