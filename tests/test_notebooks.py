"""The notebooks of docs/ run, cell by cell, in one process."""

import json
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parent.parent / "docs" / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_it_runs(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MIXER_BENCH_CACHE", f"{tmp_path}/cache")
    names: dict[str, object] = {}
    for number, cell in enumerate(json.loads(file.read_text(encoding="utf-8"))["cells"]):
        assert cell.get("outputs", []) == [], "what it printed somewhere is nobody's business"
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), f"{file.name} cell {number}", "exec"), names)
    assert names
