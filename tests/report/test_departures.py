"""A difference from a published number is of the source's very setting, or there is none and the row says why."""

import fnmatch

import pytest

from mixer_bench import protocols
from mixer_bench.models import zoo
from mixer_bench.report import published
from mixer_bench.report.cells import cell_of, mean_of
from mixer_bench.report.departures import departures
from mixer_bench.report.published import Published
from mixer_bench.results import naming
from mixer_bench.results.record import Record
from mixer_bench.training import presets
from tests.builders import TOY
from tests.report.test_averages import ALL, AVG5, VTAB, measured

ROWS = [row for row in published.read() if row.card and row.protocol in ("finetune", "linear")]
EXAMPLES = {"imagenet": (1_271_158, 10_009), "cifar10": (49_000, 1_000), "cifar100": (49_000, 1_000)}
EXAMPLES |= {"pets": (3_312, 368)}
MEANS = {"avg5": AVG5, "imagenet_real": ["imagenet"]}
MEANS |= {
    tag: [name for name in VTAB if tag in ALL[name].tags] for row in ROWS if (tag := row.quantity).startswith("vtab")
}


def tasks_of(row: Published) -> list[str]:
    return MEANS.get(row.quantity) or [row.quantity]


def row_of(table: str, quantity: str, which: str = "*") -> Published:
    """The row whose model, pre-training, resolution and note fit ``which``."""
    rows = [row for row in ROWS if (row.table, row.quantity) == (table, quantity)]
    (row,) = (r for r in rows if fnmatch.fnmatchcase(f"{r.model} {r.pretrain} {r.resolution} {r.note}", f"{which}*"))
    return row


def tuned(task: str, preset: str, side: int, changed: dict | None = None, **run: object) -> Record:
    """A run of a preset, with settings changed as by --set; of no model yet."""
    train, val = EXAMPLES.get(task, (1_800, 200))
    protocol = protocols.get("finetune")
    settings = {**protocol.defaults(preset, ALL[task], train + val), **(changed or {})}
    config = protocols.configure("finetune", settings).model_dump(mode="json")
    known = {"protocol": "finetune", "protocol_version": protocol.version, "config": config, **run}
    record = measured(task, **known)
    made = record.run.model_copy(update={"preprocessing": TOY.model_copy(update={"resolution": side})})
    return record.model_copy(update={"run": made, "n_train": train, "n_val": val})


def of_card(record: Record, card: str, **squares: object) -> Record:
    """The same run of a card, with its preprocessing, of which ``squares`` are changed."""
    known = zoo.cards()[card].preprocessing.for_task(ALL[record.run.task].resize)
    known = known.model_copy(update={"resolution": record.run.preprocessing.resolution, **squares})
    return record.model_copy(update={"run": record.run.model_copy(update={"model": card, "preprocessing": known})})


def departed(row: Published, *records: Record, **squares: object) -> list[str]:
    cells = [cell_of([of_card(record, row.card, **squares)], record.run.metric) for record in records]
    return departures(cells[0] if len(cells) == 1 else mean_of(cells), row)


# --- what is declared


def test_every_row_that_may_stand_beside_a_measurement_has_a_declared_setting() -> None:
    assert len(ROWS) > 200
    lacking = [
        (row.table, row.model, task) for row in ROWS for task in tasks_of(row) if not published.group_of(row, task)
    ]
    assert lacking == []


def test_every_group_is_of_a_preset_or_says_what_no_preset_expresses_and_is_of_some_row() -> None:
    rows = [row for row in published.read() if row.protocol in ("finetune", "linear", "classifier")]
    used = {
        published.groups().index(group)
        for row in rows
        for task in tasks_of(row)
        if (group := published.group_of(row, task))
    }
    for place, group in enumerate(published.groups()):
        assert (group.preset is None) == (bool(group.differs) or group.protocol == "classifier"), group
        assert group.preset is None or group.preset in presets.presets(), group
        assert place in used, group


# Resolution, learning rates and steps as the row's own source prints them, not as a preset does.
SOURCES = [
    ("mixer_table3", "imagenet", "Mixer-L/16 ImageNet-21k 224", 224, (0.003, 0.01, 0.03, 0.06), 20_000),
    ("mixer_public_code", "cifar10", "Mixer-L/16 ImageNet-21k 224 10,000", 224, (0.03,), 10_000),
    ("vit_public_code", "imagenet", "ViT-B_16 * dropout 0.1", 384, (0.03,), 20_000),
    ("vit_public_code", "cifar10", "ViT-B_16 * dropout 0.0", 384, (0.01,), 10_000),
    ("vit_public_code", "cifar10", "ViT-B_16 * dropout 0.1", 384, (0.01,), 10_000),
    ("vit_public_code", "cifar10", "ViT-B_32 * dropout 0.0", 384, (0.03,), 10_000),
    ("vit_public_code", "cifar100", "ViT-B_16 * 500 steps", 384, (0.03,), 500),
    ("vit_public_code", "cifar100", "ViT-B_16 * 1,000 steps", 384, (0.03,), 1_000),
    ("vit_table2", "pets", "ViT-L/16 ImageNet-21k 384", 384, (0.001, 0.003, 0.01, 0.03), 500),
    ("bit_public_code", "cifar100", "BiT-M-R50x1 *", 128, (0.001,), 10_000),
    ("bit_public_code", "imagenet", "BiT-M-R50x1 *", 480, (0.003,), 20_000),
    ("bit_table2", "pets", "BiT-M *", 480, (0.003,), 500),
    ("bit_table2", "cifar10", "BiT-M *", 128, (0.003,), 10_000),
]


@pytest.mark.parametrize(("table", "task", "which", "side", "rates", "steps"), SOURCES)
def test_a_run_of_the_sources_setting_departs_in_nothing(table, task, which, side, rates, steps) -> None:
    row = row_of(table, task, which)
    group = published.group_of(row, task)
    record = tuned(task, group.preset, side, group.settings)
    assert departed(row, record) == []
    assert (record.run.config["learning_rates"], record.run.config["steps"]) == (list(rates), steps)


def judged(row: Published, **run: object) -> Record:
    """A run of ``head`` of a row's card, as the card says but for what ``run`` changes."""
    known = zoo.cards()[row.card].preprocessing.for_task("crop")
    given = {"protocol": "head", "protocol_version": protocols.get("head").version, "config": {}, "model": row.card}
    return measured(row.quantity, **{**given, "preprocessing": known, **run})


def test_a_classifier_as_the_card_says_departs_in_nothing_and_another_crop_does() -> None:
    rows = [row for row in published.read() if row.table == "timm_eval" and row.card and row.quantity in ALL]
    assert {row.quantity for row in rows} >= {"imagenet", "imagenet_a", "imagenet_r", "imagenet_sketch", "imagenet_v2"}
    for row in rows:
        record = judged(row)
        assert departures(cell_of([record], "top1"), row) == [], row
        other = record.run.preprocessing.model_copy(update={"crop_pct": 0.75})
        (told,) = departures(cell_of([judged(row, preprocessing=other)], "top1"), row)
        assert told.startswith("crop_pct 0.75, the card's"), row


# --- what withholds a difference

VIT = row_of("vit_public_code", "cifar10", "ViT-B_32 * dropout 0.0")


def test_each_setting_that_differs_is_named_with_both_values() -> None:
    record = tuned("cifar10", "vit-public", 384)
    assert departed(VIT, record) == []
    for name, value in record.run.config.items():
        other = record.run.model_copy(update={"config": {**record.run.config, name: "another"}})
        said = departed(VIT, record.model_copy(update={"run": other}))
        assert said == [f"{name} another, published with {naming.whole(value)}"]


@pytest.mark.parametrize(
    ("run", "said"),
    [
        ({"side": 224}, ["resolution 224, published at 384"]),
        ({"subset": "official-lossy"}, ["images official-lossy, published official"]),
        (
            {"subset": "resampled", "limit": 9},
            ["images resampled, published official", "at most 9 images a split, published all"],
        ),
        ({"changed": {"dropout": 0.1}}, ["dropout 0.1, published with 0"]),
        (
            {"changed": {"steps": 500, "warmup": 50}},
            ["steps 500, published with 10000", "warmup 50, published with 500"],
        ),
        ({"protocol_version": 1}, [f"version 1 of finetune, now {protocols.get('finetune').version}"]),
    ],
)
def test_what_differs_is_named(run: dict, said: list[str]) -> None:
    assert departed(VIT, tuned("cifar10", "vit-public", **{"side": 384, **run})) == said


def test_images_prepared_otherwise_than_the_card_says_are_named() -> None:
    said = departed(VIT, tuned("cifar10", "vit-public", 384), interpolation="nearest", mean=(0.5, 0.5, 0.25))
    assert said == ["mean 0.5,0.5,0.25, the card's 0.5,0.5,0.5", "interpolation nearest, the card's bicubic"]


def test_a_setting_of_no_paper_is_nowhere_compared() -> None:
    for row in ROWS:
        if row.protocol == "finetune":
            records = [tuned(task, "small", row.resolution or 224) for task in tasks_of(row)]
            assert departed(row, *records), row


def test_other_weights_and_settings_that_cannot_be_set_here_are_named() -> None:
    ready = tuned("imagenet", "big-vision-transfer", 384)
    assert departed(row_of("big_vision_transfer", "imagenet"), ready) == ["other weights than the card's"]
    polyak = row_of("vit_table2", "imagenet", "ViT-L/16 ImageNet-21k *")
    assert departed(polyak, tuned("imagenet", "vit-paper", 512)) == ["averaged weights (Polyak 0.9999) at 512 px"]
    probe = measured("vtab/dtd", protocol="linear", config={"C": [1.0]})
    linear = next(row for row in ROWS if (row.quantity, row.protocol) == ("vtab/dtd", "linear"))
    assert departed(linear, probe) == [published.group_of(linear, "vtab/dtd").differs]


def test_another_preset_is_named_where_it_sets_other_values() -> None:
    record = tuned("cifar10", "vit-public", 384, {"clip": 2.0}).model_copy(update={"preset": "small"})
    assert departed(VIT, record) == ["preset small, published with vit-public", "clip 2, published with 1"]
    agreeing = tuned("cifar10", "vit-public", 384).model_copy(update={"preset": "small"})
    assert departed(VIT, agreeing) == [], "values are what counts"


def test_of_a_mean_each_task_counts() -> None:
    row = row_of("vit_table9_vtab", "vtab", "ViT-L/16 ImageNet-21k *")
    records = [tuned(task, "vit-paper", 384) for task in VTAB]
    assert departed(row, *records) == []
    records[3] = tuned(VTAB[3], "vit-paper", 384, {"steps": 20})
    assert departed(row, *records) == ["steps 20, published with 2500"]
