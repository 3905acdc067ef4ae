"""Text for a terminal: colours where they are wanted, blocks of whole words, notes that leave room."""

from __future__ import annotations

import io
import sys

import pytest

from mixer_bench.results import naming
from mixer_bench.system import console


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("settings", "is_terminal", "expected"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"NO_COLOR": "1"}, True, False),
        ({"NO_COLOR": ""}, True, True),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, True, False),
        ({"FORCE_COLOR": "1"}, False, True),
        ({"FORCE_COLOR": ""}, False, False),
        ({"TERM": "dumb"}, True, False),
        ({"TERM": "dumb", "FORCE_COLOR": "1"}, True, True),
    ],
)
def test_colours_are_where_a_terminal_shows_them_and_nobody_refused(
    settings: dict[str, str], is_terminal: bool, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "stdout", Terminal() if is_terminal else io.StringIO())
    assert console.coloured() == expected


@pytest.mark.parametrize("width", [20, 33, 40, 60, 80, 160])
def test_every_block_has_the_first_column_and_whole_words(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    shown = console.console()
    headings = ["model", *(f"{n}-shot" for n in range(6)), "said of it"]
    rows = [["resnet_nano", *["50.0 ±4.0*"] * 6, "a b c"], ["vit", *["7.0"] * 6, "longer words stand here, below"]]
    console.show(shown, headings, rows, left=("model", "said of it"))
    text = console.captured(shown)
    lines = text.splitlines()
    tables = sum(line.startswith(" model") for line in lines)
    assert sum("resnet_nano" in line for line in lines) == tables
    assert text.count("50.0 ±4.0*") == 6
    assert {"longer", "words", "stand", "here,", "below"} <= set(text.split())
    assert (tables == 1) == (width == 160)
    assert max(map(len, lines)) <= max(width, len(" resnet_nano  50.0 ±4.0*"))


def test_notes_take_no_more_lines_than_they_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    told = [f"note {number} of some words that say something" for number in range(6)]
    for most in (1, 2, 4, 6):
        shown = console.console()
        console.notes(shown, told, most, "report --format markdown")
        lines = console.captured(shown).splitlines()
        assert len(lines) <= most
        words = " ".join(" ".join(lines).split())
        left_out = sum(note not in words for note in told)
        assert (f"{left_out} more notes" in words) == (0 < left_out < 6)
        assert (words == "note 0 of some ... all 6 notes: report --format markdown") == (left_out == 6)
    assert len(lines) == 6, "each on its own line where there is room"


def test_long_names_are_short_and_never_alike() -> None:
    long = ["timm:vit_base_patch16_224.augreg2_in21k_ft_in1k", "timm:vit_base_patch16_384.augreg2_in21k_ft_in1k"]
    short = naming.shortened([*long, "pixels", "random:timm:" + "x" * 30], 24)
    assert len(set(short.values())) == 4
    assert short["pixels"] == "pixels"
    assert all(short[name].startswith("vit_base_pat") and len(short[name]) < 40 for name in long)
    assert short["random:timm:" + "x" * 30].startswith("random:xxx")
    assert naming.shortened(["timm:a", "b"], 24) == {"timm:a": "timm:a", "b": "b"}
    same = ["timm:" + "a" * 30, "file:" + "a" * 30]
    assert len(set(naming.shortened(same, 10).values())) == 2
