"""Published numbers: every row is sound, sums come out as printed, and a damaged file is named with its line."""

import csv
import statistics
import tomllib
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from mixer_bench.errors import UsageError
from mixer_bench.models import zoo
from mixer_bench.report import published
from mixer_bench.report.published import COLUMNS, PUBLISHED, Published
from mixer_bench.task import task

ROOT = Path(__file__).parents[2]
ROWS = published.read()
VTAB = {name: known.tags for name, known in task.tasks().items() if "vtab" in known.tags}
GROUPS = ("vtab/natural", "vtab/specialized", "vtab/structured")
# Cells of the sources' tables; an empty cell is no row.
CELLS = {
    "augreg": 9 * 2,
    "big_vision_transfer": 5,
    "bit_public_code": 8 + 2 * 4,
    "bit_table2": 2 * 6,
    "mixer_public_code": 4,
    "mixer_table2": 10 * 6 - 12,
    "mixer_table3": 26 * 5 - 5,
    "timm_eval": 39 * 6 - 1,
    "vit_public_code": 4 * 3 * 2 + 4,
    "vit_table2": 4 * 8,
    "vit_table5": 12 * 7,
    "vit_table6": 5 * 6 - 1,
    "vit_table9_vtab": 3 * (20 + 3),
    "vpt_vtab": 2 * 20,
    "vtab_leaderboard": 16 * 20,
}


def rows_of(table: str) -> dict[tuple[str, ...], dict[str, Published]]:
    """The table's rows as printed: by model, pre-training and protocol, then by quantity."""
    rows: dict[tuple[str, ...], dict[str, Published]] = defaultdict(dict)
    for row in ROWS:
        if row.table == table:
            cells = rows[row.model, row.pretrain, row.protocol if table == "vpt_vtab" else ""]
            assert row.quantity not in cells
            cells[row.quantity] = row
    return rows


def value(table: str, model: str, pretrain: str, quantity: str, resolution: int | None = None) -> float:
    wanted = (table, model, pretrain, quantity)
    rows = [row for row in ROWS if (row.table, row.model, row.pretrain, row.quantity) == wanted]
    (row,) = (row for row in rows if resolution in (None, row.resolution))
    return row.value


def mean(cells: dict[str, Published], tag: str) -> float:
    return statistics.fmean(cells[name].value for name, known in task.tasks().items() if tag in known.tags)


# --- the contract


def test_every_table_has_as_many_rows_as_its_source_has_cells() -> None:
    assert Counter(row.table for row in ROWS) == CELLS
    assert {file.stem for file in PUBLISHED.glob("*.csv")} == set(CELLS)


def test_rows_lie_in_range_and_have_the_protocol_of_their_quantity() -> None:
    for row in ROWS:
        unit = published.units()[row.quantity]
        assert row.value <= (100 if unit == "%" else 25_000), row
        assert row.spread is None or (unit == "%" and row.spread < 2), row
        assert (row.protocol == "pretraining") == (row.quantity == "cost"), row
        assert (row.protocol == "inference") == row.quantity.startswith("throughput"), row
        assert row.protocol is not None or "quoted" in row.note, row
        assert row.verified != "unverified", row


def test_accuracies_are_written_as_printed_and_in_plain_text() -> None:
    for file in PUBLISHED.glob("*.csv"):
        lines = list(csv.DictReader(file.read_text(encoding="utf-8").splitlines()))
        assert all(cell == cell.strip() for line in lines for cell in line.values()), file
        decimals = {len(line["value"].partition(".")[2]) for line in lines if line["quantity"] in ("vtab", "avg5")}
        assert decimals <= {1, 2}, file


def test_a_card_has_the_pretraining_of_its_row() -> None:
    kinds = {
        **{"ImageNet": "in1k", "ImageNet-21k": "in21k", "ImageNet-21k supervised": "in21k", "JFT-300M": "jft300m"},
        **{"miil_in21k_ft_in1k": "in21k-p+in1k", "fb_in22k_ft_in1k": "in22k+in1k"},
        **{f"{recipe}_in21k_ft_in1k": "in21k+in1k" for recipe in ("augreg", "augreg2", "orig")},
    }
    for row in (row for row in ROWS if row.card is not None):
        card = zoo.cards()[row.card]
        if row.pretrain != "goog_in21k_ft_in1k":
            # timm's other tags end in what the weights were trained on.
            assert kinds.get(row.pretrain, row.pretrain.rpartition("_")[2]) == card.pretrain, row
        else:  # Mixer's tag is wrong, BiT's is right
            assert card.pretrain == ("in1k" if card.family == "mixer" else "in21k+in1k"), row
        begins = {
            "mixer": ("mixer", "gmixer"),
            "vit": ("vit", "deit", "b/", "l/", "s/", "ti/"),
            "mlp": ("resmlp", "gm"),
        }
        begins |= {"resnet": ("bit", "resnet"), "other": ("tf_efficientnet", "convnext")}
        assert row.model.lower().startswith(begins[card.family]), row


def test_the_zoo_says_the_same() -> None:
    compared = 0
    for card in zoo.cards().values():
        for reference in card.references:
            quantity = "imagenet_real" if reference.metric == "real" else reference.task
            tables = ("timm_eval", "mixer_public_code")
            for row in (row for row in published.of(card.name, quantity) if row.table in tables):
                assert row.value == pytest.approx(100 * reference.value)
                compared += 1
        if card.cost is not None:
            assert card.cost.amount in {row.value for row in published.of(card.name, "cost")}, card.name
            compared += 1
    assert compared >= 4 + 2 * 7 + 12


# --- sums


@pytest.mark.parametrize(
    ("parts", "printed", "quoted"),
    [
        ("vit_table2: ViT-L/16: ImageNet-21k", "mixer_table2: ViT-L/16", "imagenet imagenet_real vtab"),
        ("vit_table2: ViT-H/14: JFT-300M", "mixer_table2: ViT-H/14", "imagenet imagenet_real vtab"),
        ("vit_table2: BiT-L (ResNet152x4): JFT-300M", "mixer_table2: BiT-R152x4", "imagenet imagenet_real vtab cost"),
        ("bit_table2: BiT-M R152x4: ImageNet-21k", "mixer_table2: BiT-R152x4", "imagenet vtab"),
        ("vit_table2: ViT-L/16: JFT-300M", "mixer_table3: ViT-L/16", ""),
    ],
)
def test_mixer_quotes_the_other_papers_and_means_over_five_of_their_tasks(
    parts: str, printed: str, quoted: str
) -> None:
    (table, model, pretrain), (mixer, there) = parts.split(": "), printed.split(": ")
    resolution = 512 if mixer == "mixer_table3" else None
    computed = mean(rows_of(table)[model, pretrain, ""], "avg5")
    assert computed == pytest.approx(value(mixer, there, pretrain, "avg5", resolution), abs=0.01)
    for quantity in quoted.split():
        assert value(mixer, there, pretrain, quantity) == value(table, model, pretrain, quantity)


@pytest.mark.parametrize(
    ("table", "count", "tags", "accuracy"),
    [
        ("vit_table5", 12, ("avg5",), 0.0051),
        ("vit_table9_vtab", 3, GROUPS, 0.0051),
        ("vit_table9_vtab", 3, ("vtab",), 0.05),
        ("vtab_leaderboard", 16, ("vtab",), 0.0051),
        ("vpt_vtab", 2, ("vtab",), 0.0051),
    ],
)
def test_means_are_those_of_their_tasks(table: str, count: int, tags: tuple[str, ...], accuracy: float) -> None:
    rows = rows_of(table)
    assert len(rows) == count
    for cells in rows.values():
        assert [mean(cells, tag) for tag in tags] == pytest.approx([cells[tag].value for tag in tags], abs=accuracy)


def test_derived_means_are_marked_and_those_of_vit_table_9_are_those_of_table_2() -> None:
    for table in ("vtab_leaderboard", "vpt_vtab"):
        for cells in rows_of(table).values():
            assert cells.keys() == {*VTAB, "vtab"}
            assert cells["vtab"].verified == "derived"
    assert rows_of("vtab_leaderboard")["ResNet50", "Sup-100%", ""]["vtab"].value == 66.37
    for (model, pretrain, _), cells in rows_of("vit_table9_vtab").items():
        assert mean(cells, "vtab") == pytest.approx(value("vit_table2", model, pretrain, "vtab"), abs=0.0151)


def test_groups_of_bits_reruns_add_up() -> None:
    sizes = Counter(group for tags in VTAB.values() for group in GROUPS if group in tags)
    for model in ("BiT-M-R152x4", "BiT-M-R101x3"):
        cells = rows_of("bit_public_code")[model, "ImageNet-21k", ""]
        whole = sum(sizes[group] * cells[group].value for group in GROUPS) / 19
        assert whole == pytest.approx(cells["vtab"].value, abs=0.01)


# --- functions


def test_of_finds_a_cards_numbers() -> None:
    (row,) = published.of("mixer_b16", "cifar10")
    assert (row.value, row.resolution, row.protocol, row.verified) == (96.82, 224, "finetune", "yes")
    assert [row.value for row in published.of("mixer_l16", "vtab")] == [74.95]
    assert published.of("mixer_b16", "vtab") == []
    assert published.of("no-such-card", "vtab") == published.of("mixer_b16", "folder/mine") == []


def test_reading_aids() -> None:
    paper = value("bit_table2", "BiT-M R152x4", "ImageNet-21k", "vtab")
    again = value("bit_public_code", "BiT-M-R152x4", "ImageNet-21k", "vtab")
    aid = published.reading_aid("vtab")
    assert f"{again - paper:.1f} points" in aid and str(paper) in aid and str(again) in aid
    assert "protocol drift" in published.reading_aid("vtab/pets")
    assert published.reading_aid("pets") == published.reading_aid("folder/mine") == ""


def test_every_aid_is_of_something() -> None:
    declared = tomllib.loads((ROOT / "mixer_bench/report/published.toml").read_text(encoding="utf-8"))
    spoken_of = {row.quantity for row in ROWS if published.reading_aid(row.quantity)}
    assert {pattern for aid in declared["aids"] for pattern in aid["of"]} <= {*spoken_of, "vtab/*"}
    assert set(declared["quantities"]) <= {row.quantity for row in ROWS}


# --- damage


@pytest.mark.parametrize(
    ("line", "old", "new", "says"),
    [
        (1, "model", "modell", r"line 1: the columns are modell, card.*; they must be model, card"),
        (1, "model,card", "card", r"line 1: the columns are card, weights"),
        (1, "card", "model", r"line 1: the columns are model, model"),
        (3, "cifar10", "cifar11", r"line 3: unknown quantity 'cifar11'; did you mean cifar1"),
        (3, "mixer_l16_in1k", "mixer_l61_in1k", r"line 3: unknown card 'mixer_l61_in1k'; did you mean mixer_l16"),
        (3, ",yes,", ",probably,", r"line 3: key 'verified': .*'yes', 'single-source'"),
        (3, ",finetune,", ",tuned,", r"line 3: key 'protocol'"),
        (3, "96.59", "9659", r"line 3: 9659.0 % is more than all"),
        (3, "96.59", "nan", r"line 3: key 'value'"),
        (3, "96.59", "", r"line 3: key 'value': Field required"),
        (3, ",224,", ",224px,", r"line 3: key 'resolution'"),
        (4, "Mixer-B/16", "Mixer-B/16,", r"line 4: 13 cells where the header has 12"),
        (4, ",same,", ",,", r"line 4: weights says whether a card's checkpoint is the row's"),
        (4, ",same,", ",like,", r"line 4: key 'weights'"),
        (4, "ImageNet-21k", '"ImageNet"-21k', r"line 4: .*expected after"),
        (4, "Mixer-B/16", "Mixer-B/16\udcff", r"line 4: key 'model': .*unicode"),
        (5, "Mixer-L/16,mixer_l16", "Mixer-B/16,mixer_b16", r"line 5: says again what line 4 says"),
    ],
)
def test_damage_is_named_with_file_and_line(tmp_path: Path, line: int, old: str, new: str, says: str) -> None:
    lines = (PUBLISHED / "mixer_public_code.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    assert old in lines[line - 1]
    lines[line - 1] = lines[line - 1].replace(old, new, 1)
    damaged = tmp_path / "mixer_public_code.csv"
    damaged.write_bytes("".join(lines).encode("utf-8", "surrogateescape"))
    with pytest.raises(UsageError, match=rf"mixer_public_code\.csv, {says}"):
        published.read(tmp_path)


def test_an_empty_folder_or_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no file of published numbers"):
        published.read(tmp_path)
    (tmp_path / "empty.csv").touch()
    with pytest.raises(UsageError, match=r"empty\.csv, line 1: the columns are none; they must be model"):
        published.read(tmp_path)


# --- shipping


def test_git_takes_the_files_along() -> None:
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert ignored.index("!/results/published/") == ignored.index("/results/*") + 1


def test_the_readme_explains_every_column_and_mark() -> None:
    text = (PUBLISHED / "README.md").read_text(encoding="utf-8")
    marks = (*published.Mark.__args__, *published.Weights.__args__)  # type: ignore[attr-defined]
    assert [name for name in (*COLUMNS, *marks) if f"| `{name}` |" not in text] == []
