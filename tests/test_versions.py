"""Code that can move a number does not change unseen: its version is in identity, and stands for one text."""

import runpy
from pathlib import Path

import pytest

from mixer_bench.models import names, weights
from mixer_bench.system import code

DIGESTS = runpy.run_path(str(Path(__file__).parents[1] / "tools" / "digests.py"))
ROOMS = ("data", "models", "protocols", "runs", "stats", "task", "training")  # of the rooms, those that measure
VERSIONED = {name: concern for name, concern in code.concerns().items() if concern.version_in is not None}


@pytest.mark.parametrize("name", VERSIONED)
def test_a_version_stands_for_the_code_as_it_is(name: str) -> None:
    concern = VERSIONED[name]
    assert (concern.version, concern.digest) == (DIGESTS["version_of"](concern), code.digests()[name]), (
        f"the code of {name} has changed ({', '.join(concern.modules)}). If a number could move, raise its version, "
        f"{concern.version_in}; then, in either case, run: make digests"
    )


def test_every_module_of_the_rooms_that_measure_is_of_a_concern_or_declared_harmless() -> None:
    def place(file: Path) -> str:
        return file.relative_to(code.PACKAGE).as_posix()

    counted = {place(file) for concern in code.concerns().values() for file in code.files_of(concern)}
    harmless = set(code.table()["harmless"])
    there = {place(file) for room in ROOMS for file in (code.PACKAGE / room).rglob("*.py")}
    assert counted & harmless == set()
    assert harmless <= there
    assert there - counted - harmless == set(), f"declare these in {code.TABLE.name}: can they move a number?"


def test_what_a_recommendation_is_made_with_is_its_own_code_and_that_of_no_record() -> None:
    there = {file.name for file in (code.PACKAGE / "recommend").glob("*.py")}
    counted = {file.name for file in code.files_of(code.concerns()["recommend"]) if file.parent.name == "recommend"}
    assert there - counted == {"__init__.py", "inspection.py", "text.py", "values.py"}, "these say or refuse"
    assert "recommend" not in code.installed("linear") and "recommend" not in code.installed("of another package")


def test_what_has_no_version_has_no_digest_to_keep() -> None:
    bare = [concern for concern in code.concerns().values() if concern.version_in is None]
    assert [(concern.version, concern.digest) for concern in bare] == [(None, None)] * len(bare)


def test_the_way_of_weights_into_a_network_is_in_their_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other versions are fields of a run or of its preprocessing: tests/results/test_record.py."""
    card = names.card("mixer_nano")
    before = weights.identity(card)
    monkeypatch.setattr(weights, "LOADING_VERSION", weights.LOADING_VERSION + 1)
    assert weights.identity(card) != before


def test_digests_are_written_where_they_belong_and_nothing_else_changes() -> None:
    text = code.TABLE.read_text(encoding="utf-8")
    fresh = DIGESTS["refreshed"](text)
    assert DIGESTS["refreshed"](fresh) == fresh
    spoiled = fresh.replace(f'digest = "{code.digests()["pixels"]}"', 'digest = "0"').replace("\nversion = 1\n", "\n")
    assert spoiled != fresh
    assert DIGESTS["refreshed"](spoiled) == fresh
