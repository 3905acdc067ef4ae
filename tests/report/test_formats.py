"""What formats make of a table: LaTeX escaped and compiled where a TeX is installed, narrow terminals, CSV."""

from __future__ import annotations

import csv
import io
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from mixer_bench.report import report
from mixer_bench.report.formats import latex, sheet, terminal
from mixer_bench.report.index import Index
from mixer_bench.report.models import About
from mixer_bench.report.significance import Judge
from mixer_bench.task.task import tasks
from tests.builders import a_record, a_run, tables_of
from tests.report.test_significance import Study

NASTY = r"a_b%c&d#e$f{g}h\i~j^k<l>m|n"


def test_special_characters_are_escaped() -> None:
    assert latex.escaped("a_b & 5 %\n#1 ±†") == r"a\_b \& 5 \% \#1 $\pm$$^\dagger$"
    assert latex.escaped("\\") == r"\textbackslash{}"


def test_the_best_is_bold_and_its_equals_are_underlined() -> None:
    study = Study()
    written = latex.latex(report.build(Index(study.records, About(), tasks()), Judge(study.answers), "vit_nano"))
    best, tied = (
        f"{100 * sum(r.metrics['top1'].value for r in study.records if r.run.model == model) / 3:.1f}"
        for model in ("mixer_nano", "vit_nano")
    )
    assert rf"\textbf{{{best}}} $\pm$" in written
    assert rf"\underline{{{tied}}} $\pm$" in written
    assert r"$^{\downarrow}$" in written


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
def test_it_compiles(tmp_path: Path) -> None:
    study = Study()
    strange = [a_record(0.5, a_run(model=NASTY, weights="9" * 64, task="colours"), notes=(NASTY,), n_test=400)]
    tables = report.build(Index([*study.records, *strange], About(), tasks()), Judge(study.answers), "vit_nano")
    document = r"\documentclass{article}\usepackage{booktabs}\begin{document}" + latex.latex(tables) + r"\end{document}"
    (tmp_path / "tables.tex").write_text(document, encoding="utf-8")
    command = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "tables.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "tables.pdf").stat().st_size > 1000


def test_a_narrow_terminal_has_columns_in_blocks_and_no_word_split(monkeypatch: pytest.MonkeyPatch) -> None:
    (table,) = tables_of([a_record(0.5)])
    table = replace(table, rows=(replace(table.rows[0], about="in21k ~150 TPUv3-core-d"),))
    whole = r"toy +50.0 ±4.0\* +250 +in21k ~150 TPUv3-core-d"
    assert re.search(whole, terminal.terminal([table]))
    monkeypatch.setenv("COLUMNS", "36")
    narrow = terminal.terminal([table])
    assert re.search(r"toy +50.0 ±4.0\* +250\n", narrow)
    assert re.search(r"toy +in21k ~150 TPUv3-core-d\n", narrow)


def test_csv_has_a_number_once_unless_a_table_that_repeats_others_is_alone() -> None:
    (table,) = tables_of([a_record(0.5)])
    again = replace(table, kind=replace(table.kind, repeats=True))
    assert sheet.as_csv([table, again]) == sheet.as_csv([table]) == sheet.as_csv([again])


def test_no_cell_of_csv_is_a_formula_and_numbers_stay_numbers() -> None:
    (table,) = tables_of([a_record(0.5)])
    (row,) = table.rows
    (cell,) = row.cells.values()
    names = [
        f"{first}cmd|' /C calc'!A0" for first in ("=", "+", "-", "@", "\t=", "\r+", "\n-", " \t@", "-1", "plain\r=")
    ]
    rows = [replace(row, model=name, about=name, cells={name: cell}) for name in names]
    rows.append(replace(row, model="-0.25", cells={"-1+1": replace(cell, mean=-0.3, difference=True)}))
    columns = tuple(column for each in rows for column in each.cells)
    written = sheet.as_csv([replace(table, columns=columns, rows=tuple(rows))])
    *lines, last = csv.DictReader(io.StringIO(written, newline=""))
    harmless = ["plain =cmd|' /C calc'!A0" if name.startswith("plain") else f"'{name.strip()}" for name in names]
    for column in ("model", "setting", "pretraining"):
        assert [line[column] for line in lines] == harmless
    assert (last["model"], last["setting"], last["mean"]) == ("-0.25", "'-1+1", "-0.300000")
