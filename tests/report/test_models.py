"""What tables say of models besides scores: origin, in-domain marks, speeds from profiles."""

import csv

import pytest

from mixer_bench.models import names
from mixer_bench.models import origin as origin_module
from mixer_bench.models.card import Origin
from mixer_bench.report.formats import grid, sheet
from mixer_bench.report.models import About
from mixer_bench.report.tables.table import Table
from mixer_bench.results.profiles import Profile
from mixer_bench.results.record import Record
from tests.builders import TOY, a_profile, a_record, a_run, tables_of

CPU, GPU = "a processor", "NVIDIA H100 80GB HBM3"


def profiled(name: str, throughput: float, device: str = CPU, precision: str = "fp32", **more: object) -> Profile:
    network = names.card(name).network.digest
    place = {"device_name": device, "precision": precision, "resolution": 8}
    return a_profile(model=name, network=network, throughput=throughput, **{**place, **more})


def measured(name: str, task: str = "colours", seed: int = 0, **origin: object) -> Record:
    known = origin_module.origin(names.card(name)).model_copy(update=origin)
    return a_record(run=a_run(model=name, task=task, seed=seed), origin=known)


def costs(table: Table) -> dict[str, tuple[float | None, ...]]:
    return {row.model: row.costs for row in table.rows}


def speeds(table: Table) -> dict[str, tuple[float | None, ...]]:
    """On the first device and, where there is one, on the second."""
    return {model: (of[0], *of[4:]) for model, of in costs(table).items()}


FORWARD = "forward pass, best batch size (mixer-bench profile)"


def test_speeds_are_extractions_where_nothing_was_profiled() -> None:
    records = [measured("pixels")]
    for seed, speed in enumerate((100.0, 300.0, 900.0)):
        record = measured("mixer_nano", seed=seed)
        records.append(record.model_copy(update={"cost": record.cost.model_copy(update={"throughput": speed})}))
    (table,) = tables_of(records, About(profiles=[profiled("mixer_nano", 1.0, resolution=128)]))  # another network
    assert table.cost_headings == ("img/s",)
    assert speeds(table) == {"mixer_nano": (300.0,), "pixels": (None,)}, "the median"
    assert "img/s: feature extraction with decoding, a processor, batch 64" in table.notes


def test_profiles_take_their_place_and_models_without_are_named() -> None:
    records = [measured(name) for name in ("mixer_nano", "random:mixer_nano", "vit_nano", "pixels")]
    (table,) = tables_of(records, About(profiles=[profiled("mixer_nano", 1234.0)]))
    assert table.cost_headings == ("img/s", "latency ms", "memory MB", "params M")
    assert costs(table) == {
        "mixer_nano": (1234.0, 33.0, 101.0, 18.591624),
        "random:mixer_nano": (1234.0, 33.0, 101.0, 18.591624),  # weights do not change what a network takes
        "vit_nano": (None,) * 4,
        "pixels": (None,) * 4,
    }
    shown = [entry.text for entry in grid.entries(table, table.rows[0])][2:-1]
    assert shown == ["1,234", "33", "101", "18.6"]
    line = next(csv.DictReader(sheet.as_csv([table]).splitlines()))
    assert [line[name] for name in sheet.COSTS.values()] == ["1234", "33", "101", "18.59"]
    assert f"img/s: {FORWARD}, {CPU}, 2 threads, fp32, eager" in table.notes
    assert any(note.startswith("latency ms: of batch 1, median") for note in table.notes)
    assert "not profiled there: vit_nano" in table.notes


def test_a_network_that_was_profiled_at_one_resolution_is_missed_at_the_other() -> None:
    larger = TOY.model_copy(update={"resolution": 224})
    record = measured("mixer_nano")
    records = [record, record.model_copy(update={"run": record.run.model_copy(update={"preprocessing": larger})})]
    (table,) = tables_of(records, About(profiles=[profiled("mixer_nano", 1234.0)]))
    assert speeds(table) == {"mixer_nano (8 px)": (1234.0,), "mixer_nano (224 px)": (None,)}
    assert "not profiled there: mixer_nano (224 px)" in table.notes


def test_each_device_has_a_column_and_the_one_with_most_models_comes_first() -> None:
    on_gpu = [profiled(name, speed, GPU, "bf16") for name, speed in (("mixer_nano", 9.0), ("vit_nano", 8.0))]
    about = About(profiles=[profiled("mixer_nano", 1.0), *on_gpu])
    (table,) = tables_of([measured("mixer_nano"), measured("vit_nano")], about)
    assert table.cost_headings == ("img/s", "latency ms", "memory MB", "params M", "img/s (2)")
    assert speeds(table) == {"mixer_nano": (9.0, 1.0), "vit_nano": (8.0, None)}
    assert f"img/s: {FORWARD}, {GPU}, bf16, eager" in table.notes


def test_a_compiled_network_has_a_column_of_its_own() -> None:
    """As on one card of timm's, where compiling turns the order of a Mixer and a ViT."""
    eager = [profiled(name, speed) for name, speed in (("mixer_nano", 8.8), ("vit_nano", 10.0))]
    compiled = [profiled("mixer_nano", 10.8, compiled=True), profiled("vit_nano", 10.5, compiled=True)]
    (table,) = tables_of([measured("mixer_nano"), measured("vit_nano")], About(profiles=[*eager, *compiled]))
    assert speeds(table) == {"mixer_nano": (8.8, 10.8), "vit_nano": (10.0, 10.5)}
    assert f"img/s (2): {FORWARD}, {CPU}, 2 threads, fp32, compiled" in table.notes


def test_models_stand_in_the_zoos_order_with_controls_last() -> None:
    models = ["pixels", "random:vit_nano", "file:x.pth?arch=y", "vit_nano", "random:mixer_nano", "mixer_nano"]
    about = About.of([a_record(run=a_run(model=name)) for name in models])
    assert sorted(models, key=about.position) == [
        *("mixer_nano", "vit_nano", "random:mixer_nano", "random:vit_nano", "pixels"),
        "file:x.pth?arch=y",
    ]


def test_tasks_whose_images_were_seen_in_pretraining_have_a_dagger() -> None:
    records = [measured("mixer_nano", "imagenet"), measured("pixels", "imagenet"), measured("mixer_nano")]
    unseen, seen = tables_of(records, About({"mixer_nano": names.card("mixer_nano")}))
    assert [(row.model, row.cells["5-shot"].text) for row in seen.rows] == [
        ("mixer_nano", "50.0 ±4.0*†"),
        ("pixels", "50.0 ±4.0*"),
    ]
    assert [row.cells["5-shot"].text for row in unseen.rows] == ["50.0 ±4.0*"]
    assert "†" in seen.legend
    assert "†" not in unseen.legend


@pytest.mark.parametrize(
    ("model", "then", "said"),
    [
        ("mixer_b16_in1k", {"pretrain": "in21k", "cost": None}, "in1k ~10 TPUv3-core-d"),  # a card corrected since
        ("mixer_b16", {"source": "hf-hub:someone/else", "pretrain": "in1k", "cost": None}, "in1k"),  # of other weights
        ("mixer_nano", {}, "tiny-in other weights"),  # the toy's hash is not that of the checkpoint
        ("random:mixer_nano", {}, "none"),
    ],
)
def test_the_better_witness_of_card_and_record_is_believed(model: str, then: dict[str, object], said: str) -> None:
    assert About({model: names.card(model)}).pretraining(measured(model, **then)) == said


@pytest.mark.parametrize(
    ("origin", "said"),
    [(None, "?"), ({"pretrain": "lvd", "cost": {"amount": 3, "unit": "d", "source": "its paper"}}, "lvd 3 d")],
)
def test_a_model_without_a_card_is_known_by_its_record(origin: dict[str, object] | None, said: str) -> None:
    values = origin_module.origin(names.card("vit_nano")).model_dump()
    known = None if origin is None else Origin.model_validate({**values, **origin})
    assert About().pretraining(a_record(run=a_run(model="file:x.pth?arch=y"), origin=known)) == said
